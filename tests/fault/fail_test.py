"""Every TRY that a dump or a restore passes fails once.

A dump ends with a sentence and leaves no image, or does without; the target runs on as it was. A restore ends with a sentence and leaves
no process, or does without and the target computes on.
"""

import os
import tempfile

from disturbed import Computing, build_program, count_steps, dump, engine_run, passed
from harness import check, run

PER_TARGET = 40
EXPLAINED = (1, 3, 4, 5)


def judge(place, status, errors):
    check(status == 0 or status in EXPLAINED, f"{place} fails: exit {status}: {errors}")
    check(status == 0 or errors.startswith("nativecr: "), f"{place} fails: nothing is said: {errors}")


def fail_dumps(program):
    with Computing(program) as target:
        _, places = count_steps(target)
    check(len(places) > 100, f"only {len(places)} places were passed; is this a build with fault hooks?")
    refused = 0
    for start in range(0, len(places), PER_TARGET):
        with Computing(program) as target:
            for place in places[start:start + PER_TARGET]:
                status, errors = dump(target, {"NATIVECR_FAULT_FAIL_AT": place}, expect_images=False)
                judge(place, status, errors)
                refused += status != 0
                target.prove(f"{place} fails ({errors.strip()})")
    print(f"{len(places)} places of a dump failed, one at a time: {refused} dumps refused, {len(places) - refused} did without")


def fail_restores(program):
    with Computing(program) as target:
        images = target.path("images")
        status, errors = engine_run(["dump", "--pid", target.pid, "--images", images], {})
        check(status == 0, f"the dump failed: {errors}")
        target.reap()

        def restore(environment):
            return engine_run(["restore", "--images", images, "--detach"], environment)

        counted = target.path("steps")
        status, errors = restore({"NATIVECR_FAULT_COUNT": counted})
        check(status == 0, f"the undisturbed restore failed: {errors}")
        _, places = passed(counted)
        target.end()
        refused = 0
        for place in places:
            status, errors = restore({"NATIVECR_FAULT_FAIL_AT": place})
            judge(place, status, errors)
            if status != 0:
                target.reap()
            left = [pid for pid in target.tree if os.path.exists(f"/proc/{pid}")]
            if status == 0:
                target.prove_computing(f"{place} fails")
                target.end()
            else:
                refused += 1
                check(not left, f"{place} fails ({errors.strip()}): {left} are left of it")
        status, errors = restore({})
        check(status == 0, f"the last, undisturbed restore failed: {errors}")
        target.prove_computing("after all failures")
    print(f"{len(places)} places of a restore failed, one at a time: {refused} refused, {len(places) - refused} did without")


def main():
    with tempfile.TemporaryDirectory() as build:
        program = build_program(build)
        fail_dumps(program)
        fail_restores(program)


if __name__ == "__main__":
    run(main)
