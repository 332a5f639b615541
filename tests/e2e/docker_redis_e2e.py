"""A redis container with data, on Docker's bridge, goes on from its checkpoints: its keys, its address and its log. It is stopped
and started twice, and once left running; the daemon is stopped and started before the second start."""

import json

from containers import Workplace, archive_rootfs, configure_runc, own_mounts, own_network
from docker_daemon import Daemon, running
from harness import check, run, wait_until
from redis_client import Redis, answers, check_keys, fill_keys

KEYS = 20_000
BRIDGE = ("--bip=10.213.0.1/24",)
SERVER = ["redis-server", "--bind", "*", "--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", "/tmp"]


class Container:
    def __init__(self, daemon, name):
        self.daemon = daemon
        self.name = name
        self.cycle = 0
        daemon.docker("run", "-d", "--name", name, "redis", *SERVER)
        self.address = (self.network()["IPAddress"], 6379)
        wait_until(lambda: answers(*self.address), "redis to answer")
        with Redis(*self.address) as redis:
            fill_keys(redis, KEYS)
            self.server = redis.call("INFO", "server").split("run_id:")[1].split()[0]

    def network(self):
        return json.loads(self.daemon.docker("inspect", self.name))[0]["NetworkSettings"]

    def log(self):
        return self.daemon.docker("logs", self.name)

    def stop_at(self, checkpoint):
        self.daemon.checkpoint(self.name, checkpoint)
        wait_until(lambda: not running(self.daemon, self.name), "the container to stop")

    def prove(self):
        """The same server with all its keys; what it logs is added to what it has logged."""
        before = self.log()
        self.cycle += 1
        check(self.network()["IPAddress"] == self.address[0], "the container has another address")
        wait_until(lambda: answers(*self.address), "redis to answer after its checkpoint")
        with Redis(*self.address) as redis:
            check_keys(redis, KEYS, self.cycle)
            check(redis.call("INCR", "cycles") == self.cycle, "the counter of cycles is off")
            check(self.server in redis.call("INFO", "server"), "this is another server")
            redis.call("CONFIG", "SET", "loglevel", "notice")
            redis.call("BGSAVE")
            wait_until(lambda: self.log().count("DB saved on disk") == self.cycle, "redis to log that it has saved")
        check(self.log().startswith(before), "the log has lost its beginning")


def check_connections(daemon, container):
    """Docker does not ask for connections to be kept; the administrator may, in runc's configuration of criu."""
    with Redis(*container.address) as redis:
        redis.call("SET", "asked", 0)
        for number in range(2):
            container.stop_at(f"connected{number}")
            daemon.start_from(f"connected{number}", container.name)
            check(redis.call("INCR", "asked") == number + 1, "the server does not know its client")
            check_keys(redis, KEYS, number)


def main():
    own_network()
    own_mounts()
    with Workplace("docker-redis") as workplace, Daemon(workplace, BRIDGE) as daemon:
        daemon.docker("import", archive_rootfs(workplace, "redis", "redis-server"), "redis")
        container = Container(daemon, "redis")
        container.stop_at("first")
        daemon.start_from("first", "redis")
        container.prove()
        daemon.checkpoint("redis", "snapshot", "--leave-running")
        container.prove()
        container.stop_at("second")
        daemon.stop()
        daemon.start()
        daemon.start_from("second", "redis")
        container.prove()
        configure_runc(workplace, "tcp-established\n")
        check_connections(daemon, container)


if __name__ == "__main__":
    run(main)
