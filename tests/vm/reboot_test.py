"""A checkpoint outlives its machine: a container of runc is checkpointed to the disk of a virtual machine, the machine boots anew,
the container is restored and goes on. Twice. Takes minutes: the machine is emulated, and boots three times."""

import os
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from containers import Workplace, bundle  # noqa: E402
from harness import NATIVECR, check, run  # noqa: E402
from machine import Machine, add_program  # noqa: E402

APPLETS = ["sh", "mount", "mkdir", "ip", "sync", "poweroff", "reboot", "sleep", "cut", "cat", "seq", "tail"]
# Process 1 of the machine. /run is memory, so that runc knows nothing of a container from an earlier boot.
INIT = r"""#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
say() { echo "TEST: $*" > /dev/console; }
off() { say "$*"; sync; poweroff -f; sleep 1000; }
count() { cut -d' ' -f1 /bundle/rootfs/state/count 2>/dev/null || echo 0; }
secret() { cut -d' ' -f2 /bundle/rootfs/state/count; }
later() { # until it has counted ten more than $1
  for i in $(seq 600); do
    now=$(count); [ "${now:-0}" -gt "$(($1 + 10))" ] && return
    sleep 0.2
  done
  cat /bundle/output > /dev/console; off "FAILED: the container does not count: $(count) after $1"
}
runc_() { # its words are of interest if it fails
  if ! runc --log /tmp/runc.log "$@" < /dev/null >> /bundle/output 2>&1; then
    cat /tmp/runc.log /bundle/output > /dev/console; tail -n 40 /images-*/*.log > /dev/console
    off "FAILED: runc $1"
  fi
}

boot=$(($(cat /boots) + 1)); echo $boot > /boots
[ $boot -gt 3 ] && off "FAILED: an earlier boot did not come to its end"
say "boot $boot, up for $(cut -d' ' -f1 /proc/uptime) s, $(cat /proc/sys/kernel/random/boot_id)"
cd /bundle
before=$(count)
if [ $boot = 1 ]; then
  runc_ run -d counter
  before=0
else
  runc_ restore -d --image-path /images-$((boot - 1)) counter
fi
later ${before:-0}
say "counts $before to $(count) $(secret)"
[ $boot = 3 ] && off DONE
runc_ checkpoint --image-path /images-$boot counter
say "checkpointed at $(count)"
sync
reboot -f
sleep 1000
"""


def make_root(workplace, directory):
    """What the machine's disk holds: busybox, runc, nativecr as criu, and a container that counts."""
    root = os.path.join(directory, "root")
    for name in ("bin", "sbin", "usr/bin", "usr/sbin", "dev", "proc", "sys", "run", "tmp", "etc"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for applet in APPLETS:
        os.symlink("busybox", f"{root}/bin/{applet}")
    add_program(root, shutil.which("runc"))
    add_program(root, NATIVECR)
    os.symlink(NATIVECR, f"{root}/usr/bin/criu")
    made, _ = bundle(workplace, "runc", "counter", "kept-over-boots")
    shutil.copytree(made, f"{root}/bundle", symlinks=True)
    with open(f"{root}/boots", "w", encoding="utf-8") as file:
        file.write("0\n")
    with open(f"{root}/init", "w", encoding="utf-8") as file:
        file.write(INIT)
    os.chmod(f"{root}/init", 0o755)
    return root


def check_report(report):
    said = re.findall(r"TEST: (.*?)\r?\n", report)
    print("\n".join(said), flush=True)
    check(said and said[-1] == "DONE", f"the machine said:\n{report[-6000:]}")
    boots = [re.fullmatch(r"boot (\d), up for [\d.]+ s, (\S+)", line) for line in said]
    check(len({boot[2] for boot in boots if boot}) == 3, "that were not three boots")
    counts = [re.fullmatch(r"counts (\d+) to (\d+) (\S+)", line) for line in said]
    counts = [(int(count[1]), int(count[2]), count[3]) for count in counts if count]
    stops = [int(line.split()[-1]) for line in said if line.startswith("checkpointed at")]
    check(len(counts) == 3 and len(stops) == 2, "something was left out")
    for (start, end, secret), stop in zip(counts, [0, *stops]):
        check(secret == "kept-over-boots", f"the container has forgotten its secret: {secret}")
        check(start == stop and end > start, f"it stopped at {stop}, and counted from {start} to {end}")
        check(end < start + 2000, f"it counts from {end}, not from {start}")


def main():
    with Workplace("vm") as workplace, tempfile.TemporaryDirectory(prefix="nativecr-machine-") as directory:
        machine = Machine(make_root(workplace, directory), directory)
        check_report(machine.run(seconds=1500))


if __name__ == "__main__":
    run(main)
