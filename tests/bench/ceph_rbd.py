"""RBD images: wasmount beside rbd-fuse, and `rados bench seq -t 4` as the floor."""
import json
import os
import re
import time
import urllib.request

from cases import FLOOR, RANDOM_SECONDS, rate, run
from ceph_cluster import OBJECTS_MIB, CephMount
from clients import MIB, TARGET, WASMOUNT

TITLE = "RBD images"
PLUGIN = os.environ.get("WASMOUNT_PLUGIN") or os.path.join(TARGET, "plugins/rbd.wasm")
PROGRAMS = {"wasmount": WASMOUNT, "wasmount-secure": WASMOUNT, "rbd-fuse": "rbd-fuse"}
RANDOM = {"random-4-1": 1, "random-4-16": 16}
FIGURES = {
    "sequential": [("mib_s", "sequential 1 GiB, cold, MiB/s"), ("cpu_per_gib", "… CPU of the client, s/GiB"),
                   ("guest_us_per_mib", "… of it in the sandbox, µs/MiB")],
    "random-4-1": [("iops", f"random 4 KiB in 1 GiB, 1 reader, {RANDOM_SECONDS} s, IOPS")],
    "random-4-16": [("iops", f"random 4 KiB in 1 GiB, 16 readers, {RANDOM_SECONDS} s, IOPS")],
}
FLOOR_CASES = ("sequential",)
# (what, case, key, whom to compare with, at least so many times, whether less is better)
TARGETS = [("sequential ÷ `rados bench seq -t 4`", "sequential", "mib_s", "floor", 0.7, False),
           *((f"random 4 KiB × {readers} ÷ rbd-fuse", case, "iops", "rbd-fuse", 1.3, False) for case, readers in RANDOM.items())]


def fill(cluster):
    cluster.script("ceph-images", "bench")


class Mount(CephMount):
    """One mount of pool `bench`."""

    first = "large"

    def command(self, name, cluster, directory, state, _cache, _memory):
        mnt = f"{directory}/mnt"
        if name == "rbd-fuse":
            return ["rbd-fuse", "-c", f"{cluster.directory}/ceph.conf", "-p", "bench", "-f", mnt]
        return self.wasmount(f"rbd://{cluster.mon}/bench", mnt, PLUGIN, cluster, state,
                             "secure" if name == "wasmount-secure" else "crc")

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
    guest = mount.guest_seconds()
    sample = read_through(mount, f"{mount.mnt}/large")
    if guest is not None:
        sample["guest_us_per_mib"] = (mount.guest_seconds() - guest) * 1e6 / OBJECTS_MIB
    return sample


def read_through(mount, path):
    """Reads a file of 1 GiB from start to end."""
    cpu, start, total = mount.cpu_seconds(), time.monotonic(), 0
    with open(path, "rb", buffering=0) as file:
        buffer = bytearray(MIB)
        while count := file.readinto(buffer):
            total += count
    outcome = {"seconds": time.monotonic() - start, "bytes": total}
    if total != OBJECTS_MIB * MIB:
        raise RuntimeError(f"{total} bytes instead of {OBJECTS_MIB} MiB")
    used = mount.cpu_seconds() - cpu
    return {"mib_s": rate(outcome), "cpu_s": used, "cpu_per_gib": used * 1024 / OBJECTS_MIB}


def scattered(mount, readers):
    """One open file for all: rbd-fuse loses its list of images when several threads open one at once."""
    cpu = mount.cpu_seconds()
    outcome = json.loads(run([FLOOR, "scatter", f"{mount.mnt}/large", str(readers), str(RANDOM_SECONDS)], client=mount))
    return {"iops": outcome["count"] / outcome["seconds"], "stall_s": outcome["stall_seconds"],
            "cpu_s": mount.cpu_seconds() - cpu}


def measure(mount, case):
    return sequential(mount) if case == "sequential" else scattered(mount, RANDOM[case])
