"""A multi-threaded C++ program with live values in the widest vector registers survives ten checkpoints."""

import json
import os
import subprocess
import tempfile

from harness import PROGRAMS, Target, check, read, resources, run, ten_cycles, wait_until


def main():
    with tempfile.TemporaryDirectory() as build:
        program = os.path.join(build, "vectors")
        subprocess.run(["g++", "-std=c++20", "-O1", "-pthread", "-o", program, os.path.join(PROGRAMS, "vectors.cpp")], check=True)
        with Target([program], "vectors") as target:
            def status():
                try:
                    return json.loads(read(target.path("status")))
                except (FileNotFoundError, ValueError):
                    return {"threads": [0] * 4, "broken": False}

            def prove(cycle):
                seen = status()["threads"]
                wait_until(lambda: all(now > then for now, then in zip(status()["threads"], seen)),
                           f"cycle {cycle}: every thread to go on")
                check(not status()["broken"], f"cycle {cycle}: a vector register changed")

            wait_until(lambda: all(status()["threads"]), "the threads to start")
            before = ten_cycles(target, prove)
            after = resources(target.pid)
            check(after["descriptors"] <= before["descriptors"] + 1, f"descriptors leak: {before} -> {after}")
            check(after["mappings"] == before["mappings"], f"mappings leak: {before} -> {after}")


if __name__ == "__main__":
    run(main)
