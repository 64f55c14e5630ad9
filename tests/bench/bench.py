#!/usr/bin/env python3
"""wasmount beside other S3 mounts, on one MinIO, in one run: `make bench`.

Everyone takes turns (A B C A B C ...): the clients, the floor (the same requests by a plain program without any file
system) and local files. Each measurement starts with a fresh client process, a fresh mount and dropped caches; the
report shows medians and says which target was met. Peers are taken from PATH (`make bench PEERS=DIR` puts a directory
before it); those that are not there are named.

    BENCH_REPS=5         repetitions; long cases take a part of it
    BENCH_CASES=a,b      some of: first sequential sequential-128 parallel random-4-1 random-4-16 random-128-1 random-128-16 single
                         small list find epochs streams
    BENCH_CLIENTS=a,b    some of: wasmount goofys mount-s3 geesefs rclone s3fs
    BENCH_DIR            where the server keeps its data (4 GiB; default /dev/shm, so that no disk is measured)
    BENCH_DISK           where disk caches and the local files lie (8 GiB; default /var/tmp)
    BENCH_JSON           all raw values (default: bench.json in the target directory)
    WASMOUNT_BIN, WASMOUNT_PLUGIN    another program, another plugin
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # a checkout stays as it was

import clients
import report
from cases import CASES, FLOOR, Bench, lacking
from server import Server


def say(text):
    print(text, file=sys.stderr, flush=True)


def selected(variable, known):
    """Names from a comma-separated variable, all of them by default."""
    names = [n for n in os.environ.get(variable, "").split(",") if n] or list(known)
    unknown = [n for n in names if n not in known]
    if unknown:
        sys.exit(f"{variable}: {', '.join(unknown)} unknown; known are {', '.join(known)}")
    return names


def rotate(bench, cases, present, reps, notes, failures):
    """Measures every case, everyone in turn; returns samples by case and name."""
    samples = {}
    for case in map(CASES.get, cases):
        if lack := lacking(case.name):
            notes.append(f"{case.name}: left out, {lack}.")
            continue
        names = [n for n in present if not case.only or n in case.only]
        names += (["floor"] if case.floor else []) + (["local"] if case.local else [])
        of_case, broken = samples.setdefault(case.name, {}), set()
        for rep in range(case.reps(reps)):
            for name in (n for n in names if n not in broken):
                start = time.monotonic()
                try:
                    sample = bench.measure(case.name, name)
                except (RuntimeError, OSError, ValueError) as e:
                    failures.append(f"{name}, {case.name}, repetition {rep + 1}: {' '.join(str(e).split())}")
                    say(f"{case.name:13} {rep + 1} {name:9} FAILED: {e}")
                    # A client that hung once would cost minutes each time; one that failed fast may try again.
                    if time.monotonic() - start > 60:
                        broken.add(name)
                    continue
                of_case.setdefault(name, []).append(sample)
                shown = [f"{f.key} {report.cell(sample[f.key])}" for f in case.figures if sample.get(f.key) is not None]
                say(f"{case.name:13} {rep + 1} {name:9} {'  '.join(shown)}")
    return samples


def first_start(bench, present, notes, failures):
    """wasmount's very first start on a machine compiles its plugin, later ones do not: it is measured apart."""
    if "wasmount" not in present:
        return
    try:
        seconds = bench.measure("first", "wasmount")["seconds"]
        notes.append(f"wasmount's very first start on a machine compiles the plugin: {seconds:.2f} s to the first byte.")
    except (RuntimeError, OSError) as e:
        failures.append(f"wasmount, very first start: {' '.join(str(e).split())}")


def main():
    # Ended from outside, it still unmounts, stops the server and removes its files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start, load = time.monotonic(), os.getloadavg()[0]
    reps = int(os.environ.get("BENCH_REPS") or "5")
    cases, wanted = selected("BENCH_CASES", CASES), selected("BENCH_CLIENTS", clients.NAMES)
    present = [n for n in wanted if shutil.which(clients.PROGRAMS[n])]
    versions = {n: clients.version(n) for n in present}
    notes = [f"{n}: not on PATH, left out." for n in wanted if n not in present]
    failures = []
    if load > 0.5:
        notes.append(f"The machine was not idle at the start: load {load:.1f}.")
    disk = tempfile.mkdtemp(prefix="wasmount-bench-", dir=os.environ.get("BENCH_DISK") or "/var/tmp")
    server = None
    try:
        say("storing 2 GiB in 66 objects, 2,000 small and 20,000 tiny ones")
        server = Server(FLOOR)
        local, state = os.path.join(disk, "local"), os.path.join(disk, "state")
        os.mkdir(local)
        os.mkdir(state)
        if any(CASES[case].local for case in cases):
            subprocess.run([FLOOR, "local", local], check=True)
        bench = Bench(server, state, disk, local)
        first_start(bench, present, notes, failures)
        samples = rotate(bench, cases, present, reps, notes, failures)
    finally:
        if server:
            server.stop()
        shutil.rmtree(disk, ignore_errors=True)
    notes.append(f"The run took {(time.monotonic() - start) / 60:.1f} minutes.")
    print(report.markdown(samples, {c: CASES[c].reps(reps) for c in samples}, versions, notes, failures))
    path = os.environ.get("BENCH_JSON") or os.path.join(clients.TARGET, "bench.json")
    with open(path, "w") as f:
        json.dump({"kernel": os.uname().release, "cores": os.cpu_count(), "versions": versions, "samples": samples,
                   "verdicts": [dict(zip(("show", "what", "value", "target", "met"), v))
                                for v in report.verdicts(report.Results(samples))],
                   "notes": notes, "failures": failures}, f, indent=1)
    return 1 if any(f.startswith("wasmount") for f in failures) else 0


if __name__ == "__main__":
    sys.exit(main())
