"""A server, and then a client, survive ten checkpoints each in the middle of a conversation with somebody outside, who sees a pause and no error.

Whoever comes to the server while it is away waits for it, and is not refused."""

import ctypes
import os
import select
import socket
import subprocess
import sys
import tempfile

from harness import PROGRAMS, Target, check, nativecr, read, resources, run, ten_cycles, wait_until

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


def talk_to(client, seconds):
    """What became of a connect() that is under way: a line comes back, "waits", or the name of an error."""
    if not select.select([], [client], [], seconds)[1]:
        return "waits"
    error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        return os.strerror(error)
    client.settimeout(30)
    client.sendall(b"here I am\n")
    return client.recv(100).decode()


def is_waited_for(server, port):
    """A client comes between dump and restore."""
    images = server.path("away")
    nativecr("dump", "--pid", server.pid, "--images", images)
    server.reap()
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        found = talk_to(client, 0.3)
        check(found == "waits", f"a client of a server that is away: {found}")
        nativecr("restore", "--images", images, "--detach")
        found = talk_to(client, 30)
        check(found == "here I am\n", f"a client that came while the server was away: {found}")
    check("nativecr" not in tables(), f"a lock is left: {tables()}")


def main():
    enter_private_network()
    with tempfile.TemporaryDirectory() as files:
        port_file, status_file = os.path.join(files, "port"), os.path.join(files, "status")
        with Target([*ECHO, "serve", port_file], "tcp-server") as server:
            wait_until(lambda: os.path.exists(port_file), "the server to listen")
            is_waited_for(server, int(read(port_file)))
            with Target([*ECHO, "talk", read(port_file), status_file], "tcp-client") as client:
                survive(server, client, status_file)
                survive(client, server, status_file)


if __name__ == "__main__":
    run(main)
