"""nativecr is killed in the middle of dumps of a tree with a TCP connection: either the tree runs on and the conversation with it, or the image brings both back."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from disturbed import PROGRAMS, Target, check, engine_run, passed, read, wait_until
from harness import run

KILLS = 60
CLONE_NEWNET = 0x40000000
ECHO = [sys.executable, os.path.join(PROGRAMS, "tcp_echo.py")]


def lines_so_far(status_file):
    try:
        return int(read(status_file) or 0)
    except FileNotFoundError:
        return 0


class Conversation:
    def __init__(self, server, client, status_file):
        self.server, self.client, self.status_file = server, client, status_file

    def prove(self, moment):
        seen = lines_so_far(self.status_file)
        wait_until(lambda: lines_so_far(self.status_file) > seen + 3, f"{moment}: the conversation to go on")
        check(self.client.alive(), f"{moment}: the one outside has ended")
        tables = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
        check("nativecr" not in tables, f"{moment}: a lock is left: {tables}")

    def dump(self, environment, *options):
        images = self.server.path("images")
        status, errors = engine_run(["dump", "--pid", self.server.pid, "--images", images, "--tcp-established", *options],
                                    environment)
        check(status in (0, -signal.SIGKILL), f"exit {status}: {errors}: {environment}")
        return status, images

    def restore_if_killed(self, images, moment):
        """A dump that died may have ended the tree: then its image is whole."""
        # Its last process may still be at it.
        wait_until(lambda: not self.server.alive() or lines_so_far(self.status_file) > self.seen, f"{moment}: one or the other")
        if self.server.alive():
            return False
        self.server.reap()
        status, errors = engine_run(["restore", "--images", images, "--detach", "--tcp-established"], {})
        check(status == 0, f"{moment}: the tree was ended, and its image does not restore: {errors}")
        return True

    def disturb(self, moment, environment, *options):
        self.seen = lines_so_far(self.status_file) + 2
        status, images = self.dump(environment, *options)
        restored = self.restore_if_killed(images, moment)
        self.prove(moment)
        shutil.rmtree(images, ignore_errors=True)
        return status == -signal.SIGKILL, restored

    def steps(self, *options):
        counted = self.server.path("steps")
        self.disturb("an undisturbed dump", {"NATIVECR_FAULT_COUNT": counted}, *options)
        number, _ = passed(counted)
        os.unlink(counted)
        return number


def kill_everywhere(talk, *options):
    steps = talk.steps(*options)
    killed = restored = 0
    half = KILLS // 2
    for number in range(KILLS):
        # Evenly over the dump; then over the last tenth, where the tree ends. How many steps there are differs from dump to dump.
        step = 1 + number * steps // half if number < half else steps - (number - half) * steps // 10 // half
        done = talk.disturb(f"killed at step {step} of {steps} {options}", {"NATIVECR_FAULT_KILL_AT": str(step)}, *options)
        killed += done[0]
        restored += done[1]
    check(killed >= KILLS // 3, f"only {killed} of {KILLS} dumps were killed")
    print(f"{' '.join(options) or 'killing dump'}: {steps} steps, {killed} dumps killed, {restored} trees restored; no conversation was lost")


def main():
    libc = ctypes.CDLL(None)
    check(libc.unshare(CLONE_NEWNET) == 0, "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as files:
        port_file, status_file = os.path.join(files, "port"), os.path.join(files, "status")
        with Target([*ECHO, "serve", port_file], "tcp-server") as server:
            wait_until(lambda: os.path.exists(port_file), "the server to listen")
            with Target([*ECHO, "talk", read(port_file), status_file], "tcp-client") as client:
                talk = Conversation(server, client, status_file)
                kill_everywhere(talk, "--leave-running")
                kill_everywhere(talk)


if __name__ == "__main__":
    run(main)
