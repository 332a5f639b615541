"""A runtime's session with `criu swrk`: version, features, a dump that leaves the program running, one that kills it, and a restore
as the runtime's own child, with every notification acknowledged."""

import os
import struct
import sys

from criu_client import (CHECK, CONFIG_FILE, DUMP, FEATURE_CHECK, IMAGES_DIR_FD, LEAVE_RUNNING, LOG_FILE, LOG_LEVEL, NOTIFY_SCRIPTS,
                         PID, RESTORE, RST_SIBLING, TLS, VERSION, WORK_DIR_FD, Swrk)
from harness import Target, check, read, run, wait_until

COUNTER = """import time
i = 0
while True:
    print(i, flush=True)
    i += 1
    time.sleep(0.01)
"""


class Directories:
    """Image and work directory, open in the client only."""

    def __init__(self, target, name):
        self.images, self.work = target.path(name), target.path(name + "-work")
        os.mkdir(self.images)
        os.mkdir(self.work)
        self.fds = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in (self.images, self.work)]

    def options(self, log, **more):
        return {IMAGES_DIR_FD: self.fds[0], WORK_DIR_FD: self.fds[1], LOG_LEVEL: 4, LOG_FILE: log, **more}

    def close(self):
        for fd in self.fds:
            os.close(fd)


def count(target):
    text = read(target.log)
    return int(text[:text.rindex("\n")].rsplit("\n", 1)[-1]) if "\n" in text else 0


def counts_on(target):
    before = count(target)
    wait_until(lambda: count(target) > before + 3, "the counter counts on")


def stats_pages(path):
    with open(path, "rb") as file:
        data = file.read()
    magics = struct.unpack("<II", data[:8])
    check(magics == (0x55105940, 0x57093306), f"the magic numbers of {path} are {magics}")
    check(struct.unpack("<I", data[8:12])[0] == len(data) - 12, f"the size in {path}")


def small_requests():
    swrk = Swrk(closed_stdio=True)
    version = swrk.ask(VERSION)
    check(version.success and version.version[1] == 4 and version.version[2] == 2, f"version {version.version}")
    check(3 not in version.version, "a gitid would change the version that clients compute")
    features = swrk.ask(FEATURE_CHECK, more={5: {1: True, 2: True}})
    check(features.success and features.features is not None, "features are not answered")
    check(swrk.finish() == 0, "swrk failed after it has answered")
    swrk = Swrk()
    check(swrk.ask(CHECK).success, "check")
    check(swrk.finish() == 0, "swrk failed after a check")


def refusals(target):
    places = Directories(target, "refused")
    for more, errno, text in (({PID: 2 ** 22 - 1}, 3, ""), ({PID: target.pid, TLS: True}, 56, "tls")):
        swrk = Swrk()
        reply = swrk.ask(DUMP, {**places.options("dump.log"), **more})
        check(not reply.success and reply.type == DUMP, f"{more} was accepted")
        check(reply.errno == errno and text in reply.error, f"{more}: errno {reply.errno}: {reply.error}")
        swrk.process.wait(30)
    check("Error" in read(os.path.join(places.work, "dump.log")), "nothing in the log says Error")
    swrk = Swrk()
    moments = []
    reply = swrk.ask(DUMP, {**places.options("dump.log"), PID: target.pid, NOTIFY_SCRIPTS: True},
                     notified=lambda name, pid: moments.append(name) or False)
    check(not reply.success and moments == ["pre-dump"], f"a refused moment did not end the dump: {moments}")
    swrk.process.wait(30)
    places.close()
    counts_on(target)


def dump(target, places, **more):
    swrk, moments = Swrk(), []
    reply = swrk.ask(DUMP, {**places.options("dump.log"), PID: target.pid, NOTIFY_SCRIPTS: True,
                            CONFIG_FILE: "/nonexistent/runc.conf", **{int(k): v for k, v in more.items()}},
                     notified=lambda name, pid: moments.append(name))
    check(reply.success, f"dump: errno {reply.errno}: {reply.error}")
    check(reply.dump is not None, "libcriu needs the dump's own part of the reply")
    check(swrk.finish() == 0, "swrk failed after a dump")
    check(moments[0] == "pre-dump" and moments[-1] == "post-dump", f"moments of a dump: {moments}")
    for path in (f"{places.images}/inventory.img", f"{places.work}/dump.log", f"{places.work}/stats-dump"):
        check(os.path.exists(path), f"{path} is missing")
    check(not any(entry.is_dir() for entry in os.scandir(places.images)), "a folder among the images")
    stats_pages(f"{places.work}/stats-dump")


def restore(target, places):
    swrk, moments = Swrk(), []
    reply = swrk.ask(RESTORE, {**places.options("restore.log"), NOTIFY_SCRIPTS: True, RST_SIBLING: True},
                     notified=lambda name, pid: moments.append((name, pid)))
    check(reply.success, f"restore: errno {reply.errno}: {reply.error}")
    check(reply.restore[1] == target.pid, f"the root came back as {reply.restore}")
    check(swrk.process.wait(30) == 0, "swrk did not leave by itself")  # before we close: libcriu does so
    check(("post-restore", target.pid) in moments, f"moments of a restore: {moments}")
    parent = int(read(f"/proc/{target.pid}/stat").rsplit(")", 1)[1].split()[1])
    check(parent == os.getpid(), f"the root's parent is {parent}, not the runtime")
    stats_pages(f"{places.work}/stats-restore")
    swrk.socket.close()


def main():
    small_requests()
    with Target([sys.executable, "-c", COUNTER], "criu-rpc") as target:
        wait_until(lambda: count(target) > 3, "the counter starts")
        refusals(target)
        alive = Directories(target, "alive")
        dump(target, alive, **{str(LEAVE_RUNNING): True})
        counts_on(target)
        for cycle in range(2):
            places = Directories(target, f"cycle-{cycle}")
            dump(target, places)
            target.reap()
            at = count(target)
            restore(target, places)
            wait_until(lambda: count(target) > at + 3, "the counter counts on after the restore")
            lines = [int(line) for line in read(target.log).split("\n")[:-1]]
            check(lines == list(range(len(lines))), "the counter lost or repeated a number")
            places.close()
        print(f"criu rpc: counted to {count(target)} through two cycles", flush=True)


if __name__ == "__main__":
    run(main)
