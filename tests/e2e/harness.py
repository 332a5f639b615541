"""Runs a real program, checkpoints and restores it with the nativecr command, and looks for leaks.

The harness is a child subreaper: a restored root, whose nativecr has exited, becomes its child, so it can reap the pid
that the next restore needs.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NATIVECR = os.environ.get("NATIVECR", os.path.join(REPOSITORY, "build/release/nativecr"))
PROGRAMS = os.path.join(REPOSITORY, "tests/e2e/programs")
PR_SET_CHILD_SUBREAPER = 36


class Failure(Exception):
    """A check that did not hold; its text is the verdict."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(condition, what, seconds=30.0):
    """Polls; the limit only ends a hang, it asserts no speed."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"gave up after {seconds:.0f} s: {what}")
        time.sleep(0.01)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def nativecr(*arguments):
    """Runs the command; returns its JSON report."""
    done = subprocess.run([NATIVECR, *map(str, arguments), "--json"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"nativecr {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def tree_of(root):
    """Pids of the tree below root, root first."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(read(f"/proc/{name}/stat").rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def resources(root):
    """What a leak would show in: the least that several looks find, for a program opens files for moments."""
    looks = []
    for _ in range(20):
        looks.append(resources_now(root))
        time.sleep(0.005)
    return {name: min(look[name] for look in looks) for name in looks[0]}


def resources_now(root):
    """Descriptors, mappings and private memory of the whole tree."""
    totals = {"descriptors": 0, "mappings": 0, "anonymous_kb": 0}
    for pid in tree_of(root):
        try:
            totals["descriptors"] += len(os.listdir(f"/proc/{pid}/fd"))
            totals["mappings"] += read(f"/proc/{pid}/maps").count("\n")
            for line in read(f"/proc/{pid}/status").splitlines():
                if line.startswith("RssAnon:"):
                    totals["anonymous_kb"] += int(line.split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return totals


class Target:
    """A program as the root of its own session, in a directory of its own."""

    def __init__(self, argv, name, environment=None):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.name = name
        self.dir = tempfile.mkdtemp(prefix=f"nativecr-{name}-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
        self.log = os.path.join(self.dir, "output")
        self.cycles = 0
        self.options = []  # of every dump and restore
        self.restore_options = []
        with open(self.log, "wb") as output:
            self.pid = subprocess.Popen(argv, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                        start_new_session=True, env={**os.environ, **(environment or {})}).pid

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if value is not None and os.path.exists(self.log):
            sys.stderr.write(f"--- output of {self.name}\n{read(self.log)[-4000:]}\n---\n")
        for pid in reversed(tree_of(self.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.reap()
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def alive(self):
        try:
            return read(f"/proc/{self.pid}/stat").rsplit(")", 1)[1].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    def reap(self):
        """Reaps whatever of the tree is ours and dead, so that the pids are free."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                if not self.alive():
                    # The root is gone and nothing more is dead: orphans may still be on their way to us.
                    if not os.path.exists(f"/proc/{self.pid}"):
                        return
                time.sleep(0.002)

    def cycle(self):
        """One killing dump and one restore, into a fresh directory. Returns both reports."""
        images = self.path(f"images-{self.cycles}")
        self.cycles += 1
        dumped = nativecr("dump", "--pid", self.pid, "--images", images, *self.options)
        self.reap()
        restored = nativecr("restore", "--images", images, "--detach", *self.options, *self.restore_options)
        check(restored["root_pid"] == self.pid, f"the root came back as {restored['root_pid']}, not {self.pid}")
        shutil.rmtree(images)
        return dumped, restored


def run(main):
    try:
        main()
    except Failure as failure:
        sys.stderr.write(f"FAILED: {failure}\n")
        sys.exit(1)


def ten_cycles(target, prove):
    """Ten checkpoints in a row on the same tree; prove(n) checks its state before the first and after each."""
    prove(0)
    before = resources(target.pid)
    for number in range(1, 11):
        dumped, restored = target.cycle()
        check(target.alive(), f"cycle {number}: the root is gone")
        prove(number)
        print(f"{target.name}: cycle {number}: {dumped['tasks']} tasks, {dumped['threads']} threads, "
              f"{dumped['image_bytes'] / 1048576:.1f} MiB, frozen {dumped['frozen_ns'] / 1e6:.1f} ms, "
              f"restored in {restored['total_ns'] / 1e6:.1f} ms", flush=True)
    return before
