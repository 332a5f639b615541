"""SIGKILL of nativecr at 200 different moments of a dump: at counted steps (the fault points of a test build) and at random times. Every target goes on
computing, untraced, with the mappings and descriptors it had."""

import random
import signal
import tempfile
import time

from disturbed import Computing, build_program, count_steps, dump
from harness import check, run

KILLS = 200
PER_TARGET = 10


def main():
    randomness = random.Random(20)
    with tempfile.TemporaryDirectory() as build:
        program = build_program(build)
        with Computing(program) as target:
            started = time.monotonic()
            steps, _ = count_steps(target)
            duration = time.monotonic() - started
            target.prove("after an undisturbed dump")
        killed = tried = 0
        while killed < KILLS:
            check(tried < 2 * KILLS, f"only {killed} of {tried} dumps were killed in their middle")
            with Computing(program) as target:
                for _ in range(PER_TARGET):
                    # Evenly over the steps of a dump, and every third time at a moment of the clock.
                    if tried % 3 == 2:
                        moment = f"{randomness.uniform(0, duration):.6f} s"
                        status, errors = dump(target, {}, float(moment.split()[0]))
                    else:
                        moment = f"step {1 + killed * steps // KILLS} of {steps}"
                        status, errors = dump(target, {"NATIVECR_FAULT_KILL_AT": moment.split()[1]})
                    check(status in (0, -signal.SIGKILL), f"killed at {moment}: exit {status}: {errors}")
                    tried += 1
                    killed += status == -signal.SIGKILL
                    target.prove(f"killed at {moment}")
    print(f"{steps} steps; {killed} of {tried} dumps killed in their middle; every target ran on as it was")


if __name__ == "__main__":
    run(main)
