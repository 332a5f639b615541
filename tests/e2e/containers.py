"""What the tests with real container runtimes share: nativecr in PATH under the name criu, a root file system of busybox, an
OCI bundle, and a program that counts, so that a check can tell whether it goes on from where it was."""

import concurrent.futures
import ctypes
import json
import os
import shutil
import socket
import subprocess
import tempfile

from harness import NATIVECR, Failure, check, read, wait_until

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x20000
APPLETS = ["sh", "sleep", "cat", "echo", "nc", "ls", "mkdir", "id", "hostname", "tty", "readlink"]

# Counts in memory and on its standard output; what it began with stays in memory too.
PRINTER = "secret=$1; n=0; while :; do n=$((n+1)); echo \"$n $secret\"; sleep 0.05; done"

# Counts in memory and shows how far it is; what it began with stays in memory too.
COUNTER = "secret=$1; n=0; while :; do n=$((n+1)); echo \"$n $secret\" > /state/count.new; mv /state/count.new /state/count; sleep 0.05; done"


class Workplace:
    """A temporary directory with `criu` (nativecr) in a directory of its own, first in PATH."""

    def __init__(self, name):
        check(os.access(NATIVECR, os.X_OK), f"{NATIVECR} is not built: some other criu of this machine would be used")
        self.dir = tempfile.mkdtemp(prefix=f"nativecr-{name}-")
        bin_dir = self.path("bin")
        os.mkdir(bin_dir)
        os.symlink(NATIVECR, os.path.join(bin_dir, "criu"))
        self.environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}:/usr/sbin:/sbin"}

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        """What runtimes have started tidies up for a while after they have ended."""
        try:
            wait_until(lambda: not self.users(), f"everything below {self.dir} to end")
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    def users(self):
        """Pids of processes whose command line has to do with this place."""
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.dir in read(f"/proc/{name}/cmdline"):
                    found.append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def run(self, *arguments, logs=(), **options):
        """Runs a command to its end; its output is the result, what it said is the failure."""
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, check=False,
                              env=self.environment, timeout=120, **options)
        if done.returncode != 0:
            said = "".join(f"--- {log}\n{read(log)[-3000:]}" for log in logs if os.path.exists(log))
            raise Failure(f"{' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout}{done.stderr}{said}")
        return done.stdout


def unshare(kind):
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.unshare(kind) == 0, f"unshare: {os.strerror(ctypes.get_errno())}")


def own_network():
    """Takes this process, and whatever it starts from now on, into a network of their own."""
    unshare(CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def own_mounts():
    """The same for mounts: what is mounted from now on, nobody else sees."""
    unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def configure_runc(workplace, text):
    """Configuration that runc tells criu to read; /etc is ours alone (own_mounts)."""
    for name in ("etc-upper", "etc-work"):
        os.mkdir(workplace.path(name))
    layers = f"lowerdir=/etc,upperdir={workplace.path('etc-upper')},workdir={workplace.path('etc-work')}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, "/etc"], check=True)
    os.makedirs("/etc/criu", exist_ok=True)
    with open("/etc/criu/runc.conf", "w", encoding="utf-8") as file:
        file.write(text)


def make_rootfs(directory):
    """busybox and what a container expects to find."""
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "state", "run"):
        os.makedirs(os.path.join(directory, name))
    shutil.copy("/bin/busybox", os.path.join(directory, "bin/busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(directory, "bin", applet))


def add_programs(rootfs, *programs):
    """Programs of this machine and the libraries they are linked with, at the same places."""
    for program in programs:
        path = shutil.which(program)
        if path is None:
            raise Failure(f"{program} is not installed")
        told = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        libraries = [word for word in told.split() if word.startswith("/")]
        for file in [path, *libraries]:
            place = os.path.join(rootfs, file.lstrip("/"))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copy(file, place)


def archive_rootfs(workplace, name, *programs):
    """A root file system in an archive, for runtimes that import one as an image. Returns the archive's path."""
    rootfs = workplace.path(f"{name}-rootfs")
    make_rootfs(rootfs)
    add_programs(rootfs, *programs)
    archive = workplace.path(f"{name}.tar")
    workplace.run("tar", "-C", rootfs, "-cf", archive, ".")
    return archive


class Counter:
    """How far the counting program of a container is, read from the file it writes."""

    def __init__(self, path, secret):
        self.path = path
        self.secret = secret

    def value(self):
        try:
            number, secret = read(self.path).split()
        except (FileNotFoundError, ValueError):
            return 0
        check(secret == self.secret, f"the program has forgotten its secret: {secret}")
        return int(number)

    def wait_to_start(self):
        wait_until(lambda: self.value() > 0, "the container to count")

    def check_goes_on_from(self, before):
        """It counts on, and did not begin anew."""
        wait_until(lambda: self.value() > before, f"the container to count beyond {before}")
        check(self.value() < before + 2000, f"it counts from {self.value()}, not from {before}")

    def check_stands_still(self):
        before = self.value()
        subprocess.run(["sleep", "0.3"], check=True)
        check(self.value() == before, "the container counts, though it should not")


def bundle(workplace, runtime, name, secret, change=None):
    """An OCI bundle whose program counts; `change` may alter its config. Returns the directory and the counter."""
    directory = workplace.path(name)
    rootfs = os.path.join(directory, "rootfs")
    make_rootfs(rootfs)
    workplace.run(runtime, "spec", cwd=directory)
    config_file = os.path.join(directory, "config.json")
    with open(config_file, encoding="utf-8") as file:
        config = json.load(file)
    config["process"]["terminal"] = False
    config["process"]["args"] = ["/bin/sh", "-c", COUNTER, "sh", secret]
    config["root"]["readonly"] = False
    if change is not None:
        change(config)
    with open(config_file, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return directory, Counter(os.path.join(rootfs, "state/count"), secret)


class NetworkNamespace:
    """One with a name of this test's own below /run/netns."""

    def __init__(self, name):
        self.name = f"nativecr-{os.getpid()}-{name}"
        self.path = f"/run/netns/{self.name}"

    def __enter__(self):
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        return self

    def __exit__(self, kind, value, trace):
        subprocess.run(["ip", "netns", "delete", self.name], check=False)

    def inode(self):
        return os.stat(self.path).st_ino

    def ip(self, *arguments):
        subprocess.run(["ip", "-n", self.name, *arguments], check=True)

    def run(self, *arguments):
        return subprocess.run(["ip", "netns", "exec", self.name, *arguments], capture_output=True, text=True, check=True).stdout

    def inside(self, call):
        """What `call` returns on a thread that is in the namespace: sockets belong to where they were made."""
        def enter_and_call():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(self.path, "rb") as namespace:
                check(libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, f"setns: {os.strerror(ctypes.get_errno())}")
            return call()

        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(enter_and_call).result()

    def connect(self, address, port, seconds=30):
        return self.inside(lambda: socket.create_connection((address, port), timeout=seconds))


class Runc:
    """One container of runc, with a state directory of its own; `host`: the network namespace that runc runs in."""

    def __init__(self, workplace, name, change=None, host=None):
        self.workplace = workplace
        self.name = name
        place = "here" if host is None else host.name
        self.command = [] if host is None else ["nsenter", f"--net={host.path}"]
        self.command += ["runc", "--root", workplace.path(f"runc-{place}")]
        self.directory, self.counter = bundle(workplace, "runc", f"{name}-{place}", f"secret-of-{name}", change)
        self.output = open(os.path.join(self.directory, "output"), "wb")  # noqa: SIM115
        self.images = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        subprocess.run([*self.command, "delete", "-f", self.name], check=False, capture_output=True)
        self.output.close()

    def runc(self, command, *arguments, **options):
        images = os.path.join(self.directory, f"images-{self.images}")
        return self.workplace.run(*self.command, command, *arguments, self.name, cwd=self.directory,
                                  logs=[os.path.join(images, "dump.log"), os.path.join(images, "restore.log")], **options)

    def quiet(self, command, *arguments, **options):
        """For commands whose standard streams become the container's."""
        done = subprocess.run([*self.command, "--log", os.path.join(self.directory, "log"), command, *arguments, self.name],
                              cwd=self.directory, env=self.workplace.environment,
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
