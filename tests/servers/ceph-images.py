"""What ceph-images makes. Runs beside the cluster's own libraries: `tests/servers/ceph run DIR python3 - DIR`.

Everything that is written to an image is written to a model of it as well; images.json holds, for each image and
snapshot, the size and SHA-256 of the model, and the ranges that were ever written. The tests compare both with what
`rbd export` says before they believe either.
"""
import hashlib
import json
import os
import subprocess
import sys

import rados
import rbd

MIB = 1 << 20
LAYERING = rbd.RBD_FEATURE_LAYERING
LOCK_AND_MAP = rbd.RBD_FEATURE_EXCLUSIVE_LOCK | rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF
# A bit that no release has given a meaning to.
UNKNOWN_FEATURE = 1 << 40

directory, mode = sys.argv[1], (sys.argv[2:] or ["tests"])[0]
cluster = rados.Rados(conffile=os.environ["CEPH_CONF"])
cluster.connect()
entries = []


def content(seed, length):
    """`length` bytes that depend on nothing but the seed."""
    return hashlib.shake_128(seed.encode()).digest(length)


def command(**words):
    code, _, said = cluster.mon_command(json.dumps(words), b"")
    if code:
        raise SystemExit(f"{words}: {said}")


def make_pool(name, **settings):
    command(prefix="osd pool create", pool=name, pg_num=8, pgp_num=8, **settings)
    command(prefix="osd pool application enable", pool=name, app="rbd")


def pool(name, namespace=""):
    ioctx = cluster.open_ioctx(name)
    ioctx.set_namespace(namespace)
    return ioctx


def rbd_command(*words):
    done = subprocess.run(["rbd", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"rbd {' '.join(words)}: {done.stdout}")


class Made:
    """An image, and beside it what its bytes must be."""

    def __init__(self, name, pool_name="rbd", namespace=""):
        self.name, self.pool, self.namespace = name, pool_name, namespace
        self.bytes, self.written, self.snapshots = bytearray(), [], {}

    @property
    def spec(self):
        return "/".join(part for part in (self.pool, self.namespace, self.name) if part)

    def imported(self, data, *options):
        """`rbd import` of a file, which leaves out what is zeros."""
        source = os.path.join(directory, "sources", "import")
        with open(source, "wb") as file:
            file.write(data)
        rbd_command("import", "--no-progress", "--image-format", "2", *options, source, self.spec)
        os.unlink(source)
        self.bytes = bytearray(data)
        self.written = [(0, len(data))]
        return self

    def created(self, size, features, order=22):
        rbd.RBD().create(pool(self.pool, self.namespace), self.name, size, order=order, old_format=False, features=features)
        self.bytes = bytearray(size)
        return self

    def cloned(self, parent, snapshot, clone_format=1):
        cluster.conf_set("rbd_default_clone_format", str(clone_format))
        rbd.RBD().clone(pool(parent.pool, parent.namespace), parent.name, snapshot, pool(self.pool, self.namespace),
                        self.name, features=LAYERING | LOCK_AND_MAP)
        self.bytes, self.written = bytearray(parent.snapshots[snapshot][0]), list(parent.snapshots[snapshot][1])
        return self

    def open(self):
        return rbd.Image(pool(self.pool, self.namespace), self.name)

    def write(self, *ranges):
        with self.open() as image:
            for offset, length in ranges:
                data = content(f"{self.spec} {offset}", length)
                image.write(data, offset)
                self.bytes[offset:offset + length] = data
                self.written.append((offset, length))
        return self

    def discard(self, offset, length):
        """In units of 64 KiB: librbd leaves the rest as it was."""
        with self.open() as image:
            image.discard(offset, length)
        self.bytes[offset:offset + length] = bytes(length)
        return self

    def resize(self, size):
        with self.open() as image:
            image.resize(size)
        self.written = [(o, min(n, size - o)) for o, n in self.written if o < size]
        self.bytes = self.bytes[:size] + bytearray(max(0, size - len(self.bytes)))
        return self

    def snap(self, name, protect=False):
        with self.open() as image:
            image.create_snap(name)
            if protect:
                image.protect_snap(name)
        self.snapshots[name] = (bytes(self.bytes), list(self.written))
        return self

    def listed(self):
        """Adds the head and the snapshots to images.json."""
        for snapshot, (data, written) in [(None, (self.bytes, self.written)), *self.snapshots.items()]:
            entries.append({"pool": self.pool, "namespace": self.namespace, "image": self.name, "snapshot": snapshot,
                            "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "written": written})
        return self


def images():
    for name in ("rbd", "other", "data"):
        make_pool(name)
    command(prefix="osd erasure-code-profile set", name="two-and-one", profile=["k=2", "m=1", "crush-failure-domain=osd"])
    make_pool("coded", pool_type="erasure", erasure_code_profile="two-and-one")
    command(prefix="osd pool set", pool="coded", var="allow_ec_overwrites", val="true")
    rbd.RBD().namespace_create(pool("rbd"), "team")

    layering = ("--image-feature", "layering")
    # Zeros in the middle, which import leaves out, and an end within an object.
    plain = content("plain", 3 * MIB) + bytes(6 * MIB) + content("plain's end", 3 * MIB + 4608)
    Made("plain").imported(plain, *layering).listed()
    Made("plain", namespace="team").imported(content("team", 5 * MIB), *layering).listed()
    Made("odd-size").imported(content("odd", 5_000_001), *layering).listed()
    Made("a name with ä and space").imported(content("name", 100_000), *layering).listed()
    Made("empty").created(0, LAYERING).listed()
    with open(os.path.join(directory, "sources", "ext4"), "rb") as file:
        Made("ext4").imported(file.read()).listed()
    Made("striped").imported(content("striped", 23 * MIB), "--object-size", "1M", "--stripe-unit", "64K",
                             "--stripe-count", "4", *layering).listed()
    # Read in large pieces, more objects than the parts that one answer of a plugin may have.
    Made("small-objects").imported(content("small", 17 * MIB), "--object-size", "4K", "--image-feature",
                                   "layering,exclusive-lock,object-map").listed()
    Made("striped-by-three").imported(content("three", 5 * MIB + 512), "--object-size", "128K", "--stripe-unit", "4K",
                                      "--stripe-count", "3", *layering).listed()
    Made("data-pool").imported(content("data-pool", 10 * MIB), "--data-pool", "data", *layering).listed()
    Made("coded-pool").imported(content("coded-pool", 17 * MIB), "--data-pool", "coded", *layering).listed()
    Made("all-features").imported(content("all", 14 * MIB) + bytes(5 * MIB), "--image-feature",
                                  "layering,exclusive-lock,object-map,fast-diff,deep-flatten", "--object-size", "2M",
                                  "--stripe-unit", "512K", "--stripe-count", "2", "--data-pool", "data").listed()

    base = Made("base").imported(content("base", 9 * MIB) + bytes(5 * MIB) + content("base's end", 4 * MIB))
    base.snap("gold", protect=True).write((MIB, MIB)).listed()
    own = (4 * MIB - 70_000, 140_000), (10 * MIB, 4096)
    clone = Made("clone").cloned(base, "gold").write(*own).snap("kept", protect=True).write((0, 512)).listed()
    Made("clone", pool_name="other").cloned(base, "gold").write(*own).listed()
    Made("clone", namespace="team").cloned(base, "gold", clone_format=2).write((17 * MIB, 5000)).listed()
    Made("clone-of-clone", pool_name="other").cloned(clone, "kept").write((12 * MIB, 100_000)).listed()
    Made("clone-longer").cloned(base, "gold").resize(27 * MIB).write((26 * MIB, 4096)).listed()
    # What was cut off does not come back from the parent.
    Made("clone-cut").cloned(base, "gold").resize(6 * MIB + 300_000).resize(20 * MIB).listed()
    Made("clone-discarded").cloned(base, "gold").discard(4 * MIB, 4 * MIB).discard(MIB, 5 << 16).listed()
    unprotected = Made("unprotected").imported(content("unprotected", 6 * MIB), *layering).snap("base").listed()
    Made("clone-of-unprotected").cloned(unprotected, "base", clone_format=2).write((5 * MIB, 512)).listed()
    # The head has no parent any more, its snapshot still has one.
    flattened = Made("flattened").cloned(base, "gold").write((2 * MIB, 1000)).snap("with-parent")
    with flattened.open() as image:
        image.flatten()
    flattened.listed()

    scattered = (0, 4096), (100 * MIB + 12345, 100_000), (256 * MIB - 4096, 4096)
    Made("sparse").created(256 * MIB, LAYERING | LOCK_AND_MAP).write(*scattered).listed()
    Made("sparse-without-map").created(256 * MIB, LAYERING).write(*scattered).listed()
    # An object map that was switched on later and never built knows nothing, and says so by a flag.
    invalid = Made("invalid-map").created(40 * MIB, LAYERING).write((0, 5 * MIB), (30 * MIB, 5000))
    with invalid.open() as image:
        image.update_features(LOCK_AND_MAP, True)
    invalid.listed()

    snapped = Made("snapped").created(20 * MIB, LAYERING | LOCK_AND_MAP).write((0, 10 * MIB)).snap("first")
    snapped.write((5 * MIB, 3 * MIB)).resize(30 * MIB).snap("longer").write((25 * MIB, 5 * MIB))
    snapped.discard(0, 4 * MIB).resize(18 * MIB).snap("last").write((4 * MIB, 8 * MIB)).listed()
    resized = Made("resized").imported(content("resized", 20 * MIB)).resize(50 * MIB).write((48 * MIB, 2 * MIB))
    resized.resize(10 * MIB + 77).resize(30 * MIB).listed()
    Made("journaled").created(8 * MIB, LAYERING | LOCK_AND_MAP | rbd.RBD_FEATURE_JOURNALING).write((0, 3 * MIB)).listed()

    grouped = Made("grouped").imported(content("grouped", 4 * MIB)).snap("by-a-user").listed()
    rbd_command("group", "create", "rbd/group")
    rbd_command("group", "image", "add", "rbd/group", grouped.spec)
    rbd_command("group", "snap", "create", "rbd/group@not-a-users")

    # Not in images.json: one that cannot be read, and one that is not to be seen.
    unknown = Made("unknown-feature").created(4 * MIB, LAYERING)
    with unknown.open() as image:
        header = "rbd_header." + image.id()
    with rados.WriteOpCtx() as write:
        value = (LAYERING | UNKNOWN_FEATURE).to_bytes(8, "little")
        pool("rbd").set_omap(write, ("features",), (value,))
        pool("rbd").operate_write_op(write, header)
    Made("thrown-away").created(MIB, LAYERING)
    rbd.RBD().trash_move(pool("rbd"), "thrown-away", 3600)

    with open(os.path.join(directory, "images.json"), "w") as file:
        json.dump(entries, file, indent=1)


def bench():
    make_pool("bench")
    command(prefix="osd pool set", pool="bench", var="size", val="1", yes_i_really_mean_it=True)
    with Made("large", pool_name="bench").created(1024 * MIB, LAYERING | LOCK_AND_MAP).open() as image:
        for offset in range(0, 1024 * MIB, 32 * MIB):
            image.write(content(f"large {offset}", 32 * MIB), offset)


{"tests": images, "bench": bench}[mode]()
