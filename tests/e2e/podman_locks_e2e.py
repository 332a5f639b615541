"""Podman checkpoints a container whose program holds locks on files (--file-locks): it holds them afterwards, so that nobody else
gets them. Two cycles."""

import fcntl
import os
import struct

from containers import Workplace, archive_rootfs
from harness import PROGRAMS, check, run, wait_until
from podman_engine import Podman

FLOCK = "hhqqi4x"  # struct flock


def whose(path):
    """Which lock keeps us from all of the file: its kind, its first byte, its length, its owner."""
    with open(path, "rb") as file:
        ask = struct.pack(FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, start, length, owner = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, ask))
        return kind, start, length, owner


def check_locks(podman, state):
    init = podman.pid("holder")
    with open(os.path.join(state, "flock"), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            taken = True
        except BlockingIOError:
            taken = False
    check(not taken, "the lock on the whole file is gone")
    check(whose(os.path.join(state, "posix")) == (fcntl.F_WRLCK, 10, 5, init), f"posix: {whose(os.path.join(state, 'posix'))}")
    found = whose(os.path.join(state, "description"))
    check(found == (fcntl.F_WRLCK, 20, 5, -1), f"description: {found}")


def main():
    with Workplace("podman-locks") as workplace, Podman(workplace) as podman:
        state = workplace.path("state")
        os.mkdir(state)
        workplace.run("g++", "-O1", "-static", os.path.join(PROGRAMS, "lock_holder.cpp"), "-o", os.path.join(state, "lock_holder"))
        podman.podman("import", archive_rootfs(workplace, "box"), "box")
        podman.run_detached("holder", "box", "/state/lock_holder", "/state",
                            options=["--network=none", "--volume", f"{state}:/state"])
        wait_until(lambda: podman.logged("holder"), "the container to hold its locks")
        check_locks(podman, state)
        for _ in range(2):
            podman.podman("container", "checkpoint", "--file-locks", "holder")
            before = podman.logged("holder")[-1]
            podman.podman("container", "restore", "--file-locks", "holder")
            podman.check_goes_on("holder", before)
            check_locks(podman, state)


if __name__ == "__main__":
    run(main)
