"""A job of a shell in one terminal goes on in another: --shell-job."""

import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile

from harness import NATIVECR, check, run, wait_until

JOB = """import time
i = 0
while True:
    print("tick", i, flush=True)
    i += 1
    time.sleep(0.05)
"""


class Terminal:
    """A pseudo-terminal with a shell in it."""

    def __init__(self, command):
        self.output = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.closerange(3, 1024)
            os.execvp("bash", ["bash", "--norc", "-ic", command])

    def text(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.output += os.read(self.master, 4096).decode()
            except OSError:
                break
        return self.output

    def type(self, text):
        os.write(self.master, text.encode())

    def close(self):
        os.close(self.master)
        try:
            os.kill(self.pid, 9)
        except ProcessLookupError:
            pass
        os.waitpid(self.pid, 0)


def child_of(pid):
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def dump(pid, images, *options):
    return subprocess.run([NATIVECR, "dump", "--pid", pid, "--images", images, *options],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def main():
    images = tempfile.mkdtemp(prefix="ncr-shell-job-")
    first = Terminal(f"{sys.executable} -c '{JOB}'; true")
    second = None
    try:
        wait_until(lambda: "tick 3" in first.text(), "the job to start")
        job = child_of(first.pid)
        refused = dump(job, images)
        check(refused.returncode == 3, f"without --shell-job: exit {refused.returncode}")
        check("--shell-job" in refused.stderr, f"no way out is named: {refused.stderr}")
        dumped = dump(job, images, "--shell-job")
        check(dumped.returncode == 0, dumped.stderr)
        wait_until(lambda: "Killed" in first.text(), "the shell to see its job end")
        last = max(int(word) for word in first.text().replace("tick ", "").split() if word.isdigit())
        second = Terminal(f"{NATIVECR} restore --images {images} --shell-job; echo ended $?")
        wait_until(lambda: f"tick {last + 10}\r" in second.text(), "the job to go on in the other terminal")
        check(f"tick {last}\r" not in second.text(), "a line came twice")
        second.type("\x03")
        wait_until(lambda: "ended 130" in second.text(), "ctrl-C to reach the job")
    finally:
        first.close()
        if second is not None:
            second.close()
        shutil.rmtree(images)


if __name__ == "__main__":
    run(main)
