"""python3 with threads, a subprocess and a transaction survives incremental dumps over a chain, a page server on loopback, dedup and a
lazy restore, by the command line."""

import json
import os
import shutil
import socket
import subprocess
import sys

from harness import NATIVECR, PROGRAMS, Target, check, nativecr, read, run, wait_until


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def background(*arguments):
    """The command, once it listens."""
    reader, writer = os.pipe()
    process = subprocess.Popen([NATIVECR, *map(str, arguments), "--status-fd", str(writer)], pass_fds=[writer], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    os.close(writer)
    ready = os.read(reader, 1)
    os.close(reader)
    check(ready == b"\0", f"nativecr {arguments[0]} does not listen")
    return process


class Chain:
    """A tree and its images, one after the other."""

    def __init__(self, target):
        self.target = target
        self.count = 0

    def step(self, command, *more):
        parent = ["--parent", f"../chain-{self.count - 1}"] if self.count else []
        images = self.target.path(f"chain-{self.count}")
        self.count += 1
        return images, nativecr(command, "--pid", self.target.pid, "--images", images, *parent, *more)

    def restore(self, images, *more):
        self.target.reap()
        restored = nativecr("restore", "--images", images, "--detach", *more)
        check(restored["root_pid"] == self.target.pid, "the root has another number")


def main():
    with Target([sys.executable, os.path.join(PROGRAMS, "workers.py")], "memory") as target:
        def status():
            try:
                return json.loads(read(target.path("status")))
            except (FileNotFoundError, ValueError):
                return {"rounds": 0, "problems": []}

        def prove(what):
            rounds = status()["rounds"]
            wait_until(lambda: status()["rounds"] > rounds + 5, f"{what}: rounds to go on")
            check(not status()["problems"], f"{what}: {status()['problems']}")

        prove("start")
        chain = Chain(target)
        chain.step("pre-dump")
        prove("after a pre-dump")
        _, second = chain.step("pre-dump")
        check(second["pages"]["parent"] > second["pages"]["written"], f"the second pre-dump stores too much: {second['pages']}")
        images, last = chain.step("dump")
        check(last["pages"]["parent"] > 0, f"nothing is incremental: {last['pages']}")
        nativecr("verify", "--images", images)
        given = nativecr("dedup", "--images", images)
        print(f"memory: {last['pages']['written']} pages stored, {last['pages']['parent']} in the parents, {given['pages']} given up")
        nativecr("verify", "--images", images)
        chain.restore(images)
        prove("after a chain of three")

        port = free_port()
        pages = target.path("server")
        server = background("page-server", "--images", pages, "--address", "127.0.0.1", "--port", port)
        images, _ = chain.step("dump", "--page-server", "--address", "127.0.0.1", "--port", port)
        check(server.wait(30) == 0, "the page server failed")
        check(not os.path.exists(os.path.join(images, "pages-1.img")), "the dump has pages of its own")
        shutil.move(os.path.join(pages, "pages-1.img"), images)
        chain.restore(images)
        prove("after a page server")

        images, _ = chain.step("dump")
        daemon = background("lazy-pages", "--images", images)
        chain.restore(images, "--lazy-pages")
        prove("while it gets its memory")
        check(daemon.wait(30) == 0, "the daemon of lazy pages failed")
        prove("after a lazy restore")
        target.cycle()
        prove("after one more cycle")


if __name__ == "__main__":
    run(main)
