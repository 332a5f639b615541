"""What the tests of failing and dying engines share: a target that checks itself, what of it must be as before, and a dump that can be disturbed."""

import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import PROGRAMS, REPOSITORY, Target, check, read, tree_of, wait_until  # noqa: E402

BUILD = os.environ.get("NATIVECR_TEST_BUILD", os.path.join(REPOSITORY, "build/test"))
NATIVECR = os.path.join(BUILD, "nativecr")


def build_program(directory):
    program = os.path.join(directory, "kill_target")
    subprocess.run(["g++", "-std=c++20", "-O1", "-pthread", "-o", program, os.path.join(PROGRAMS, "kill_target.cpp")], check=True)
    return program


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

    def changes(self):
        """What of the footprint is no longer as before, empty if nothing is."""
        return [(pid, then, now) for pid in self.tree
                for then, now in zip(self.before[pid], footprint(pid)) if then != now]

    def prove_computing(self, moment):
        check(self.alive(), f"{moment}: the target died")
        rounds = self.rounds()
        wait_until(lambda: all(now > then for now, then in zip(self.rounds(), rounds)), f"{moment}: every thread to go on")

    def end(self):
        """Ends the tree, so that its pids are free."""
        for pid in reversed(self.tree):
            os.kill(pid, signal.SIGKILL)
        self.reap()

    def prove(self, moment):
        self.prove_computing(moment)
        for _ in range(500):
            changes = self.changes()
            if not changes:
                break
            time.sleep(0.01)
        check(not changes, f"{moment}: not as before: {changes}")
        check(tree_of(self.pid) == self.tree, f"{moment}: the tree changed")


def engine_run(arguments, environment, kill_after=None):
    """Returns exit status and error text of a nativecr that is disturbed by its environment or killed after so many seconds."""
    # Not a pipe: what is restored may hold the engine's stderr.
    with tempfile.TemporaryFile() as errors:
        engine = subprocess.Popen([NATIVECR, *map(str, arguments)], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=errors)
        if kill_after is not None:
            time.sleep(kill_after)
            engine.send_signal(signal.SIGKILL)
        try:
            engine.wait(timeout=60)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
            check(False, f"nativecr {arguments[0]} hangs: {environment}")
        errors.seek(0)
        return engine.returncode, errors.read().decode()


def dump(target, environment, kill_after=None, expect_images=True):
    """Returns exit status and error text. expect_images=False: a dump that fails must leave nothing that passes for an image."""
    images = target.path("images")
    status, errors = engine_run(["dump", "--pid", target.pid, "--images", images, "--leave-running"], environment, kill_after)
    if not expect_images and status != 0:
        check(not os.path.exists(os.path.join(images, "inventory.img")), f"a failed dump left an image: {environment}")
    subprocess.run(["rm", "-rf", images], check=True)
    return status, errors


def passed(counted):
    """What NATIVECR_FAULT_COUNT wrote: how many fault points were passed, and the places, in the order they were first passed."""
    lines = [line.split() for line in read(counted).splitlines()]
    places = dict.fromkeys(line[1] for line in lines if len(line) == 2)
    return max(int(line[0]) for line in lines if len(line) == 1), list(places)


def count_steps(target):
    """The fault points of an undisturbed dump."""
    counted = target.path("steps")
    status, errors = dump(target, {"NATIVECR_FAULT_COUNT": counted})
    check(status == 0, f"the undisturbed dump failed: {errors}")
    return passed(counted)
