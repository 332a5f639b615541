"""1,000 damaged images: bits flipped, files truncated, missing, swapped or grown. Each is refused with exit status 4, or restored rightly if the damage
changed nothing; nothing is left running."""

import os
import random
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from harness import NATIVECR, PROGRAMS, Target, check, nativecr, read, run, tree_of, wait_until  # noqa: E402

IMAGES = 1000


def flip(randomness, directory, name):
    path = os.path.join(directory, name)
    with open(path, "r+b") as file:
        position = randomness.randrange(os.path.getsize(path))
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ (1 << randomness.randrange(8))]))
    return f"a bit of {name} at {position} flipped"


def truncate(randomness, directory, name):
    size = randomness.randrange(os.path.getsize(os.path.join(directory, name)))
    os.truncate(os.path.join(directory, name), size)
    return f"{name} truncated to {size}"


def remove(_, directory, name):
    os.unlink(os.path.join(directory, name))
    return f"{name} removed"


def swap(randomness, directory, name):
    other = randomness.choice([entry for entry in sorted(os.listdir(directory)) if entry != name])
    first, second = os.path.join(directory, name), os.path.join(directory, other)
    os.rename(first, first + ".x")
    os.rename(second, first)
    os.rename(first + ".x", second)
    return f"{name} and {other} swapped"


def grow(randomness, directory, name):
    with open(os.path.join(directory, name), "ab") as file:
        file.write(randomness.randbytes(randomness.randrange(1, 64)))
    return f"{name} grown"


def main():
    randomness = random.Random(4)
    refused = restored = 0
    with Target(["perl", os.path.join(PROGRAMS, "census.pl")], "damage") as target:
        wait_until(lambda: os.path.exists(target.path("status")), "the program to start")
        pids = tree_of(target.pid)
        whole = target.path("whole")
        nativecr("dump", "--pid", target.pid, "--images", whole)
        target.reap()
        files = sorted(name for name in os.listdir(whole) if os.path.getsize(os.path.join(whole, name)) > 0)
        damaged = target.path("damaged")
        for number in range(IMAGES):
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(whole, damaged)
            harm = randomness.choices([flip, truncate, remove, swap, grow], [6, 3, 1, 1, 1])[0]
            what = harm(randomness, damaged, randomness.choice(files))
            done = subprocess.run([NATIVECR, "restore", "--images", damaged, "--detach"], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=60, check=False)
            if done.returncode == 0:
                before = read(target.path("status"))
                wait_until(lambda: read(target.path("status")) != before, f"{what}: restored, but the program does not go on")
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                target.reap()
                restored += 1
            else:
                check(done.returncode == 4, f"{number}: {what}: exit {done.returncode}: {done.stderr}")
                check(done.stderr.startswith("nativecr: ") and len(done.stderr) > 20, f"{what}: the refusal says nothing: {done.stderr}")
                refused += 1
            for pid in pids:
                check(not os.path.exists(f"/proc/{pid}"), f"{what}: process {pid} was left behind")
        undamaged = nativecr("restore", "--images", whole, "--detach")
        check(undamaged["root_pid"] == target.pid, "the whole image does not restore any more")
    print(f"{refused} refused by name, {restored} restored rightly, of {IMAGES}")


if __name__ == "__main__":
    run(main)
