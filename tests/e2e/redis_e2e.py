"""redis-server with 100,000 keys, expiring ones among them, survives ten checkpoints."""

import time

from harness import Target, check, resources, run, ten_cycles, wait_until
from redis_client import Redis, answers, check_keys, fill_keys

KEYS = 100_000
ADDRESS = ("127.0.0.1", 16399)
SERVER = ["redis-server", "--bind", ADDRESS[0], "--port", str(ADDRESS[1]), "--save", "", "--appendonly", "no"]


def fill():
    with Redis(*ADDRESS) as redis:
        fill_keys(redis, KEYS)
        redis.pipeline([("SET", f"soon:{n}", "x", "PX", 500) for n in range(100)])
        redis.pipeline([("SET", f"later:{n}", "y", "EX", 3600) for n in range(100)])


def prove(cycle):
    with Redis(*ADDRESS) as redis:
        check_keys(redis, KEYS, cycle)
        check(redis.call("INCR", "cycles") == cycle + 1, "the counter of cycles is off")
        left = redis.call("TTL", "later:5")
        check(0 < left <= 3600, f"a key of one hour has {left} s to live")
        if cycle > 0:
            time.sleep(0.6)
            check(redis.call("GET", "soon:5") is None, "an expired key is still there")
            # 100,000 keys, 100 that live for an hour, the counter
            wait_until(lambda: redis.call("DBSIZE") == KEYS + 101, "the database to lose its expired keys and nothing else")


def main():
    with Target(SERVER, "redis") as target:
        wait_until(lambda: answers(*ADDRESS), "redis to answer")
        fill()
        before = ten_cycles(target, prove)
        after = resources(target.pid)
        check(after["descriptors"] <= before["descriptors"] + 1, f"descriptors leak: {before} -> {after}")
        check(after["mappings"] <= before["mappings"] + 4, f"mappings leak: {before} -> {after}")
        check(after["anonymous_kb"] <= before["anonymous_kb"] * 1.2 + 4096, f"memory leaks: {before} -> {after}")


if __name__ == "__main__":
    run(main)
