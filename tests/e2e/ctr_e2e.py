"""containerd checkpoints tasks with nativecr as its criu: into a directory, while the container runs on or ending it, and into an
image of its store. Restored from these the container goes on, twice in a row; so does redis with its keys, which its clients
reach through a unix socket."""

import os
import shutil
import subprocess

from containerd_daemon import Containerd
from containers import COUNTER, Counter, Workplace
from harness import check, read, run, wait_until
from redis_client import Redis, answers, check_keys, fill_keys

KEYS = 20_000
SERVER = ["redis-server", "--port", "0", "--unixsocket", "/state/redis.sock", "--save", "", "--appendonly", "no", "--dir", "/tmp"]


def start(containerd, image, name, *command):
    """A container with a directory of the machine at /state; returns this directory."""
    state = containerd.workplace.path(name)
    os.mkdir(state)
    containerd.ctr("run", "--detach", "--snapshotter", "native", "--mount",
                   f"type=bind,src={state},dst=/state,options=rbind:rw", image, name, *command)
    return state


def checkpoint_directory(containerd, *options):
    images = containerd.workplace.path("images")
    shutil.rmtree(images, ignore_errors=True)
    os.mkdir(images)
    containerd.ctr("tasks", "checkpoint", *options, "--image-path", images, "plain")
    check(os.path.exists(os.path.join(images, "inventory.img")), f"no image: {os.listdir(images)}")
    return images


def check_directory(containerd, counter):
    """The images lie in a directory; the container is paused meanwhile, and runs on."""
    checkpoint_directory(containerd)
    check(containerd.tasks()["plain"] == "RUNNING", f"the task is {containerd.tasks()['plain']}")
    counter.check_goes_on_from(counter.value())


def check_exit(containerd, counter):
    """The task ends. ctr has no command that starts one from a directory: runc itself does, in the bundle that containerd made."""
    images = checkpoint_directory(containerd, "--exit")
    wait_until(lambda: containerd.tasks()["plain"] == "STOPPED", "the task to stop")
    before = counter.value()
    counter.check_stands_still()
    workplace = containerd.workplace
    runc = ["runc", "--root", workplace.path("runc")]
    try:
        with open(workplace.path("runc.log"), "wb") as log:
            done = subprocess.run([*runc, "restore", "--detach", "--bundle", containerd.bundle("plain"), "--image-path", images,
                                   "by-runc"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=workplace.environment,
                                  cwd=workplace.dir, check=False)
        check(done.returncode == 0, f"runc restore: {read(workplace.path('runc.log'))}")
        counter.check_goes_on_from(before)
    finally:
        workplace.run(*runc, "delete", "--force", "by-runc")


def restore(containerd, name, reference):
    """The container goes and comes back. A second checkpoint next to the first would find some of its content there already, and
    containerd fails on that (whatever criu is): the first one goes too."""
    containerd.delete(name)
    containerd.ctr("containers", "restore", "--rw", "--live", name, reference)
    containerd.ctr("images", "remove", "--sync", reference)


def restore_from_image(containerd, name):
    """The checkpoint is one of the container with its file system."""
    reference = f"checkpoint/{name}:latest"
    containerd.ctr("containers", "checkpoint", "--rw", "--image", "--task", name, reference)
    check(containerd.tasks()[name] == "RUNNING", f"the task is {containerd.tasks()[name]}")
    restore(containerd, name, reference)


def check_two_cycles(containerd, counter):
    for _ in range(2):
        before = counter.value()
        restore_from_image(containerd, "plain")
        counter.check_goes_on_from(before)


def check_redis(containerd):
    image = containerd.import_image("redis", "redis-server")
    address = os.path.join(start(containerd, image, "redis", *SERVER), "redis.sock")
    wait_until(lambda: answers(address), "redis to answer")
    with Redis(address) as redis:
        fill_keys(redis, KEYS)
    for number in range(2):
        restore_from_image(containerd, "redis")
        wait_until(lambda: answers(address), "redis to answer after its checkpoint")
        with Redis(address) as redis:
            check_keys(redis, KEYS, number)
            check(redis.call("INCR", "cycles") == number + 1, "the counter of cycles is off")


def main():
    with Workplace("ctr") as workplace, Containerd(workplace) as containerd:
        image = containerd.import_image("box")
        state = start(containerd, image, "plain", "/bin/sh", "-c", COUNTER, "sh", "secret")
        counter = Counter(os.path.join(state, "count"), "secret")
        counter.wait_to_start()
        check_directory(containerd, counter)
        check_two_cycles(containerd, counter)
        check_exit(containerd, counter)
        check_redis(containerd)


if __name__ == "__main__":
    run(main)
