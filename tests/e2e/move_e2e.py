"""A redis container is moved, with its clients' connections, from one machine to another and back: network namespaces play the
machines, a bridge the wire between them, and the image goes through a pipe. The clients see a pause and no error, nobody is
reset, and the data is what it was. Twice: with a network that runc's hooks make, and with one that stood before the container."""

import os
import shutil
import stat
import subprocess
import threading
import time

from containers import NetworkNamespace, Runc, Workplace
from harness import Failure, check, run, wait_until
from redis_e2e import Redis

ADDRESS, PORT = "10.79.0.2", 6379
HARDWARE_ADDRESS = "02:79:00:00:00:02"  # it moves too, so nobody has to learn a new one
REDIS = ["/bin/redis-server", "--port", str(PORT), "--save", "", "--appendonly", "no", "--protected-mode", "no"]
KEYS = 20_000

PLUG = f"""ip link add plug type veth peer name eth0 address {HARDWARE_ADDRESS} netns $target
ip link set plug up
ip -n $target address add {ADDRESS}/24 dev eth0
ip -n $target link set lo up
ip -n $target link set eth0 up
"""
CONNECT = "ip link set plug master wire\n"
# What an OCI hook does for a container that it is told of.
HOOK = """#!/bin/sh -e
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/')
target=nativecr-hook-$pid
ip netns attach $target $pid
trap "ip netns delete $target" EXIT
"""


class Machine(NetworkNamespace):
    """A network namespace with a bridge, which a cable leads to."""

    def plug_in(self, wire):
        self.ip("link", "add", "wire", "type", "bridge")
        self.ip("link", "set", "wire", "up")
        port = f"to-{self.name[-1]}"
        self.ip("link", "add", "cable", "type", "veth", "peer", "name", port, "netns", wire.name)
        self.ip("link", "set", "cable", "master", "wire", "up")
        wire.ip("link", "set", port, "master", "wire", "up")


def lay_wire(wire):
    """Where the clients are."""
    wire.ip("link", "add", "wire", "type", "bridge")
    wire.ip("address", "add", "10.79.0.1/24", "dev", "wire")
    wire.ip("link", "set", "wire", "up")


def watch_for_resets(wire):
    """From now on nobody may be told that a connection is no more."""
    wire.run("nft", "add table inet watch; delete table inet watch")
    wire.run("nft", "add table inet watch; add chain inet watch seen { type filter hook input priority 0; }; "
                    "add rule inet watch seen tcp flags & rst == rst counter")


def resets(wire):
    listed = wire.run("nft", "list", "chain", "inet", "watch", "seen")
    return int(listed.split("packets ")[1].split()[0])


class Client(threading.Thread):
    """Talks to redis without an end over one connection; everything has to be as it left it."""

    def __init__(self, wire, number):
        super().__init__(daemon=True)
        self.number = number
        self.redis = open_redis(wire)
        self.rounds = 0
        self.error = None
        self.ending = False
        self.value = "x" * (200_000 if number == 0 else 10)

    def run(self):
        try:
            while not self.ending:
                self.talk(self.rounds + 1)
                self.rounds += 1
                time.sleep(0.005)
        except (OSError, ValueError, Failure) as error:
            self.error = error

    def talk(self, number):
        value = f"{number} {self.value}"
        answers = self.redis.pipeline([("INCR", f"rounds:{self.number}"), ("SET", f"value:{self.number}", value),
                                       ("GET", f"value:{self.number}")])
        check(answers == [number, "OK", value], f"client {self.number}, round {number}: {str(answers)[:100]}")

    def check_goes_on(self, what):
        before = self.rounds
        wait_until(lambda: self.rounds > before + 5 or self.error is not None, f"{what}: client {self.number} to go on", 60)
        check(self.error is None, f"{what}: client {self.number}: {self.error!r}")

    def end(self):
        self.ending = True
        self.join(30)
        self.redis.connection.close()


def open_redis(wire):
    redis = Redis.__new__(Redis)
    redis.connection = wire.connect(ADDRESS, PORT)
    redis.connection.settimeout(90)
    redis.replies = redis.connection.makefile("rb")
    return redis


def add_redis(rootfs):
    """redis-server and the libraries it names."""
    shutil.copy("/usr/bin/redis-server", os.path.join(rootfs, "bin/redis-server"))
    for word in subprocess.run(["ldd", "/usr/bin/redis-server"], check=True, capture_output=True, text=True).stdout.split():
        if word.startswith("/"):
            os.makedirs(rootfs + os.path.dirname(word), exist_ok=True)
            shutil.copy(word, rootfs + word)


def container_on(workplace, machine, change):
    def changed(config):
        config["process"]["args"] = REDIS
        config["root"]["readonly"] = True
        change(config)

    container = Runc(workplace, "redis", changed, host=machine)
    add_redis(os.path.join(container.directory, "rootfs"))
    return container


def move(source, target):
    """The image does not touch the disk of both: it goes through a pipe, from the one machine's to the other's."""
    source.checkpoint("--tcp-established")
    target.images += 1
    os.makedirs(target.image_path())
    with subprocess.Popen(["tar", "-C", source.image_path(), "-c", "."], stdout=subprocess.PIPE) as pack:
        subprocess.run(["tar", "-C", target.image_path(), "-x"], stdin=pack.stdout, check=True)
    check(pack.returncode == 0, "the image could not be packed")
    shutil.rmtree(source.image_path())


def check_moves(wire, first, second, network):
    """Starts redis on the first machine, moves it to the second and back, while clients talk to it."""
    first.quiet("run", "-d")
    wait_until(lambda: answers(wire), "redis to answer")
    fill(wire)
    watch_for_resets(wire)
    waiting = open_redis(wire)
    waiting.connection.sendall(waiting.send("BLPOP", "signal", "0"))
    clients = [Client(wire, number) for number in range(4)]
    for client in clients:
        client.start()
    try:
        for number, (source, target) in enumerate(((first, second), (second, first)), start=1):
            what = f"move {number}"
            for client in clients:
                client.check_goes_on(f"before {what}")
            move(source, target)
            network.before_restore(source, target)
            target.restore("--tcp-established")
            network.after_restore(target)
            for client in clients:
                client.check_goes_on(what)
            check(target.status() == "running", f"{what}: runc says it is {target.status()}")
            check(resets(wire) == 0, f"{what}: somebody was reset")
            check_data(wire)
        other = open_redis(wire)
        check(other.call("RPUSH", "signal", "now") == 1, "redis takes a signal")
        check(waiting.reply() == "2", "the client that waited has no answer")
        check([waiting.reply(), waiting.reply()] == ["signal", "now"], "the client that waited has another answer")
    finally:
        for client in clients:
            client.end()


def answers(wire):
    try:
        return open_redis(wire).call("PING") == "PONG"
    except OSError:
        return False


def fill(wire):
    redis = open_redis(wire)
    for start in range(0, KEYS, 1000):
        redis.pipeline([("SET", f"key:{n}", f"value-{n * 7}") for n in range(start, start + 1000)])


def check_data(wire):
    sample = range(0, KEYS, 13)
    values = open_redis(wire).pipeline([("GET", f"key:{n}") for n in sample])
    check(values == [f"value-{n * 7}" for n in sample], "a key lost its value")


class NetworkOfHooks:
    """The namespace dies with the container; at a restore the hook plugs the new one in, behind nativecr's lock."""

    def __init__(self, workplace, machines):
        self.hook = workplace.path("hook")
        with open(self.hook, "w", encoding="utf-8") as file:
            file.write(HOOK + PLUG + CONNECT)
        os.chmod(self.hook, os.stat(self.hook).st_mode | stat.S_IXUSR)
        self.containers = [container_on(workplace, machine, self.name_hook) for machine in machines]

    def name_hook(self, config):
        config["hooks"] = {"createRuntime": [{"path": self.hook}]}

    def before_restore(self, source, target):
        pass

    def after_restore(self, target):
        pass


class NetworkOfItsOwn:
    """The namespaces stand before the container, and outlive it. Whoever moves the container moves the address, and lets the
    world in when somebody is there to answer."""

    def __init__(self, workplace, machines, pods):
        self.machines, self.pods = machines, pods
        self.containers = [container_on(workplace, machine, self.name_namespace(pod))
                           for machine, pod in zip(machines, pods)]
        self.run_for(self.containers[0], PLUG + CONNECT)

    @staticmethod
    def name_namespace(pod):
        def change(config):
            for namespace in config["linux"]["namespaces"]:
                if namespace["type"] == "network":
                    namespace["path"] = pod.path
        return change

    def run_for(self, container, script):
        number = self.containers.index(container)
        subprocess.run(["nsenter", f"--net={self.machines[number].path}", "sh", "-ec",
                        f"target={self.pods[number].name}\n{script}"], check=True)

    def before_restore(self, source, target):
        self.run_for(source, "ip link delete plug")
        self.run_for(target, PLUG)

    def after_restore(self, target):
        self.run_for(target, CONNECT)
        left = [pod.run("nft", "list", "tables") for pod in self.pods]
        check("nativecr" not in left[self.containers.index(target)], f"a lock stays where the container is: {left}")


def move_to_and_fro(wire, network):
    with network.containers[0] as first, network.containers[1] as second:
        check_moves(wire, first, second, network)


def main():
    with NetworkNamespace("wire") as wire, Machine("a") as a, Machine("b") as b:
        lay_wire(wire)
        a.plug_in(wire)
        b.plug_in(wire)
        with Workplace("move") as workplace:
            move_to_and_fro(wire, NetworkOfHooks(workplace, (a, b)))
        with Workplace("move") as workplace, NetworkNamespace("pod-a") as pod_a, NetworkNamespace("pod-b") as pod_b:
            move_to_and_fro(wire, NetworkOfItsOwn(workplace, (a, b), (pod_a, pod_b)))


if __name__ == "__main__":
    run(main)
