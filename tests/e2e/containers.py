"""What the tests with real container runtimes share: nativecr in PATH under the name criu, a root file system of busybox, an
OCI bundle, and a program that counts, so that a check can tell whether it goes on from where it was."""

import json
import os
import shutil
import subprocess
import tempfile

from harness import NATIVECR, Failure, check, read, wait_until

APPLETS = ["sh", "sleep", "cat", "echo", "nc", "ls", "mkdir", "id", "hostname", "tty"]

# Counts in memory and shows how far it is; what it began with stays in memory too.
COUNTER = "secret=$1; n=0; while :; do n=$((n+1)); echo \"$n $secret\" > /state/count.new; mv /state/count.new /state/count; sleep 0.05; done"


class Workplace:
    """A temporary directory with `criu` (nativecr) in a directory of its own, first in PATH."""

    def __init__(self, name):
        self.dir = tempfile.mkdtemp(prefix=f"nativecr-{name}-")
        bin_dir = self.path("bin")
        os.mkdir(bin_dir)
        os.symlink(NATIVECR, os.path.join(bin_dir, "criu"))
        self.environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}:/usr/sbin:/sbin"}

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def run(self, *arguments, logs=(), **options):
        """Runs a command to its end; its output is the result, what it said is the failure."""
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, check=False,
                              env=self.environment, timeout=120, **options)
        if done.returncode != 0:
            said = "".join(f"--- {log}\n{read(log)[-3000:]}" for log in logs if os.path.exists(log))
            raise Failure(f"{' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout}{done.stderr}{said}")
        return done.stdout


def make_rootfs(directory):
    """busybox and what a container expects to find."""
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "state", "run"):
        os.makedirs(os.path.join(directory, name))
    shutil.copy("/bin/busybox", os.path.join(directory, "bin/busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(directory, "bin", applet))


class Counter:
    """How far the counting program of a container is, read from the file it writes."""

    def __init__(self, path, secret):
        self.path = path
        self.secret = secret

    def value(self):
        try:
            number, secret = read(self.path).split()
        except (FileNotFoundError, ValueError):
            return 0
        check(secret == self.secret, f"the program has forgotten its secret: {secret}")
        return int(number)

    def wait_to_start(self):
        wait_until(lambda: self.value() > 0, "the container to count")

    def check_goes_on_from(self, before):
        """It counts on, and did not begin anew."""
        wait_until(lambda: self.value() > before, f"the container to count beyond {before}")
        check(self.value() < before + 2000, f"it counts from {self.value()}, not from {before}")

    def check_stands_still(self):
        before = self.value()
        subprocess.run(["sleep", "0.3"], check=True)
        check(self.value() == before, "the container counts, though it should not")


def bundle(workplace, runtime, name, secret, change=None):
    """An OCI bundle whose program counts; `change` may alter its config. Returns the directory and the counter."""
    directory = workplace.path(name)
    rootfs = os.path.join(directory, "rootfs")
    make_rootfs(rootfs)
    workplace.run(runtime, "spec", cwd=directory)
    config_file = os.path.join(directory, "config.json")
    with open(config_file, encoding="utf-8") as file:
        config = json.load(file)
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/sh", "-c", COUNTER, "sh", secret]
    config["root"]["readonly"] = False
    if change is not None:
        change(config)
    with open(config_file, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return directory, Counter(os.path.join(rootfs, "state/count"), secret)
