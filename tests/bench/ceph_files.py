"""CephFS: wasmount beside ceph-fuse, and `rados bench seq` as the floor."""
import os
import time

from cases import RANDOM_SECONDS, run
from ceph_cluster import CephMount
from ceph_rbd import RANDOM, read_through, scattered
from clients import TARGET, WASMOUNT

TITLE = "CephFS"
PLUGIN = os.path.join(TARGET, "plugins/cephfs.wasm")
PROGRAMS = {"wasmount": WASMOUNT, "ceph-fuse": "ceph-fuse"}
# What wasmount may use in all, beside itself: as by default, where no cgroup says less.
MEMORY_MIB = 512
# The process itself, beside that.
PROCESS_MIB = 64
# Shell commands over the mount, what `wc -l` or `wc -c` must say in the end, and how many files that are.
COMMANDS = {
    "list": ("ls -lR '{mnt}/flat' | grep -c ^-", 10_000, 10_000),
    "find": ("find '{mnt}/tree' -type f -printf '%s\\n' | wc -l", 10_000, 10_000),
    "small-1": ("cd '{mnt}/tiny' && ls | xargs cat | wc -c", 2000 * (4 << 10), 2000),
    "small-8": ("cd '{mnt}/small' && ls | xargs -P 8 -n 50 cat | wc -c", 2000 * (16 << 10), 2000),
}
FIGURES = {
    "sequential": [("mib_s", "sequential 1 GiB, cold, MiB/s"), ("cpu_per_gib", "… CPU of the client, s/GiB")],
    "random-4-1": [("iops", f"random 4 KiB in 1 GiB, 1 reader, {RANDOM_SECONDS} s, IOPS")],
    "random-4-16": [("iops", f"random 4 KiB in 1 GiB, 16 readers, {RANDOM_SECONDS} s, IOPS")],
    "list": [("seconds", "`ls -lR` of 10,000, cold, s"), ("again_s", "… again, s"), ("cpu_s", "… CPU of the client, both, s")],
    "find": [("seconds", "`find` with the size of 20 × 500, cold, s"), ("cpu_s", "… CPU of the client, s")],
    "small-1": [("files_s", "2,000 × 4 KiB, one after the other, cold, files/s"), ("again_s", "… again, s"),
                ("cpu_s", "… CPU of the client, both, s")],
    "small-8": [("files_s", "2,000 × 16 KiB, 8 at once, cold, files/s"), ("cpu_s", "… CPU of the client, s")],
}
FLOOR_CASES = ("sequential", "small-1", "small-8")
# What is read twice.
TWICE = ("list", "small-1")
TARGETS = [
    ("sequential ÷ `rados bench seq -t 4`", "sequential", "mib_s", "floor", 0.6, False),
    ("sequential ÷ ceph-fuse", "sequential", "mib_s", "ceph-fuse", 2, False),
    *((f"random 4 KiB × {readers} ÷ ceph-fuse", case, "iops", "ceph-fuse", 1.5, False) for case, readers in RANDOM.items()),
    ("`ls -lR`, cold, ÷ ceph-fuse", "list", "seconds", "ceph-fuse", 5, True),
    ("`ls -lR`, again, ÷ ceph-fuse", "list", "again_s", "ceph-fuse", 5, True),
    ("`find` ÷ ceph-fuse", "find", "seconds", "ceph-fuse", 2, True),
    *((f"small files, {readers} at once, ÷ ceph-fuse", f"small-{readers}", "files_s", "ceph-fuse", 2, False) for readers in (1, 8)),
    ("CPU of a sequential GiB, ceph-fuse ÷ wasmount", "sequential", "cpu_per_gib", "ceph-fuse", 1, True),
    *((f"CPU per read, {case}, ceph-fuse ÷ wasmount", case, "cpu_per_read", "ceph-fuse", 1, True) for case in RANDOM),
    *((f"CPU of {case}, ceph-fuse ÷ wasmount", case, "cpu_s", "ceph-fuse", 1, True) for case in COMMANDS),
    *((f"{MEMORY_MIB + PROCESS_MIB} MiB ÷ peak memory in {case}", case, "rss_mib", MEMORY_MIB + PROCESS_MIB, 1, True)
      for case in FIGURES),
]


def fill(cluster):
    cluster.script("ceph-files", "bench")


class Mount(CephMount):
    """One mount of the whole file system."""

    first = "hello"

    def command(self, name, cluster, directory, state, _cache, _memory):
        mnt = f"{directory}/mnt"
        if name == "ceph-fuse":
            return ["ceph-fuse", "-c", f"{cluster.directory}/ceph.conf", "-n", "client.admin", "-f", mnt]
        return self.wasmount(f"ceph://{cluster.mon}/", mnt, PLUGIN, cluster, state, "crc", "--memory", f"{MEMORY_MIB}MiB")


def shell(mount, case):
    """Runs a case's command, and returns how long it took."""
    command, expected, _ = COMMANDS[case]
    start = time.monotonic()
    found = int(run(["sh", "-c", command.format(mnt=mount.mnt)], client=mount))
    seconds = time.monotonic() - start
    if found != expected:
        raise RuntimeError(f"{case}: {found} instead of {expected}")
    return seconds


def measure(mount, case):
    if case == "sequential":
        return read_through(mount, f"{mount.mnt}/large")
    if case in RANDOM:
        sample = scattered(mount, RANDOM[case])
        return {**sample, "cpu_per_read": sample["cpu_s"] / (sample["iops"] * RANDOM_SECONDS)}
    cpu = mount.cpu_seconds()
    sample = {"seconds": shell(mount, case)}
    if case in TWICE:
        sample["again_s"] = shell(mount, case)
    if case.startswith("small"):
        sample["files_s"] = COMMANDS[case][2] / sample["seconds"]
    return {**sample, "cpu_s": mount.cpu_seconds() - cpu}
