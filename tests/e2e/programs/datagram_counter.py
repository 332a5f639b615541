"""Counts the datagrams that reach it: "STATUS_FILE PORT..." writes the counts into the file."""

import os
import selectors
import socket
import sys

status_file, *ports = sys.argv[1:]
memory = os.urandom(64 << 20)  # takes time to restore
counts = [0] * len(ports)
selector = selectors.DefaultSelector()
for index, port in enumerate(ports):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("0.0.0.0", int(port)))
    selector.register(receiver, selectors.EVENT_READ, index)

with open(status_file, "w+b", buffering=0) as status:
    while True:
        status.seek(0)
        status.write(b" ".join(b"%12d" % count for count in counts))
        for key, _ in selector.select():
            key.fileobj.recv(100)
            counts[key.data] += 1
