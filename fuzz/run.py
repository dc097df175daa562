#!/usr/bin/env python3
"""Runs every fuzz target: fuzz/run.py SECONDS TARGET_DIR [TARGET...], after `cargo fuzz build`.

Two run at a time, each from its seeds in fuzz/seeds, from what earlier runs have found (TARGET_DIR/corpus), and, where the input is
JSON, from JSONTestSuite (JSON_TEST_SUITE names its directory). Prints what each did, and where one has found a fault, the fault, the
input, and how to run it again.
"""

import os
import pathlib
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

FUZZ = pathlib.Path(__file__).resolve().parent
OF_JSON = {"json", "messages"}
# An input as long as the longest of these finds takes no thousandth of a second, and no memory to speak of.
LIMITS = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]


def binary(target_dir, name):
    found = list(target_dir.glob(f"*/release/{name}"))
    if len(found) != 1:
        sys.exit(f"{name} is not built: {found or target_dir}; `make fuzz` builds it")
    return found[0]


def run(name, seconds, target_dir):
    """The target's log, and whether it has found nothing."""
    corpus, artifacts = target_dir / "corpus" / name, target_dir / "artifacts" / name
    for directory in corpus, artifacts:
        directory.mkdir(parents=True, exist_ok=True)
    inputs = [corpus, FUZZ / "seeds" / name]
    if name in OF_JSON:
        inputs.append(os.environ["JSON_TEST_SUITE"])
    command = [binary(target_dir, name), *inputs, *LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={artifacts}/",
               f"-dict={FUZZ}/json.dict"]
    environment = os.environ | {"ASAN_OPTIONS": "detect_odr_violation=0:" + os.environ.get("ASAN_OPTIONS", "")}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = process.stdout.decode(errors="replace")
    (target_dir / f"{name}.log").write_text(log)
    return log, process.returncode == 0


def number(pattern, log):
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def main():
    seconds, target_dir, names = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    names = names or sorted(path.stem for path in (FUZZ / "fuzz_targets").glob("*.rs"))
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda name: run(name, seconds, target_dir), names))
    total = failed = 0
    for name, (log, is_clean) in zip(names, outcomes):
        executions = number(r"stat::number_of_executed_units: (\d+)", log)
        total += executions
        edges, inputs = number(r"cov: (\d+)", log), number(r"corp: (\d+)", log)
        print(f"{'ok' if is_clean else 'FAILED'}  {name}: {executions:,} executions, {edges:,} edges, {inputs:,} inputs in its corpus")
        if not is_clean:
            failed += 1
            told = re.search(r"^(thread .* panicked at .*\n(?:.*\n)*?)stack backtrace:|^(==\d+== ?ERROR: .*)", log, re.M)
            print("    " + (told[1] or told[2] if told else log[-2000:])[:4000].strip().replace("\n", "\n    "))
            for artifact in re.findall(r"Test unit written to (\S+)", log):
                print(f"    again: {binary(target_dir, name)} {artifact}")
            print(f"    all that it said: {target_dir}/{name}.log")
    print(f"{total:,} executions of {len(names)} targets, {seconds} s each; {failed} found a fault")
    return 1 if failed else 0


sys.exit(main())
