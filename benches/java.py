#!/usr/bin/env python3
"""The Java example under bootstrap, choice by choice, beside a naive Java runtime with the same handler.

    make bench-java           ROUNDS=21 and EVENTS=3000 are the defaults, target/bench-java.json has all figures

Each variant is a deployment package, laid out under target/bench-java and zipped. It is started ROUNDS times, all variants in
turn, by a scripted Runtime API on loopback, which gives it EVENTS events one after the other. Everything runs on one processor.
The table has, as medians of the rounds,

- package: the zip, with bootstrap, image and archive in it, in MB of 1,000,000 bytes
- start: from before the start of the runtime's process until its first response has been received
- early, late: from before an event is sent until its response has been received, where the runtime is warm: the medians of the
  11th to the 200th event, and of the last third
- processor: what all threads of the runtime, the compiler's too, take of the processor for an event; the mean of all but the first
- memory: the peak resident memory of all processes of the runtime, added up, after the first response and after the last

and how many times better than the first line it is. Each answer is checked. What is measured has this program's own share in it,
some 10 µs of each invocation.
"""

import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import time
import zipfile

BOOTSTRAP, WORK = (os.path.abspath(path) for path in sys.argv[1:3])
ROUNDS = int(os.environ.get("ROUNDS", "21"))
EVENTS = int(os.environ.get("EVENTS", "3000"))
EARLY = 10, 200

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
EXAMPLE, NAIVE = os.path.join(TOP, "examples/java-jlink"), os.path.join(TOP, "benches/java-naive")
MAIN = "com.example.orders/com.example.orders.Main"
MEMORY_SIZE = "256"

EVENT = '{"customer":"Zoë","taxRate":0.19,"lines":[{"sku":"tea","quantity":12,"unitPrice":3.50}]}'.encode()
ANSWER = (
    '{"customer":"Zoë","lines":[{"sku":"tea","quantity":12,"amount":42.00}],'
    '"subtotal":42.00,"discount":2.10,"tax":7.58,"total":47.48}'
).encode()


class RuntimeApi:
    """One connection at a time, read and written whole, so that little of what is measured is this program's."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.connection, self.rest = None, b""

    def __enter__(self):
        self.give_up_after_a_minute(self.listener)
        return self

    def __exit__(self, *_):
        for one in (self.connection, self.listener):
            if one:
                one.close()

    @staticmethod
    def give_up_after_a_minute(one):
        # A timeout that the kernel keeps; Python's would cost a call of poll each time.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 60, 0))

    def request(self):
        """The next request's first line and body."""
        while True:
            if not self.connection:
                self.connection, _ = self.listener.accept()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.give_up_after_a_minute(self.connection)
            end = self.rest.find(b"\r\n\r\n")
            if end >= 0:
                head = self.rest[:end]
                length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
                whole = end + 4 + (int(length[1]) if length else 0)
                if len(self.rest) >= whole:
                    body, self.rest = self.rest[end + 4 : whole], self.rest[whole:]
                    return head.split(b"\r\n", 1)[0], body
            data = self.connection.recv(1 << 16)
            if data:
                self.rest += data
            else:
                self.connection, self.rest = None, b""

    def answer(self, status, headers, body):
        head = [b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", b""]
        self.connection.sendall(b"\r\n".join(head) + body)

    def serve(self, first, last, answer):
        """The ns from event to response, of the events with these numbers."""
        times = []
        for number in range(first, last):
            line, _ = self.request()
            if line != b"GET /2018-06-01/runtime/invocation/next HTTP/1.1":
                sys.exit(f"instead of asking for an event it sent {line}")
            headers = [
                b"Content-Type: application/json",
                b"Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-%012d" % number,
                b"Lambda-Runtime-Deadline-Ms: %d" % ((time.time() + 60) * 1000),
                b"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:orders",
                b"Lambda-Runtime-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
            ]
            start = time.perf_counter_ns()
            self.answer(b"200 OK", headers, EVENT)
            line, body = self.request()
            times.append(time.perf_counter_ns() - start)
            if body != answer or not line.startswith(b"POST ") or b"/response " not in line:
                sys.exit(f"instead of the response it sent {line} {body}")
            self.answer(b"202 Accepted", [], b"")
        return times


def family(pid):
    """The process and all that it has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [pid, *(one for child in children for one in family(child))]


def processor_time(pid):
    """In s; the number of a process's clock is made of its id, see clock_getcpuclockid(3)."""
    return sum(time.clock_gettime(~one << 3 | 2) for one in family(pid))


def peak_memory(pid):
    total = 0
    for one in family(pid):
        with open(f"/proc/{one}/status") as file:
            total += int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) * 1024
    return total


class Variant:
    def __init__(self, name, make, command=None, mode="jsonl", answer=ANSWER):
        self.name, self.make, self.command, self.mode, self.answer = name, make, command, mode, answer
        self.folder = os.path.join(WORK, re.sub(r"\W+", "-", name))
        self.runs = []

    def build(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.make(self.folder)
        with zipfile.ZipFile(os.path.join(self.folder, "function.zip"), "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
            for at, _, files in os.walk(self.folder):
                for file in sorted(set(files) - {"function.zip"}):
                    path = os.path.join(at, file)
                    package.write(path, os.path.relpath(path, self.folder))
        self.package = os.path.getsize(os.path.join(self.folder, "function.zip"))

    def run(self):
        variables = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": MEMORY_SIZE,
            "LAMBDA_TASK_ROOT": self.folder,
            "_HANDLER": "dist/bin/executable",
            "BOOTSTRAP_MODE": self.mode,
        }
        if self.command:
            variables["BOOTSTRAP_COMMAND"] = self.command
        with RuntimeApi() as api:
            variables["AWS_LAMBDA_RUNTIME_API"] = api.address
            start = time.perf_counter_ns()
            process = subprocess.Popen(
                ["./bootstrap"],
                cwd=self.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                api.serve(0, 1, self.answer)
                first = time.perf_counter_ns() - start
                memory, used = peak_memory(process.pid), processor_time(process.pid)
                times = api.serve(1, EVENTS, self.answer)
                self.runs.append(
                    {
                        "startMs": first / 1e6,
                        "earlyUs": statistics.median(times[slice(*EARLY)]) / 1e3,
                        "lateUs": statistics.median(times[-EVENTS // 3 :]) / 1e3,
                        "processorUs": (processor_time(process.pid) - used) / len(times) * 1e6,
                        "memoryMB": memory / 1e6,
                        "memoryAfterMB": peak_memory(process.pid) / 1e6,
                    }
                )
            finally:
                # jlink's launcher leaves the virtual machine behind where it alone is ended.
                everyone = family(process.pid)
                for pid in everyone:
                    os.kill(pid, 9)
                process.wait()

    def figures(self):
        medians = {key: statistics.median(run[key] for run in self.runs) for key in self.runs[0]}
        return {"packageMB": self.package / 1e6, **medians}


def bootstrap_alone(folder):
    shutil.copy2(BOOTSTRAP, os.path.join(folder, "bootstrap"))


def make(folder, *options):
    subprocess.run(["make", "--silent", "-C", folder, *options], check=True, stdout=subprocess.DEVNULL)


def example(*options, without=(), vm=None, strip=False, archive=None):
    """Makes a package of the example with these make variables; each set of them is built once."""

    def lay_out(folder):
        key = re.sub(r"\W+", "-", " ".join(options)) or "as-shipped"
        image = os.path.join(WORK, "images", key)
        make(EXAMPLE, *options, f"BUILD={image}/build", f"DIST={image}/dist")
        dist = os.path.join(folder, "dist")
        shutil.copytree(os.path.join(image, "dist"), dist, symlinks=True)
        bootstrap_alone(folder)
        for file in without:
            os.remove(os.path.join(dist, file))
        if strip:
            libraries = [os.path.join(at, file) for at, _, files in os.walk(dist) for file in files if file.endswith(".so")]
            subprocess.run(["strip", "--strip-unneeded", *libraries], check=True)
        set_options(dist, vm)
        dump(dist, archive)

    return lay_out


def naive(vm=None, archive=None):
    def lay_out(folder):
        make(NAIVE)
        dist = os.path.join(folder, "dist")
        shutil.copytree(os.path.join(NAIVE, "dist"), dist, symlinks=True)
        shutil.copy2(os.path.join(NAIVE, "bootstrap"), folder)
        set_options(dist, vm)
        dump(dist, archive)

    return lay_out


def set_options(dist, options):
    if options is None:
        return
    launcher = os.path.join(dist, "bin/executable")
    with open(launcher) as file:
        text, changed = re.subn(r"^JLINK_VM_OPTIONS=.*$", f'JLINK_VM_OPTIONS="{options}"', file.read(), flags=re.MULTILINE)
    if changed != 1:
        sys.exit(f"{launcher} has no place for options")
    with open(launcher, "w") as file:
        file.write(text)


def dump(dist, options):
    """Adds a class data archive of the runtime's own classes."""
    if options is not None:
        subprocess.run([os.path.join(dist, "bin/java"), *options, "-Xshare:dump"], check=True, capture_output=True)


ARCHIVE = "lib/server/classes.jsa"
FLAGS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData"
QUIET = "-XX:+DisplayVMOutputToStderr -Xlog:disable -Xlog:all=warning:stderr -Xmx128m"
TUNED = f"{FLAGS} {QUIET}"
EARLIER = f"{FLAGS} -XX:CompileThresholdScaling=0.2 {QUIET}"
ALL = f"{FLAGS} -XX:CompileThresholdScaling=0.2 -Xmn8m {QUIET}"
G1 = ["-XX:+UseG1GC"]  # it alone can archive objects; any collector can load them
STRIPPED = "JLINK_OPTIONS=--strip-java-debug-attributes"

# Each line with a plus has one thing more than the line above it.
VARIANTS = [
    Variant("naive, as in the article", naive()),
    Variant("naive, CDS archive, all flags", naive(ALL, G1)),
    Variant("bootstrap; no flags, no archive", example("BASE=", without=[ARCHIVE], vm="")),
    Variant("+ serial collector, first compiler only", example("BASE=", without=[ARCHIVE], vm=TUNED)),
    Variant("+ CDS archive of the JDK's classes", example("BASE=", without=[ARCHIVE], vm=TUNED, archive=G1)),
    Variant("+ AppCDS archive in its place", example("BASE=", vm=TUNED)),
    Variant("+ native symbols stripped", example("BASE=", vm=TUNED, strip=True)),
    Variant("+ java.base without debug attributes and unused files", example(vm=TUNED)),
    Variant("+ compiled earlier", example(vm=EARLIER)),
    Variant("+ small part of the heap for new objects: as shipped", example()),
    Variant("as shipped, launched without a shell", example(), f"dist/bin/java {ALL} -m {MAIN}"),
    Variant("as shipped, no line numbers of the handler", example(STRIPPED)),
    Variant("as shipped, jlink --compress=1", example("JLINK_OPTIONS=--compress=1")),
    Variant("as shipped, jlink --compress=2", example("JLINK_OPTIONS=--compress=2")),
    Variant("bootstrap and cat, to compare", bootstrap_alone, "cat", "filter", EVENT),
]


def table(figures):
    first = figures[VARIANTS[0].name]
    columns = [
        ("package MB", "packageMB", 1), ("start ms", "startMs", 1), ("early µs", "earlyUs", 0), ("late µs", "lateUs", 0),
        ("processor µs", "processorUs", 0),
        ("memory MB", "memoryMB", 0), ("after all MB", "memoryAfterMB", 0),
    ]  # fmt: skip
    print("| variant | " + " | ".join(title for title, _, _ in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, values in figures.items():
        cells = [
            f"{values[key]:.{digits}f}" + ("" if values is first else f" ({first[key] / values[key]:.1f} x)")
            for _, key, digits in columns
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


def main():
    for variant in VARIANTS:
        print(f"\rbuilding {variant.name:60}", end="", file=sys.stderr, flush=True)
        variant.build()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for number in range(-1, ROUNDS):
        for variant in VARIANTS:
            print(f"\rround {max(number, 0) + 1} of {ROUNDS}: {variant.name:60}", end="", file=sys.stderr, flush=True)
            variant.run()
            if number < 0:  # it finds cold files
                variant.runs.clear()
    print(file=sys.stderr)
    figures = {variant.name: variant.figures() for variant in VARIANTS}
    with open(f"{WORK}.json", "w") as file:
        runs = {variant.name: variant.runs for variant in VARIANTS}
        json.dump({"rounds": ROUNDS, "events": EVENTS, "medians": figures, "runs": runs}, file, indent=1)
    table(figures)


main()
