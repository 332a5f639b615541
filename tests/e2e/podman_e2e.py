"""Podman with runc checkpoints and restores containers with nativecr as its criu: twice in a row, running on, through an archive,
with the memory dumped ahead and with statistics. Its storage lies in a temporary directory."""

import json

from containers import Workplace, make_rootfs
from harness import check, run, wait_until

PRINTER = "secret=$1; n=0; while :; do n=$((n+1)); echo \"$n $secret\"; sleep 0.05; done"
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


class Podman:
    def __init__(self, workplace):
        self.workplace = workplace

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for name in self.podman("ps", "-aq").split():
            self.podman("rm", "-f", "-t", "0", name)

    def podman(self, *arguments):
        return self.workplace.run(
            "podman", "--runtime", "/usr/sbin/runc", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
            "--events-backend", "file", "--root", self.workplace.path("root"), "--runroot", self.workplace.path("run"),
            "--tmpdir", self.workplace.path("tmp"), *arguments)

    def logged(self, name):
        return [int(line.split()[0]) for line in self.podman("logs", name).splitlines() if line]

    def running(self, name):
        return json.loads(self.podman("inspect", name))[0]["State"]["Running"]

    def check_goes_on(self, name, before):
        wait_until(lambda: self.logged(name)[-1] > before, f"{name} to go on beyond {before}")
        numbers = [number for number in self.logged(name) if number >= before]
        check(numbers == sorted(set(numbers)), f"{name} counts anew: {numbers[-20:]}")


def start(podman, workplace):
    rootfs = workplace.path("rootfs")
    make_rootfs(rootfs)
    archive = workplace.path("rootfs.tar")
    workplace.run("tar", "-C", rootfs, "-cf", archive, ".")
    podman.podman("import", archive, "box")
    podman.podman("run", "-d", "--name", "plain", "--network=none", *LIMITS, "box", "/bin/sh", "-c", PRINTER, "sh", "secret")
    wait_until(lambda: podman.logged("plain"), "the container to print")


def check_two_cycles(podman):
    for _ in range(2):
        podman.podman("container", "checkpoint", "plain")
        check(not podman.running("plain"), "the container runs on")
        before = podman.logged("plain")[-1]
        podman.podman("container", "restore", "plain")
        podman.check_goes_on("plain", before)


def check_leave_running(podman):
    podman.podman("container", "checkpoint", "--leave-running", "plain")
    check(podman.running("plain"), "the container does not run on")
    podman.check_goes_on("plain", podman.logged("plain")[-1])


def check_statistics(podman):
    said = json.loads(podman.podman("container", "checkpoint", "--print-stats", "plain"))
    statistics = said["container_statistics"][0]["criu_statistics"]
    check(statistics["pages_written"] > 0 and statistics["frozen_time"] > 0, f"strange statistics: {statistics}")
    before = podman.logged("plain")[-1]
    podman.podman("container", "restore", "--print-stats", "plain")
    podman.check_goes_on("plain", before)


def check_archive(podman, workplace):
    archive = workplace.path("plain.tar")
    podman.podman("container", "checkpoint", "--export", archive, "--compress", "none", "plain")
    before = podman.logged("plain")[-1]
    podman.podman("rm", "plain")
    podman.podman("container", "restore", "--import", archive, "--name", "moved")
    podman.check_goes_on("moved", before)


def main():
    with Workplace("podman") as workplace, Podman(workplace) as podman:
        start(podman, workplace)
        check_two_cycles(podman)
        check_leave_running(podman)
        check_statistics(podman)
        check_archive(podman, workplace)


if __name__ == "__main__":
    run(main)
