"""The clients: how each is started, and one client process with one mount from start to end."""
import os
import shutil
import signal
import subprocess
import tempfile
import time

from cgroup import Cgroup
from server import REPOSITORY

TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(REPOSITORY, "target")
WASMOUNT = os.environ.get("WASMOUNT_BIN") or os.path.join(TARGET, "release/wasmount")
PLUGIN = os.environ.get("WASMOUNT_PLUGIN") or os.path.join(TARGET, "plugins/s3.wasm")
TICKS = os.sysconf("SC_CLK_TCK")
MOUNT_BOUND = 30
MIB = 1 << 20

NAMES = ["wasmount", "goofys", "mount-s3", "geesefs", "rclone", "s3fs"]
# Those that can keep what they read on a disk.
CACHING = ["wasmount", "mount-s3", "geesefs", "rclone", "s3fs"]
PROGRAMS = {name: WASMOUNT if name == "wasmount" else name for name in NAMES}
# Where memory is limited, a client without an option for it runs in a cgroup of so many MiB: 128, or the least that it
# survives in. mount-s3 refuses to plan with less than 512. geesefs has an option, goes far beyond it with its disk cache
# on, and stands still in a cgroup of 512: it keeps what it takes, and the report says how much that was.
CGROUP_LIMITS = {"rclone": 256, "s3fs": 128, "goofys": 128, "mount-s3": 512}


def command(name, server, directory, state, cache=False, memory=None):
    """The foreground command of a client with its default settings, with all that is its own in `directory`. `state`
    outlives the mounts: compiled plugins lie there, as they do on a node. `cache`: with its disk cache. `memory`: keep
    at most so many MiB, where there is an option for it."""
    url, mnt, disk = server.url, f"{directory}/mnt", f"{directory}/cache"
    if name == "wasmount":
        return [WASMOUNT, "mount", "s3://bench", mnt, "--plugin", PLUGIN, "--allow-net", "127.0.0.1",
                "--state-dir", state, "-o", f"endpoint={url}",
                "-o", f"access-key={server.variables['MINIO_ACCESS_KEY']}",
                "-o", f"secret-key={server.variables['MINIO_SECRET_KEY']}",
                *(["--cache-dir", disk, "--cache-min-free", "0"] if cache else []),
                *(["--memory", f"{memory}MiB"] if memory else [])]
    if name == "goofys":
        return ["goofys", "-f", "--endpoint", url, "--region", "us-east-1", "bench", mnt]
    if name == "mount-s3":
        return ["mount-s3", "-f", "--endpoint-url", url, "--force-path-style", "--region", "us-east-1", "--read-only",
                *(["--cache", disk] if cache else []), *(["--memory-target", "512"] if memory else []), "bench", mnt]
    if name == "geesefs":
        return ["geesefs", "-f", "--endpoint", url, *(["--cache", disk] if cache else []),
                *(["--memory-limit", str(memory)] if memory else []), "bench", mnt]
    if name == "rclone":
        return ["rclone", "mount", "bench:bench", mnt, "--config", "/dev/null",
                *(["--vfs-cache-mode", "full", "--cache-dir", disk] if cache else [])]
    return ["s3fs", "bench", mnt, "-f", "-o", f"url={url},use_path_request_style,tmpdir={directory}"
            + (f",use_cache={disk}" if cache else "")]


def version(name):
    """The first line of what the program says of its version."""
    for flag in ("--version", "version"):
        try:
            done = subprocess.run([PROGRAMS[name], flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=10,
                                  stdin=subprocess.DEVNULL)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout:
            return done.stdout.decode(errors="replace").splitlines()[0].strip()
    return "unknown"


def mounted(mnt):
    with open("/proc/self/mountinfo") as table:
        return any(line.split()[4] == mnt for line in table)


def process_cpu_seconds(pid):
    """User and system time of a process and of the children it has waited for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICKS
    except OSError:
        return 0.0


class Client:
    """One client process with one mount. Its directory lies on a disk (BENCH_DISK, default /var/tmp)."""

    # A file that can be read as soon as the client serves.
    first = "first/hello.txt"
    command = staticmethod(command)

    def __init__(self, name, server, state, disk, cache=False, memory=None, cgroup_limit=None):
        self.name, self.dir = name, tempfile.mkdtemp(prefix=f"bench-{name}-", dir=disk)
        self.mnt = os.path.join(self.dir, "mnt")
        for sub in ("mnt", "cache"):
            os.mkdir(os.path.join(self.dir, sub))
        words = self.command(name, server, self.dir, state, cache, memory)
        if memory and not cgroup_limit:
            cgroup_limit = CGROUP_LIMITS.get(name)
        self.cgroup = Cgroup(name)
        self.limited = bool(cgroup_limit) and self.cgroup.limit(cgroup_limit * MIB)
        self.log = open(os.path.join(self.dir, "log"), "wb")
        try:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                            env=server.env, preexec_fn=self.cgroup.enter)
        except BaseException:
            self.log.close()
            self.cgroup.remove()
            shutil.rmtree(self.dir, ignore_errors=True)
            raise

    def wait_first_byte(self):
        """Until a file can be read: a client may be mounted and still connecting."""
        end = time.monotonic() + MOUNT_BOUND
        path = os.path.join(self.mnt, self.first)
        problem = "nothing is mounted"
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}: {self.tail()}")
            try:
                with open(path, "rb") as f:
                    if f.read(1):
                        return
            except OSError as e:
                if mounted(self.mnt):
                    problem = str(e)
            time.sleep(0.001)
        raise RuntimeError(f"no first byte in {MOUNT_BOUND} s: {problem}: {self.tail()}")

    def cpu_seconds(self):
        exact = self.cgroup.cpu_seconds()
        return process_cpu_seconds(self.process.pid) if exact is None else exact

    def peak_rss(self):
        """The most memory that the process had resident at once, in bytes."""
        try:
            with open(f"/proc/{self.process.pid}/status") as status:
                return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            return None

    def settle(self, bound=30.0):
        """Waits until the client has been idle for half a second, so that what it does behind a reader's back (writing
        its cache) is over. Returns how long that took."""
        start, before = time.monotonic(), self.cpu_seconds()
        while time.monotonic() - start < bound:
            time.sleep(0.5)
            now = self.cpu_seconds()
            if now - before < 0.02:
                break
            before = now
        return time.monotonic() - start

    def ended(self):
        """What to say of a client that is no longer there, or None."""
        try:
            self.process.wait(1)  # its readers hear of its end a moment before we do
        except subprocess.TimeoutExpired:
            return None
        killed = self.cgroup.oom_kills()
        return f"ended with {self.process.returncode}{', killed at its memory limit' if killed else ''}: {self.tail()}"

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
        self.cgroup.remove()
        if not mounted(self.mnt):
            shutil.rmtree(self.dir, ignore_errors=True)
