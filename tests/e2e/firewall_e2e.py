"""A program lives behind rules for packets in a network namespace of its own. While it is restored again and again, somebody outside
never stops to send what the rules drop and what they let pass: nothing of the first ever arrives."""

import os
import socket
import subprocess
import sys
import tempfile
import threading

from harness import PROGRAMS, Target, check, nativecr, read, run, wait_until
from tcp_e2e import enter_private_network

ADDRESS, FORBIDDEN, ALLOWED = "10.82.0.2", 7004, 7005
HARDWARE_ADDRESS = "02:82:00:00:00:02"
COUNTER = ["unshare", "--net", sys.executable, os.path.join(PROGRAMS, "datagram_counter.py")]
RULES = {
    "nftables": "nft 'add table inet own; add chain inet own in { type filter hook input priority 0; }; "
                f"add rule inet own in udp dport {FORBIDDEN} counter drop'",
    "iptables": f"iptables-legacy -w -A INPUT -p udp --dport {FORBIDDEN} -j DROP",
}


def shell(commands):
    subprocess.run(["sh", "-ec", commands], check=True)


def has_iptables():
    return subprocess.run(["unshare", "--net", "iptables-legacy", "-w", "-L"], capture_output=True, check=False).returncode == 0


def plug_in(target):
    """Nobody has to ask for its hardware address: a datagram arrives as soon as the link is up."""
    inside = f"nsenter --target {target.pid} --net"
    shell(f"""ip link add plug type veth peer name eth0 address {HARDWARE_ADDRESS} netns {target.pid}
        ip link set plug master wire up
        {inside} ip link set lo up
        {inside} ip link set eth0 up
        {inside} ip address add {ADDRESS}/24 dev eth0""")
    return inside


def go_and_come_back(target, cycle):
    """The kernel takes a namespace apart, and the cable with it, a moment after its last process."""
    images = target.path(f"images-{cycle}")
    nativecr("dump", "--pid", target.pid, "--images", images)
    target.reap()
    wait_until(lambda: "plug" not in [name for _, name in socket.if_nameindex()], "the cable to go")
    nativecr("restore", "--images", images, "--detach", "--external", "veth[eth0]:plug@wire")


class Sender:
    """Sends to both ports until it is told to stop."""

    def __enter__(self):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.send)
        self.thread.start()

    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.thread.join()

    def send(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not self.stop.wait(0.0005):
                for port in (FORBIDDEN, ALLOWED):
                    try:
                        sender.sendto(b"x", (ADDRESS, port))
                    except OSError:  # nobody is there
                        continue


def counts(status_file):
    words = read(status_file).split()
    return {"forbidden": int(words[0]), "allowed": int(words[1])} if len(words) == 2 else {"forbidden": 0, "allowed": 0}


def stay_closed(rules, files):
    status_file = os.path.join(files, "status")
    with Target([*COUNTER, status_file, str(FORBIDDEN), str(ALLOWED)], f"behind-{rules}") as target:
        wait_until(lambda: os.readlink(f"/proc/{target.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "its namespace")
        inside = plug_in(target)
        shell(f"{inside} {RULES[rules]}")
        wait_until(lambda: os.path.exists(status_file), "the program to listen")
        with Sender():
            for cycle in range(5):
                seen = counts(status_file)["allowed"]
                wait_until(lambda: counts(status_file)["allowed"] > seen + 20, f"{rules}, cycle {cycle}: datagrams to arrive")
                go_and_come_back(target, cycle)
                check(target.alive(), f"{rules}, cycle {cycle}: the root is gone")
            seen = counts(status_file)["allowed"]
            wait_until(lambda: counts(status_file)["allowed"] > seen + 20, f"{rules}: datagrams to arrive in the end")
        found = counts(status_file)
        check(found["forbidden"] == 0, f"{rules}: {found['forbidden']} datagrams passed that the rules drop")
        left = subprocess.run([*inside.split(), "nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
        check("nativecr" not in left, f"{rules}: tables of ours are left: {left}")
        print(f"{rules}: {found['allowed']} datagrams arrived in five restores, and none that the rules drop")


def lay_wire():
    """Up without anybody at its other end: what is sent meets nothing but the link of whoever comes."""
    shell(f"""ip link add wire type bridge
        ip link add always type veth peer name there
        ip link set there up
        ip link set always master wire up
        ip link set wire up
        ip address add 10.82.0.1/24 dev wire
        ip neighbour replace {ADDRESS} lladdr {HARDWARE_ADDRESS} dev wire nud permanent""")


def main():
    enter_private_network()
    lay_wire()
    for rules in RULES:
        if rules == "iptables" and not has_iptables():
            continue
        with tempfile.TemporaryDirectory() as files:
            stay_closed(rules, files)


if __name__ == "__main__":
    run(main)
