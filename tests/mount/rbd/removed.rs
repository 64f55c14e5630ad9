//! What is removed while it is open.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wasmount_tests::bounded::{RECOVERY, SOON, within};
use wasmount_tests::ceph::{Cluster, left_out};

use super::{make_pool, mounted};

/// OSDs answer for the objects of a removed snapshot as they do for those that were never written.
#[test]
fn a_snapshot_that_is_removed_is_stale_and_never_zeros() -> Result<()> {
    const SIZE: u64 = 48 << 20;
    if left_out() {
        return Ok(());
    }
    let cluster = Cluster::shared()?;
    make_pool(cluster, "removed")?;
    let source = cluster.dir().join("to-be-removed");
    std::fs::write(&source, vec![b'a'; usize::try_from(SIZE)?])?;
    cluster.run("rbd", &["import", "--no-progress", &source.to_string_lossy(), "removed/image"])?;
    cluster.run("rbd", &["snap", "create", "--no-progress", "removed/image@before"])?;
    // Every object of the snapshot is a clone now, which goes with it.
    let overwrite = [
        "bench",
        "--io-type",
        "write",
        "--io-size",
        "4M",
        "--io-threads",
        "1",
        "--io-total",
        "48M",
        "--io-pattern",
        "seq",
    ];
    cluster.run("rbd", &[&overwrite[..], &["removed/image"]].concat())?;
    let objects = cluster.run("rados", &["--pool", "removed", "ls"])?;
    let object = objects.lines().filter(|name| name.starts_with("rbd_data.")).max().context("an object")?;
    // A clone is a line that begins with its number, in what `rados listsnaps` prints.
    let is_clone = |line: &str| line.starts_with(|first: char| first.is_ascii_digit());
    let clones = cluster.run("rados", &["--pool", "removed", "listsnaps", object])?;
    ensure!(clones.lines().any(is_clone), "nothing was overwritten: {clones}");

    let at = mounted(cluster, "removed", |launch| launch)?;
    let path = at.mount.path("image@before");
    let file = std::sync::Arc::new(within("open", SOON, move || File::open(path))??);
    let read = |offset: u64| {
        let (file, mut bytes) = (file.clone(), vec![0; 4096]);
        within("read", SOON, move || file.read_exact_at(&mut bytes, offset).map(|()| bytes))
    };
    ensure!(read(0)??.iter().all(|byte| *byte == b'a'), "the snapshot is not what was imported");

    cluster.run("rbd", &["snap", "rm", "--no-progress", "removed/image@before"])?;
    // Until the OSDs have heard of it and let go of the objects, they are read as they were.
    let begun = Instant::now();
    while cluster.run("rados", &["--pool", "removed", "listsnaps", object])?.lines().any(is_clone) {
        ensure!(begun.elapsed() < RECOVERY, "the OSDs keep the clones");
        std::thread::sleep(Duration::from_millis(500));
    }
    let refused = read(SIZE - (4 << 20))?.err().context("a removed snapshot is read")?;
    let stale = rustix::io::Errno::STALE.raw_os_error();
    ensure!(refused.raw_os_error() == Some(stale), "{refused}; the log:\n{}", at.mount.log().text());
    Ok(())
}
