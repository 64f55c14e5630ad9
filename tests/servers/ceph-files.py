"""What ceph-files makes. Runs beside the cluster's own programs: `tests/servers/ceph run DIR python3 - DIR`.

It mounts the file system with ceph-fuse, and unmounts it. files.json holds, by path, the SHA-256 of every file's bytes as
they were written here: the tests compare what ceph-fuse shows with that before they compare wasmount with ceph-fuse.
"""
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

MIB = 1 << 20
# 14 November 2023: every time that is set here, so that runs are alike.
EPOCH = 1_700_000_000
# The keys beside it are for nobody else; the modes in the file system are as everywhere.
os.umask(0o022)

directory, mode = sys.argv[1], (sys.argv[2:] or ["tests"])[0]
mnt = os.path.join(directory, "files-mnt").encode()
written = {}


def content(seed, length):
    """`length` bytes that depend on nothing but the seed."""
    return hashlib.shake_128(seed.encode()).digest(length)


def ceph(*words):
    done = subprocess.run(["ceph", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"ceph {' '.join(words)}: {done.stderr}")
    return done.stdout


@contextmanager
def mounted():
    os.makedirs(mnt, exist_ok=True)
    log = os.path.join(directory, "log", "ceph-files.out")
    with open(log, "ab") as out:
        client = subprocess.Popen(["ceph-fuse", "-f", "-n", "client.admin", mnt], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        for _ in range(600):
            if os.path.ismount(mnt):
                break
            if client.poll() is not None:
                break
            time.sleep(0.05)
        if not os.path.ismount(mnt):
            raise SystemExit(f"ceph-fuse has not mounted; its log: {log}")
        yield
    finally:
        # A release that is still under way keeps the mount busy for a moment.
        for _ in range(100):
            if client.poll() is not None or subprocess.run(["umount", mnt], stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        client.send_signal(signal.SIGTERM)
        client.wait(120)
    os.rmdir(mnt)


def path(name):
    return os.path.join(mnt, name if isinstance(name, bytes) else name.encode())


def note(name, data):
    """The bytes that a path must show from now on."""
    name = name if isinstance(name, bytes) else name.encode()
    written[name.hex()] = hashlib.sha256(data).hexdigest()


def put(name, data, layout=None):
    file = os.open(path(name), os.O_CREAT | os.O_WRONLY, 0o644)
    try:
        if layout:
            os.setxattr(file, "ceph.file.layout", layout.encode())
        for at in range(0, len(data), MIB):
            os.pwrite(file, data[at:at + MIB], at)
    finally:
        os.close(file)
    note(name, data)


def pieces(name, size, *parts):
    """A file of a size in which only some (offset, bytes) were written."""
    data = bytearray(size)
    file = os.open(path(name), os.O_CREAT | os.O_WRONLY, 0o644)
    for offset, part in parts:
        os.pwrite(file, part, offset)
        data[offset:offset + len(part)] = part
    os.ftruncate(file, size)
    os.close(file)
    note(name, data)


def resized(name, data, *sizes):
    """A file that was written, and then truncated to one size after the other."""
    put(name, data)
    for size in sizes:
        os.truncate(path(name), size)
        data = data[:size] + bytes(max(0, size - len(data)))
    note(name, data)


def names():
    os.mkdir(path("names"))
    for name in [b"non-utf8-\xff\xfe\xe9.txt", "umlaut-ä-数据".encode(), b"with space", b"new\nline", b"back\\slash", b"%41%2f", b"-rf", b"...",
                 b"quote'\"", b"x" * 255, b".hidden", b"Case", b"case", b"e\xcc\x81", b"\xc3\xa9", b"tab\there", b"\x01\x7f"]:
        put(b"names/" + name, b"in " + name)
    os.mkdir(path(b"names/dir-\xe9\xff"))
    put(b"names/dir-\xe9\xff/inside", b"a directory's name need not be UTF-8 either\n")
    deep = "names/deep"
    os.mkdir(path(deep))
    for level in range(30):
        deep += f"/level-{level}"
        os.mkdir(path(deep))
    put(deep + "/bottom", b"bottom\n")


def bytes_of_all_kinds():
    os.mkdir(path("data"))
    put("data/empty", b"")
    put("data/one-byte", b"1")
    put("data/plain", content("plain", 9 * MIB + 77))
    put("data/striped", content("striped", 7 * MIB + 1001), "stripe_unit=65536 stripe_count=3 object_size=1048576")
    put("data/striped-small", content("striped-small", 300_001), "stripe_unit=65536 stripe_count=5 object_size=65536")
    put("data/small-objects", content("small-objects", 5 * MIB), "stripe_unit=1048576 stripe_count=1 object_size=1048576")
    put("data/other-pool", content("other-pool", 5 * MIB + 1), "pool=cephfs_other")
    put("data/namespace", content("namespace", 4 * MIB + 4097), "pool_namespace=team")
    # A directory's layout is what new files in it get.
    os.mkdir(path("data/layout"))
    os.setxattr(path("data/layout"), "ceph.dir.layout", b"stripe_unit=131072 stripe_count=2 object_size=524288 pool=cephfs_other")
    put("data/layout/inherited", content("inherited", 3 * MIB + 5))
    # Holes: at the start, in the middle, over whole objects, at the end, and nothing but a hole.
    pieces("data/sparse", 45 * MIB + 3, (5 * MIB + 17, b"middle"), (21 * MIB - 100, content("sparse", 200)), (45 * MIB, b"end"))
    pieces("data/hole-at-the-end", 10 * MIB, (0, content("start", 5000)))
    pieces("data/nothing-but-a-hole", 9 * MIB + 1)
    # What was cut off must not come back, wherever in an object it was cut.
    resized("data/truncated", content("truncated", 6 * MIB), 2 * MIB + 11)
    resized("data/regrown", content("regrown", 9 * MIB), 100, 9 * MIB)
    resized("data/regrown-in-an-object", content("regrown-2", 9 * MIB), 5 * MIB + 3, 7 * MIB)
    resized("data/regrown-twice", content("regrown-3", 5 * MIB), 4 * MIB + 1, 5 * MIB, 1000, 4 * MIB + 2)
    resized("data/emptied-and-regrown", content("regrown-4", 5 * MIB), 0, 5 * MIB)
    rewritten = content("rewritten", 5 * MIB)
    put("data/regrown-and-rewritten", rewritten)
    os.truncate(path("data/regrown-and-rewritten"), 1000)
    pieces("data/regrown-and-rewritten", 5 * MIB, (0, rewritten[:1000]), (4 * MIB - 5, b"across the border of two objects"))


def inline_data():
    """Small files whose bytes are in the inode: nobody makes them any more, and old file systems have them."""
    ceph("fs", "set", "cephfs", "inline_data", "true", "--yes-i-really-really-mean-it")
    # A client learns it from the MDS map.
    time.sleep(0.5)
    with mounted():
        os.mkdir(path("inline"))
        put("inline/small", b"these bytes are in the inode\n")
        put("inline/empty", b"")
        put("inline/too-large", content("too-large", 20_000))
        resized("inline/cut", b"0123456789" * 30, 123)
        resized("inline/grown", b"0123456789" * 3, 3000)
    ceph("fs", "set", "cephfs", "inline_data", "false")


def kinds_of_entries():
    os.mkdir(path("kinds"))
    put("kinds/file", b"a file\n")
    os.symlink(b"file", path("kinds/link"))
    os.symlink(b"../data/plain", path("kinds/link-up"))
    os.symlink(b"/absolute/target/\xff", path("kinds/dangling"))
    os.symlink(b"long/" * 200 + b"x" * 200, path("kinds/long-link"))
    os.symlink(b"loop", path("kinds/loop"))
    os.mkfifo(path("kinds/fifo"))
    with socket.socket(socket.AF_UNIX) as bound:
        # The address has room for about a hundred bytes.
        os.chdir(path("kinds"))
        bound.bind("socket")
        os.chdir("/")
    os.mknod(path("kinds/null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(path("kinds/disk"), stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    # Hard links: in one directory and in two, and one whose first name is gone.
    os.mkdir(path("kinds/elsewhere"))
    for first, second in [("kinds/linked", "kinds/linked-too"), ("kinds/linked", "kinds/elsewhere/linked"),
                          ("kinds/removed", "kinds/elsewhere/kept")]:
        if not os.path.exists(path(first)):
            put(first, f"{first} has several names\n".encode())
        os.link(path(first), path(second))
        written[second.encode().hex()] = written[first.encode().hex()]
    os.unlink(path("kinds/removed"))
    del written[b"kinds/removed".hex()]
    for name, bits in [("setuid", 0o4751), ("setgid", 0o2711), ("nothing", 0o000), ("all", 0o777), ("read-only", 0o444)]:
        put(f"kinds/{name}", name.encode())
        os.chown(path(f"kinds/{name}"), 1000, 1001)
        os.chmod(path(f"kinds/{name}"), bits)
    put("kinds/large-ids", b"ids beyond 31 bits\n")
    os.chown(path("kinds/large-ids"), 4_000_000_000, 3_000_000_000)
    for name, bits in [("sticky", 0o1777), ("group", 0o2775), ("closed", 0o700)]:
        os.mkdir(path(f"kinds/{name}"))
        os.chown(path(f"kinds/{name}"), 7, 8)
        os.chmod(path(f"kinds/{name}"), bits)
    os.lchown(path("kinds/link"), 1234, 4321)
    for name, seconds, nanoseconds in [("old", 1, 1), ("fraction", EPOCH, 123_456_789), ("far", (1 << 32) - 10, 999_999_999)]:
        put(f"kinds/{name}", name.encode())
        times = seconds * 1_000_000_000 + nanoseconds
        os.utime(path(f"kinds/{name}"), ns=(times, times + 1 if nanoseconds < 999_999_999 else times))


def xattrs():
    os.mkdir(path("xattrs"))
    os.mkdir(path("xattrs/directory"))
    for name in ("xattrs/file", "xattrs/directory"):
        if name.endswith("file"):
            put(name, b"x")
        os.setxattr(path(name), "user.colour", b"bl\x00ue")
        os.setxattr(path(name), "user.empty", b"")
        os.setxattr(path(name), "user.big", content("big", 3000))
        os.setxattr(path(name), b"user.\xff\xfe", b"a name that is not UTF-8")
        os.setxattr(path(name), "trusted.secret", b"for root")
    put("xattrs/many", b"x")
    for number in range(60):
        os.setxattr(path("xattrs/many"), f"user.number-{number}", str(number).encode())
    os.symlink(b"file", path("xattrs/link"))
    os.setxattr(path("xattrs/link"), "trusted.link", b"a link has its own", follow_symlinks=False)


def quotas():
    os.makedirs(path("quota/inner/below"))
    os.setxattr(path("quota"), "ceph.quota.max_bytes", b"104857600")
    os.setxattr(path("quota"), "ceph.quota.max_files", b"500")
    os.setxattr(path("quota/inner"), "ceph.quota.max_bytes", b"10485760")
    put("quota/file", content("quota", 300_000))
    put("quota/inner/below/file", content("inner", 2 * MIB))


def snapshots():
    os.makedirs(path("snapshots/sub/below"))
    put("snapshots/changed", b"before\n")
    put("snapshots/removed", content("removed", 5 * MIB + 9))
    put("snapshots/cut", content("cut", 6 * MIB))
    put("snapshots/renamed", b"renamed later\n")
    put("snapshots/sub/file", b"below\n")
    put("snapshots/partly", content("partly", 9 * MIB))
    put("snapshots/linked", b"two names, one of them outside\n")
    os.link(path("snapshots/linked"), path("outside-the-snapshots"))
    written[b"outside-the-snapshots".hex()] = written[b"snapshots/linked".hex()]
    os.setxattr(path("snapshots/changed"), "user.when", b"before")
    # What the MDS has been told before the snapshot is the same inode in the snapshot and outside.
    put("snapshots/settled", b"never changed again\n")
    os.setxattr(path("snapshots/settled"), "user.when", b"long before")
    settled = os.open(path("snapshots/settled"), os.O_RDONLY)
    os.fsync(settled)
    os.close(settled)
    os.symlink(b"changed", path("snapshots/link"))

    def snap(where, name):
        os.mkdir(path(f"{where}/.snap/{name}"))
        prefix = f"{where}/".encode()
        for known in list(written):
            known = bytes.fromhex(known)
            if known.startswith(prefix) and b"/.snap/" not in known:
                written[(prefix + b".snap/" + name.encode() + b"/" + known[len(prefix):]).hex()] = written[known.hex()]

    def rewrite(name, offset, part, whole):
        with open(path(name), "r+b", buffering=0) as file:
            file.seek(offset)
            file.write(part)
        note(name, whole)

    snap("snapshots", "first")
    os.unlink(path("snapshots/changed"))
    put("snapshots/changed", b"after, and longer\n")
    os.setxattr(path("snapshots/changed"), "user.when", b"after")
    os.unlink(path("snapshots/removed"))
    del written[b"snapshots/removed".hex()]
    os.truncate(path("snapshots/cut"), 4 * MIB + 5)
    note("snapshots/cut", content("cut", 6 * MIB)[:4 * MIB + 5])
    os.rename(path("snapshots/renamed"), path("snapshots/sub/below/renamed"))
    written[b"snapshots/sub/below/renamed".hex()] = written.pop(b"snapshots/renamed".hex())
    partly = bytearray(content("partly", 9 * MIB))
    part = content("new part", 5000)
    partly[4 * MIB - 100:4 * MIB + 4900] = part
    rewrite("snapshots/partly", 4 * MIB - 100, part, partly)
    put("snapshots/new", b"made after the first snapshot\n")
    os.chmod(path("snapshots/sub"), 0o711)
    snap("snapshots/sub", "inner")
    snap("snapshots", "second with space")
    put("snapshots/sub/file", b"below, changed after both\n")
    os.unlink(path("snapshots/linked"))
    del written[b"snapshots/linked".hex()]
    put("snapshots/newest", b"in no snapshot\n")


def many(name, count, data=None):
    """Entries in one directory, by several at once: each waits for the MDS most of the time."""
    os.makedirs(path(name), exist_ok=True)

    def make(number):
        entry = f"{name}/f{number:05}"
        if data:
            put(entry, data(number))
        else:
            os.mknod(path(entry), stat.S_IFREG | 0o644)
            note(entry, b"")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(count)))


def same_times():
    """Times of all entries but those that have special ones; children first, as their making changes the parent."""
    special = {path(f"kinds/{name}") for name in ("old", "fraction", "far")}
    for where, directories, files in os.walk(mnt, topdown=False):
        if not where.startswith((path("large"), path("many"))):
            for name in files + directories:
                entry = os.path.join(where, name)
                if entry not in special:
                    os.utime(entry, ns=(EPOCH * 10**9, EPOCH * 10**9), follow_symlinks=False)


def settled():
    """Waits until the sums of all below have arrived at the root: an MDS passes them on from child to parent a while after each change."""
    with mounted():
        last, since = None, time.monotonic()
        while time.monotonic() - since < 4:
            now = os.getxattr(mnt, "ceph.dir.rbytes")
            if now != last:
                last, since = now, time.monotonic()
            time.sleep(0.5)


def tests(all_of_it=True):
    ceph("osd", "pool", "create", "cephfs_other", "8")
    ceph("fs", "add_data_pool", "cephfs", "cephfs_other")
    ceph("fs", "authorize", "cephfs", "client.tst1", "/tst1", "rw")
    with mounted():
        os.makedirs(path("tst1/home"))
        put("tst1/hello", b"hello from tst1\n")
        put("tst1/home/file", content("tst1", MIB + 1))
        os.makedirs(path("dir-with-dash/sub-dir"))
        put("dir-with-dash/sub-dir/a-file", b"a dash is no obstacle\n")
        names()
        bytes_of_all_kinds()
        kinds_of_entries()
        xattrs()
        quotas()
        for where in range(10):
            many(f"many/d{where:02}", 40, lambda number, where=where: f"{where}-{number} ".encode() * 700)
        if all_of_it:
            many("large", 20_000)
            # Some of them in other fragments than they would be in by the order of making.
            for number in range(0, 20_000, 1000):
                os.rename(path(f"large/f{number:05}"), path(f"large/renamed-{number}"))
                written[f"large/renamed-{number}".encode().hex()] = written.pop(f"large/f{number:05}".encode().hex())
        same_times()
        snapshots()
    inline_data()
    settled()
    with open(os.path.join(directory, "files.json"), "w") as file:
        json.dump(written, file, indent=0, sort_keys=True)


def bench():
    for pool in ("cephfs_data", "cephfs_metadata"):
        ceph("osd", "pool", "set", pool, "size", "1", "--yes-i-really-mean-it")
    with mounted():
        put("hello", b"hello\n")
        large = os.open(path("large"), os.O_CREAT | os.O_WRONLY)
        for offset in range(0, 1024 * MIB, 32 * MIB):
            os.pwrite(large, content(f"large {offset}", 32 * MIB), offset)
        os.close(large)
        many("flat", 10_000)
        for where in range(20):
            many(f"tree/d{where:02}", 500)
        many("small", 2000, lambda number: content(f"small {number}", 16 << 10))
        many("tiny", 2000, lambda number: content(f"tiny {number}", 4 << 10))


{"tests": tests, "small": lambda: tests(all_of_it=False), "bench": bench}[mode]()
