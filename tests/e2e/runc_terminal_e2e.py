"""A runc container with a terminal, whose other end was given to a console socket: each restore hands over a new one, the
program inside keeps its own, as it had set it, and with it what it controls."""

import array
import fcntl
import os
import select
import socket
import struct
import termios
import time

from containers import Runc, Workplace
from harness import Failure, check, run

ROWS, COLUMNS = 33, 77

# Answers lines, and the interrupt that only a controlling terminal sends.
PROGRAM = ("secret=$1; n=0; trap 'echo interrupted' INT; exec 7<&0; echo \"begun\"; "
           "while :; do if read line; then n=$((n+1)); echo \"$n $secret $(tty) $(tty <&7) <$line>\"; fi; done")


class Console:
    """What runc sends a console socket: the other end of a container's terminal."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(1)
        self.listener.settimeout(30)
        self.master = -1
        self.heard = b""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.hang_up()
        self.listener.close()
        os.unlink(self.path)

    def take(self):
        connection, _ = self.listener.accept()
        with connection:
            _, extra, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
        check(len(extra) == 1, f"runc sent {len(extra)} control messages, not a descriptor")
        self.master = array.array("i", extra[0][2])[0]
        self.heard = b""

    def hang_up(self):
        if self.master >= 0:
            os.close(self.master)
        self.master = -1

    def write(self, data):
        os.write(self.master, data)

    def expect(self, text):
        """Reads until the terminal has said it; what came before is given back."""
        end = time.monotonic() + 30
        while text.encode() not in self.heard:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise Failure(f"the terminal said {self.heard!r}, and not {text!r}")
            self.heard += os.read(self.master, 4096)
        before, _, self.heard = self.heard.partition(text.encode())
        return before.decode()

    def size(self):
        packed = fcntl.ioctl(self.master, termios.TIOCGWINSZ, bytes(8))
        return struct.unpack("4H", packed)[:2]

    def set_up(self):
        """As a terminal emulator would: a size; no echo, so that only the program is heard; an interrupt key of its own."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        settings = termios.tcgetattr(self.master)
        settings[3] &= ~termios.ECHO
        settings[6][termios.VINTR] = b"\x07"
        termios.tcsetattr(self.master, termios.TCSANOW, settings)

    def check_as_set_up(self):
        check(self.size() == (ROWS, COLUMNS), f"the terminal's size is {self.size()}")
        settings = termios.tcgetattr(self.master)
        check(settings[3] & termios.ECHO == 0, "the terminal echoes again")
        check(settings[6][termios.VINTR] == b"\x07", f"the interrupt key is {settings[6][termios.VINTR]!r}")


def with_terminal(config):
    config["process"]["terminal"] = True
    config["process"]["args"] = ["/bin/sh", "-c", PROGRAM, "sh", "secret-of-terminal"]


def check_answers(console, number):
    console.write(b"line %d\n" % number)
    console.expect(f"{number} secret-of-terminal /dev/pts/0 /dev/pts/0 <line {number}>")
    console.write(b"\x07")
    console.expect("interrupted")


def check_cycles(workplace):
    with Console(workplace.path("console")) as console, Runc(workplace, "terminal", with_terminal) as container:
        container.quiet("run", "-d", "--console-socket", console.path)
        console.take()
        console.set_up()
        console.expect("begun")
        check_answers(console, 1)
        for cycle in (1, 2):
            container.checkpoint()
            console.hang_up()
            container.restore("--console-socket", console.path)
            console.take()
            console.check_as_set_up()
            check_answers(console, cycle + 1)
            check(container.status() == "running", f"runc says it is {container.status()}")


def check_leave_running(workplace):
    """The terminal stays with whoever holds it, and serves on."""
    with Console(workplace.path("console")) as console, Runc(workplace, "terminal-stays", with_terminal) as container:
        container.quiet("run", "-d", "--console-socket", console.path)
        console.take()
        console.set_up()
        console.expect("begun")
        check_answers(console, 1)
        container.checkpoint("--leave-running")
        check_answers(console, 2)
        console.check_as_set_up()


def main():
    with Workplace("runc-terminal") as workplace:
        check_cycles(workplace)
        check_leave_running(workplace)


if __name__ == "__main__":
    run(main)
