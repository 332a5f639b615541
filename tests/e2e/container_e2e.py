"""A container that runc started goes on after a checkpoint: its mounts are as they were, its tmpfs holds what it held, its
standard output, a file of the machine, gets its next lines. Two cycles, the second of what the first restored."""

import json
import os
import shutil
import signal
import subprocess
import tempfile

from harness import Failure, check, nativecr, read, run, wait_until

SCRIPT = ("echo kept > /dev/shm/file; exec 7< /dev/shm/file; n=0; "
          "while :; do n=$((n+1)); echo $n; sleep 0.1; done")


def make_bundle(bundle):
    """busybox in a directory, and what `runc spec` says of everything else."""
    os.makedirs(os.path.join(bundle, "rootfs/bin"))
    shutil.copy(shutil.which("busybox"), os.path.join(bundle, "rootfs/bin/busybox"))
    for name in ("sh", "sleep"):
        os.symlink("busybox", os.path.join(bundle, "rootfs/bin", name))
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    path = os.path.join(bundle, "config.json")
    config = json.loads(read(path))
    config["process"].update(terminal=False, args=["sh", "-c", SCRIPT])
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)


def mounts(pid):
    """Without the numbers, which are new."""
    return sorted(" ".join(line.split()[3:]) for line in read(f"/proc/{pid}/mountinfo").splitlines())


def counted(log):
    lines = read(log).split()
    check(lines == [str(number + 1) for number in range(len(lines))], f"the container counted wrong: {lines[-20:]}")
    return len(lines)


def cycle(directory, pid, number, log):
    before = mounts(pid)
    images = os.path.join(directory, f"images{number}")
    nativecr("dump", "-t", pid, "-D", images)
    stood_at = counted(log)
    pidfile = os.path.join(directory, "pid")
    nativecr("restore", "-d", "-D", images, "--pidfile", pidfile)
    pid = int(read(pidfile))
    wait_until(lambda: counted(log) > stood_at + 3, f"cycle {number}: the container to go on")
    after = mounts(pid)
    check(before == after, f"cycle {number}: the mounts were\n{before}\nand are\n{after}")
    check(read(f"/proc/{pid}/root/dev/shm/file") == "kept\n", "the tmpfs lost its file")
    return pid


def main():
    for program in ("runc", "busybox"):
        if shutil.which(program) is None:
            raise Failure(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="nativecr-container-") as directory:
        bundle = os.path.join(directory, "bundle")
        make_bundle(bundle)
        runc = ["runc", "--root", os.path.join(directory, "state")]
        name = f"nativecr-e2e-{os.getpid()}"
        log = os.path.join(directory, "log")
        pid = 0
        try:
            with open(log, "w", encoding="utf-8") as out:
                subprocess.run([*runc, "run", "-d", "-b", bundle, name], stdin=subprocess.DEVNULL, stdout=out,
                               stderr=subprocess.STDOUT, check=True)
            wait_until(lambda: counted(log) > 3, "the container to start")
            pid = json.loads(subprocess.run([*runc, "state", name], capture_output=True, check=True).stdout)["pid"]
            for number in (1, 2):
                pid = cycle(directory, pid, number, log)
                print(f"container: cycle {number}: {counted(log)} lines", flush=True)
        finally:
            if pid != 0 and os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGKILL)
            subprocess.run([*runc, "delete", "-f", name], capture_output=True, check=False)


if __name__ == "__main__":
    run(main)
