//! Disks that are full, read-only or gone. These tests mount file systems and run as root.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use std::fs;
use wasmount_cache::{DiskCacheConfig, Health, MinFree};
use wasmount_core::ports::BlockCache;

fn lab_on(tmpfs: &Tmpfs) -> Lab {
    Lab::with(DiskCacheConfig {
        min_free: MinFree::Bytes(0),
        ..DiskCacheConfig::new(tmpfs.0.path().join("c"))
    })
}

#[test]
fn a_full_disk_makes_room_and_never_fails_a_read() {
    let tmpfs = Tmpfs::new("8m");
    let lab = lab_on(&tmpfs);
    let size = 1 << 20;
    for n in 0..30 {
        let key = format!("{n}");
        let file = lab.open(&key, size);
        lab.offer(&*file, &key, 0, size, 1 << 20);
        lab.flush();
        let end = file.run(0, size);
        assert!(end == 0 || lab.read(&*file, &key, 0, end));
    }
    eventually("room is made", || lab.stats().evicted_files > 0);
    eventually("writes again", || {
        let file = lab.open("last", size);
        lab.offer(&*file, "last", 0, size, 1 << 20);
        lab.flush();
        lab.read(&*file, "last", 0, size)
    });
}

#[test]
fn a_disk_full_of_open_files_is_a_state_and_ends_with_them() {
    let tmpfs = Tmpfs::new("8m");
    let lab = lab_on(&tmpfs);
    let size = 1 << 20;
    let mut open = Vec::new();
    while lab.stats().health == Health::Healthy {
        let key = format!("{}", open.len());
        assert!(open.len() < 40, "{:?}", lab.stats());
        let file = lab.open(&key, size);
        lab.offer(&*file, &key, 0, size, 1 << 20);
        lab.flush();
        open.push((key, file));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(lab.stats().health, Health::Full);
    assert!(!open[0].1.wants(0, size) && open.last().is_some_and(|(_, file)| !file.wants(0, size)));
    for (key, file) in &open {
        let end = file.run(0, size);
        assert!(end == 0 || lab.read(&**file, key, 0, end));
    }
    drop(open);
    eventually("healthy", || lab.stats().health == Health::Healthy);
    lab.fill("after", size);
}

#[test]
fn somebody_elses_files_are_left_room() {
    let tmpfs = Tmpfs::new("32m");
    let mut config = DiskCacheConfig::new(tmpfs.0.path().join("c"));
    config.min_free = MinFree::Fraction(0.5);
    let lab = Lab::with(config);
    for n in 0..40 {
        let key = format!("{n}");
        let file = lab.open(&key, 1 << 20);
        lab.offer(&*file, &key, 0, 1 << 20, 1 << 20);
        lab.flush();
    }
    let fs = rustix::fs::statvfs(tmpfs.0.path()).unwrap();
    assert!(fs.f_bavail * 2 >= fs.f_blocks - 300, "{} of {}", fs.f_bavail, fs.f_blocks);
    // It grows elsewhere: the cache makes way.
    fs::write(tmpfs.0.path().join("theirs"), vec![0; 10 << 20]).unwrap();
    eventually("room again", || {
        let fs = rustix::fs::statvfs(tmpfs.0.path()).unwrap();
        fs.f_bavail * 2 >= fs.f_blocks - 300
    });
}

#[test]
fn a_disk_turned_read_only_is_still_read_and_is_written_again_later() {
    let tmpfs = Tmpfs::new("64m");
    let mut lab = lab_on(&tmpfs);
    let size = 100_000;
    let kept = lab.fill("kept", size);
    drop(lab.fill("closed", size));
    tmpfs.remount("ro");
    let new = lab.open("new", size);
    lab.offer(&*new, "new", 0, size, 1 << 20);
    lab.flush();
    assert_eq!(lab.stats().health, Health::Sick);
    assert!(!new.wants(0, size));
    assert!(lab.read(&*kept, "kept", 0, size));
    assert!(lab.read(&*lab.open("closed", size), "closed", 0, size));
    assert!(lab.backing(&*lab.open("closed", size)).is_some(), "marked while it could be");
    tmpfs.remount("rw");
    eventually("healthy", || lab.stats().health == Health::Healthy);
    lab.offer(&*new, "new", 0, size, 1 << 20);
    lab.flush();
    assert!(lab.read(&*new, "new", 0, size));
    drop((new, kept));

    // Read-only from the start: it does not open, and says why.
    lab.cache().shutdown();
    lab.cache = None;
    tmpfs.remount("ro");
    match lab.start() {
        Ok(()) => assert!(lab.read(&*lab.open("new", size), "new", 0, size)),
        Err(error) => assert!(error.to_string().contains("cache directory"), "{error}"),
    }
    tmpfs.remount("rw");
}

#[test]
fn a_directory_removed_while_it_is_used_is_made_again() {
    let lab = Lab::new();
    let old = lab.fill("old", 50_000);
    fs::remove_dir_all(&lab.dir).unwrap();
    assert!(lab.read(&*old, "old", 0, 50_000), "what is open is still there");
    lab.fill("new", 50_000);
    assert_eq!(lab.files("data").len(), 1);
    // Removed and open: the next one to open it starts anew.
    let again = lab.open("old", 50_000);
    assert_eq!(again.run(0, 50_000), 0);
    lab.offer(&*again, "old", 0, 50_000, 50_000);
    lab.flush();
    assert!(lab.read(&*again, "old", 0, 50_000));
    assert!(lab.read(&*old, "old", 0, 50_000));
    assert_eq!((lab.files("data").len(), lab.stats().health), (2, Health::Healthy));
}

#[test]
fn a_directory_replaced_by_a_file_is_a_sick_disk_until_it_is_back() {
    let lab = Lab::new();
    drop(lab.fill("old", 5000));
    fs::remove_dir_all(&lab.dir).unwrap();
    fs::write(&lab.dir, "in the way").unwrap();
    let file = lab.open("new", 5000);
    lab.offer(&*file, "new", 0, 5000, 5000);
    lab.flush();
    assert_eq!((lab.stats().health, file.run(0, 5000)), (Health::Sick, 0));
    fs::remove_file(&lab.dir).unwrap();
    eventually("healthy", || lab.stats().health == Health::Healthy);
    lab.offer(&*file, "new", 0, 5000, 5000);
    lab.flush();
    assert!(lab.read(&*file, "new", 0, 5000));
}

/// A directory can be opened and not be read, like a file with a bad sector, nor can its page be taken away. If it were promised again a
/// reader would ask until an application sees an error.
#[test]
fn pages_that_the_disk_cannot_read_are_not_promised_twice() {
    let mut lab = Lab::new();
    drop(lab.fill("x", PAGE));
    lab.restart();
    let data = lab.only("data");
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    if fs::metadata(&data).unwrap().len() != PAGE {
        return println!("directories of this file system have another size than the object: nothing to see");
    }
    let file = lab.open("x", PAGE);
    assert_eq!(file.run(0, PAGE), PAGE, "its mark says so");
    assert!(!lab.read(&*file, "x", 0, PAGE));
    assert_eq!(file.run(0, PAGE), 0);
    let stats = lab.stats();
    assert_eq!((stats.read_errors, stats.damaged_pages, stats.health), (1, 1, Health::Healthy));
}

#[test]
fn an_entry_that_cannot_be_removed_does_not_keep_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let config =
        DiskCacheConfig { min_free: MinFree::Bytes(0), ..DiskCacheConfig::new(temp.path().join("c")) };
    let lab = Lab::with(DiskCacheConfig { max_bytes: 8 << 20, ..config });
    drop(lab.fill("stubborn", 1 << 20));
    let data = lab.only("data");
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    for n in 0..20 {
        eventually("written", || {
            let key = format!("{n}");
            let file = lab.open(&key, 1 << 20);
            lab.offer(&*file, &key, 0, 1 << 20, 1 << 20);
            lab.flush();
            lab.read(&*file, &key, 0, 1 << 20)
        });
    }
    assert!(lab.stats().evicted_files >= 10, "{:?}", lab.stats());
    assert!(data.exists());
}

/// Core waits for a second at most, and drops what it waited for: that the disk hangs has to be noticed all the same.
#[test]
fn a_disk_that_hangs_is_found_out_though_nobody_waits_for_it() {
    let mut lab = Lab::new();
    drop(lab.fill("x", PAGE));
    lab.restart();
    // Opening a pipe that nobody writes to takes for ever.
    let meta = lab.only("meta");
    fs::remove_file(&meta).unwrap();
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &meta, pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0)
        .unwrap();
    let begun = std::time::Instant::now();
    eventually("found out", || {
        let opening = lab.cache().open(id("x", PAGE));
        let _time = lab.runtime.enter();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(300), opening);
        assert!(!matches!(lab.runtime.block_on(waited), Ok(Some(_))));
        lab.stats().health == Health::Sick
    });
    assert_eq!(lab.runtime.block_on(async { lab.cache().open(id("y", PAGE)).await.map(drop) }), None);
    // It answers: the threads that hang come back, one after the other, and the next ones find no pipe. Open for both, it does not wait itself.
    let other_end = fs::File::options().read(true).write(true).open(&meta).unwrap();
    fs::remove_file(&meta).unwrap();
    drop(other_end);
    eventually("healthy", || lab.stats().health == Health::Healthy);
    assert!(begun.elapsed() < LONG);
    lab.fill("y", PAGE);
}
