#!/usr/bin/env python3
"""wasmount's RBD images beside rbd-fuse and bare RADOS, on one Ceph cluster, in one run: `make bench-ceph`.

Everyone takes turns, each time with a fresh process, a fresh mount and dropped caches. The floor is `rados bench seq -t 4`: the
same 4 MiB objects, four at a time, without any file system.

    BENCH_REPS=5         repetitions
    BENCH_CLIENTS=a,b    some of: wasmount wasmount-secure rbd-fuse (secure: every byte encrypted between OSD and client)
    BENCH_DISK           where the cluster and the mounts lie (4 GiB; default /var/tmp)
    BENCH_JSON           all raw values (default: bench-ceph.json in the target directory)
    WASMOUNT_BIN, WASMOUNT_PLUGIN    another program, another plugin
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.dont_write_bytecode = True  # a checkout stays as it was

import clients
from bench import say, selected
from cases import FLOOR, RANDOM_SECONDS, drop_caches, peaks, rate, run, touch_memory
from clients import MIB, TARGET, WASMOUNT, Client
from report import MET, cell, ratio, times
from server import REPOSITORY

PLUGIN = os.environ.get("WASMOUNT_PLUGIN") or os.path.join(TARGET, "plugins/rbd.wasm")
NAMES = ["wasmount", "wasmount-secure", "rbd-fuse"]
IMAGE_MIB = 1024
RANDOM = {"random-4-1": 1, "random-4-16": 16}
FIGURES = {
    "sequential": [("mib_s", "sequential 1 GiB, cold, MiB/s"), ("cpu_per_gib", "… CPU of the client, s/GiB"),
                   ("guest_us_per_mib", "… of it in the sandbox, µs/MiB")],
    "random-4-1": [("iops", f"random 4 KiB in 1 GiB, 1 reader, {RANDOM_SECONDS} s, IOPS")],
    "random-4-16": [("iops", f"random 4 KiB in 1 GiB, 16 readers, {RANDOM_SECONDS} s, IOPS")],
}


class Cluster:
    """One Ceph cluster with pool `bench` of one copy: an image of 1 GiB, and as much in bare objects."""

    def __init__(self, disk):
        self.directory = tempfile.mkdtemp(prefix="wasmount-bench-ceph-", dir=disk)
        self.script = os.path.join(REPOSITORY, "tests/servers/ceph")
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        try:
            lines = subprocess.run([self.script, "start", self.directory], check=True, stdout=subprocess.PIPE, text=True,
                                   env={**self.env, "CEPH_OWNER": str(os.getpid())}).stdout
            self.variables = dict(line[len("export "):].split("=", 1) for line in lines.splitlines())
            subprocess.run([self.script + "-images", self.directory, "bench"], check=True, env=self.env)
            self.run("rados", "-p", "bench", "bench", "120", "write", "-b", "4194304", "-t", "4", "--max-objects",
                     str(IMAGE_MIB // 4), "--no-cleanup")
        except BaseException:
            self.stop()
            raise

    def run(self, *words):
        return run([self.script, "run", self.directory, *words], env=self.env).decode()

    def floor(self):
        """MiB/s of `rados bench seq -t 4` over the objects that were written."""
        said = self.run("rados", "-p", "bench", "bench", "60", "seq", "-t", "4")
        return float(re.search(r"^Bandwidth \(MB/sec\): *([\d.]+)", said, re.M)[1])

    def key(self):
        with open(self.variables["CEPH_KEY_FILE"]) as file:
            return file.read().strip()

    def stop(self):
        subprocess.run([self.script, "stop", self.directory], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Mount(Client):
    """One mount of pool `bench`."""

    first = "large"

    def command(self, name, cluster, directory, state, _cache, _memory):
        self.port, mnt = free_port(), f"{directory}/mnt"
        if name == "rbd-fuse":
            return ["rbd-fuse", "-c", f"{cluster.directory}/ceph.conf", "-p", "bench", "-f", mnt]
        return [WASMOUNT, "mount", f"rbd://{cluster.variables['CEPH_MON_V2']}/bench", mnt, "--plugin", PLUGIN,
                "--allow-net", "127.0.0.1", "--state-dir", state, "--metrics-addr", f"127.0.0.1:{self.port}",
                "-o", "user=admin", "-o", f"key={cluster.key()}",
                "-o", f"ms_mode={'secure' if name == 'wasmount-secure' else 'crc'}"]

    def guest_seconds(self):
        """Time that the plugin has held a thread so far; None for who has no plugin."""
        if self.name == "rbd-fuse":
            return None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(r"^wasmount_plugin_cpu_seconds_total(?:\{[^}]*\})? (\S+)$", text, re.M)
        if not found:
            raise RuntimeError("no metric wasmount_plugin_cpu_seconds_total")
        return sum(map(float, found))


def sequential(mount):
    cpu, guest = mount.cpu_seconds(), mount.guest_seconds()
    start, total = time.monotonic(), 0
    with open(f"{mount.mnt}/large", "rb", buffering=0) as image:
        buffer = bytearray(MIB)
        while count := image.readinto(buffer):
            total += count
    outcome = {"seconds": time.monotonic() - start, "bytes": total}
    if total != IMAGE_MIB * MIB:
        raise RuntimeError(f"{total} bytes instead of {IMAGE_MIB} MiB")
    used = mount.cpu_seconds() - cpu
    sample = {"mib_s": rate(outcome), "cpu_s": used, "cpu_per_gib": used * 1024 / IMAGE_MIB}
    if guest is not None:
        sample["guest_us_per_mib"] = (mount.guest_seconds() - guest) * 1e6 / IMAGE_MIB
    return sample


def scattered(mount, readers):
    """One open file for all: rbd-fuse loses its list of images when several threads open one at once."""
    cpu = mount.cpu_seconds()
    outcome = json.loads(run([FLOOR, "scatter", f"{mount.mnt}/large", str(readers), str(RANDOM_SECONDS)], client=mount))
    return {"iops": outcome["count"] / outcome["seconds"], "stall_s": outcome["stall_seconds"],
            "cpu_s": mount.cpu_seconds() - cpu}


def measure(cluster, case, name, state, disk):
    drop_caches()
    touch_memory()
    if name == "floor":
        return {"mib_s": cluster.floor()}
    mount = Mount(name, cluster, state, disk)
    try:
        mount.wait_first_byte()
        drop_caches()
        sample = sequential(mount) if case == "sequential" else scattered(mount, RANDOM[case])
        return {**sample, **peaks(mount)}
    except (RuntimeError, OSError) as e:
        raise RuntimeError(mount.ended() or str(e)) from e
    finally:
        mount.close()


def median(samples, case, name, key):
    values = sorted(s[key] for s in samples[case].get(name, []) if s.get(key) is not None)
    return values[len(values) // 2] if values else None


def markdown(samples, versions, notes):
    names = list(dict.fromkeys(name for case in samples.values() for name in case))
    rows = []
    for case, figures in FIGURES.items():
        for key, title in figures:
            values = [median(samples, case, name, key) for name in names]
            if any(value is not None for value in values):
                rows.append([title, *map(cell, values)])
        rows.append([f"… peak memory of the client in {case}, MiB",
                     *(cell(median(samples, case, name, "rss_mib")) for name in names)])
    targets = []

    def judge(what, case, key, other, target):
        value = ratio(median(samples, case, "wasmount", key), median(samples, case, other, key))
        targets.append([what, times(value), f"≥ {target}×", MET[None if value is None else value >= target]])

    judge("sequential ÷ `rados bench seq -t 4`", "sequential", "mib_s", "floor", 0.7)
    for case, readers in RANDOM.items():
        judge(f"random 4 KiB × {readers} ÷ rbd-fuse", case, "iops", "rbd-fuse", 1.3)

    def table(head, body):
        return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in body)])

    return "\n\n".join([f"## RBD images: medians, {os.cpu_count()} cores, kernel {os.uname().release}",
                        "Versions: " + "; ".join(f"{name}: {said}" for name, said in versions.items()) + ".",
                        table(["", *names], rows), "### Targets", table(["what", "measured", "target", ""], targets), *notes])


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    reps = int(os.environ.get("BENCH_REPS") or "5")
    wanted = selected("BENCH_CLIENTS", NAMES)
    programs = {name: "rbd-fuse" if name == "rbd-fuse" else WASMOUNT for name in NAMES}
    present = [name for name in wanted if shutil.which(programs[name])]
    notes = [f"{name}: not on PATH, left out." for name in wanted if name not in present]
    if os.getloadavg()[0] > 0.5:
        notes.append(f"The machine was not idle at the start: load {os.getloadavg()[0]:.1f}.")
    disk = os.environ.get("BENCH_DISK") or "/var/tmp"
    state, cluster, samples = tempfile.mkdtemp(prefix="bench-state-", dir=disk), None, {case: {} for case in FIGURES}
    try:
        say("starting a cluster and writing 2 GiB")
        cluster = Cluster(disk)
        versions = {"ceph": cluster.run("ceph-osd", "--version").strip(), "wasmount": clients.version("wasmount")}
        for rep in range(reps):
            for case in FIGURES:
                for name in present + (["floor"] if case == "sequential" else []):
                    try:
                        sample = measure(cluster, case, name, state, disk)
                    except (RuntimeError, OSError) as e:
                        notes.append(f"failed: {name}, {case}, repetition {rep + 1}: {' '.join(str(e).split())}")
                        say(notes[-1])
                        continue
                    samples[case].setdefault(name, []).append(sample)
                    say(f"{case:13} {rep + 1} {name:16} " + "  ".join(f"{key} {cell(value)}" for key, value in sample.items()
                                                                    if value is not None))
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(state, ignore_errors=True)
    print(markdown(samples, versions, notes))
    with open(os.environ.get("BENCH_JSON") or os.path.join(TARGET, "bench-ceph.json"), "w") as file:
        json.dump({"kernel": os.uname().release, "cores": os.cpu_count(), "versions": versions, "samples": samples,
                   "notes": notes}, file, indent=1)
    return 1 if any(note.startswith("failed: wasmount") for note in notes) else 0


if __name__ == "__main__":
    sys.exit(main())
