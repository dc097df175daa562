#!/usr/bin/env python3
"""Counts the instructions that bootstrap takes for an event, or measures the time from event to response.

usage: instructions.py [--times] FILE

FILE, a bootstrap, runs `cat` in mode `filter` on a Runtime API that is a loop in this script. Counted is with valgrind's
callgrind, which a busy machine does not disturb: some events more against some events fewer, so that the start falls out.
Times are medians.
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HEADERS = (
    "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"
    "Lambda-Runtime-Deadline-Ms: {deadline}\r\n"
    "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:f\r\n"
    "Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


def read(stream):
    """A request's first line and its body, or None at the end."""
    first, length = stream.readline(), 0
    while (header := stream.readline()) not in (b"\r\n", b""):
        if header.lower().startswith(b"content-length:"):
            length = int(header.split(b":")[1])
    return (first, stream.read(length)) if first else None


def serve(command, events, size):
    """Gives the command so many events of so many bytes. Returns each one's time to its response, in seconds."""
    event = b'{"a":"' + b"x" * (size - 8) + b'"}'
    times = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:%d" % server.getsockname()[1],
            "BOOTSTRAP_COMMAND": "cat",
            "BOOTSTRAP_MODE": "filter",
            "LAMBDA_TASK_ROOT": "/",
        }
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(times) < events:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            while request := read(stream):
                first, body = request
                if b"/next" in first:
                    if len(times) == events:
                        break
                    head = HEADERS.format(deadline=int(time.time() * 1000) + 60_000, length=len(event))
                    sent = time.perf_counter()
                    connection.sendall(head.encode() + event)
                elif b"/response" in first and body == event:
                    times.append(time.perf_counter() - sent)
                    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                else:
                    sys.exit(f"unexpected: {first!r} {body[:1000]!r}")
        process.terminate()
        process.wait()
    return times


def count(file, events, size):
    """The instructions of a run with so many events."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "callgrind.%p")
        serve(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", file], events, size)
        # A child that fails to start its program leaves a file, too: the largest is bootstrap's.
        totals = (re.search(r"^totals: (\d+)", open(os.path.join(folder, name)).read(), re.M) for name in os.listdir(folder))
        return max(int(total[1]) for total in totals if total)


def main():
    file = os.path.abspath(sys.argv[-1])
    if "--times" in sys.argv:
        for size, events in ((1_000, 3000), (100_000, 1000), (6_000_000, 80)):
            print(f"{size} bytes: {statistics.median(serve([file], events, size)) * 1e6:.1f} µs")
    else:
        for size, events in ((1_000, 200), (100_000, 50)):
            print(f"{size} bytes: {(count(file, 20 + events, size) - count(file, 20, size)) // events} instructions an event")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[-1].startswith("-"):
        sys.exit(__doc__)
    main()
