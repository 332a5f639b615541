"""A containerd of the tests' own, with nativecr as its criu: its root, state and socket lie in a temporary directory."""

import hashlib
import json
import signal
import subprocess
import tarfile

from containers import archive_rootfs
from harness import check, read, wait_until

CONFIG = """version = 2
root = "{dir}/root"
state = "{dir}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{dir}/containerd.sock"
"""


class Containerd:
    def __init__(self, workplace):
        self.workplace = workplace
        self.config = workplace.path("containerd.toml")
        self.log = workplace.path("containerd.log")
        self.process = None
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(dir=workplace.path()))

    def __enter__(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["containerd", "--config", self.config], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.workplace.environment)
        wait_until(lambda: self.answers(), "containerd to answer")
        return self

    def __exit__(self, kind, value, trace):
        if value is not None:
            print(f"--- containerd\n{read(self.log)[-4000:]}\n---", flush=True)
        for name in self.ctr("containers", "list", "-q").split():
            self.delete(name)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def command(self, *arguments):
        return ["ctr", "--address", self.workplace.path("containerd.sock"), *map(str, arguments)]

    def ctr(self, *arguments):
        return self.workplace.run(*self.command(*arguments))

    def answers(self):
        check(self.process.poll() is None, f"containerd exited: {read(self.log)[-3000:]}")
        return subprocess.run(self.command("version"), capture_output=True, check=False).returncode == 0

    def bundle(self, name):
        return self.workplace.path("containerd-state", "io.containerd.runtime.v2.task", "default", name)

    def tasks(self):
        """Names of containers that have tasks, with the state of each."""
        lines = self.ctr("tasks", "list").splitlines()[1:]
        return {line.split()[0]: line.split()[2] for line in lines}

    def delete(self, name):
        if name in self.tasks():
            self.ctr("tasks", "delete", "--force", name)
        self.ctr("containers", "delete", name)

    def import_image(self, name, *programs):
        """A root file system with one layer as an image, in the form of `docker save`."""
        layer = archive_rootfs(self.workplace, name, *programs)
        with open(layer, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
        manifest = [{"Config": "config.json", "RepoTags": [f"test/{name}:latest"], "Layers": [f"{name}.tar"]}]
        for file, content in (("config.json", config), ("manifest.json", manifest)):
            with open(self.workplace.path(file), "w", encoding="utf-8") as out:
                json.dump(content, out)
        image = self.workplace.path(f"{name}-image.tar")
        with tarfile.open(image, "w") as archive:
            for file in ("manifest.json", "config.json", f"{name}.tar"):
                archive.add(self.workplace.path(file), file)
        self.ctr("images", "import", "--snapshotter", "native", image)
        return f"docker.io/test/{name}:latest"
