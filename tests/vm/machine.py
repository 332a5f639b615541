"""A machine of qemu's, emulated in software, with Debian's kernel: a disk that is its root, an initramfs that finds it."""

import glob
import os
import re
import shutil
import subprocess

from harness import REPOSITORY, Failure, check

CACHE = os.path.join(REPOSITORY, "build/vm")
KERNEL = "linux-image-cloud-amd64"
MODULES = ["virtio_pci", "virtio_blk", "unix_diag", "tcp_diag", "udp_diag", "netlink_diag", "af_packet_diag"]

INITRAMFS_INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t ext4 /dev/vda /disk
exec /bin/busybox switch_root /disk /init
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    check(done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def kernel_package():
    found = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", KERNEL))
    check(found, f"apt does not know what {KERNEL} stands for")
    return found[1]


def extract_kernel():
    """The package's files, without installing it. They are kept for the next time."""
    if not glob.glob(f"{CACHE}/kernel/boot/vmlinuz-*"):
        os.makedirs(CACHE, exist_ok=True)
        try:
            name = kernel_package()
        except Failure:
            run("apt-get", "update", "-qq")
            name = kernel_package()
        run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", name, cwd=CACHE)
        shutil.rmtree(f"{CACHE}/kernel", ignore_errors=True)
        run("dpkg-deb", "-x", glob.glob(f"{CACHE}/{name}_*.deb")[0], f"{CACHE}/kernel")
    return f"{CACHE}/kernel"


def depends_of(module):
    """What a module says of itself in .modinfo."""
    with open(module, "rb") as file:
        found = re.search(rb"\0depends=([^\0]*)\0", file.read())
    return [name for name in (found[1].decode().split(",") if found else []) if name]


def with_dependencies(kernel, names):
    """Paths of modules, each behind those that it needs. One that is not there is built in."""
    paths = {}
    for top, _, files in os.walk(f"{kernel}/lib/modules"):
        paths.update({file[:-3].replace("-", "_"): os.path.join(top, file) for file in files if file.endswith(".ko")})
    order = []

    def visit(name):
        path = paths.get(name.replace("-", "_"))
        if path is None or path in order:
            return
        for other in depends_of(path):
            visit(other)
        order.append(path)

    for name in names:
        visit(name)
    return order


def make_initramfs(kernel, directory):
    tree = os.path.join(directory, "initramfs")
    for name in ("bin", "dev", "disk", "modules"):
        os.makedirs(os.path.join(tree, name))
    shutil.copy("/bin/busybox", f"{tree}/bin/busybox")
    modules = with_dependencies(kernel, MODULES)
    for module in modules:
        shutil.copy(module, f"{tree}/modules")
    with open(f"{tree}/modules/order", "w", encoding="utf-8") as file:
        file.write("\n".join(os.path.basename(module) for module in modules))
    with open(f"{tree}/init", "w", encoding="utf-8") as file:
        file.write(INITRAMFS_INIT)
    os.chmod(f"{tree}/init", 0o755)
    archive = os.path.join(directory, "initramfs.cpio")
    run("sh", "-c", f"cd '{tree}' && find . | busybox cpio -o -H newc > '{archive}'")
    return archive


def add_program(root, program):
    """A program and the libraries that it names, where it looks for them."""
    target = root + program
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copy(program, target)
    for word in subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout.split():
        if word.startswith("/"):
            os.makedirs(root + os.path.dirname(word), exist_ok=True)
            shutil.copy(word, root + word)


class Machine:
    """Boots until its own init turns it off; what it says on its serial line is its report."""

    def __init__(self, root, directory, size="512M"):
        kernel = extract_kernel()
        self.image = glob.glob(f"{kernel}/boot/vmlinuz-*")[0]
        self.initramfs = make_initramfs(kernel, directory)
        self.disk = os.path.join(directory, "disk")
        self.line = os.path.join(directory, "serial")
        run("mke2fs", "-q", "-t", "ext4", "-d", root, self.disk, size)

    def run(self, seconds):
        """All its boots, up to the end. Returns what it said."""
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1024", "-smp", "1", "-nodefaults", "-nographic",
                   "-kernel", self.image, "-initrd", self.initramfs,
                   "-append", "console=ttyS0 panic=1 quiet no_timer_check cgroup_no_v1=all", "-serial", f"file:{self.line}",
                   "-drive", f"file={self.disk},format=raw,if=virtio"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as machine:
            try:
                said, _ = machine.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                raise Failure(f"the machine did not come to its end:\n{self.report()[-4000:]}") from None
            finally:
                machine.kill()
        check(machine.returncode == 0, f"qemu: exit {machine.returncode}: {said.decode()}")
        return self.report()

    def report(self):
        try:
            with open(self.line, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""
