"""redis-server with 100,000 keys, expiring ones among them, survives ten checkpoints."""

import socket
import time

from harness import Target, check, resources, run, ten_cycles, wait_until

KEYS = 100_000
PORT = 16399


class Redis:
    """As much of the protocol as this test needs: inline pipelines of commands, simple replies."""

    def __init__(self):
        self.connection = socket.create_connection(("127.0.0.1", PORT), timeout=20)
        self.replies = self.connection.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.replies.close()
        self.connection.close()

    def send(self, *words):
        encoded = [str(word).encode() for word in words]
        return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)

    def reply(self):
        line = self.replies.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            if rest == b"-1":
                return None
            return self.replies.read(int(rest) + 2)[:-2].decode()
        if kind == b":":
            return int(rest)
        return rest.decode()

    def call(self, *words):
        self.connection.sendall(self.send(*words))
        return self.reply()

    def pipeline(self, commands):
        self.connection.sendall(b"".join(self.send(*command) for command in commands))
        return [self.reply() for _ in commands]


def answers():
    try:
        with Redis() as redis:
            return redis.call("PING") == "PONG"
    except OSError:
        return False


def fill():
    with Redis() as redis:
        for start in range(0, KEYS, 1000):
            redis.pipeline([("SET", f"key:{n}", f"value-{n * 7}") for n in range(start, start + 1000)])
        redis.pipeline([("SET", f"soon:{n}", "x", "PX", 500) for n in range(100)])
        redis.pipeline([("SET", f"later:{n}", "y", "EX", 3600) for n in range(100)])


def prove(cycle):
    with Redis() as redis:
        sample = range(cycle, KEYS, 97)
        values = redis.pipeline([("GET", f"key:{n}") for n in sample])
        check(values == [f"value-{n * 7}" for n in sample], "a key lost its value")
        check(redis.call("INCR", "cycles") == cycle + 1, "the counter of cycles is off")
        left = redis.call("TTL", "later:5")
        check(0 < left <= 3600, f"a key of one hour has {left} s to live")
        if cycle > 0:
            time.sleep(0.6)
            check(redis.call("GET", "soon:5") is None, "an expired key is still there")
            # 100,000 keys, 100 that live for an hour, the counter
            wait_until(lambda: redis.call("DBSIZE") == KEYS + 101, "the database to lose its expired keys and nothing else")


def main():
    argv = ["redis-server", "--port", str(PORT), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Target(argv, "redis") as target:
        wait_until(answers, "redis to answer")
        fill()
        before = ten_cycles(target, prove)
        after = resources(target.pid)
        check(after["descriptors"] <= before["descriptors"] + 1, f"descriptors leak: {before} -> {after}")
        check(after["mappings"] <= before["mappings"] + 4, f"mappings leak: {before} -> {after}")
        check(after["anonymous_kb"] <= before["anonymous_kb"] * 1.2 + 4096, f"memory leaks: {before} -> {after}")


if __name__ == "__main__":
    run(main)
