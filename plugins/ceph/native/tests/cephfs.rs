//! A real CephFS: what ceph-fuse shows is what this client sees, at once when it changes, and whatever happens to the metadata server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::fuse::CephFuse;
use common::{Cluster, DEADLINE_MS, cluster_with_mds};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmount_ceph::cephfs::{Attributes, Kind, Vino};
use wasmount_ceph::mds::SessionConfig;
use wasmount_ceph::rados::Machine as _;
use wasmount_ceph_native::Files;

/// The cluster, for one test at a time: what one does to it would disturb the others.
fn cluster() -> Option<(&'static Cluster, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Some((cluster_with_mds()?, alone))
}

fn mount(cluster: &Cluster) -> Files {
    Files::mount(cluster.config(), SessionConfig::new("/", "admin"), DEADLINE_MS).unwrap()
}

fn resolve(files: &Files, path: &str) -> Option<Attributes> {
    let mut found = files.attributes(files.root()).unwrap();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        found = files.lookup(found.vino, name.as_bytes()).unwrap()?;
    }
    Some(found)
}

/// What both clients must say of an entry alike.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    links: Option<u64>,
    size: Option<u64>,
    modified: (i64, i64),
    rdev: u64,
    content: Vec<u8>,
}

/// Everything below a directory, as ceph-fuse shows it.
fn shown(path: &Path, below: &Path, tree: &mut BTreeMap<Vec<u8>, Seen>) {
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let (at, name) = (entry.path(), below.join(entry.file_name()));
        let metadata = entry.metadata().unwrap();
        let (kind, is_directory) = (metadata.file_type(), metadata.is_dir());
        let content = match kind {
            _ if kind.is_symlink() => fs::read_link(&at).unwrap().as_os_str().as_bytes().to_vec(),
            _ if kind.is_file() => digest(&fs::read(&at).unwrap()),
            _ => Vec::new(),
        };
        let seen = Seen {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            // Of a directory these are not what the metadata server says, but what ceph-fuse makes of it.
            links: (!is_directory).then_some(metadata.nlink()),
            size: (!is_directory).then_some(metadata.size()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            rdev: metadata.rdev(),
            content,
        };
        tree.insert(name.as_os_str().as_bytes().to_vec(), seen);
        if is_directory {
            shown(&at, &name, tree);
        }
    }
}

/// The same as this client sees it.
fn seen(files: &Files, directory: Vino, below: &Path, tree: &mut BTreeMap<Vec<u8>, Seen>) {
    for entry in files.list(directory).unwrap() {
        let name = below.join(OsStr::from_bytes(&entry.name));
        let attributes = match entry.entry {
            Some(known) => *known.attributes,
            None => files.lookup(directory, &entry.name).unwrap().unwrap(),
        };
        assert_eq!(entry.vino, attributes.vino);
        let is_directory = attributes.kind == Kind::Directory;
        let content = match attributes.kind {
            Kind::Symlink => attributes.symlink.as_ref().unwrap().to_vec(),
            Kind::Regular => digest(&files.read(attributes.vino, 0, attributes.size + 1).unwrap()),
            _ => Vec::new(),
        };
        let modified = (i64::from(attributes.mtime.seconds), i64::from(attributes.mtime.nanoseconds));
        let one = Seen {
            mode: attributes.mode,
            owner: (attributes.uid, attributes.gid),
            links: (!is_directory).then_some(attributes.nlink.into()),
            size: (!is_directory).then_some(attributes.size),
            modified,
            rdev: device(attributes.rdev),
            content,
        };
        tree.insert(name.as_os_str().as_bytes().to_vec(), one);
        if is_directory {
            seen(files, attributes.vino, &name, tree);
        }
    }
}

/// A device number as the C library writes it. On the wire it is the kernel's own: 12 bits and 20 bits (`MKDEV` of Linux).
fn device(rdev: u32) -> u64 {
    let (major, minor) = (u64::from(rdev >> 20), u64::from(rdev & 0xf_ffff));
    major << 8 | minor & 0xff | (minor & !0xff) << 12
}

/// Stands for the bytes of a file, which may be many: how many there are, and their checksum.
fn digest(bytes: &[u8]) -> Vec<u8> {
    let crc = wasmount_ceph::payload::crc32c(0, bytes);
    format!("{} {crc:08x}", bytes.len()).into_bytes()
}

#[test]
fn everything_is_as_ceph_fuse_shows_it() {
    let Some((cluster, _alone)) = cluster() else { return };
    cluster.fill_files("small");
    let fuse = CephFuse::mount(cluster, "as-shown");
    let files = mount(cluster);
    let (mut theirs, mut ours) = (BTreeMap::new(), BTreeMap::new());
    shown(fuse.path(), Path::new(""), &mut theirs);
    seen(&files, files.root(), Path::new(""), &mut ours);
    assert!(theirs.len() > 100, "{} entries", theirs.len());
    for (name, entry) in &theirs {
        assert_eq!(ours.remove(name).as_ref(), Some(entry), "{}", name.escape_ascii());
    }
    let more: Vec<String> = ours.keys().map(|name| name.escape_ascii().to_string()).collect();
    assert!(more.is_empty(), "{more:?}");
    eprintln!("{} entries are alike", theirs.len());
}

#[test]
fn what_another_client_changes_is_seen_at_once() {
    let Some((cluster, _alone)) = cluster() else { return };
    let fuse = CephFuse::mount(cluster, "changing");
    let files = mount(cluster);
    let here = fuse.path().join("changing");
    fs::create_dir(&here).unwrap();
    let directory = resolve(&files, "changing").unwrap().vino;
    assert!(files.list(directory).unwrap().is_empty());
    for round in 0..60_u64 {
        let (name, file) = (format!("file-{}", round % 7), here.join(format!("file-{}", round % 7)));
        let content = format!("{round} ").repeat(1 + usize::try_from(round * 97 % 5_000).unwrap());
        fs::write(&file, &content).unwrap();
        let attributes = files.lookup(directory, name.as_bytes()).unwrap().unwrap();
        assert_eq!(attributes.size, content.len() as u64, "round {round}");
        assert_eq!(files.read(attributes.vino, 0, 1 << 20).unwrap(), content, "round {round}");
        match round % 5 {
            0 => {
                fs::set_permissions(&file, fs::Permissions::from_mode(0o600 + round as u32 % 8)).unwrap();
                let mode = files.attributes(attributes.vino).unwrap().mode;
                assert_eq!(mode, 0o100_600 + round as u32 % 8);
            }
            1 => {
                let length = round * 3;
                fs::OpenOptions::new().write(true).mode(0o600).open(&file).unwrap().set_len(length).unwrap();
                let shorter = files.read(attributes.vino, 0, 1 << 20).unwrap();
                let expected: Vec<u8> = content
                    .bytes()
                    .chain(std::iter::repeat(0))
                    .take(usize::try_from(length).unwrap())
                    .collect();
                assert_eq!(shorter, expected, "round {round}");
            }
            2 => {
                fs::rename(&file, here.join("renamed")).unwrap();
                assert!(files.lookup(directory, name.as_bytes()).unwrap().is_none());
                let renamed = files.lookup(directory, b"renamed").unwrap().unwrap();
                assert_eq!(renamed.vino, attributes.vino);
            }
            3 => {
                fs::remove_file(&file).unwrap();
                assert!(files.lookup(directory, name.as_bytes()).unwrap().is_none());
                let listed = files.list(directory).unwrap();
                assert!(listed.iter().all(|entry| *entry.name != *name.as_bytes()));
            }
            _ => {}
        }
    }
    let health = cluster.run(&["ceph", "health", "detail"]);
    assert!(!health.contains("failing to respond"), "{health}");
}

#[test]
fn readers_outlive_their_metadata_server() {
    let Some((cluster, _alone)) = cluster() else { return };
    // Who does not come back within this time is evicted; this client comes back at once.
    cluster.run(&["ceph", "config", "set", "mds", "mds_reconnect_timeout", "20"]);
    let fuse = CephFuse::mount(cluster, "outliving");
    let here = fuse.path().join("outliving");
    fs::create_dir(&here).unwrap();
    let content = |file: u64| format!("{file:>8}").repeat(40_000).into_bytes();
    for file in 0..20 {
        fs::write(here.join(format!("file-{file}")), content(file)).unwrap();
    }
    // Who made them need not take part in what follows.
    drop(fuse);
    let files = Arc::new(mount(cluster));
    let directory = resolve(&files, "outliving").unwrap().vino;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..8_u64)
        .map(|reader| {
            let (files, stop, rounds) = (Arc::clone(&files), Arc::clone(&stop), Arc::clone(&rounds));
            std::thread::spawn(move || {
                let mut longest = Duration::ZERO;
                for round in reader.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (file, begin) = (round * 7 % 20, Instant::now());
                    let found = files.lookup(directory, format!("file-{file}").as_bytes()).unwrap();
                    let bytes = files.read(found.unwrap().vino, 0, 1 << 20).unwrap();
                    assert!(bytes == content(file), "wrong bytes in file {file}");
                    longest = longest.max(begin.elapsed());
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                longest
            })
        })
        .collect();
    let go_on = |what: &str| {
        let (from, begin) = (rounds.load(Ordering::Relaxed), Instant::now());
        while rounds.load(Ordering::Relaxed) < from + 200 {
            assert!(!readers.iter().any(std::thread::JoinHandle::is_finished), "{what}: a reader has failed");
            assert!(begin.elapsed() < Duration::from_millis(DEADLINE_MS), "{what}: reads do not go on");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Reads of what is held need no metadata server: this does.
        assert!(files.lookup(directory, what.as_bytes()).unwrap().is_none());
        eprintln!("{what}: after {:?}", begin.elapsed());
    };
    go_on("at first");
    for _ in 0..10 {
        files.client().cut().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    go_on("all connections cut");
    cluster.run(&["ceph", "mds", "fail", "0"]);
    go_on("failed over");
    let active = common::observer::active_name(cluster);
    cluster.daemon(&format!("mds.{active}"), "kill");
    std::thread::sleep(Duration::from_secs(1));
    cluster.daemon(&format!("mds.{active}"), "start");
    go_on("killed and started");
    let id = files.client().tell(|mount, _| mount.cluster().global_id()).unwrap();
    cluster.run(&["ceph", "tell", "mds.0", "session", "evict", &format!("id={id}")]);
    go_on("evicted");
    stop.store(true, Ordering::Relaxed);
    let longest = readers.into_iter().map(|reader| reader.join().unwrap()).max().unwrap();
    eprintln!("{} reads, the longest took {longest:?}", rounds.load(Ordering::Relaxed));
}
