//! CephFS on a real Ceph cluster: entry by entry what ceph-fuse shows.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wasmount_tests::bounded::{SOON, names, read, within};
use wasmount_tests::ceph::{CephFuse, Cluster, Modes, Setup, Tree, left_out};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::listing::{Entry, Listing, Look, ensure_same, listing, xattr};
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths::{fixture, plugin};
use wasmount_tests::prng::Prng;

/// How long a whole tree may take to be read, on a machine that is busy.
const WHOLE_TREE: Duration = Duration::from_secs(480);

/// Extended attributes that Ceph answers and lists nowhere. Not among them: `ceph.caps` and `ceph.client_id`, which are the
/// client's own.
const VIRTUAL: &[&str] = &[
    "ceph.cluster_fsid",
    "ceph.dir.entries",
    "ceph.dir.files",
    "ceph.dir.layout",
    "ceph.dir.layout.pool",
    "ceph.dir.layout.stripe_count",
    "ceph.dir.pin",
    "ceph.dir.rbytes",
    "ceph.dir.rctime",
    "ceph.dir.rentries",
    "ceph.dir.rfiles",
    "ceph.dir.rsnaps",
    "ceph.dir.rsubdirs",
    "ceph.dir.subdirs",
    "ceph.file.layout",
    "ceph.file.layout.object_size",
    "ceph.file.layout.pool",
    "ceph.file.layout.pool_namespace",
    "ceph.file.layout.stripe_unit",
    "ceph.quota",
    "ceph.quota.max_bytes",
    "ceph.quota.max_files",
    "ceph.snap.btime",
    "user.there-is-none",
];

const LOOK: Look<'_> = Look {
    hidden_xattrs: VIRTUAL,
    hidden_directory: Some(".snap"),
    without: &[],
    without_of_directories: &[],
    only_listed_below: &["large", "many"],
};

/// A mount and the directory for its state.
struct Mounted {
    mount: Mount,
    _scratch: tempfile::TempDir,
}

/// Mounts the file system from `path` on, with further options.
fn mounted(cluster: &Cluster, path: &str, options: &[(&str, &str)]) -> Result<Mounted> {
    let scratch = tempfile::tempdir()?;
    let mut launch = cluster.launch_files(path, scratch.path())?;
    for (name, value) in options {
        launch = launch.long_option(name, value);
    }
    let mount = launch.start()?;
    names(mount.target())?.with_context(|| format!("list {path}; the log:\n{}", mount.log().text()))?;
    Ok(Mounted { mount, _scratch: scratch })
}

fn list(root: &Path) -> Result<Listing> {
    let root = root.to_owned();
    within(&format!("list {}", root.display()), WHOLE_TREE, move || listing(&root, LOOK))?
}

/// What ceph-fuse shows below `path`, once it has been checked against what was written there.
fn expected(cluster: &Cluster, reference: &CephFuse, path: &str) -> Result<Listing> {
    // What directories hold in all reaches the root some seconds after the last change.
    std::thread::sleep(Duration::from_secs(6));
    let seen = list(&reference.path(path))?;
    let mut checked = 0;
    for (file, digest) in cluster.files()? {
        let Ok(below) = file.strip_prefix(path) else { continue };
        let entry = seen.get(below).with_context(|| format!("ceph-fuse does not show {}", file.display()))?;
        ensure!(entry.field("sha256") == Some(&digest), "ceph-fuse shows other bytes in {}", file.display());
        checked += 1;
    }
    ensure!(checked > 0, "nothing was written below {path:?}");
    Ok(seen)
}

/// Waits until the root is the file system's: until then it is answered for all the same, with attributes that are made up.
fn is_there(mount: &Mount) -> Result<()> {
    let root = mount.target().to_owned();
    within("see the file system", SOON, move || {
        while xattr(&root, b"ceph.cluster_fsid").is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

/// What an MDS tells of all that is below a directory. It goes from a directory to the one above it some time after the change, and a mount of
/// ceph-fuse may go on showing what it was for minutes: only another one shows the new.
const RECURSIVE: &[&str] = &[
    "size",
    "xattr ceph.dir.rbytes",
    "xattr ceph.dir.rctime",
    "xattr ceph.dir.rentries",
    "xattr ceph.dir.rfiles",
    "xattr ceph.dir.rsnaps",
    "xattr ceph.dir.rsubdirs",
];

/// Longest wait for that to be the same on both sides.
const RECURSIVE_LAGS: Duration = Duration::from_secs(120);

/// Checks that a mount of `path` shows what ceph-fuse shows there: all but [`RECURSIVE`] of directories at once, and that some time later. Returns
/// what ceph-fuse showed last.
fn same(cluster: &Cluster, path: &str, mut expected_now: Listing, mount: &Mount) -> Result<Listing> {
    is_there(mount)?;
    let begin = Instant::now();
    loop {
        let found = list(mount.target())?;
        if expected_now == found {
            return Ok(expected_now);
        }
        let compared = if begin.elapsed() < RECURSIVE_LAGS {
            ensure_same(&without_recursive(&expected_now), &without_recursive(&found))
        } else {
            ensure_same(&expected_now, &found)
        };
        compared.with_context(|| format!("the log:\n{}", mount.log().text()))?;
        expected_now = expected(cluster, &cluster.ceph_fuse(&[])?, path)?;
    }
}

fn without_recursive(listing: &Listing) -> Listing {
    let known =
        |entry: &Entry| if entry.is_directory() { entry.clone().without(RECURSIVE) } else { entry.clone() };
    listing.iter().map(|(path, entry)| (path.clone(), known(entry))).collect()
}

#[test]
fn the_example_of_fluid_shows_entry_by_entry_what_ceph_fuse_shows() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared_files()?;
    let reference = cluster.ceph_fuse(&[])?;
    let expected = expected(cluster, &reference, "")?;
    ensure!(expected.len() > 20_000, "{} entries are no tree", expected.len());

    let files = FluidFiles::new()?;
    let source = format!("ceph://{}", cluster.mon());
    files.write_golden(
        &fixture("fluid/ceph-demo.config.json"),
        &[
            ("ceph://<IP:PORT>", &source),
            ("<key>", &cluster.key()?),
            ("<fsid>", cluster.fsid()),
            ("<mon_initial_members>", "a"),
            ("<mon_host>", cluster.mon_host()),
            ("<auth_cluster_required>", "cephx"),
            ("<auth_service_required>", "cephx"),
            ("<auth_client_required>", "cephx"),
        ],
    )?;
    let launch = Launch::bare_run(&files).shared_state().arg("--plugin").arg(plugin("cephfs")?);
    let mount = launch.arg("--allow-net").arg("127.0.0.1").start()?;
    let expected = same(cluster, "", expected, &mount)?;
    // And again, now that the kernel, the host and the plugin have all of it.
    same(cluster, "", expected, &mount).map(drop).context("the second time")
}

#[test]
fn a_cluster_that_only_speaks_encrypted_shows_the_same() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let setup = Setup { modes: Modes::Secure, active_mds: 1, ..Setup::default() };
    let cluster = Cluster::with_files(&setup, Tree::Small)?;
    let reference = cluster.ceph_fuse(&[])?;
    let at = mounted(&cluster, "/", &[])?;
    same(&cluster, "", expected(&cluster, &reference, "")?, &at.mount).map(drop)
}

#[test]
fn every_mode_of_the_protocol_reads_the_same() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared_files()?;
    let reference = cluster.ceph_fuse(&[])?;
    let mut expected = expected(cluster, &reference, "data")?;
    for mode in ["crc", "secure", "prefer-crc", "prefer-secure"] {
        let at = mounted(cluster, "/data", &[("ms_mode", mode)])?;
        expected = same(cluster, "data", expected, &at.mount).with_context(|| format!("ms_mode={mode}"))?;
    }
    Ok(())
}

#[test]
fn a_part_of_the_tree_can_be_mounted_and_named_in_every_way_that_people_do() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared_files()?;
    let reference = cluster.ceph_fuse(&[])?;
    let mut restricted = expected(cluster, &reference, "tst1")?;
    let (mon, mon_host, key) = (cluster.mon(), cluster.mon_host(), cluster.key_of("tst1")?);
    let keyring = format!("[client.tst1]\n\tkey = {key}\n");
    let (user, secret) = (("id", "tst1"), ("key", key.as_str()));
    let at_mon = |scheme: &str, path: &str| format!("{scheme}://{mon}{path}");
    let cases: &[(String, &[(&str, &str)])] = &[
        (at_mon("ceph", "/tst1"), &[user, secret]),
        (at_mon("ceph", "/tst1/"), &[user, secret]),
        (at_mon("cephfs", "/tst1"), &[("user", "tst1"), secret]),
        (at_mon("ceph", ""), &[("name", "client.tst1"), secret, ("path", "/tst1")]),
        (at_mon("ceph", "/"), &[user, secret, ("path", "tst1"), ("fs", "cephfs")]),
        (at_mon("ceph", "/tst1"), &[user, ("keyring", &keyring)]),
        ("ceph:///tst1".to_owned(), &[user, secret, ("mon_host", mon_host), ("fsid", cluster.fsid())]),
    ];
    for (source, options) in cases {
        let scratch = tempfile::tempdir()?;
        let mut launch = Launch::mount_with("cephfs", source, &scratch.path().join("mnt"), scratch.path())?;
        for (name, value) in *options {
            launch = launch.long_option(name, value);
        }
        let mount = launch.start()?;
        let compared = same(cluster, "tst1", restricted, &mount);
        restricted = compared.with_context(|| format!("{source} with {options:?}"))?;
    }
    // The dash that was the undoing of many a provisioner.
    let at = mounted(cluster, "/dir-with-dash/sub-dir", &[])?;
    let dashed = "dir-with-dash/sub-dir";
    same(cluster, dashed, expected(cluster, &reference, dashed)?, &at.mount).map(drop)
}

#[test]
fn a_volume_of_ceph_csi_is_mounted_by_its_attributes() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared_files()?;
    let reference = cluster.ceph_fuse(&[])?;
    let files = FluidFiles::new()?;
    let user_key = files.write_secret("ceph", "userKey", &cluster.key_of("tst1")?)?;
    files.write_config(&json!({
        "mounts": [{
            "mountPoint": "pvc://training", "name": "training",
            "options": {"userID": "tst1", "userKey": user_key, "monitors": cluster.mon()},
        }],
        "targetPath": files.target(),
        "persistentVolumeAttrs": {"training": {
            "driver": "cephfs.csi.ceph.com",
            "volumeHandle": "0001-0024-b9127830-b0cc-4e34-aa47-9d1a2e9949a8-0000000000000001-8f0b1d4e",
            "volumeAttributes": {
                "clusterID": cluster.fsid(), "fsName": "cephfs", "subvolumeName": "csi-vol-8f0b1d4e", "subvolumePath": "/tst1",
                "storage.kubernetes.io/csiProvisionerIdentity": "1714060800000-8081-cephfs.csi.ceph.com",
            },
            "nodeStageSecretRef": {"name": "csi-cephfs-secret", "namespace": "ceph"},
        }},
        "persistentVolumeMountOptions": {"training": null},
        "accessModes": ["ReadOnlyMany"],
    }))?;
    let launch = Launch::bare_run(&files).shared_state().arg("--plugin").arg(plugin("cephfs")?);
    let mount = launch.arg("--allow-net").arg("127.0.0.1").start()?;
    same(cluster, "tst1", expected(cluster, &reference, "tst1")?, &mount).map(drop)
}

#[test]
fn free_space_is_that_of_the_quota_at_the_root() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared_files()?;
    // The last one has no quota of its own: the one above it limits it.
    for path in ["/quota", "/quota/inner", "/quota/inner/below"] {
        let reference = cluster.ceph_fuse(&["-r", path])?;
        let at = mounted(cluster, path, &[])?;
        is_there(&at.mount)?;
        let (theirs, ours) = (Room::of(reference.root())?, Room::of(at.mount.target())?);
        ensure!(theirs == ours, "{path}: {ours:?} instead of {theirs:?}");
    }
    let (reference, at) = (cluster.ceph_fuse(&[])?, mounted(cluster, "/", &[])?);
    is_there(&at.mount)?;
    // A directory inside a mount shows the room of the mount, as with the kernel's client (ceph-fuse 20 shows that of its own quota).
    for path in ["", "quota/inner"] {
        let (theirs, ours) = (Room::of(reference.root())?, Room::of(&at.mount.path(path))?);
        ensure!(theirs.unit == ours.unit, "{path:?}: blocks of {} instead of {}", ours.unit, theirs.unit);
        // What is stored meanwhile changes what pools could hold.
        ensure!(theirs.all.abs_diff(ours.all) <= theirs.all / 20, "{path:?}: {ours:?} instead of {theirs:?}");
    }
    Ok(())
}

/// What `df` tells.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    unit: u64,
    all: u64,
    free: u64,
    available: u64,
}

impl Room {
    fn of(path: &Path) -> Result<Self> {
        let said = rustix::fs::statvfs(path)?;
        Ok(Self { unit: said.f_frsize, all: said.f_blocks, free: said.f_bfree, available: said.f_bavail })
    }
}

#[test]
fn leaving_a_file_system_is_no_fault() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let at = mounted(Cluster::shared_files()?, "/kinds", &[])?;
    let Mounted { mount, _scratch } = at;
    assert_eq!(read(mount.path("file"))??, b"a file\n");
    let (log, before) = (mount.log().clone(), mount.log().text().len());
    drop(mount);
    let text = log.text();
    let at_the_end = text.get(before..).context("the log's end")?.lines();
    let faults = at_the_end.filter(|line| ["\"WARN\"", "\"ERROR\""].iter().any(|level| line.contains(level)));
    let faults: Vec<_> = faults.collect();
    ensure!(faults.is_empty(), "an orderly end is told as a fault: {faults:?}");
    Ok(())
}

/// What another user than root gets of these files.
fn as_somebody(root: &Path, path: &str) -> Result<String> {
    let path = root.join(path);
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "1000", "--regid", "5", "--clear-groups", "cat"]).arg(path);
    let output = within("read as somebody", SOON, move || command.output())??;
    Ok(String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr })
        .into_owned())
}

#[test]
fn modes_and_owners_decide_who_may_read() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let at = mounted(Cluster::shared_files()?, "/kinds", &[])?;
    let read = |path: &str| as_somebody(at.mount.target(), path);
    assert_eq!(read("file")?, "a file\n");
    assert_eq!(read("setuid")?, "setuid", "its owner");
    let said = read("nothing")?;
    ensure!(said.contains("Permission denied"), "a file of mode 0: {said}");
    let said = read("closed/any")?;
    ensure!(said.contains("Permission denied"), "a directory of mode 0700: {said}");
    Ok(())
}

#[test]
fn reads_at_any_place_by_many_at_once_get_their_bytes() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let seed = Prng::seed_from_env(6);
    eprintln!("WASMOUNT_SEED={seed}");
    let cluster = Cluster::shared_files()?;
    let reference = cluster.ceph_fuse(&[])?;
    let at = mounted(cluster, "/", &[])?;
    for name in [
        "data/plain",
        "data/striped",
        "data/striped-small",
        "data/layout/inherited",
        "data/sparse",
        "data/regrown-twice",
        "inline/grown",
        "snapshots/.snap/first/partly",
    ] {
        let expected = Arc::new(std::fs::read(reference.path(name))?);
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let (path, expected) = (at.mount.path(name), Arc::clone(&expected));
                std::thread::spawn(move || read_anywhere(&path, &expected, Prng::new(seed + reader)))
            })
            .collect();
        for reader in readers {
            within(name, WHOLE_TREE, move || reader.join())?
                .map_err(|_| anyhow::anyhow!("{name}: a reader panicked"))??;
        }
    }
    Ok(())
}

fn read_anywhere(path: &Path, expected: &[u8], mut prng: Prng) -> Result<()> {
    let file = File::open(path)?;
    let mut buffer = vec![0; 300_000];
    for _ in 0..60 {
        let offset = prng.below(expected.len());
        let length = (1 + prng.below(buffer.len())).min(expected.len() - offset);
        let (chunk, right) = (&mut buffer[..length], &expected[offset..offset + length]);
        file.read_exact_at(chunk, offset as u64)?;
        ensure!(chunk == right, "{length} at {offset} of {} differ", path.display());
    }
    // Beyond the end there is nothing, whatever was asked.
    ensure!(file.read_at(&mut buffer, expected.len() as u64)? == 0);
    Ok(())
}

#[test]
fn what_is_only_in_the_directory_of_snapshots_cannot_be_made_there() -> Result<()> {
    if left_out() {
        return Ok(());
    }
    let at = mounted(Cluster::shared_files()?, "/snapshots", &[])?;
    assert_eq!(names(at.mount.path(".snap"))??, ["first", "second with space"]);
    assert_eq!(read(at.mount.path(".snap/first/changed"))??, b"before\n");
    assert_eq!(read(at.mount.path("changed"))??, b"after, and longer\n");
    let made = at.mount.path(".snap/mine");
    let refused = within("mkdir", SOON, move || std::fs::create_dir(made))?.err().context("it was made")?;
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    Ok(())
}
