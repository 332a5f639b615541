"""perl with a large hash, an interval timer and a child behind a socket pair survives ten checkpoints."""

import os

from harness import PROGRAMS, Target, check, read, resources, run, ten_cycles, wait_until


def main():
    with Target(["perl", os.path.join(PROGRAMS, "census.pl")], "perl") as target:
        def status():
            try:
                rounds, alarms, *problems = read(target.path("status")).split()
                return int(rounds), int(alarms), problems
            except (FileNotFoundError, ValueError):
                return 0, 0, []

        def prove(cycle):
            rounds, alarms, _ = status()
            wait_until(lambda: status()[0] > rounds + 5, f"cycle {cycle}: rounds to go on")
            wait_until(lambda: status()[1] > alarms + 2, f"cycle {cycle}: the interval timer to go on")
            check(not status()[2], f"cycle {cycle}: {status()[2]}")

        wait_until(lambda: status()[0] > 0, "the program to start")
        before = ten_cycles(target, prove)
        after = resources(target.pid)
        check(after["descriptors"] <= before["descriptors"] + 1, f"descriptors leak: {before} -> {after}")


if __name__ == "__main__":
    run(main)
