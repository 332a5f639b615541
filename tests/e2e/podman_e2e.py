"""Podman with runc checkpoints and restores containers with nativecr as its criu: twice in a row, running on, through an archive,
with statistics, its memory dumped ahead, with a terminal."""

import json

from containers import PRINTER, Workplace, archive_rootfs
from harness import check, run, wait_until
from podman_engine import Podman


def start(podman, workplace):
    podman.podman("import", archive_rootfs(workplace, "box"), "box")
    podman.run_detached("plain", "box", "/bin/sh", "-c", PRINTER, "sh", "secret")
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


def check_dumped_ahead(podman, workplace):
    """Memory in two steps, the container running between them; then the same through archives."""
    before = podman.logged("moved")[-1]
    for _ in range(2):
        podman.podman("container", "checkpoint", "--pre-checkpoint", "moved")
        check(podman.running("moved"), "the container does not run on")
        podman.check_goes_on("moved", before)
        podman.podman("container", "checkpoint", "--with-previous", "moved")
        check(not podman.running("moved"), "the container runs on")
        before = podman.logged("moved")[-1]
        podman.podman("container", "restore", "moved")
        podman.check_goes_on("moved", before)
    ahead, rest = workplace.path("ahead.tar"), workplace.path("rest.tar")
    podman.podman("container", "checkpoint", "--pre-checkpoint", "--export", ahead, "moved")
    podman.check_goes_on("moved", podman.logged("moved")[-1])
    podman.podman("container", "checkpoint", "--with-previous", "--export", rest, "moved")
    before = podman.logged("moved")[-1]
    podman.podman("rm", "moved")
    podman.podman("container", "restore", "--import-previous", ahead, "--import", rest)
    podman.check_goes_on("moved", before)


def check_terminal(podman):
    podman.run_detached("terminal", "box", "/bin/sh", "-c", PRINTER, "sh", "secret", options=["-t", "--network=none"])
    wait_until(lambda: podman.logged("terminal"), "the container with a terminal to print")
    for _ in range(2):
        podman.podman("container", "checkpoint", "terminal")
        before = podman.logged("terminal")[-1]
        podman.podman("container", "restore", "terminal")
        podman.check_goes_on("terminal", before)
        check("/dev/pts/0" in podman.podman("exec", "terminal", "readlink", "/proc/1/fd/1"), "the program has lost its terminal")


def main():
    with Workplace("podman") as workplace, Podman(workplace) as podman:
        start(podman, workplace)
        check_two_cycles(podman)
        check_leave_running(podman)
        check_statistics(podman)
        check_archive(podman, workplace)
        check_dumped_ahead(podman, workplace)
        check_terminal(podman)


if __name__ == "__main__":
    run(main)
