"""A user without any capability dumps a tree of its own, and restores it in a user and a pid namespace made for it."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile

from harness import NATIVECR, check, read, run, wait_until

USER = 4711
IN_NAMESPACES = ["unshare", "--map-current-user", "--keep-caps", "--pid", "--fork", "--kill-child", "--mount-proc"]
COUNTER = """
my $child = fork // die; my $rounds = 0;
if (!$child) { select undef, undef, undef, 0.005 while 1 }
while (1) {
  open my $file, ">", "counter.new" or die; print $file ++$rounds, " $$ $child"; close $file;
  rename "counter.new", "counter"; select undef, undef, undef, 0.005;
}
"""


def as_user(argv, **more):
    return subprocess.Popen(argv, user=USER, group=USER, extra_groups=[], stdin=subprocess.DEVNULL, **more)


def user_namespaces_are_allowed(folder):
    probe = as_user([*IN_NAMESPACES, "true"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return probe.wait() == 0


def counter(folder):
    try:
        return [int(word) for word in read(os.path.join(folder, "counter")).split()]
    except (FileNotFoundError, ValueError):
        return [0, 0, 0]


def command_for_all(folder):
    """The command may lie where only root can go."""
    copy = os.path.join(folder, "nativecr")
    shutil.copyfile(NATIVECR, copy)
    os.chmod(copy, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return copy


def stop(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def main():
    if os.getuid() != 0:
        return
    folder = tempfile.mkdtemp(prefix="nativecr-user-", dir="/dev/shm")
    try:
        os.chown(folder, USER, USER)
        survive(folder, command_for_all(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def survive(folder, nativecr):
    images = os.path.join(folder, "images")
    target = as_user(["perl", "-e", COUNTER], cwd=folder, start_new_session=True,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: counter(folder)[0] > 3, "the program to start")
        dump = as_user([nativecr, "dump", "--pid", str(target.pid), "--images", images], cwd=folder,
                       stderr=subprocess.PIPE, text=True)
        errors = dump.communicate()[1]
        check(dump.returncode == 0, f"dump by an ordinary user: {errors}")
        target.wait()
    finally:
        target.kill()
        target.wait()
    before = counter(folder)
    if not user_namespaces_are_allowed(folder):
        return
    restore = as_user([*IN_NAMESPACES, nativecr, "restore", "--images", images], cwd=folder, stderr=subprocess.PIPE,
                      text=True)
    try:
        wait_until(lambda: restore.poll() is not None or counter(folder)[0] > before[0] + 3, "the program to go on")
        check(restore.poll() is None, f"restore by an ordinary user: {restore.stderr.read() if restore.poll() else ''}")
        check(counter(folder)[1:] == before[1:], f"its numbers have changed: {before} -> {counter(folder)}")
    finally:
        stop(restore)


if __name__ == "__main__":
    run(main)
