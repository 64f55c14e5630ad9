"""The cluster that everybody is measured on, and what all mounts of it have in common."""
import os
import re
import shutil
import socket
import subprocess
import tempfile

from cases import run
from clients import WASMOUNT, Client
from server import BACKTRACES, REPOSITORY

OBJECTS_MIB = 1024
# How many small objects there are, as there are small files; of which size in each case, and read by how many at once.
SMALL = 2000
SMALL_CASES = {"small-1": (4 << 10, 1), "small-8": (16 << 10, 8)}


class Cluster:
    """One Ceph cluster with a file system, and bare objects in pool `floor`, 1 GiB of large ones and 2,000 small ones of each size, of one copy
    as all that is measured."""

    def __init__(self, disk):
        self.directory = tempfile.mkdtemp(prefix="wasmount-bench-ceph-", dir=disk)
        self.scripts = os.path.join(REPOSITORY, "tests/servers")
        self.env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != BACKTRACES}
        try:
            lines = subprocess.run([f"{self.scripts}/ceph", "start", self.directory], check=True, stdout=subprocess.PIPE, text=True,
                                   env={**self.env, "CEPH_OWNER": str(os.getpid()), "CEPH_MDS": "1"}).stdout
            variables = dict(line[len("export "):].split("=", 1) for line in lines.splitlines())
            self.mon = variables["CEPH_MON_V2"]
            with open(variables["CEPH_KEY_FILE"]) as file:
                self.key = file.read().strip()
            self.run("ceph", "osd", "pool", "create", "floor", "8")
            self.run("ceph", "osd", "pool", "set", "floor", "size", "1", "--yes-i-really-mean-it")
            self.run("rados", "-p", "floor", "bench", "120", "write", "-b", "4194304", "-t", "4", "--max-objects",
                     str(OBJECTS_MIB // 4), "--no-cleanup")
            for case, (size, _) in SMALL_CASES.items():
                self.run("rados", "-p", "floor", "bench", "120", "write", "-b", str(size), "-t", "8", "--max-objects", str(SMALL),
                         "--run-name", case, "--no-cleanup")
        except BaseException:
            self.stop()
            raise

    def run(self, *words):
        """What one of Ceph's programs prints."""
        return run([f"{self.scripts}/ceph", "run", self.directory, *words], env=self.env).decode()

    def script(self, name, *words):
        """Runs one of the scripts that fill a cluster."""
        subprocess.run([f"{self.scripts}/{name}", self.directory, *words], check=True, env=self.env)

    def floor(self, case):
        """MiB/s of `rados bench seq -t 4` over the large objects, or objects a second over the small ones, by as many at once as there are readers."""
        if case in SMALL_CASES:
            readers = SMALL_CASES[case][1]
            said = self.run("rados", "-p", "floor", "bench", "60", "seq", "-t", str(readers), "--run-name", case)
            return {"files_s": SMALL / float(re.search(r"^Total time run: *([\d.]+)", said, re.M)[1])}
        said = self.run("rados", "-p", "floor", "bench", "60", "seq", "-t", "4")
        return {"mib_s": float(re.search(r"^Bandwidth \(MB/sec\): *([\d.]+)", said, re.M)[1])}

    def stop(self):
        subprocess.run([f"{self.scripts}/ceph", "stop", self.directory], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class CephMount(Client):
    """One mount of something in the cluster."""

    port = None

    def wasmount(self, source, mnt, plugin, cluster, state, mode, *more):
        """The command of a wasmount, with its metrics on a port of its own."""
        self.port = free_port()
        return [WASMOUNT, "mount", source, mnt, "--plugin", plugin, "--allow-net", "127.0.0.1", "--state-dir", state,
                "--metrics-addr", f"127.0.0.1:{self.port}", "-o", "user=admin", "-o", f"key={cluster.key}",
                "-o", f"ms_mode={mode}", *more]
