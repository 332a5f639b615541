"""Every TRY that a dump passes fails once: the dump ends with a sentence and leaves no image, or does without; the target runs on as it was."""

import os
import tempfile

from disturbed import Computing, build_program, count_steps, dump
from harness import check, run

PER_TARGET = 40


def main():
    with tempfile.TemporaryDirectory() as build:
        program = build_program(build)
        with Computing(program) as target:
            _, places = count_steps(target)
        check(len(places) > 100, f"only {len(places)} places were passed; is this a build with fault hooks?")
        refused = 0
        for start in range(0, len(places), PER_TARGET):
            with Computing(program) as target:
                for _, place in places[start:start + PER_TARGET]:
                    status, errors = dump(target, {"NATIVECR_FAULT_FAIL_AT": place}, expect_images=False)
                    check(status in (0, 1, 3, 4, 5), f"{place} fails: exit {status}: {errors}")
                    check(status == 0 or errors.startswith("nativecr: "), f"{place} fails: nothing is said: {errors}")
                    refused += status != 0
                    target.prove(f"{place} fails ({errors.strip()})")
    print(f"{len(places)} places failed, one at a time: {refused} dumps refused, {len(places) - refused} did without")


if __name__ == "__main__":
    run(main)
