"""A bash pipeline under a pseudo-terminal survives ten checkpoints: no line is lost, bash keeps its controlling terminal."""

import json
import os
import sys

from harness import PROGRAMS, Target, check, read, resources, run, ten_cycles, wait_until


def controlling_terminal(pid):
    return int(read(f"/proc/{pid}/stat").rsplit(")", 1)[1].split()[4])


def main():
    with Target([sys.executable, os.path.join(PROGRAMS, "terminal_host.py")], "terminal") as target:
        def status():
            try:
                return json.loads(read(target.path("status")))
            except (FileNotFoundError, ValueError):
                return {"lines": 0, "problems": [], "bash": 0}

        wait_until(lambda: status()["lines"] > 3, "the pipeline to start")
        terminal = controlling_terminal(status()["bash"])

        def prove(cycle):
            lines = status()["lines"]
            wait_until(lambda: status()["lines"] > lines + 5, f"cycle {cycle}: the pipeline to go on")
            check(not status()["problems"], f"cycle {cycle}: {status()['problems']}")
            check(controlling_terminal(status()["bash"]) == terminal, f"cycle {cycle}: bash lost its controlling terminal")

        before = ten_cycles(target, prove)
        after = resources(target.pid)
        check(after["descriptors"] <= before["descriptors"] + 4, f"descriptors leak: {before} -> {after}")


if __name__ == "__main__":
    run(main)
