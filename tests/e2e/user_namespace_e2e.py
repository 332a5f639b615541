"""A program in a user namespace of its own keeps the ids, groups and capabilities that it sees there, and gets no more outside."""

import os
import sys

from harness import Target, check, read, run, wait_until

PROGRAM = """
select undef, undef, undef, 0.005 until -w ".";
my $rounds = 0;
while (1) {
  $rounds++;
  open my $status, "<", "/proc/self/status" or die;
  my @seen = grep { /^(Uid|Gid|Groups|Cap...|NoNewPrivs):/ } <$status>;
  open my $file, ">", "state.new" or die; print $file "$rounds\\n", @seen; close $file;
  rename "state.new", "state"; select undef, undef, undef, 0.005;
}
"""
# A process below writes the maps, which takes rights outside of the namespace; then we are somebody in it.
START = """
import ctypes, os, sys
us, (ready, go), (done, wait) = os.getpid(), os.pipe(), os.pipe()
if os.fork() == 0:
    os.read(ready, 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{us}/{kind}_map", "w") as file:
            file.write("0 100000 1000")
    os.write(wait, b"x")
    os._exit(0)
if ctypes.CDLL(None).unshare(0x10000000) != 0:
    sys.exit("no user namespaces here")
os.write(go, b"x")
os.read(done, 1)
os.wait()
os.setgroups([])
os.setresgid(0, 0, 0)
os.setresuid(0, 0, 0)
os.closerange(3, 64)
os.execvp(sys.argv[1], sys.argv[1:])
"""
AS_SOMEBODY = ["setpriv", "--reuid", "33", "--regid", "34", "--groups", "5,7", "--inh-caps", "+net_bind_service",
               "--ambient-caps", "+net_bind_service", "--bounding-set", "-sys_boot"]


def ids_outside(pid):
    fields = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
    return [fields[name].split() for name in ("Uid", "Gid", "Groups")] + [read(f"/proc/{pid}/uid_map").split()]


def main():
    if os.getuid() != 0:
        return
    with Target([sys.executable, "-c", START, *AS_SOMEBODY, "perl", "-e", PROGRAM], "user-namespace") as target:
        os.chmod(target.log, 0o666)
        os.chmod(target.dir, 0o777)

        def state():
            try:
                lines = read(target.path("state")).splitlines()
                return int(lines[0]), lines[1:]
            except (FileNotFoundError, IndexError):
                return 0, []

        wait_until(lambda: state()[0] > 2, "the program to start")
        before, outside = state()[1], ids_outside(target.pid)
        check("Uid:\t33\t33\t33\t33" in before and outside[0][0] == "100033", f"set up: {before}, {outside}")
        for cycle in (1, 2):
            target.cycle()
            seen = state()[0]
            wait_until(lambda: state()[0] > seen + 2, f"cycle {cycle}: the program to go on")
            check(state()[1] == before, f"cycle {cycle}: {before} -> {state()[1]}")
            check(ids_outside(target.pid) == outside, f"cycle {cycle}: {outside} -> {ids_outside(target.pid)}")


if __name__ == "__main__":
    run(main)
