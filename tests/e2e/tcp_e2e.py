"""A server, and then a client, survive ten checkpoints each in the middle of a conversation with somebody outside, who sees a pause and no error."""

import ctypes
import os
import subprocess
import sys
import tempfile

from harness import PROGRAMS, Target, check, read, resources, run, ten_cycles, wait_until

CLONE_NEWNET = 0x40000000
ECHO = [sys.executable, os.path.join(PROGRAMS, "tcp_echo.py")]


def enter_private_network():
    """Nothing of this test can be seen, or reached, from the machine's own network."""
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.unshare(CLONE_NEWNET) == 0, f"unshare: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def tables():
    return subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout


def lines_so_far(status_file):
    try:
        return int(read(status_file) or 0)
    except FileNotFoundError:
        return 0


def survive(target, other, status_file):
    """Ten cycles of target, while the conversation with other goes on."""
    target.options = ["--tcp-established"]

    def prove(cycle):
        seen = lines_so_far(status_file)
        wait_until(lambda: lines_so_far(status_file) > seen + 5, f"cycle {cycle}: the conversation to go on")
        check(other.alive(), f"cycle {cycle}: the one outside has ended")
        check("nativecr" not in tables(), f"cycle {cycle}: a lock is left: {tables()}")

    before = ten_cycles(target, prove)
    after = resources(target.pid)
    check(after["descriptors"] == before["descriptors"], f"descriptors leak: {before} -> {after}")


def main():
    enter_private_network()
    with tempfile.TemporaryDirectory() as files:
        port_file, status_file = os.path.join(files, "port"), os.path.join(files, "status")
        with Target([*ECHO, "serve", port_file], "tcp-server") as server:
            wait_until(lambda: os.path.exists(port_file), "the server to listen")
            with Target([*ECHO, "talk", read(port_file), status_file], "tcp-client") as client:
                survive(server, client, status_file)
                survive(client, server, status_file)


if __name__ == "__main__":
    run(main)
