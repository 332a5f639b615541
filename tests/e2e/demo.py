"""`./dev demo`: the main job on real programs, shown. A redis-server with 100,000 keys and a python3 program with threads, a subprocess and an open sqlite3
transaction are dumped (and so killed), shown, restored and checked."""

import json
import os
import subprocess
import sys

import redis_e2e
from harness import NATIVECR, PROGRAMS, Target, check, nativecr, read, run, wait_until
from redis_client import answers


def checkpoint(target):
    images = target.path("images")
    dumped = nativecr("dump", "--pid", target.pid, "--images", images)
    target.reap()
    check(not target.alive(), "the dump was to kill the tree")
    print(f"  dumped: {dumped['tasks']} tasks, {dumped['threads']} threads; frozen {dumped['frozen_ns'] / 1e6:.2f} ms of "
          f"{dumped['total_ns'] / 1e6:.2f} ms; image {dumped['image_bytes'] / 1048576:.1f} MiB")
    subprocess.run([NATIVECR, "inspect", "--images", images], check=True)
    restored = nativecr("restore", "--images", images, "--detach")
    print(f"  restored in {restored['total_ns'] / 1e6:.2f} ms, root pid {restored['root_pid']} as before")


def show_redis():
    print("redis-server: 100,000 keys, some of which expire")
    with Target(redis_e2e.SERVER, "redis") as target:
        wait_until(lambda: answers(*redis_e2e.ADDRESS), "redis to answer")
        redis_e2e.fill()
        redis_e2e.prove(0)
        checkpoint(target)
        redis_e2e.prove(1)
        print("  checked: every sampled key is there, expired keys are gone, new writes work\n")


def show_python():
    print("python3: four threads, a subprocess, an sqlite3 transaction")
    with Target([sys.executable, os.path.join(PROGRAMS, "workers.py")], "python") as target:
        status = lambda: json.loads(read(target.path("status")))
        wait_until(lambda: os.path.exists(target.path("status")) and status()["rounds"] > 20, "the program to start")
        seen = status()["rounds"]
        checkpoint(target)
        wait_until(lambda: status()["rounds"] > seen + 50, "the program to go on")
        check(not status()["problems"], f"{status()['problems']}")
        print(f"  checked: round {seen} before, {status()['rounds']} now, and no thread, pipe or row was lost\n")


def main():
    sys.stdout.reconfigure(line_buffering=True)
    show_redis()
    show_python()
    print("Both programs ran on as if nothing had happened.")


if __name__ == "__main__":
    run(main)
