"""The client's side of criu's RPC, as container runtimes speak it: `criu swrk FD` over a socketpair. Messages are written and read here
by hand, so that nothing of nativecr takes part in both sides."""

import os
import socket
import subprocess

from harness import NATIVECR, Failure, check

CRIU = os.path.join(os.path.dirname(NATIVECR), "criu/criu")
DUMP, RESTORE, CHECK, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 3, 4, 6, 9, 10

# Field numbers of criu_opts
IMAGES_DIR_FD, PID, LEAVE_RUNNING, SHELL_JOB, LOG_LEVEL, LOG_FILE, NOTIFY_SCRIPTS, ROOT = 1, 2, 3, 7, 9, 10, 12, 13
WORK_DIR_FD, MANAGE_CGROUPS, RST_SIBLING, CONFIG_FILE, TLS = 17, 24, 26, 51, 58


def varint(number):
    number &= (1 << 64) - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def encode(fields):
    """A message from {number: int | bool | str | dict | list of these}."""
    out = b""
    for number, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(number << 3) + varint(value)
                continue
            payload = encode(value) if isinstance(value, dict) else value.encode()
            out += varint(number << 3 | 2) + varint(len(payload)) + payload
    return out


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return number, at


def decode(data):
    """{number: int | bytes}, the last of each."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == 2:
            at += value
            value = data[at - value:at]
        fields[tag >> 3] = value
    return fields


class Reply:
    def __init__(self, data):
        fields = decode(data)
        self.type = fields[1]
        self.success = bool(fields[2])
        self.dump = fields.get(3)
        self.restore = decode(fields[4]) if 4 in fields else None
        self.notify = decode(fields[5]) if 5 in fields else None
        self.errno = fields.get(7, 0)
        self.features = fields.get(8)
        self.error = fields.get(9, b"").decode()
        self.version = decode(fields[10]) if 10 in fields else None


class Swrk:
    """`criu swrk FD` and our end of its socket."""

    def __init__(self, closed_stdio=False):
        self.socket, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.set_inheritable(end.fileno(), True)
        # pycriu starts it without descriptors 0, 1 and 2.
        close = (lambda: [os.close(fd) for fd in (0, 1, 2)]) if closed_stdio else None
        self.process = subprocess.Popen([CRIU, "swrk", str(end.fileno())], pass_fds=[end.fileno()], stdin=subprocess.DEVNULL,
                                        preexec_fn=close)
        end.close()

    def ask(self, kind, options=None, notified=None, more=None):
        """Sends a request, acknowledges its notifications (appended to `notified`), returns the reply."""
        self.socket.send(encode({1: kind, **({2: {IMAGES_DIR_FD: -1, **options}} if options is not None else {}), **(more or {})}))
        while True:
            data = self.socket.recv(8192)
            if not data:
                raise Failure(f"swrk left without an answer to request {kind}")
            reply = Reply(data)
            if reply.type != NOTIFY:
                return reply
            check(notified is not None, "a notification that nobody asked for")
            accept = True
            if notified is not None:
                accept = notified(reply.notify[1].decode(), reply.notify.get(2, 0)) is not False
            self.socket.send(encode({1: NOTIFY, 3: accept}))

    def finish(self):
        """As runc: no more requests, then its end."""
        self.socket.shutdown(socket.SHUT_WR)
        status = self.process.wait(30)
        self.socket.close()
        return status
