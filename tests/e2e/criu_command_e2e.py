"""The criu command line, as LXC and criu's own tests use it: action scripts, status descriptors, pid files, logs, a service."""

import os
import socket
import subprocess
import sys

from criu_client import CRIU, VERSION, Reply, encode
from criu_rpc_e2e import COUNTER, count, counts_on
from harness import Target, check, read, run, wait_until

SCRIPT = """#!/bin/sh
echo "$CRTOOLS_SCRIPT_ACTION ${CRTOOLS_INIT_PID:-0} $CRTOOLS_IMAGE_DIR" >> "$(dirname "$0")/moments"
[ ! -e "$(dirname "$0")/refuse-$CRTOOLS_SCRIPT_ACTION" ]
"""


def criu(*arguments, **options):
    return subprocess.run([CRIU, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=120, **options)


def passes(*arguments):
    done = criu(*arguments)
    check(done.returncode == 0, f"criu {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def looks():
    check(passes("--version").split("\n")[0] == "Version: 4.2", "the first line of --version")
    check(passes("-V").startswith("Version: "), "-V")
    passes("check")
    passes("check", "--no-default-config", "-verbosity=0", "--feature", "userns")
    check(criu("check", "--feature", "soup").returncode == 1, "a feature that nobody knows")
    check(criu("dump", "--soup").returncode == 1, "an option that nobody knows")
    refused = criu("dump", "-t", 1, "--stream")
    check(refused.returncode == 1 and "stream" in refused.stderr, "what is not supported is named")


def moments(target):
    path = target.path("moments")
    names = [line.split() for line in read(path).split("\n") if line] if os.path.exists(path) else []
    if names:
        os.unlink(path)
    return names


def dump(target, images, *options):
    os.mkdir(images)
    done = criu("dump", "-t", target.pid, "-D", images, "-o", "dump.log", "-v4", "--file-locks", "--link-remap", "--ext-mount-map", "auto",
                "--enable-external-sharing", "--enable-fs", "hugetlbfs", "--pre-dump-mode", "splice", "--timeout", "10",
                "--action-script", target.path("script"), *options)
    return done


def cycle(target, number):
    images = target.path(f"images-{number}")
    done = dump(target, images)
    check(done.returncode == 0, f"dump: {done.stderr}")
    check(len(done.stdout + done.stderr) < 4096, "a dump says more than LXC reads")
    check([moment[0] for moment in moments(target)][-1] == "post-dump", "the last moment of a dump")
    for name in ("dump.log", "stats-dump", "inventory.img"):
        check(os.path.exists(os.path.join(images, name)), f"{name} is missing")
    target.reap()
    at = count(target)
    passes("restore", "-D", images, "-o", "restore.log", "--verbosity=4", "--restore-detached", "--restore-sibling", "--pidfile",
           target.path("pid"), "--action-script", target.path("script"))
    check(int(read(target.path("pid"))) == target.pid, "the pid file")
    seen = moments(target)
    check(["post-restore", str(target.pid), images] in seen, f"moments of a restore: {seen}")
    check(seen[0][0] == "pre-restore" and seen[-1][0] == "post-resume", f"moments of a restore: {seen}")
    parent = int(read(f"/proc/{target.pid}/stat").rsplit(")", 1)[1].split()[1])
    check(parent == os.getpid(), f"the root's parent is {parent}, not ours")
    wait_until(lambda: count(target) > at + 3, "the counter counts on after the restore")


def refusing_script(target):
    with open(target.path("refuse-post-dump"), "w", encoding="utf-8"):
        pass
    done = dump(target, target.path("refused"))
    os.unlink(target.path("refuse-post-dump"))
    check(done.returncode == 1, "a script that failed did not end the dump")
    check("Error" in read(target.path("refused/dump.log")) and "post-dump" in done.stderr, f"the script is not named: {done.stderr}")
    moments(target)
    counts_on(target)


def service(target):
    address = target.path("service.socket")
    ready, theirs = os.pipe()
    done = criu("service", "-v4", "-W", target.dir, "--address", address, "-d", "--pidfile", target.path("service.pid"), "-o", "service.log",
                "--status-fd", theirs, pass_fds=[theirs])
    os.close(theirs)
    check(done.returncode == 0, f"service: {done.stderr}")
    pid = int(read(target.path("service.pid")))
    try:
        check(os.read(ready, 1) == b"\0", "nothing on the status descriptor")
        for _ in range(2):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.connect(address)
                client.send(encode({1: VERSION}))
                check(Reply(client.recv(8192)).version[1] == 4, "the service's version")
    finally:
        os.kill(pid, 15)
        os.close(ready)
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass


def main():
    looks()
    with Target([sys.executable, "-c", COUNTER], "criu-command") as target:
        with open(target.path("script"), "w", encoding="utf-8") as file:
            file.write(SCRIPT)
        os.chmod(target.path("script"), 0o755)
        wait_until(lambda: count(target) > 3, "the counter starts")
        service(target)
        refusing_script(target)
        for number in range(2):
            cycle(target, number)
        print(f"criu command: counted to {count(target)} through two cycles", flush=True)


if __name__ == "__main__":
    run(main)
