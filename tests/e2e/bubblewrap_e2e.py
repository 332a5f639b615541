"""A program in a sandbox of bubblewrap keeps its state and its sandbox: file systems, namespaces, user, and no way out."""

import json
import os
import shutil
import tempfile

from harness import Target, check, read, run, tree_of, wait_until

# Its state is in memory and in the sandbox's own /tmp; what it sees is told anew each round.
PROGRAM = """
import json, os, pathlib, time
rounds, kept = 0, open("/tmp/kept", "w+")
gone = open("/tmp/gone", "w+")
null = open("/dev/null", "wb", buffering=0)
os.unlink("/tmp/gone")
gone.write("unlinked"); gone.flush()
def fails(work):
    try:
        work()
    except OSError:
        return True
    return False
def mounts():
    return sorted(" ".join(line.split(" - ")[0].split()[3:]) + " - " + line.split(" - ")[1].split()[0]
                  for line in os.pread(os.open("/proc/self/mountinfo", os.O_RDONLY), 1 << 20, 0).decode().splitlines())
while True:
    rounds += 1
    kept.seek(0); kept.write(str(rounds)); kept.flush()
    gone.seek(0)
    seen = {
        "rounds": rounds, "kept": int(open("/tmp/kept").read()), "gone": gone.read(),
        "ids": [os.getuid(), os.getgid(), os.getpid(), os.getppid()], "host": os.uname().nodename,
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "links": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
        "root": sorted(os.listdir("/")), "dev": sorted(os.listdir("/dev")), "mounts": mounts(),
        "capabilities": [line for line in open("/proc/self/status") if line.startswith(("Cap", "NoNewPrivs"))],
        "refused": [fails(lambda: open("/usr/made", "w")), fails(lambda: os.mkdir("/usr/bin/made"))],
        "null": null.write(b"x"),
    }
    pathlib.Path("/state/state.new").write_text(json.dumps(seen))
    os.rename("/state/state.new", "/state/state")
    time.sleep(0.005)
"""
SANDBOX = ["bwrap", "--unshare-all", "--unshare-user", "--hostname", "sandbox", "--ro-bind", "/usr", "/usr",
           "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
           "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chdir", "/"]
COUNTERS = ("rounds", "kept", "null")
NAMESPACES = ("user", "pid", "mnt", "net", "uts", "ipc", "cgroup")


def outside(root):
    """What the machine sees of the sandboxed tree: who each process is, and which namespaces they share with us."""
    seen = []
    for pid in tree_of(root):
        fields = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
        shared = [kind for kind in NAMESPACES if os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")]
        seen.append((pid, fields["Name"], fields["Uid"].split(), fields["Gid"].split(), fields["Seccomp"], shared,
                     read(f"/proc/{pid}/uid_map").split()))
    return seen


def survive(name, user, options):
    """Two checkpoints of bwrap and what it watches over."""
    state_folder = tempfile.mkdtemp(prefix="nativecr-bubblewrap-")
    os.chown(state_folder, user, user)
    command = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", *SANDBOX, *options,
               "--bind", state_folder, "/state", "python3", "-c", PROGRAM]
    with Target(command, name) as target:
        if "--die-with-parent" in options:
            target.restore_options = ["--sibling"]  # with us as its parent, not a command that ends

        def state():
            try:
                return json.loads(read(os.path.join(state_folder, "state")))
            except FileNotFoundError:
                return {"rounds": 0}

        wait_until(lambda: state()["rounds"] > 2, "the program to start")
        before, around = state(), outside(target.pid)
        check(before["gone"] == "unlinked" and all(before["refused"]) and before["links"] == ["lo"], f"set up: {before}")
        for cycle in (1, 2):
            last = state()["rounds"]
            target.cycle()
            wait_until(lambda: state()["rounds"] > last + 2, f"{name}: cycle {cycle}: the program to go on")
            after = state()
            check(after["kept"] == after["rounds"], f"{name}: cycle {cycle}: its file and its memory differ: {after}")
            for what, was in before.items():
                check(what in COUNTERS or after[what] == was, f"{name}: cycle {cycle}: {what}: {was} -> {after[what]}")
            check(outside(target.pid) == around, f"{name}: cycle {cycle}: {around} -> {outside(target.pid)}")
            print(f"{name}: cycle {cycle}: {last} rounds before, {after['rounds']} after", flush=True)
    shutil.rmtree(state_folder)


def main():
    if os.getuid() != 0:
        return
    survive("sandbox-of-root", 0, [])
    survive("sandbox-of-a-user", 1000, ["--uid", "33", "--gid", "34", "--die-with-parent"])
    survive("sandbox-with-little", 1000, ["--new-session", "--disable-userns", "--ro-bind", "/etc", "/etc",
                                          "--tmpfs", "/etc/ssl", "--dir", "/run", "--setenv", "HOME", "/tmp",
                                          "--size", "1048576", "--tmpfs", "/var", "--perms", "0700", "--dir", "/var/own",
                                          "--remount-ro", "/var"])


if __name__ == "__main__":
    run(main)
