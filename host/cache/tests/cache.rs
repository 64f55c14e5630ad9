//! What a cache promises when nothing goes wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::*;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use wasmount_cache::{CacheError, DiskCache, DiskCacheConfig, Health, MinFree, admin};
use wasmount_core::ports::{BlockCache, CacheId};
use wasmount_types::Version;

#[test]
fn what_was_offered_is_read_at_any_offset_and_after_a_restart() {
    let mut lab = Lab::new();
    let mut dice = Dice::new();
    for size in [1, 4095, 4096, 4097, 16 << 10, (64 << 10) + 1, (3 << 20) + 77] {
        let key = format!("size-{size}");
        let file = lab.open(&key, size);
        assert_eq!(file.run(0, size), 0);
        assert!(file.wants(0, size));
        lab.offer(&*file, &key, 0, size, 100_000);
        lab.flush();
        for round in 0..2 {
            let file = lab.open(&key, size);
            assert_eq!(file.run(0, u64::MAX), size, "size {size}, round {round}");
            assert!(!file.wants(0, size));
            assert_eq!(file.cached_bytes(), size);
            for _ in 0..40 {
                let from = dice.below(size);
                let to = from + 1 + dice.below(size - from);
                assert!(lab.read(&*file, &key, from, to), "{from}..{to} of {size}");
            }
            let fd = lab.backing(&*file).unwrap();
            let kernel = File::from(fd.try_clone().unwrap());
            assert_eq!(kernel.metadata().unwrap().len(), size);
            let mut all = vec![0; size as usize];
            kernel.read_exact_at(&mut all, 0).unwrap();
            assert!(all == body(&key, 0, size));
            drop((file, fd, kernel));
            if round == 0 {
                lab.restart();
            }
        }
    }
    let stats = lab.stats();
    assert_eq!((stats.damaged_pages, stats.dropped_offers), (0, 0), "{stats:?}");
    assert_eq!(stats.health, Health::Healthy);
}

#[test]
fn every_alignment_of_pieces_is_written_as_it_is() {
    let lab = Lab::new();
    let size = (2 << 20) + 123;
    // From one large aligned piece to many odd ones, with the memory in any position.
    for piece in [8 << 20, 1 << 20, 65_536, 5000, 4096, 777, 512, 333] {
        let key = format!("piece-{piece}");
        let file = lab.open(&key, size);
        lab.offer(&*file, &key, 0, size, piece);
        lab.flush();
        assert!(lab.read(&*file, &key, 0, size));
        assert!(lab.backing(&*file).is_some());
    }
}

#[test]
fn versions_sizes_keys_and_identities_are_told_apart() {
    let lab = Lab::new();
    lab.fill("a", 5000);
    let base = id("a", 5000);
    let others = [
        CacheId { identity: identity("two"), ..base.clone() },
        id("b", 5000),
        id("a", 5001),
        CacheId {
            file: wasmount_core::inode::FileVersion {
                version: Some(Version::new("e2")),
                ..base.file.clone()
            },
            ..base
        },
    ];
    for other in others {
        let file = lab.runtime.block_on(lab.cache().open(other)).unwrap();
        assert_eq!((file.run(0, 5000), file.cached_bytes()), (0, 0));
    }
}

#[test]
fn what_cannot_be_kept_is_refused_or_cut_to_pages() {
    let lab = Lab::new();
    assert!(lab.runtime.block_on(lab.cache().open(id("empty", 0))).is_none());
    let mut unversioned = id("x", 10);
    unversioned.file.version = None;
    assert!(lab.runtime.block_on(lab.cache().open(unversioned)).is_none());
    assert!(lab.runtime.block_on(lab.cache().open(id(&"k".repeat(5000), 10))).is_none());
    let file = lab.open("x", 20_000);
    // Not at a page; behind the end; less than a page; a page and a half.
    lab.offer(&*file, "x", 100, 9000, 9000);
    file.offer(16_384, vec![Bytes::from(vec![0; 8192])], Arc::new(()), 8192);
    lab.offer(&*file, "x", 4096, 5000, 9000);
    lab.offer(&*file, "x", 8192, 8192 + 6000, 9000);
    lab.flush();
    assert_eq!(file.cached_bytes(), 4096);
    assert_eq!(
        (file.run(8192, 20_000), file.run(9000, 20_000), file.run(9000, 9001)),
        (12_288, 12_288, 9001)
    );
    assert_eq!((file.run(0, 20_000), file.run(12_288, 20_000)), (0, 12_288));
    assert!(lab.read(&*file, "x", 8200, 12_000));
    assert!(!lab.read(&*file, "x", 8200, 12_300));
}

#[test]
fn an_absent_file_costs_no_directory_and_memory_is_given_back() {
    let lab = Lab::new();
    for n in 0..100 {
        lab.open(&format!("never-{n}"), 1 << 40);
    }
    assert!(lab.files("data").is_empty());
    let held = Arc::new(());
    let file = lab.open("x", 8192);
    file.offer(0, vec![body("x", 0, 8192).into()], held.clone(), 8192);
    lab.flush();
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn a_full_queue_drops_and_says_so() {
    let mut lab = Lab::new();
    lab.config.queue_bytes = 0;
    lab.restart();
    let file = lab.open("x", 8192);
    lab.offer(&*file, "x", 0, 8192, 8192);
    lab.flush();
    assert_eq!(file.run(0, 8192), 0);
    assert_eq!((lab.stats().dropped_offers, lab.stats().dropped_bytes), (1, 8192));
}

#[test]
fn what_waits_counts_as_the_memory_that_it_keeps() {
    let mut lab = Lab::new();
    lab.config.queue_bytes = 1 << 20;
    lab.restart();
    let file = lab.open("x", 8192);
    let offer = |charge| file.offer(0, vec![body("x", 0, 8192).into()], Arc::new(()), charge);
    offer((1 << 20) + 1);
    lab.flush();
    assert_eq!((file.run(0, 8192), lab.stats().dropped_offers, lab.stats().dropped_bytes), (0, 1, 8192));
    offer(1 << 20);
    lab.flush();
    assert_eq!((file.run(0, 8192), lab.stats().dropped_offers, lab.stats().queued_bytes), (8192, 1, 0));
}

#[test]
fn files_are_for_their_owner_only() {
    let lab = Lab::new();
    lab.fill("x", 100);
    lab.cache().describe(&identity("one"), "bucket 'b' at http://h");
    for kind in ["data", "meta"] {
        assert_eq!(fs::metadata(lab.only(kind)).unwrap().mode() & 0o7777, 0o600);
    }
    assert_eq!(fs::metadata(lab.dir.join("v1")).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::read_to_string(lab.dir.join("v1/one/about")).unwrap(), "bucket 'b' at http://h");
}

#[test]
fn a_directory_that_others_can_change_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let open = |dir: &std::path::Path| {
        DiskCache::open(DiskCacheConfig::new(dir), runtime.handle().clone()).map(drop)
    };
    let dir = temp.path().join("d");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(
        matches!(error, CacheError::Unsafe { .. }) && error.to_string().contains(dir.to_str().unwrap()),
        "{error}"
    );

    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let elsewhere = temp.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, dir.join("v1")).unwrap();
    assert!(matches!(open(&dir).unwrap_err(), CacheError::Io { .. }));
    fs::remove_file(dir.join("v1")).unwrap();

    std::os::unix::fs::chown(&dir, Some(4711), None).unwrap();
    assert!(matches!(open(&dir).unwrap_err(), CacheError::Unsafe { .. }));
    std::os::unix::fs::chown(&dir, Some(0), None).unwrap();
    open(&dir).unwrap();

    let file = temp.path().join("f");
    fs::write(&file, "").unwrap();
    assert!(open(&file).unwrap_err().to_string().contains(file.to_str().unwrap()));
    let small = DiskCacheConfig { max_bytes: 10, ..DiskCacheConfig::new(&dir) };
    let error = DiskCache::open(small, runtime.handle().clone()).map(drop).unwrap_err();
    assert!(matches!(error, CacheError::TooSmall { .. }));
}

#[test]
fn another_layout_is_left_alone() {
    let mut lab = Lab::new();
    fs::create_dir(lab.dir.join("v2")).unwrap();
    fs::write(lab.dir.join("v2/x.data"), "theirs").unwrap();
    lab.restart();
    lab.fill("x", 100);
    admin::remove(&lab.dir, &admin::Filter::default()).unwrap();
    assert_eq!(fs::read_to_string(lab.dir.join("v2/x.data")).unwrap(), "theirs");
}

#[test]
fn the_least_recently_used_go_first_and_the_limit_holds() {
    let temp = tempfile::tempdir().unwrap();
    let max_bytes = 16 << 20;
    let mut lab = Lab::with(DiskCacheConfig {
        max_bytes,
        min_free: MinFree::Bytes(0),
        ..DiskCacheConfig::new(temp.path().join("c"))
    });
    let (size, mut last) = (1 << 20, 0);
    for n in 0..10 {
        lab.fill(&format!("{n}"), size);
        last = n;
    }
    // The times say: 0 was used last week, 1 a day later, and so on.
    let week = std::time::SystemTime::now() - std::time::Duration::from_secs(7 * 86_400);
    lab.restart();
    let mut listed = Vec::new();
    admin::list(&lab.dir, &admin::Filter::default(), |entry| {
        listed.push(entry);
        true
    })
    .unwrap();
    assert_eq!(listed.len(), 10);
    for meta in lab.files("meta") {
        let text = fs::read(&meta).unwrap();
        let key = text[144] - b'0';
        let time = week + std::time::Duration::from_secs(u64::from(key) * 86_400 / 10);
        File::options().write(true).open(&meta).unwrap().set_modified(time).unwrap();
    }
    // Uses 0 again, and holds 1 open.
    let zero = lab.open("0", size);
    drop(zero);
    let one = lab.open("1", size);
    let until = std::time::Instant::now() + LONG;
    while lab.stats().evicted_files == 0 {
        last += 1;
        assert!(std::time::Instant::now() < until, "nothing was evicted: {:?}", lab.stats());
        // Who makes room is of low priority.
        std::thread::sleep(std::time::Duration::from_millis(10));
        let key = format!("{last}");
        let file = lab.open(&key, size);
        lab.offer(&*file, &key, 0, size, 1 << 20);
        lab.flush();
    }
    eventually("below the limit", || lab.stats().used_bytes < max_bytes);
    let there = |key: &str| lab.open(key, size).run(0, size) == size;
    assert!(there("0"), "used a moment ago");
    assert!(!there("2"), "used longest ago");
    assert_eq!(one.run(0, size), size);
    assert!(lab.read(&*one, "1", 0, size), "open all the time");
    let usage = admin::usage(&lab.dir, &admin::Filter::default()).unwrap();
    assert!(usage.bytes <= max_bytes, "{usage:?}");
}

#[test]
fn the_tools_list_measure_verify_and_remove() {
    let lab = Lab::new();
    lab.cache().describe(&identity("one"), "a label");
    drop(lab.fill("dir/a", 10_000));
    drop(lab.fill("dir/b", 4096));
    let open = lab.fill("other", 50_000);
    let part = lab.open("part", 1 << 20);
    lab.offer(&*part, "part", 8192, 16_384, 4096);
    lab.flush();
    let mut listed = Vec::new();
    admin::list(&lab.dir, &admin::Filter::default(), |entry| {
        listed.push(entry);
        true
    })
    .unwrap();
    listed.sort_by(|a, b| a.key.cmp(&b.key));
    let seen: Vec<_> =
        listed.iter().map(|e| (&*e.key, &*e.version, e.size, e.cached_bytes, e.complete, e.in_use)).collect();
    let expected = [
        ("dir/a", "e1", 10_000, 10_000, true, false),
        ("dir/b", "e1", 4096, 4096, true, false),
        ("other", "e1", 50_000, 50_000, true, true),
        ("part", "e1", 1 << 20, 8192, false, true),
    ];
    assert_eq!(seen, expected);
    assert!(listed.iter().all(|e| e.identity == "one" && e.label.as_deref() == Some("a label")));
    assert!(listed.iter().all(|e| e.disk_bytes >= e.cached_bytes));

    let dir_only = admin::Filter { key_prefix: Some("dir/".into()), ..admin::Filter::default() };
    let verified = admin::verify(&lab.dir, &admin::Filter::default(), |_, _| true).unwrap();
    assert_eq!((verified.entries, verified.bytes, verified.damaged_pages), (4, 72_288, 0));
    assert_eq!(admin::usage(&lab.dir, &dir_only).unwrap().entries, 2);
    assert_eq!(admin::remove(&lab.dir, &dir_only).unwrap().entries, 2);
    let rest = admin::remove(&lab.dir, &admin::Filter::default()).unwrap();
    assert_eq!((rest.entries, rest.in_use), (0, 2));
    assert!(lab.read(&*open, "other", 0, 50_000));
    let nobody = admin::Filter { identity: Some("two".into()), ..admin::Filter::default() };
    assert_eq!(admin::usage(&lab.dir, &nobody).unwrap(), admin::Usage::default());
    assert!(admin::usage(&lab.dir.join("no"), &nobody).is_err());
}
