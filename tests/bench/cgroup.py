"""A control group of its own for a process: its memory limit, its peak, and its CPU time to the nanosecond.

Version 1 and 2, directly below the group of the benchmark itself (v1) or beside it (v2, where a group with processes
may have no children), so that limits set from outside stay in force.
"""
import os
import time

ROOT = "/sys/fs/cgroup"


def _own_groups():
    """Controller (or "" for version 2) -> path of the group this process is in."""
    with open("/proc/self/cgroup") as table:
        rows = [line.rstrip("\n").split(":", 2) for line in table]
    return {name: path for _, names, path in rows for name in names.split(",")}


def _v1_directory(controller):
    """Where the hierarchy of a version 1 controller is mounted, with our own group appended."""
    path = _own_groups().get(controller)
    if path is None:
        return None
    with open("/proc/self/mountinfo") as table:
        for line in table:
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split(" ", 2)
            if kind == "cgroup" and controller in options.strip().split(","):
                return os.path.join(fields.split()[4], path.lstrip("/"))
    return None


def _read(path):
    with open(path) as f:
        return f.read()


def _write(path, text):
    with open(path, "w") as f:
        f.write(text)


class Cgroup:
    """What the machine allows of it: each part may be missing, and says so by being None."""

    def __init__(self, name):
        self.memory = self.cpu = None
        self.version, name = 1, f"wasmount-bench-{os.getpid()}-{name}"
        try:
            if os.path.exists(f"{ROOT}/cgroup.controllers"):
                self.version = 2
                own = ROOT + _own_groups().get("", "/").rstrip("/")
                base = own if own == ROOT else os.path.dirname(own)
                self.cpu = os.path.join(base, name)
                os.mkdir(self.cpu)
                if os.path.exists(f"{self.cpu}/memory.max"):
                    self.memory = self.cpu
                return
            for attribute, controller in (("memory", "memory"), ("cpu", "cpuacct")):
                if directory := _v1_directory(controller):
                    os.mkdir(os.path.join(directory, name))
                    setattr(self, attribute, os.path.join(directory, name))
        except OSError:
            self.remove()

    def limit(self, bytes_):
        """Limits memory, page cache included; False where that cannot be done."""
        if not self.memory:
            return False
        try:
            if self.version == 2:
                _write(f"{self.memory}/memory.max", str(bytes_))
                if os.path.exists(f"{self.memory}/memory.swap.max"):
                    _write(f"{self.memory}/memory.swap.max", "0")
            else:
                _write(f"{self.memory}/memory.limit_in_bytes", str(bytes_))
        except OSError:
            return False
        return True

    def enter(self):
        """Moves the calling process in: between fork and exec."""
        for directory in {self.memory, self.cpu} - {None}:
            _write(f"{directory}/cgroup.procs", "0")

    def cpu_seconds(self):
        if not self.cpu:
            return None
        if self.version == 1:
            return int(_read(f"{self.cpu}/cpuacct.usage")) / 1e9
        return int(_read(f"{self.cpu}/cpu.stat").split()[1]) / 1e6

    def peak_bytes(self):
        """The most memory that was charged at once, page cache included."""
        try:
            name = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
            return int(_read(f"{self.memory}/{name}")) if self.memory else None
        except OSError:  # memory.peak came with Linux 5.19
            return None

    def oom_kills(self):
        if not self.memory:
            return None
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        counts = dict(line.split() for line in _read(f"{self.memory}/{name}").splitlines())
        return int(counts.get("oom_kill", 0))

    def remove(self):
        for directory in {self.memory, self.cpu} - {None}:
            for _ in range(100):  # a process that has just ended is still counted for a moment
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)
        self.memory = self.cpu = None
