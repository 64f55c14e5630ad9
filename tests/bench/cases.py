"""The cases: how each is measured, and the figures it yields."""
import json
import mmap
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass

from clients import CACHING, MIB, TARGET, Client, process_cpu_seconds

FLOOR = os.path.join(TARGET, "release/bench-floor")
LOAD_BOUND = 180
STREAMS_BOUND = 600
RANDOM_SECONDS = 5
# What a peer may keep in memory over an epoch, and what wasmount may use in all, in MiB: the disk is to be measured.
MEMORY = 128
STREAMS_CGROUP = 256
# More than any case reads or keeps.
TOUCHED = 3 << 30


@dataclass(frozen=True)
class Figure:
    """One number of a sample."""
    key: str
    title: str
    unit: str
    more_is_better: bool


@dataclass(frozen=True)
class Case:
    """`weight`: what part of BENCH_REPS it is repeated, as some take long. `subjects`: who takes part besides the peers,
    or who alone does."""
    name: str
    figures: tuple
    weight: float = 1.0
    floor: bool = True
    local: bool = True
    only: tuple = ()

    def reps(self, reps):
        return max(1, round(reps * self.weight))


def _random(kib, jobs):
    title = f"random {kib} KiB in 1 GiB, {jobs} job{'s' if jobs > 1 else ''}, {RANDOM_SECONDS} s"
    return Case(f"random-{kib}-{jobs}", (Figure("iops", title, "IOPS", True),), weight=0.4, local=False)


CASES = {case.name: case for case in (
    Case("first", (Figure("seconds", "mount to first byte", "s", False),), local=False),
    Case("sequential", (
        Figure("mib_s", "sequential 1 GiB, cold", "MiB/s", True),
        Figure("again_mib_s", "the same again, reopened", "MiB/s", True),
        Figure("cpu_per_gib", "… CPU of the client, cold", "s/GiB", False))),
    Case("sequential-128", (
        Figure("mib_s", "sequential 1 GiB in reads of 128 KiB, cold", "MiB/s", True),
        Figure("cpu_per_gib", "… CPU of the client", "s/GiB", False)), floor=False, local=False),
    Case("parallel", (Figure("mib_s", "4 readers × 256 MiB, cold", "MiB/s", True),)),
    _random(4, 1), _random(4, 16), _random(128, 1), _random(128, 16),
    Case("single", (
        Figure("seconds", "one 4 KiB read in each of 100 objects of 1 GiB, listed before", "s", False),
        Figure("sent_mib", "… sent by the server", "MiB", False)), weight=0.6, local=False),
    Case("small", (Figure("files_s", "2,000 × 16 KiB, 16 readers, cold", "files/s", True),)),
    Case("list", (Figure("seconds", "`ls -l` of 10,000, cold", "s", False),)),
    Case("find", (Figure("seconds", "`find` over 20 × 500, cold", "s", False),)),
    Case("epochs", (
        Figure("plain_1", "epoch 1 of 64 × 16 MiB, 4 readers, no disk cache", "MiB/s", True),
        Figure("plain_2", "epoch 2, page cache dropped, no disk cache", "MiB/s", True),
        Figure("cached_1", "epoch 1, filling the disk cache", "MiB/s", True),
        Figure("cached_2", "epoch 2, page cache dropped, disk cache", "MiB/s", True),
        Figure("fill", "… epoch 1 with the cache ÷ without", "", True),
        Figure("settle_s", "… time until the client was idle after epoch 1", "s", False),
        Figure("gets_2", "… GETs in epoch 2", "", False),
        Figure("core_2", "… client's share of a core in epoch 2", "%", False)), weight=0.6),
    Case("streams", (
        Figure("mib_s", "64 readers × 1 GiB, memory limited", "MiB/s", True),
        Figure("rss_mib", "… resident memory, peak", "MiB", False),
        Figure("cgroup_mib", "… charged to the cgroup of 256 MiB, peak", "MiB", False),
        Figure("oom_kills", "… killed for memory", "", False),
        Figure("stall_s", "… longest wait of a reader", "s", False)),
        weight=0.2, floor=False, local=False, only=("wasmount",)),
)}


def drop_caches():
    """Also joins the free memory again. What is read from the page cache depends on which pages it got: scattered ones cost a tenth, and
    without this the client that takes the least memory for itself gets those that the others have left."""
    os.sync()
    try:
        for name, value in (("drop_caches", "3"), ("compact_memory", "1")):
            with open(f"/proc/sys/vm/{name}", "w") as f:
                f.write(value)
    except OSError as e:
        print(f"note: caches not dropped: {e}", file=sys.stderr)


def run(command, env=None, bound=LOAD_BOUND, client=None):
    """Runs a program to its end and returns what it printed. One that hangs on a mount can be ended only by ending the
    client first."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    try:
        out, err = process.communicate(timeout=bound)
    except subprocess.TimeoutExpired:
        if client:
            client.process.kill()
        process.kill()
        process.communicate()
        raise RuntimeError(f"not done in {bound} s") from None
    if process.returncode:
        raise RuntimeError(err.decode(errors="replace")[-300:].strip() or f"{command[0]}: {process.returncode}")
    return out


def touch_memory():
    """Pages that a virtual machine gave back to its host are slow at first use, and dropped caches are such pages soon. Who
    reads a file needs many, the floor none: not in a measurement, please."""
    size = min(TOUCHED, os.sysconf("SC_AVPHYS_PAGES") * mmap.PAGESIZE // 2)
    with mmap.mmap(-1, size) as memory:
        memory[::mmap.PAGESIZE] = bytes(size // mmap.PAGESIZE)


class Bench:
    """All that measurements need: the server, the directories, and who is running."""

    def __init__(self, server, state, disk, local):
        self.server, self.state, self.disk, self.local_dir = server, state, disk, local

    @contextmanager
    def client(self, name, **kwargs):
        client = Client(name, self.server, self.state, self.disk, **kwargs)
        try:
            yield client
        except (RuntimeError, OSError) as e:
            # Why the client is gone says more than what the reader saw of it.
            raise RuntimeError(client.ended() or str(e)) from e
        finally:
            client.close()

    def measure(self, case, name):
        drop_caches()
        touch_memory()
        server_before = process_cpu_seconds(self.server.pid)
        if name in ("floor", "local"):
            sample = self._without_client(case, name)
        elif case == "epochs":
            sample = self._epochs(name)
        elif case == "streams":
            sample = self._streams(name)
        else:
            sample = self._client(case, name)
        sample["server_cpu_s"] = process_cpu_seconds(self.server.pid) - server_before
        return sample

    def _without_client(self, case, name):
        before = os.times()

        def load(what):
            if name == "floor":
                return json.loads(run([FLOOR, "request", what], env=self.server.env))
            return self._load(what, self.local_dir)
        if case == "epochs":
            first = load("epoch1")
            drop_caches()
            second = load("epoch2")
            sample = {"plain_1": rate(first), "plain_2": rate(second)}
        else:
            counts = self.server.counts()
            sample = figures(case, load(case))
            if case == "single":
                sample["sent_mib"] = (self.server.counts()[1] - counts[1]) / MIB
            if case == "sequential" and name == "local":
                sample["again_mib_s"] = rate(load(case))
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        if case == "sequential" and name == "floor":
            sample["cpu_per_gib"] = cpu
        return {**sample, "cpu_s": cpu}

    def _load(self, case, directory, client=None, bound=LOAD_BOUND):
        """Puts a case's load on files and returns what it took."""
        if case.startswith("random-"):
            return self._fio(case, directory, client)
        tools = {"list": (["sh", "-c", f"ls -l '{directory}/flat' | grep -c ^-"], 10_000),
                 "find": (["sh", "-c", f"find '{directory}/tree' -type f | wc -l"], 20 * 500)}
        if case not in tools:
            return json.loads(run([FLOOR, "read", case, directory], bound=bound, client=client))
        command, count = tools[case]
        start = time.monotonic()
        found = int(run(command, bound=bound, client=client))
        seconds = time.monotonic() - start
        if found != count:
            raise RuntimeError(f"{found} files instead of {count}")
        return {"seconds": seconds, "count": count}

    @staticmethod
    def _fio(case, directory, client):
        _, kib, jobs = case.split("-")
        out = run(["fio", "--name=random", f"--filename={directory}/large/1g.bin", "--readonly", "--rw=randread",
                   f"--bs={kib}k", "--size=1g", f"--numjobs={jobs}", "--thread", "--time_based",
                   f"--runtime={RANDOM_SECONDS}", "--ioengine=psync", "--norandommap", "--group_reporting",
                   "--output-format=json"], client=client)
        read = json.loads(out[out.index(b"{"):])["jobs"][0]["read"]
        return {"seconds": read["runtime"] / 1000, "count": read["total_ios"], "bytes": read["io_bytes"]}

    def _client(self, case, name):
        start = time.monotonic()
        with self.client(name) as client:
            client.wait_first_byte()
            if case == "first":
                return {"seconds": time.monotonic() - start, "cpu_s": client.cpu_seconds(), **peaks(client)}
            if case == "single":
                os.listdir(os.path.join(client.mnt, "many"))
            counts, cpu = self.server.counts(), client.cpu_seconds()
            outcome = self._load(case, client.mnt, client)
            sample = {**figures(case, outcome), "cpu_s": client.cpu_seconds() - cpu}
            if case == "single":
                time.sleep(1)  # what was fetched in advance and in vain counts too
                sample["sent_mib"] = (self.server.counts()[1] - counts[1]) / MIB
                sample["gets"] = self.server.counts()[0] - counts[0]
            if case.startswith("sequential"):
                sample["cpu_per_gib"] = sample["cpu_s"]
            if case == "sequential":
                sample["again_mib_s"] = rate(self._load(case, client.mnt, client))
            return {**sample, **peaks(client)}

    def _epochs(self, name):
        sample = {}
        for mode in ("plain", "cached") if name in CACHING else ("plain",):
            drop_caches()
            with self.client(name, cache=mode == "cached", memory=MEMORY) as client:
                client.wait_first_byte()
                cpu = client.cpu_seconds()
                sample[f"{mode}_1"] = rate(self._load("epoch1", client.mnt, client))
                sample[f"{mode}_1_cpu_s"] = client.cpu_seconds() - cpu
                settled = client.settle()
                drop_caches()
                gets, cpu = self.server.counts()[0], client.cpu_seconds()
                outcome = self._load("epoch2", client.mnt, client)
                cpu = client.cpu_seconds() - cpu
                sample[f"{mode}_2"] = rate(outcome)
                if mode == "cached":
                    sample["settle_s"] = settled
                    sample["gets_2"] = self.server.counts()[0] - gets
                    sample["core_2"] = 100 * cpu / outcome["seconds"]
                    sample["fill"] = sample["cached_1"] / sample["plain_1"]
                    sample["cpu_s"] = cpu
                sample[f"{mode}_limit"] = "cgroup" if client.limited else "option"
                sample.update({f"{mode}_{key}": value for key, value in peaks(client).items()})
        return sample

    def _streams(self, name):
        with self.client(name, memory=MEMORY, cgroup_limit=STREAMS_CGROUP) as client:
            if not client.limited:
                raise RuntimeError("no cgroup with a memory limit can be made here")
            client.wait_first_byte()
            cpu = client.cpu_seconds()
            outcome = self._load("streams", client.mnt, client, STREAMS_BOUND)
            return {"mib_s": rate(outcome), "stall_s": outcome["stall_seconds"], "cpu_s": client.cpu_seconds() - cpu,
                    "oom_kills": client.cgroup.oom_kills(), **peaks(client)}


def peaks(client):
    rss, charged = client.peak_rss(), client.cgroup.peak_bytes()
    return {"rss_mib": rss and rss / MIB, "cgroup_mib": charged and charged / MIB}


def rate(outcome):
    return outcome["bytes"] / MIB / outcome["seconds"]


def figures(case, outcome):
    """What a load took, in the figures of its case."""
    sample = {"seconds": outcome["seconds"]}
    if case in ("sequential", "sequential-128", "parallel"):
        sample["mib_s"] = rate(outcome)
    elif case == "small":
        sample["files_s"] = outcome["count"] / outcome["seconds"]
    elif case.startswith("random-"):
        sample["iops"] = outcome["count"] / outcome["seconds"]
    return sample


def lacking(case):
    """What this machine lacks for a case, or None."""
    if case.startswith("random-") and not shutil.which("fio"):
        return "fio is not installed"
    return None
