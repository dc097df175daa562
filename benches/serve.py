#!/usr/bin/env python3
"""Requests a second through `bootstrap serve`, beside AWS's emulator (RIE) and cargo-lambda with the same bootstrap and handler.

    make bench-serve          needs wrk (Debian: apt-get install wrk) and installs the peers under target/tools

The handler is `cat` in mode filter, the event 1 KB of JSON. Every target is measured in turn, ROUNDS times; the table has the
medians, and the first answer of each target is checked. RIE takes one request at a time and ends on two, so it has one client.
"""

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "3"))
EVENT = json.dumps({"text": "x" * 1000})
BOOTSTRAP, TOOLS = sys.argv[1], sys.argv[2]
HANDLER = {"BOOTSTRAP_MODE": "filter", "BOOTSTRAP_COMMAND": "cat", "_HANDLER": "cat"}


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def call(url):
    request = urllib.request.Request(url, EVENT.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


class Target:
    """Some programs that answer on a URL until they are stopped."""

    def __init__(self, name, clients, start):
        self.name, self.clients, self.start = name, clients, start
        self.rates, self.latencies = [], []

    def measure(self, script):
        with tempfile.TemporaryDirectory() as folder:
            log = open(os.path.join(folder, "log"), "w+")
            url, commands = self.start(folder)
            processes = []
            try:
                for command, variables in commands:
                    env = {**os.environ, **variables}
                    processes.append(subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True))
                self.check(url, log)
                wrk = ["wrk", "-t1", f"-c{self.clients}", f"-d{SECONDS}s", "--latency", "-s", script, url]
                out = subprocess.run(wrk, check=True, capture_output=True, text=True).stdout
            finally:
                for process in reversed(processes):
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
        if "Non-2xx" in out or "Socket errors" in out:
            sys.exit(f"{self.name}: not all requests were answered:\n{out}")
        self.rates.append(float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]))
        number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
        self.latencies.append(float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit])

    def check(self, url, log):
        deadline = time.monotonic() + 20
        while True:
            try:
                answer = call(url)
                break
            except OSError:
                if time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{self.name} does not answer:\n{log.read()}")
                time.sleep(0.05)
        if json.loads(answer) != json.loads(EVENT):
            sys.exit(f"{self.name} answers {answer[:200]}")


def serve(environments):
    def start(_):
        at = f"127.0.0.1:{port()}"
        command = [BOOTSTRAP, "serve", "--listen", at, "--environments", str(environments), "--mode", "filter", "--", "cat"]
        return f"http://{at}/2015-03-31/functions/function/invocations", [(command, {})]

    return start


def emulator(_):
    at, api = f"127.0.0.1:{port()}", f"127.0.0.1:{port()}"
    command = [os.path.join(TOOLS, "aws-lambda-rie"), "--runtime-api-address", api, "--runtime-interface-emulator-address", at]
    variables = {**HANDLER, "AWS_LAMBDA_FUNCTION_TIMEOUT": "30"}
    return f"http://{at}/2015-03-31/functions/function/invocations", [([*command, BOOTSTRAP, "cat"], variables)]


def cargo_lambda(folder):
    number = str(port())
    # It asks cargo for the binaries of a project, and wants to hear of one; it does not build it.
    os.makedirs(os.path.join(folder, "src"))
    for name, text in (("src/main.rs", "fn main() {}\n"), ("Cargo.toml", '[package]\nname = "some"\nedition = "2021"\n')):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    watch = [os.path.join(TOOLS, "cargo-lambda"), "lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1", "-P", number]
    # bootstrap asks five times in two seconds, by when it listens.
    runtime = ({**HANDLER, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{number}/.rt"})
    return f"http://127.0.0.1:{number}/2015-03-31/functions/_/invocations", [(watch, {}), ([BOOTSTRAP], runtime)]


def main():
    if not shutil.which("wrk"):
        sys.exit("wrk is needed and is not there: apt-get install wrk")
    targets = [
        Target("serve, 1 environment, 1 client", 1, serve(1)),
        Target("serve, 1 environment, 4 clients", 4, serve(1)),
        Target("serve, 4 environments, 4 clients", 4, serve(4)),
        Target("RIE, 1 client", 1, emulator),
        Target("cargo-lambda, 1 client", 1, cargo_lambda),
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = '{EVENT}'\nwrk.headers['Content-Type'] = 'application/json'\n")
        script.flush()
        for number in range(ROUNDS):
            for target in targets:
                print(f"\rround {number + 1} of {ROUNDS}: {target.name:40}", end="", file=sys.stderr)
                target.measure(script.name)
    print(file=sys.stderr)
    print("| target | requests a second | p50 in µs |")
    print("|---|---|---|")
    for target in targets:
        print(f"| {target.name} | {statistics.median(target.rates):.0f} | {statistics.median(target.latencies):.0f} |")


main()
