"""A program with threads, subprocesses, a long computation and an open sqlite3 transaction. It checks itself: the file `status`
counts rounds, and says what went wrong if anything did."""

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time

problems = []
progress = [0] * 4
start = time.monotonic()


def chain(index):
    """A hash chain computed twice, by different strides: any lost or repeated step shows."""
    value = b"%d" % index
    again = value
    while True:
        for _ in range(50):
            value = hashlib.sha256(value).digest()
        for _ in range(50):
            again = hashlib.sha256(again).digest()
        if value != again:
            problems.append(f"thread {index}: the chain broke")
        progress[index] += 1
        time.sleep(0.001)


def echo(child, text):
    child.stdin.write(text + "\n")
    child.stdin.flush()
    return child.stdout.readline().rstrip("\n")


def main():
    for index in range(4):
        threading.Thread(target=chain, args=(index,), daemon=True).start()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    database = sqlite3.connect("rows.db", isolation_level=None)
    database.execute("CREATE TABLE rows (n INTEGER)")
    database.execute("BEGIN IMMEDIATE")
    rounds = 0
    while True:
        rounds += 1
        if echo(child, f"line {rounds}") != f"line {rounds}":
            problems.append("the subprocess answered something else")
        database.execute("INSERT INTO rows VALUES (?)", (rounds,))
        if database.execute("SELECT COUNT(*) FROM rows").fetchone()[0] != rounds:
            problems.append("the transaction lost rows")
        if rounds % 400 == 0:
            database.execute("COMMIT")
            database.execute("BEGIN IMMEDIATE")
        if time.monotonic() < start:
            problems.append("the monotonic clock went backwards")
        with open("status.new", "w", encoding="utf-8") as file:
            json.dump({"rounds": rounds, "threads": progress, "problems": problems}, file)
        os.rename("status.new", "status")
        time.sleep(0.002)


if __name__ == "__main__":
    sys.exit(main())
