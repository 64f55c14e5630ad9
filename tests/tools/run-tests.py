#!/usr/bin/env python3
"""Runs all tests of the workspace as `cargo test --release --workspace --no-fail-fast` does, in less time.

    tests/tools/run-tests.py [--beside TARGET]… [WORD…]      all, or the binaries whose name contains one of the words

Tests that mostly wait, for clusters, containers and time limits, run beside each other, in LANES lanes (environment, default 2).
All others have the machine to themselves before (or for two), as some hold the program to times and amounts of memory. --beside names a target
of the Makefile, run meanwhile with what the lanes leave of the processors. What each has written is printed whole when it ends, and
kept in target/test-logs/. The last lines name what failed; the exit status is 1 then.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LOGS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "test-logs"
CARGO_TEST = ["cargo", "test", "--release", "--workspace"]
LANES = int(os.environ.get("LANES") or 2)
# A binary that runs longer hangs: the longest takes five minutes on a quiet machine. `make soak` asks for longer tests, by cargo itself.
LIMIT_SECONDS = 2400
# One that anything but a little would disturb, and one that is little: beside each other, and nothing else beside them.
TWO = ["tests: rbd_faults", "tests: s3_credentials"]
# What mostly waits, the longest first: one long binary at the end would leave the other lanes empty.
SIDE_BY_SIDE = [
    "tests: cephfs",
    "tests: cephfs_ranks",
    "tests: cephfs_faults",
    "tests: rbd",
    "tests: cephfs_errors",
    "tests: containers",
    "tests: rbd_errors",
    "plugins/ceph/native: cephfs",
    "host/fuse: abandoned",
    "tests: golden_configs",
    "plugins/ceph/native: faults",
    "tests: plugin_references",
    "plugins/ceph/native: peers",
    "plugins/ceph/native: objects",
]
PRINTING = threading.Lock()


class Run:
    """One test binary, the tests in documentation, or a target: a name, how to run it, and how it ended."""

    def __init__(self, name, command, folder=ROOT, environment=(), limit=LIMIT_SECONDS):
        self.name, self.command, self.folder, self.environment, self.limit = name, command, folder, dict(environment), limit
        self.log = LOGS / (re.sub(r"[^a-z0-9_]+", "-", name) + ".log")
        self.seconds, self.problem = 0.0, None

    def run(self):
        say(f"--- {self.name}")
        begun = time.monotonic()
        # A file, not a pipe: what a test leaves running would hold the pipe open.
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            try:
                status = process.wait(self.limit)
                self.problem = None if status == 0 else f"exit status {status}"
            except subprocess.TimeoutExpired:
                self.problem = f"ended after {self.limit} s"
            finally:
                process.kill()
                process.wait()
        self.seconds = time.monotonic() - begun
        outcome = self.problem or "passed"
        say(f"=== {self.name}: {outcome}, {self.seconds:.0f} s\n{self.text().strip()}\n")

    def text(self):
        return self.log.read_text(errors="replace")

    def failed_tests(self):
        return re.findall(r"^test (.*) \.\.\. FAILED$", self.text(), re.MULTILINE)

    def counted(self, what):
        return sum(int(number) for number in re.findall(rf"^test result: .* (\d+) {what}", self.text(), re.MULTILINE))


def say(text):
    with PRINTING:
        print(text, flush=True)


def build():
    """Builds the test binaries and the programs they run; returns them as cargo names them."""
    command = [*CARGO_TEST, "--tests", "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if built.returncode != 0:
        sys.exit(built.returncode)
    runs = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] != "compiler-artifact" or not message["profile"]["test"] or not message["executable"]:
            continue
        folder = pathlib.Path(message["manifest_path"]).parent
        target = message["target"]
        part = target["name"] if target["kind"] == ["test"] else f"unit tests of {target['name']}"
        # As cargo runs it: in the package's folder, and told so. New seeds belong to those who look for faults (`cargo test`, `make soak`).
        environment = {"CARGO_MANIFEST_DIR": str(folder), "PROPTEST_RNG_SEED": os.environ.get("PROPTEST_RNG_SEED", "1")}
        runs.append(Run(f"{folder.relative_to(ROOT)}: {part}", [message["executable"]], folder, environment))
    return runs


def run_in_lanes(runs, lanes):
    """`runs` in their order, so many at a time."""
    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        try:
            for done in [pool.submit(run.run) for run in runs]:
                done.result()
        except BaseException:  # Ctrl-C has reached the running ones too; the others are not begun.
            pool.shutdown(cancel_futures=True)
            raise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", action="append", default=[], metavar="TARGET")
    parser.add_argument("words", nargs="*", metavar="WORD")
    arguments = parser.parse_args()

    tests = [*build(), Run("documentation", [*CARGO_TEST, "--doc", "--no-fail-fast"])]
    unknown = {*SIDE_BY_SIDE, *TWO} - {run.name for run in tests}
    if unknown:
        sys.exit(f"error: {__file__} names tests that there are not: {', '.join(sorted(unknown))}")
    tests = [run for run in tests if not arguments.words or any(word in run.name for word in arguments.words)]
    if not tests:
        sys.exit(f"error: no test binary is named like {' or '.join(arguments.words)}")
    alone = [run for run in tests if run.name not in (*SIDE_BY_SIDE, *TWO)]
    two = [run for run in tests if run.name in TWO]
    waiting = sorted((run for run in tests if run.name in SIDE_BY_SIDE), key=lambda run: SIDE_BY_SIDE.index(run.name))
    # The scheduler's idle class: they run when nobody else wants to.
    targets = [Run(f"make {target}", ["chrt", "--idle", "0", "make", target], limit=None) for target in arguments.beside]

    LOGS.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    run_in_lanes(alone, 1)
    run_in_lanes(two, len(TWO))
    beside = threading.Thread(target=run_in_lanes, args=(targets, 1), daemon=True)
    if targets:
        beside.start()
    run_in_lanes(waiting, LANES)
    if targets:
        beside.join()
    report([*tests, *targets], time.monotonic() - begun)


def report(runs, seconds):
    slowest = sorted(runs, key=lambda run: -run.seconds)[:12]
    say("slowest: " + ", ".join(f"{run.name} {run.seconds:.0f} s" for run in slowest))
    passed, ignored, failed = (sum(run.counted(what) for run in runs) for what in ("passed", "ignored", "failed"))
    say(f"{len(runs)} runs in {seconds:.0f} s: {passed} tests passed, {failed} failed, {ignored} ignored")
    problems = [run for run in runs if run.problem]
    for run in problems:
        say(f"FAILED {run.name}: {', '.join(run.failed_tests()) or run.problem} (log: {run.log})")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
