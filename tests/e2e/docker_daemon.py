"""A Docker daemon of the tests' own, with nativecr as its criu: its data, socket and containerd lie in a temporary directory."""

import json
import os
import signal
import subprocess

from harness import Failure, check, read, run, wait_until


class Daemon:
    """dockerd with a data root of its own, experimental for the sake of checkpoints; `network` are options for its bridge."""

    def __init__(self, workplace, network=("--bridge=none",)):
        self.workplace = workplace
        self.network = network
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
                ["dockerd", "--experimental", "--iptables=false", "--ip-masq=false", *self.network, "--storage-driver=vfs",
                 "--data-root", self.workplace.path("data"), "--exec-root", self.workplace.path("exec"),
                 "--pidfile", self.workplace.path("docker.pid"), "--host", f"unix://{self.socket}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.workplace.environment)
        wait_until(lambda: self.answers(), "dockerd to answer")

    def answers(self):
        if self.process.poll() is not None:
            raise Failure(f"dockerd exited with {self.process.returncode}: {read(self.log)[-3000:]}")
        done = subprocess.run(self.command("version"), capture_output=True, check=False,
                              env=self.workplace.environment)
        return done.returncode == 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def command(self, *arguments):
        return ["docker", "-H", f"unix://{self.socket}", *arguments]

    def docker(self, *arguments, check_status=True):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True,
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

    def stop_at(self, name, checkpoint):
        """A checkpoint that ends the container; the last number it has printed."""
        self.checkpoint(name, checkpoint)
        wait_until(lambda: not running(self, name), "the container to stop")
        return self.logged(name)[-1]

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


def running(daemon, name):
    return json.loads(daemon.docker("inspect", name))[0]["State"]["Running"]


def check_goes_on(daemon, name, before):
    wait_until(lambda: daemon.logged(name)[-1] > before, f"{name} to go on beyond {before}")
    numbers = daemon.logged(name)
    check(numbers == sorted(set(numbers)), f"{name} counts anew: {numbers[-20:]}")
