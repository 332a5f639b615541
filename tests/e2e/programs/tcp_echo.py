"""Answers every line with the same line. "serve PORT_FILE" is the server, "talk PORT STATUS_FILE" a client that counts what came back whole."""

import os
import socket
import sys
import time


def serve(port_file):
    listener = socket.create_server(("127.0.0.1", 0))
    with open(port_file + ".new", "w", encoding="ascii") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(port_file + ".new", port_file)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as lines:
            for line in lines:
                lines.write(line)
                lines.flush()


def talk(port, status_file):
    connection = socket.create_connection(("127.0.0.1", port))
    with open(status_file, "w+b", buffering=0) as status, connection.makefile("rwb") as lines:
        number = 0
        while True:
            number += 1
            line = b"%d %s\n" % (number, b"x" * (number * 7919 % 100_000))
            lines.write(line)
            lines.flush()
            if lines.readline() != line:
                raise SystemExit(f"line {number} came back different")
            status.seek(0)
            status.write(b"%12d" % number)
            time.sleep(0.001)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    talk(int(sys.argv[2]), sys.argv[3])
