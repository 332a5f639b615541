"""A runc container in a network namespace of somebody else's making: restored it is in that namespace again, or in the one that
its config names by then, and the server in it answers there. Nothing of the namespace itself is touched."""

import json
import os
import socket

from containers import COUNTER, NetworkNamespace, Runc, Workplace
from harness import check, run, wait_until

ADDRESS, PORT = "10.77.0.2", 8007


def in_namespace_of(path, secret):
    def change(config):
        config["process"]["args"] = ["/bin/sh", "-c", f"nc -ll -p {PORT} -e /bin/cat & {COUNTER}", "sh", secret]
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = path
    return change


def add_address(namespace):
    namespace.ip("link", "set", "lo", "up")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("address", "add", f"{ADDRESS}/24", "dev", "eth0")
    namespace.ip("link", "set", "eth0", "up")


def network_of(container):
    pid = json.loads(container.runc("state"))["pid"]
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def echo(namespace, text, seconds=30):
    """What the server says, asked in the namespace; "" if there is none."""
    try:
        with namespace.connect(ADDRESS, PORT, seconds) as connection:
            connection.sendall(text.encode())
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile().read()
    except OSError:
        return ""


def check_is_in(container, namespace, text):
    check(network_of(container) == namespace.inode(), "the container is in another network namespace")
    wait_until(lambda: echo(namespace, text) == text, f"the server to answer in {namespace.name}")
    found = namespace.run("ip", "-o", "address", "show", "dev", "eth0")
    check(ADDRESS in found, f"the namespace lost its address: {found}")


def name_in_config(container, namespace):
    path = os.path.join(container.directory, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    in_namespace_of(namespace.path, container.counter.secret)(config)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)


def main():
    with Workplace("runc-netns") as workplace, NetworkNamespace("first") as first, NetworkNamespace("second") as second:
        add_address(first)
        add_address(second)
        with Runc(workplace, "netns", in_namespace_of(first.path, "secret-of-netns")) as container:
            container.start()
            check_is_in(container, first, "before")
            for cycle, namespace in enumerate((first, first, second), start=1):
                container.checkpoint()
                before = container.counter.value()
                # The port of a killed listener is silent: its clients wait for it.
                check(echo(namespace, "nobody", seconds=2) == "", "a server answers while the container is away")
                name_in_config(container, namespace)
                container.restore()
                container.counter.check_goes_on_from(before)
                check_is_in(container, namespace, f"cycle {cycle}")


if __name__ == "__main__":
    run(main)
