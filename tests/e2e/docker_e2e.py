"""Docker checkpoints and starts containers from their checkpoints with nativecr as its criu; the daemon is stopped and started
again in between."""

from containers import PRINTER, Workplace, archive_rootfs
from docker_daemon import Daemon, check_goes_on, running
from harness import check, run, wait_until


def check_checkpoints(daemon):
    daemon.docker("run", "-d", "--name", "plain", "--network=none", "box", "/bin/sh", "-c", PRINTER, "sh", "secret")
    wait_until(lambda: daemon.logged("plain"), "the container to print")
    for number in range(2):
        before = daemon.stop_at("plain", f"point{number}")
        daemon.start_from(f"point{number}", "plain")
        check_goes_on(daemon, "plain", before)


def check_leave_running(daemon):
    daemon.checkpoint("plain", "snapshot", "--leave-running")
    check(running(daemon, "plain"), "the container does not run on")
    check_goes_on(daemon, "plain", daemon.logged("plain")[-1])


def check_new_daemon(daemon):
    before = daemon.stop_at("plain", "upgrade")
    daemon.stop()
    daemon.start()
    daemon.start_from("upgrade", "plain")
    check_goes_on(daemon, "plain", before)


def main():
    with Workplace("docker") as workplace, Daemon(workplace) as daemon:
        daemon.docker("import", archive_rootfs(workplace, "box"), "box")
        check_checkpoints(daemon)
        check_leave_running(daemon)
        check_new_daemon(daemon)


if __name__ == "__main__":
    run(main)
