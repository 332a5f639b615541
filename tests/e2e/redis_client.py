"""A client of redis-server, and what the tests put into one and find in it again."""

import socket

from harness import check


class Redis:
    """As much of the protocol as the tests need: pipelines of commands, simple replies. An address without a port is a path."""

    def __init__(self, host, port=None):
        if port is None:
            self.connection = socket.socket(socket.AF_UNIX)
            self.connection.settimeout(20)
            self.connection.connect(host)
        else:
            self.connection = socket.create_connection((host, port), timeout=20)
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


def answers(*address):
    try:
        with Redis(*address) as redis:
            return redis.call("PING") == "PONG"
    except OSError:
        return False


def fill_keys(redis, keys):
    for start in range(0, keys, 1000):
        redis.pipeline([("SET", f"key:{n}", f"value-{n * 7}") for n in range(start, min(start + 1000, keys))])


def check_keys(redis, keys, first=0):
    """Every 97th, beginning with another one each time."""
    sample = range(first, keys, 97)
    values = redis.pipeline([("GET", f"key:{n}") for n in sample])
    check(values == [f"value-{n * 7}" for n in sample], "a key lost its value")
