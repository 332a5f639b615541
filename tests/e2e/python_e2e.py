"""python3 with threads, a subprocess, a long computation and an sqlite3 transaction in the middle survives ten checkpoints."""

import json
import os
import sqlite3
import sys

from harness import PROGRAMS, Failure, Target, check, read, resources, run, ten_cycles, wait_until


def main():
    with Target([sys.executable, os.path.join(PROGRAMS, "workers.py")], "python") as target:
        def status():
            try:
                return json.loads(read(target.path("status")))
            except (FileNotFoundError, ValueError):
                return {"rounds": 0, "threads": [0], "problems": []}

        def locked():
            other = sqlite3.connect(target.path("rows.db"), timeout=0)
            try:
                other.execute("BEGIN IMMEDIATE")
                return False
            except sqlite3.OperationalError:
                return True
            finally:
                other.close()

        def prove(cycle):
            seen = status()
            wait_until(lambda: status()["rounds"] > seen["rounds"] + 5, f"cycle {cycle}: rounds to go on")
            wait_until(lambda: all(now > then for now, then in zip(status()["threads"], seen["threads"])),
                       f"cycle {cycle}: every thread to go on")
            check(not status()["problems"], f"cycle {cycle}: {status()['problems']}")
            wait_until(locked, f"cycle {cycle}: the transaction to hold its lock")

        wait_until(lambda: status()["rounds"] > 0, "the program to start")
        before = ten_cycles(target, prove)
        after = resources(target.pid)
        check(after["descriptors"] == before["descriptors"], f"descriptors leak: {before} -> {after}")
        check(after["mappings"] <= before["mappings"] + 6, f"mappings leak: {before} -> {after}")


if __name__ == "__main__":
    run(main)
