"""Docker checkpoints and starts containers from their checkpoints with nativecr as its criu; the daemon is stopped and started
again in between. The daemon is our own: its data, socket and containerd lie in a temporary directory."""

import json
import os
import signal
import subprocess

from containers import Workplace, make_rootfs
from harness import Failure, check, read, run, wait_until


class Daemon:
    """dockerd with a data root of its own, experimental for the sake of checkpoints."""

    def __init__(self, workplace):
        self.workplace = workplace
        self.socket = workplace.path("docker.sock")
        self.log = workplace.path("dockerd.log")
        self.process = None
        for name in ("data", "exec"):
            os.makedirs(workplace.path(name), exist_ok=True)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if value is not None and os.path.exists(self.log):
            print(f"--- dockerd\n{read(self.log)[-4000:]}\n---", flush=True)
        for container in self.docker("ps", "-aq", check_status=False).split():
            self.docker("rm", "-f", container, check_status=False)
        self.stop()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--experimental", "--iptables=false", "--ip-masq=false", "--bridge=none", "--storage-driver=vfs",
                 "--data-root", self.workplace.path("data"), "--exec-root", self.workplace.path("exec"),
                 "--pidfile", self.workplace.path("docker.pid"), "--host", f"unix://{self.socket}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.workplace.environment)
        wait_until(lambda: self.answers(), "dockerd to answer")

    def answers(self):
        if self.process.poll() is not None:
            raise Failure(f"dockerd exited with {self.process.returncode}: {read(self.log)[-3000:]}")
        done = subprocess.run(["docker", "-H", f"unix://{self.socket}", "version"], capture_output=True, check=False,
                              env=self.workplace.environment)
        return done.returncode == 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def docker(self, *arguments, check_status=True):
        done = subprocess.run(["docker", "-H", f"unix://{self.socket}", *arguments], capture_output=True, text=True,
                              check=False, stdin=subprocess.DEVNULL, env=self.workplace.environment, timeout=120)
        if check_status and done.returncode != 0:
            raise Failure(f"docker {' '.join(arguments)}: {done.stderr}{self.criu_logs()}")
        return done.stdout

    def collect_garbage(self):
        """The daemon puts a checkpoint into containerd's store for a moment, and fails as long as the same content from the last
        time waits there to be collected (whatever criu is): ending a lease has containerd do it now."""
        ctr = ["ctr", "--address", self.workplace.path("exec", "containerd", "containerd.sock"), "--namespace", "moby"]
        self.workplace.run(*ctr, "leases", "create", "--id", "collect")
        self.workplace.run(*ctr, "leases", "delete", "--sync", "collect")

    def checkpoint(self, name, checkpoint, *options):
        self.collect_garbage()
        self.docker("checkpoint", "create", *options, name, checkpoint)

    def start_from(self, checkpoint, name):
        self.collect_garbage()
        self.docker("start", "--checkpoint", checkpoint, name)

    def criu_logs(self):
        """The last lines of every log that a dump or restore has left."""
        said = ""
        for top, _, names in os.walk(self.workplace.path("exec")):
            for name in names:
                if name.endswith(".log"):
                    said += f"\n--- {name}\n{read(os.path.join(top, name))[-1500:]}"
        return said

    def logged(self, name):
        """The numbers that a container has printed so far."""
        return [int(line.split()[0]) for line in self.docker("logs", name).splitlines() if line]


PRINTER = "secret=$1; n=0; while :; do n=$((n+1)); echo \"$n $secret\"; sleep 0.05; done"


def import_image(daemon, workplace):
    rootfs = workplace.path("rootfs")
    make_rootfs(rootfs)
    archive = workplace.path("rootfs.tar")
    workplace.run("tar", "-C", rootfs, "-cf", archive, ".")
    daemon.docker("import", archive, "box")


def running(daemon, name):
    return json.loads(daemon.docker("inspect", name))[0]["State"]["Running"]


def check_goes_on(daemon, name, before):
    wait_until(lambda: daemon.logged(name)[-1] > before, f"{name} to go on beyond {before}")
    numbers = daemon.logged(name)
    check(numbers == sorted(set(numbers)), f"{name} counts anew: {numbers[-20:]}")


def check_checkpoints(daemon):
    daemon.docker("run", "-d", "--name", "plain", "--network=none", "box", "/bin/sh", "-c", PRINTER, "sh", "secret")
    wait_until(lambda: daemon.logged("plain"), "the container to print")
    for number in range(2):
        daemon.checkpoint("plain", f"point{number}")
        wait_until(lambda: not running(daemon, "plain"), "the container to stop")
        before = daemon.logged("plain")[-1]
        daemon.start_from(f"point{number}", "plain")
        check_goes_on(daemon, "plain", before)


def check_leave_running(daemon):
    daemon.checkpoint("plain", "snapshot", "--leave-running")
    check(running(daemon, "plain"), "the container does not run on")
    check_goes_on(daemon, "plain", daemon.logged("plain")[-1])


def check_new_daemon(daemon):
    daemon.checkpoint("plain", "upgrade")
    wait_until(lambda: not running(daemon, "plain"), "the container to stop")
    before = daemon.logged("plain")[-1]
    daemon.stop()
    daemon.start()
    daemon.start_from("upgrade", "plain")
    check_goes_on(daemon, "plain", before)


def main():
    with Workplace("docker") as workplace, Daemon(workplace) as daemon:
        import_image(daemon, workplace)
        check_checkpoints(daemon)
        check_leave_running(daemon)
        check_new_daemon(daemon)


if __name__ == "__main__":
    run(main)
