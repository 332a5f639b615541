"""Podman checkpoints a redis container with its clients connected (--tcp-established): they see a pause and no error, twice in a
row, once more through an archive. What they ask while it is away is answered when it is back."""

from containers import Workplace, archive_rootfs, own_network
from harness import check, run, wait_until
from podman_engine import Podman
from redis_client import Redis, answers, check_keys, fill_keys

KEYS = 20_000
ADDRESS = ("127.0.0.1", 6379)
SERVER = ["redis-server", "--bind", ADDRESS[0], "--save", "", "--appendonly", "no", "--dir", "/tmp"]


class Client:
    """One connection for the whole test."""

    def __init__(self, redis):
        self.redis = redis
        self.asked = 0

    def ask(self):
        self.redis.connection.sendall(self.redis.send("INCR", "asked"))

    def hear(self):
        self.asked += 1
        check(self.redis.reply() == self.asked, "the answer to a question from before is wrong")


def cycle(podman, client, checkpoint, restore):
    podman.podman("container", "checkpoint", "--tcp-established", *checkpoint, "redis")
    client.ask()
    restore()
    client.hear()
    client.ask()
    client.hear()
    check_keys(client.redis, KEYS, client.asked)


def main():
    own_network()
    with Workplace("podman-redis") as workplace, Podman(workplace) as podman:
        podman.podman("import", archive_rootfs(workplace, "redis", "redis-server"), "redis")
        podman.run_detached("redis", "redis", *SERVER, options=["--network=host"])
        wait_until(lambda: answers(*ADDRESS), "redis to answer")
        with Redis(*ADDRESS) as redis:
            fill_keys(redis, KEYS)
            client = Client(redis)
            for _ in range(2):
                cycle(podman, client, [], lambda: podman.podman("container", "restore", "--tcp-established", "redis"))
            cycle(podman, client, ["--leave-running"], lambda: None)
            archive = workplace.path("redis.tar")

            def through_archive():
                podman.podman("rm", "redis")
                podman.podman("container", "restore", "--tcp-established", "--import", archive)

            cycle(podman, client, ["--export", archive], through_archive)


if __name__ == "__main__":
    run(main)
