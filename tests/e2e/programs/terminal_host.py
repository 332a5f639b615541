"""Holds a pseudo-terminal with a bash pipeline in it, types a line from time to time, and checks that no output is lost or repeated."""

import json
import os
import pty
import re
import select
import sys
import time

PIPELINE = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.02; done | sed -u s/tick/tock/ | cat\n"


def main():
    pid, master = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-c", PIPELINE])
    expected = 0
    problems = []
    pending = ""
    while True:
        ready, _, _ = select.select([master], [], [], 1.0)
        if ready:
            pending += os.read(master, 4096).decode()
        *lines, pending = pending.split("\n")
        for line in lines:
            match = re.fullmatch(r"tock (\d+)", line.strip())
            if not match:
                problems.append(f"unexpected line {line!r}")
            elif int(match.group(1)) != expected:
                problems.append(f"line {match.group(1)} came where {expected} was due")
                expected = int(match.group(1)) + 1
            else:
                expected += 1
        if os.tcgetpgrp(master) <= 0:
            problems.append("the terminal has no foreground group")
        with open("status.new", "w", encoding="utf-8") as file:
            json.dump({"lines": expected, "problems": problems, "bash": pid, "tty": os.ttyname(master)
                       if os.isatty(master) else ""}, file)
        os.rename("status.new", "status")
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
