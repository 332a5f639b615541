"""Docker containers with a terminal go on from their checkpoints: one that only prints (`-t`), one with a shell that somebody is
attached to (`-it`), who types into it before and after. Two cycles each."""

import os
import pty
import subprocess

from containers import PRINTER, Workplace, archive_rootfs
from docker_daemon import Daemon, check_goes_on, running
from harness import Failure, check, run, wait_until


class Attached:
    """The docker command in a terminal of its own, attached to a container."""

    def __init__(self, daemon, *arguments):
        self.master, slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.said = ""
        self.process = subprocess.Popen(daemon.command(*arguments), stdin=slave, stdout=slave, stderr=slave,
                                        env=daemon.workplace.environment, start_new_session=True)
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def heard(self, text):
        try:
            self.said += os.read(self.master, 65536).decode(errors="replace")
        except (BlockingIOError, OSError):
            pass
        return text in self.said

    def type_line(self, line, answer):
        """Types a line; waits for what the shell answers, which is not what the terminal echoes."""
        os.write(self.master, f"{line}\n".encode())
        try:
            wait_until(lambda: self.heard(answer), f"the shell to answer {answer}")
        except Failure as failure:
            raise Failure(f"{failure}; it said {self.said!r}") from failure


def check_printer(daemon):
    daemon.docker("run", "-dt", "--name", "printer", "--network=none", "box", "/bin/sh", "-c", PRINTER, "sh", "secret")
    wait_until(lambda: daemon.logged("printer"), "the container to print")
    for number in range(2):
        before = daemon.stop_at("printer", f"point{number}")
        daemon.start_from(f"point{number}", "printer")
        check_goes_on(daemon, "printer", before)
        check("/dev/pts/0" in daemon.docker("exec", "printer", "readlink", "/proc/1/fd/1"), "the program has lost its terminal")


def check_shell(daemon):
    with Attached(daemon, "run", "-it", "--name", "shell", "--network=none", "box", "/bin/sh") as attached:
        attached.type_line("kept=begun; echo st''arted", "started")
        daemon.checkpoint("shell", "point0")
        attached.process.wait(30)
    for number in range(2):
        daemon.collect_garbage()
        with Attached(daemon, "start", "-ai", "--checkpoint", f"point{number}", "shell") as attached:
            wait_until(lambda: running(daemon, "shell"), "the container to run")
            attached.type_line(f"kept=$kept-{number}; echo it is ''$kept", "it is begun" + "".join(f"-{n}" for n in range(number + 1)))
            attached.type_line("tty; echo tty''=$?", "tty=0")
            daemon.checkpoint("shell", f"point{number + 1}")
            attached.process.wait(30)


def main():
    with Workplace("docker-terminal") as workplace, Daemon(workplace) as daemon:
        daemon.docker("import", archive_rootfs(workplace, "box"), "box")
        check_printer(daemon)
        check_shell(daemon)


if __name__ == "__main__":
    run(main)
