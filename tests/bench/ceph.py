#!/usr/bin/env python3
"""wasmount beside Ceph's own FUSE clients on one Ceph cluster, in one run: `make bench-ceph`.

Everyone takes turns, each time with a fresh process, a fresh mount and dropped caches. The floor is `rados bench seq`: the
same 4 MiB objects, four at a time, or the same 16 KiB objects, eight at a time, without any file system.

    BENCH_REPS=5         repetitions
    BENCH_SUITES=a,b     some of: files rbd
    BENCH_CASES=a,b      some of the cases of those, as they are called below (ceph_files.py, ceph_rbd.py)
    BENCH_CLIENTS=a,b    some of: wasmount wasmount-secure ceph-fuse rbd-fuse (secure: every byte encrypted between OSD and client)
    BENCH_DISK           where the cluster and the mounts lie (6 GiB; default /var/tmp). A disk, as OSDs have: in memory, the processor
                         that all share would do what the disk does, a quarter of an OSD's time
    BENCH_JSON           all raw values (default: bench-ceph.json in the target directory)
    WASMOUNT_BIN, WASMOUNT_PLUGIN    another program, another plugin for RBD
"""
import json
import os
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True  # a checkout stays as it was

import ceph_files
import ceph_rbd
import clients
from bench import say, selected
from cases import drop_caches, peaks, touch_memory
from ceph_cluster import Cluster
from clients import TARGET
from report import MET, cell, ratio, times

SUITES = {"files": ceph_files, "rbd": ceph_rbd}


def measure(suite, cluster, case, name, state, disk):
    drop_caches()
    touch_memory()
    if name == "floor":
        return cluster.floor(case)
    mount = suite.Mount(name, cluster, state, disk)
    try:
        mount.wait_first_byte()
        drop_caches()
        return {**suite.measure(mount, case), **peaks(mount)}
    except (RuntimeError, OSError) as e:
        raise RuntimeError(mount.ended() or str(e)) from e
    finally:
        mount.close()


def median(samples, case, name, key):
    values = sorted(s[key] for s in samples.get(case, {}).get(name, []) if s.get(key) is not None)
    return values[len(values) // 2] if values else None


def table(head, body):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in body)])


def markdown(suite, samples):
    names = list(dict.fromkeys(name for case in samples.values() for name in case))
    rows = []
    for case, figures in suite.FIGURES.items():
        for key, title in figures:
            values = [median(samples, case, name, key) for name in names]
            if any(value is not None for value in values):
                rows.append([title, *map(cell, values)])
        if case in samples:
            rows.append([f"… peak memory of the client in {case}, MiB",
                         *(cell(median(samples, case, name, "rss_mib")) for name in names)])
    targets = []
    for what, case, key, other, target, less in suite.TARGETS:
        if case not in samples:
            continue
        ours = median(samples, case, "wasmount", key)
        theirs = median(samples, case, other, key) if isinstance(other, str) else other
        value = ratio(theirs, ours) if less else ratio(ours, theirs)
        targets.append([what, times(value), f"≥ {target}×", MET[None if value is None else value >= target]])
    return "\n\n".join([f"## {suite.TITLE}: medians, {os.cpu_count()} cores, kernel {os.uname().release}", table(["", *names], rows),
                        "### Targets", table(["what", "measured", "target", ""], targets)])


def run_suite(suite, cluster, reps, wanted, state, disk, notes):
    """Samples by case and by who was measured."""
    wanted = [name for name in suite.PROGRAMS if name in wanted]
    present = [name for name in wanted if shutil.which(suite.PROGRAMS[name])]
    notes += [f"{name}: not on PATH, left out." for name in wanted if name not in present]
    known = dict.fromkeys(case for each in SUITES.values() for case in each.FIGURES)
    cases = [case for case in selected("BENCH_CASES", known) if case in suite.FIGURES]
    samples = {case: {} for case in cases}
    if not cases:
        return samples
    say(f"{suite.TITLE}: writing what is to be read")
    suite.fill(cluster)
    for rep in range(reps):
        for case in cases:
            for name in present + (["floor"] if case in suite.FLOOR_CASES else []):
                try:
                    sample = measure(suite, cluster, case, name, state, disk)
                except (RuntimeError, OSError) as e:
                    notes.append(f"failed: {name}, {case}, repetition {rep + 1}: {' '.join(str(e).split())}")
                    say(notes[-1])
                    continue
                samples[case].setdefault(name, []).append(sample)
                say(f"{case:13} {rep + 1} {name:16} " + "  ".join(f"{key} {cell(value)}" for key, value in sample.items()
                                                                if value is not None))
    return samples


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reps = int(os.environ.get("BENCH_REPS") or "5")
    suites = selected("BENCH_SUITES", SUITES)
    wanted = selected("BENCH_CLIENTS", dict.fromkeys(name for suite in SUITES.values() for name in suite.PROGRAMS))
    notes = []
    if os.getloadavg()[0] > 0.5:
        notes.append(f"The machine was not idle at the start: load {os.getloadavg()[0]:.1f}.")
    disk = os.environ.get("BENCH_DISK") or "/var/tmp"
    state, cluster, samples = tempfile.mkdtemp(prefix="bench-state-", dir=disk), None, {}
    try:
        say("starting a cluster")
        cluster = Cluster(disk)
        versions = {"ceph": cluster.run("ceph-osd", "--version").strip(), "wasmount": clients.version("wasmount")}
        for name in suites:
            samples[name] = run_suite(SUITES[name], cluster, reps, wanted, state, disk, notes)
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(state, ignore_errors=True)
    said = "Versions: " + "; ".join(f"{name}: {version}" for name, version in versions.items()) + "."
    print("\n\n".join([said, *(markdown(SUITES[name], samples[name]) for name in suites), *notes]))
    with open(os.environ.get("BENCH_JSON") or os.path.join(TARGET, "bench-ceph.json"), "w") as file:
        json.dump({"kernel": os.uname().release, "cores": os.cpu_count(), "versions": versions, "samples": samples,
                   "notes": notes}, file, indent=1)
    return 1 if any(note.startswith("failed: wasmount") for note in notes) else 0


if __name__ == "__main__":
    sys.exit(main())
