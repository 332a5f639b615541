"""Podman with runc and nativecr as its criu; its storage lies in a temporary directory."""

import json

from harness import check, wait_until

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

    def run_detached(self, name, image, *command, options=("--network=none",)):
        self.podman("run", "-d", "--name", name, *options, *LIMITS, image, *command)

    def logged(self, name):
        return [int(line.split()[0]) for line in self.podman("logs", name).splitlines() if line]

    def state(self, name):
        return json.loads(self.podman("inspect", name))[0]["State"]

    def running(self, name):
        return self.state(name)["Running"]

    def pid(self, name):
        return self.state(name)["Pid"]

    def check_goes_on(self, name, before):
        wait_until(lambda: self.logged(name)[-1] > before, f"{name} to go on beyond {before}")
        numbers = [number for number in self.logged(name) if number >= before]
        check(numbers == sorted(set(numbers)), f"{name} counts anew: {numbers[-20:]}")
