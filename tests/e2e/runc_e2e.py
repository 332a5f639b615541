"""runc checkpoints and restores containers with nativecr as its criu: a plain one twice in a row, one that runs on, one with
its memory dumped ahead, one in a network namespace of somebody else, one with a terminal."""

import array
import json
import os
import shutil
import socket
import subprocess
import sys
import time

from containers import Workplace, bundle
from harness import Failure, check, run, wait_until


class Runc:
    """One container of runc, with a state directory of its own."""

    def __init__(self, workplace, name, change=None):
        self.workplace = workplace
        self.name = name
        self.directory, self.counter = bundle(workplace, "runc", name, f"secret-of-{name}", change)
        self.output = open(os.path.join(self.directory, "output"), "wb")  # noqa: SIM115
        self.images = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        subprocess.run(["runc", "--root", self.workplace.path("runc"), "delete", "-f", self.name], check=False,
                       capture_output=True)
        self.output.close()

    def runc(self, command, *arguments, **options):
        images = os.path.join(self.directory, f"images-{self.images}")
        return self.workplace.run("runc", "--root", self.workplace.path("runc"), command, *arguments, self.name,
                                  cwd=self.directory,
                                  logs=[os.path.join(images, "dump.log"), os.path.join(images, "restore.log")], **options)

    def quiet(self, command, *arguments, **options):
        """For commands whose standard streams become the container's."""
        done = subprocess.run(["runc", "--root", self.workplace.path("runc"), "--log", os.path.join(self.directory, "log"),
                               command, *arguments, self.name], cwd=self.directory, env=self.workplace.environment,
                              stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, timeout=120, check=False,
                              **options)
        if done.returncode != 0:
            said = []
            for log in ("log", "output", f"images-{self.images}/restore.log"):
                path = os.path.join(self.directory, log)
                if os.path.exists(path):
                    with open(path, encoding="utf-8", errors="replace") as file:
                        said.append(f"--- {log}\n{file.read()[-3000:]}")
            raise Failure(f"runc {command}: exit {done.returncode}\n" + "\n".join(said))

    def start(self):
        self.quiet("run", "-d")
        self.counter.wait_to_start()

    def status(self):
        return json.loads(self.runc("state"))["status"]

    def image_path(self):
        return os.path.join(self.directory, f"images-{self.images}")

    def checkpoint(self, *arguments):
        self.images += 1
        self.runc("checkpoint", "--image-path", self.image_path(), *arguments)

    def restore(self, *arguments):
        self.quiet("restore", "-d", "--image-path", self.image_path(), *arguments)


def check_two_cycles(workplace):
    with Runc(workplace, "plain") as container:
        container.start()
        for _ in range(2):
            container.checkpoint()
            before = container.counter.value()
            container.counter.check_stands_still()
            container.restore()
            container.counter.check_goes_on_from(before)
            check(container.status() == "running", f"runc says it is {container.status()}")


def check_leave_running(workplace):
    with Runc(workplace, "running") as container:
        container.start()
        container.checkpoint("--leave-running")
        before = container.counter.value()
        container.counter.check_goes_on_from(before)
        check(container.status() == "running", f"runc says it is {container.status()}")
        container.runc("delete", "-f")
        container.restore()
        container.counter.check_goes_on_from(before - 1)


def main():
    with Workplace("runc") as workplace:
        check_two_cycles(workplace)
        check_leave_running(workplace)


if __name__ == "__main__":
    run(main)
