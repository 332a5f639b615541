"""LXC checkpoints and restores containers with nativecr as its criu, which it calls by its command line: a program that counts goes
on, stopped twice and left running once; redis behind a veth pair on a bridge keeps its keys and the connection of its client."""

import errno
import os
import shutil
import subprocess
import tempfile

from containers import COUNTER, Counter, Workplace, add_programs, make_rootfs, own_mounts, own_network
from harness import Failure, check, read, run, wait_until
from redis_client import Redis, answers, check_keys, fill_keys

KEYS = 20_000
BRIDGE = "lxc-bridge"
ADDRESS = ("10.214.0.2", 6379)
EMPTY = "lxc.net.0.type = empty"
VETH = f"""lxc.net.0.type = veth
lxc.net.0.link = {BRIDGE}
lxc.net.0.name = eth0
lxc.net.0.veth.pair = lxc-outside
lxc.net.0.flags = up
lxc.net.0.ipv4.address = {ADDRESS[0]}/24"""
# Without a console: LXC restores none.
CONFIG = """lxc.rootfs.path = dir:{rootfs}
lxc.uts.name = {name}
{network}
lxc.tty.max = 0
lxc.pty.max = 16
lxc.console.path = none
lxc.mount.auto = proc:rw sys:ro
lxc.mount.entry = {state} state none bind 0 0
lxc.init.cmd = /bin/init
"""


class Container:
    """One in a directory of its own, with a directory of the machine at /state."""

    def __init__(self, workplace, name, network, script, programs=()):
        self.workplace = workplace
        self.name = name
        self.state = workplace.path(f"{name}-state")
        self.log = workplace.path(f"{name}.log")
        self.images = workplace.path(f"{name}-images")
        rootfs = workplace.path("lxc", name, "rootfs")
        make_rootfs(rootfs)
        add_programs(rootfs, *programs)
        os.mkdir(self.state)
        with open(os.path.join(rootfs, "bin/init"), "w", encoding="utf-8") as init:
            init.write(f"#!/bin/sh\n{script}\n")
        os.chmod(init.name, 0o755)
        with open(workplace.path("lxc", name, "config"), "w", encoding="utf-8") as config:
            config.write(CONFIG.format(rootfs=rootfs, name=name, network=network, state=self.state))

    def __enter__(self):
        self.lxc("lxc-start", "-d")
        return self

    def __exit__(self, kind, value, trace):
        if self.info() != "STOPPED":
            self.lxc("lxc-stop", "-k")
            wait_until(lambda: self.info() == "STOPPED", "the container to stop")

    def lxc(self, command, *arguments):
        """What the command says goes to a file: it may live on as the container's monitor, and a pipe would never end."""
        said = self.workplace.path("said")
        with open(said, "wb") as out:
            done = subprocess.run([command, "-P", self.workplace.path("lxc"), "-n", self.name, "-o", self.log, *arguments],
                                  stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self.workplace.environment, timeout=60,
                                  check=False)
        if done.returncode != 0:
            logs = [os.path.join(self.images, name) for name in ("dump.log", "restore.log")]
            told = "".join(f"--- {log}\n{read(log)[-2000:]}" for log in (said, self.log, *logs) if os.path.exists(log))
            raise Failure(f"{command} {' '.join(arguments)}: exit {done.returncode}\n{told}")
        return read(said)

    def info(self):
        return self.lxc("lxc-info", "-s", "-H").strip()

    def checkpoint(self, *options):
        shutil.rmtree(self.images, ignore_errors=True)
        self.lxc("lxc-checkpoint", *options, "-D", self.images)

    def stop_at(self):
        self.checkpoint("-s")
        wait_until(lambda: self.info() == "STOPPED", "the container to stop")

    def restore(self):
        self.lxc("lxc-checkpoint", "-r", "-D", self.images)
        wait_until(lambda: self.info() == "RUNNING", "the container to run")


def check_counter(workplace):
    with Container(workplace, "plain", EMPTY, "set -- secret\n" + COUNTER) as container:
        counter = Counter(os.path.join(container.state, "count"), "secret")
        counter.wait_to_start()
        for _ in range(2):
            container.stop_at()
            before = counter.value()
            counter.check_stands_still()
            container.restore()
            counter.check_goes_on_from(before)
        container.checkpoint()
        check(container.info() == "RUNNING", "the container does not run on")
        counter.check_goes_on_from(counter.value())


def make_bridge():
    """LXC looks for it in sysfs, which shows the network of whoever mounted it: a new one is mounted, in a mount namespace of ours."""
    own_mounts()
    with tempfile.TemporaryDirectory(prefix="nativecr-cgroup-") as cgroups:
        for words in (f"--rbind /sys/fs/cgroup {cgroups}", "-t sysfs sysfs /sys", f"--rbind {cgroups} /sys/fs/cgroup"):
            subprocess.run(["mount", *words.split()], check=True)
        subprocess.run(["umount", "--recursive", cgroups], check=True)
    for words in (f"link add {BRIDGE} type bridge", f"address add 10.214.0.1/24 dev {BRIDGE}", f"link set {BRIDGE} up"):
        subprocess.run(["ip", *words.split()], check=True)


def check_redis(workplace):
    make_bridge()
    server = "exec redis-server --bind '*' --protected-mode no --save '' --appendonly no --dir /tmp"
    with Container(workplace, "redis", VETH, server, ["redis-server"]) as container:
        wait_until(lambda: answers(*ADDRESS), "redis to answer")
        with Redis(*ADDRESS) as redis:
            fill_keys(redis, KEYS)
            for number in range(2):
                container.stop_at()
                redis.connection.sendall(redis.send("INCR", "asked"))
                container.restore()
                check(redis.reply() == number + 1, "the answer to a question from before is wrong")
                check_keys(redis, KEYS, number)


def is_removed(directory):
    try:
        os.rmdir(directory)
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise


def remove_cgroups():
    """LXC leaves a cgroup behind, its pivot."""
    for name in os.listdir("/sys/fs/cgroup"):
        pivot = os.path.join("/sys/fs/cgroup", name, "lxc.pivot")
        if os.path.isdir(pivot):
            wait_until(lambda: is_removed(pivot), f"{pivot} to be empty")


def main():
    own_network()
    with Workplace("lxc") as workplace:
        try:
            check_counter(workplace)
            check_redis(workplace)
        finally:
            remove_cgroups()


if __name__ == "__main__":
    run(main)
