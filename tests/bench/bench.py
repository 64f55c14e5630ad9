#!/usr/bin/env python3
"""wasmount beside other S3 mounts, on one MinIO, in one run: `make bench`.

Clients take turns (A B C A B C ...), each measurement starts with a fresh client process, a fresh mount and
dropped caches, and the table shows medians of BENCH_REPS runs (default 3). Peers are taken from PATH; those that
are not there are named. The floor is the same requests by a plain program without any file system. MinIO's data
lies in memory (BENCH_DIR, default /dev/shm) so that no disk is measured. BENCH_CLIENTS=wasmount,goofys and
BENCH_CASES=sequential,list narrow a run down.
"""
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(REPOSITORY, "target")
REPS = int(os.environ.get("BENCH_REPS", "3"))
TICKS = os.sysconf("SC_CLK_TCK")
MOUNT_BOUND = 30
CASE_BOUND = 180
SMALL_FILES = [f"small/{d:02d}/{i:03d}.bin" for d in range(20) for i in range(100)]

# name: unit, how a duration becomes a figure, whether more is better
CASES = {
    "first": ("mount to first byte", "s", lambda s: s, False),
    "sequential": ("1 GiB sequential, cold", "MiB/s", lambda s: 1024 / s, True),
    "small": ("2,000 × 16 KiB, 16 readers", "files/s", lambda s: 2000 / s, True),
    "list": ("`ls -l` of 10,000, cold", "s", lambda s: s, False),
}


def commands(server, state):
    """The foreground command of each known client; MNT and DIR are replaced. `state` outlives the mounts: compiled
    plugins lie there, as they do on a node."""
    url = server["MINIO_ENDPOINT"]
    wasmount = os.environ.get("WASMOUNT_BIN") or os.path.join(TARGET, "release/wasmount")
    return {
        "wasmount": [wasmount, "mount", "s3://bench", "MNT", "--plugin", os.path.join(TARGET, "plugins/s3.wasm"),
                     "--allow-net", "127.0.0.1", "--cache-dir", "DIR/cache", "--state-dir", state,
                     "-o", f"endpoint={url}", "-o", f"access-key={server['MINIO_ACCESS_KEY']}",
                     "-o", f"secret-key={server['MINIO_SECRET_KEY']}"],
        "goofys": ["goofys", "-f", "--endpoint", url, "--region", "us-east-1", "bench", "MNT"],
        "mount-s3": ["mount-s3", "-f", "--endpoint-url", url, "--force-path-style", "--region", "us-east-1",
                     "--read-only", "bench", "MNT"],
        "geesefs": ["geesefs", "-f", "--endpoint", url, "bench", "MNT"],
        "rclone": ["rclone", "mount", "bench:bench", "MNT", "--config", "/dev/null"],
        "s3fs": ["s3fs", "bench", "MNT", "-f", "-o", f"url={url},use_path_request_style"],
    }


def environment(server):
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "AWS_CA_BUNDLE"}
    key, secret = server["MINIO_ACCESS_KEY"], server["MINIO_SECRET_KEY"]
    env.update(server, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret, AWSACCESSKEYID=key,
               AWSSECRETACCESSKEY=secret, AWS_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true",
               RCLONE_CONFIG_BENCH_TYPE="s3", RCLONE_CONFIG_BENCH_PROVIDER="Minio", RCLONE_CONFIG_BENCH_ENV_AUTH="true",
               RCLONE_CONFIG_BENCH_ENDPOINT=server["MINIO_ENDPOINT"])
    return env


def mounted(mnt):
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == mnt for line in table)


def cpu_seconds(pid):
    """User and system time of a process and of the children it has waited for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICKS
    except OSError:
        return 0.0


def drop_caches():
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
    except OSError as e:
        print(f"note: caches not dropped: {e}", file=sys.stderr)


class Client:
    """One client process with one mount, from start to end."""

    def __init__(self, name, command, env):
        self.name, self.dir = name, tempfile.mkdtemp(prefix=f"bench-{name}-")
        self.mnt = os.path.join(self.dir, "mnt")
        for sub in ("mnt", "cache"):
            os.mkdir(os.path.join(self.dir, sub))
        command = [a.replace("MNT", self.mnt).replace("DIR", self.dir) for a in command]
        self.log = open(os.path.join(self.dir, "log"), "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env)

    def wait(self):
        end = time.monotonic() + MOUNT_BOUND
        while not mounted(self.mnt):
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.tail()}")
            if time.monotonic() > end:
                raise RuntimeError(f"not mounted in {MOUNT_BOUND} s: {self.tail()}")
            time.sleep(0.001)

    def tail(self):
        with open(self.log.name, "rb") as f:
            return f.read()[-400:].decode(errors="replace").strip()

    def close(self):
        if mounted(self.mnt):
            subprocess.run(["umount", self.mnt], stderr=subprocess.DEVNULL)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if mounted(self.mnt):
            subprocess.run(["umount", "-l", self.mnt], stderr=subprocess.DEVNULL)
        self.log.close()
        if not mounted(self.mnt):
            shutil.rmtree(self.dir, ignore_errors=True)


def run(command, expect=None, **kwargs):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=CASE_BOUND, **kwargs)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace")[-300:].strip())
    if expect is not None and done.stdout.split() != [str(expect).encode()]:
        raise RuntimeError(f"got {done.stdout[:100]!r} instead of {expect}")


def load(case, mnt):
    """Puts one case's load on a mount."""
    if case == "first":
        end, path = time.monotonic() + MOUNT_BOUND, os.path.join(mnt, "first/hello.txt")
        while True:
            try:
                with open(path, "rb") as f:
                    if f.read(1) == b"h":
                        return
            except OSError as e:
                if time.monotonic() > end:
                    raise RuntimeError(f"no first byte: {e}") from e
            time.sleep(0.001)
    elif case == "sequential":
        run(["dd", f"if={mnt}/large/1g.bin", "of=/dev/null", "bs=1M", "status=none"])
    elif case == "small":
        names = "\n".join(os.path.join(mnt, f) for f in SMALL_FILES).encode()
        run(["sh", "-c", "xargs -P16 -n25 cat | wc -c"], expect=2000 * 16384, input=names)
    elif case == "list":
        run(["sh", "-c", f"ls -l '{mnt}/flat' | grep -c ^-"], expect=10000)


def measure_client(case, name, command, env):
    drop_caches()
    start = time.monotonic()
    client = Client(name, command, env)
    try:
        if case != "first":
            client.wait()
            # A client may still be connecting: it is the case's work that is measured here.
            load("first", client.mnt)
            start = time.monotonic()
        before = cpu_seconds(client.process.pid) if case != "first" else 0.0
        load(case, client.mnt)
        wall = time.monotonic() - start
        return wall, cpu_seconds(client.process.pid) - before
    finally:
        client.close()


def measure_floor(case, env):
    drop_caches()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run([os.path.join(TARGET, "release/bench-floor"), case], env=env)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def median(values):
    return statistics.median(values) if values else None


def cell(value, digits=3):
    return "–" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.{digits}g}"


def report(results, names, missing, failures):
    print(f"\n## wasmount beside its peers: medians of {REPS}, {os.cpu_count()} cores, kernel {os.uname().release}\n")
    print("| | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for case, per_name in results.items():
        title, unit, figure, more_is_better = CASES[case]
        walls = {n: median([w for w, _ in per_name.get(n, [])]) for n in names}
        cpus = {n: median([c for _, c in per_name.get(n, [])]) for n in names}
        print(f"| {title}, {unit} | " + " | ".join(cell(figure(walls[n]) if walls[n] else None) for n in names) + " |")
        if walls.get("wasmount"):
            ratios = [walls[n] / walls["wasmount"] if walls[n] else None for n in names]
            print("| … wasmount is faster by | " + " | ".join("–" if r is None else f"{r:.2f}×" for r in ratios) + " |")
        print("| … CPU seconds of the client | " + " | ".join(cell(cpus[n], 2) for n in names) + " |")
    for name in missing:
        print(f"\n{name}: not on PATH, left out", end="")
    print()
    for failure in failures:
        print(f"failed: {failure}")


def main():
    base = os.environ.get("BENCH_DIR") or ("/dev/shm" if shutil.disk_usage("/dev/shm").free > 3 << 30 else None)
    directory = tempfile.mkdtemp(prefix="wasmount-bench-", dir=base)
    minio = os.path.join(REPOSITORY, "tests/servers/minio")
    try:
        lines = subprocess.run([minio, "start", directory], check=True, stdout=subprocess.PIPE, text=True).stdout
        server = dict(line.removeprefix("export ").split("=", 1) for line in lines.splitlines())
        env = environment(server)
        print("storing 1 GiB, 2,000 small and 10,000 tiny objects", file=sys.stderr)
        subprocess.run([os.path.join(TARGET, "release/bench-floor"), "seed"], check=True, env=env)

        known = commands(server, tempfile.mkdtemp(prefix="state-", dir=directory))
        wanted = os.environ.get("BENCH_CLIENTS", ",".join(known)).split(",")
        cases = os.environ.get("BENCH_CASES", ",".join(CASES)).split(",")
        present = [n for n in wanted if shutil.which(known[n][0])]
        missing = [n for n in wanted if n not in present]
        results, failures = {case: {} for case in cases}, []
        compiling = None
        if "wasmount" in present:
            try:
                compiling = measure_client("first", "wasmount", known["wasmount"], env)[0]
            except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
                failures.append(f"wasmount, very first start: {e}")
        for case in cases:
            for rep in range(REPS):
                for name in present + ["floor"]:
                    try:
                        wall, cpu = measure_floor(case, env) if name == "floor" else \
                            measure_client(case, name, known[name], env)
                    except (RuntimeError, OSError, subprocess.TimeoutExpired) as e:
                        failures.append(f"{name}, {case}: {e}")
                        continue
                    results[case].setdefault(name, []).append((wall, cpu))
                    print(f"{case:11} {rep + 1} {name:9} {wall:8.3f} s  cpu {cpu:6.2f} s", file=sys.stderr, flush=True)
        report(results, present + ["floor"], missing, failures)
        if compiling:
            print(f"\nwasmount's very first start on a machine compiles the plugin: {compiling:.2f} s to the first byte")
        if path := os.environ.get("BENCH_JSON"):
            with open(path, "w") as f:
                json.dump(results, f, indent=1)
        return 1 if any(f.startswith("wasmount") for f in failures) else 0
    finally:
        subprocess.run([minio, "stop", directory], stderr=subprocess.DEVNULL)
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
