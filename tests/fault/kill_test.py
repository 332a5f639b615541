"""SIGKILL of nativecr at 200 different moments of a dump: at counted steps (the fault points of a test build) and at random times. Every target goes on
computing, untraced, with the mappings and descriptors it had."""

import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import PROGRAMS, REPOSITORY, Target, check, read, run, tree_of, wait_until  # noqa: E402

BUILD = os.environ.get("NATIVECR_TEST_BUILD", os.path.join(REPOSITORY, "build/test"))
NATIVECR = os.path.join(BUILD, "nativecr")
KILLS = 200
PER_TARGET = 10


def footprint(pid):
    """What must be as before: tracer, mappings (a stack may grow), descriptors."""
    maps = re.sub(r".*\[(stack|heap)\]\n", "", read(f"/proc/{pid}/maps"))
    descriptors = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    tracers = [re.search(r"TracerPid:\t(\d+)", read(f"/proc/{pid}/task/{tid}/status")).group(1)
               for tid in os.listdir(f"/proc/{pid}/task")]
    return maps, descriptors, tracers


class Computing(Target):
    def __init__(self, program):
        self.rounds_file = tempfile.NamedTemporaryFile(dir="/dev/shm")
        self.rounds_file.write(bytes(4096))
        self.rounds_file.flush()
        super().__init__([program, self.rounds_file.name], "kill")
        wait_until(lambda: all(self.rounds()), "the threads to compute")
        self.tree = tree_of(self.pid)
        self.before = {pid: footprint(pid) for pid in self.tree}

    def rounds(self):
        with open(self.rounds_file.name, "rb") as file:
            return struct.unpack("4Q", file.read(32))

    def as_before(self):
        return all(footprint(pid) == self.before[pid] for pid in self.tree)

    def prove(self, moment):
        check(self.alive(), f"{moment}: the target died")
        rounds = self.rounds()
        wait_until(lambda: all(now > then for now, then in zip(self.rounds(), rounds)), f"{moment}: every thread to go on")
        wait_until(self.as_before, f"{moment}: mappings, descriptors and tracer to be as before")
        check(tree_of(self.pid) == self.tree, f"{moment}: the tree changed")


def dump(target, environment, kill_after=None):
    images = target.path("images")
    engine = subprocess.Popen([NATIVECR, "dump", "--pid", str(target.pid), "--images", images, "--leave-running"],
                              env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
    if kill_after is not None:
        time.sleep(kill_after)
        engine.send_signal(signal.SIGKILL)
    errors = engine.stderr.read().decode()
    engine.stderr.close()
    status = engine.wait()
    subprocess.run(["rm", "-rf", images], check=True)
    return status, errors


def count_steps(target):
    counted = target.path("steps")
    status, errors = dump(target, {"NATIVECR_FAULT_COUNT": counted})
    check(status == 0, f"the undisturbed dump failed: {errors}")
    return int(read(counted))


def main():
    randomness = random.Random(20)
    with tempfile.TemporaryDirectory() as build:
        program = os.path.join(build, "kill_target")
        subprocess.run(["g++", "-std=c++20", "-O1", "-pthread", "-o", program, os.path.join(PROGRAMS, "kill_target.cpp")], check=True)
        with Computing(program) as target:
            started = time.monotonic()
            steps = count_steps(target)
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
