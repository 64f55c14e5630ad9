//! How many requests things cost.

mod harness;

use harness::{cat, ctx, list, mount, stat};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::MountTable;
use wasmount_core::objects::{Consistency, ObjectFsConfig};
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{MemoryOptions, MemoryStore, Requests};
use wasmount_types::{Error, ErrorKind, Ino};

#[tokio::test(start_paused = true)]
async fn many_small_files_cost_one_get_each_and_a_few_lists() {
    let store = MemoryStore::new(MemoryOptions::default());
    for index in 0..2000 {
        store.put(&format!("d{:02}/f{index:04}", index % 20), format!("content of {index}"));
    }
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    for index in 0..2000 {
        let entry = stat(&fs, &format!("d{:02}/f{index:04}", index % 20)).await.unwrap();
        assert_eq!(
            cat(&fs, entry.attr.ino, 131_072).await.unwrap(),
            format!("content of {index}").into_bytes()
        );
    }
    let requests = store.take_requests();
    assert_eq!((requests.get, requests.head), (2000, 0));
    // Three probes and a listing for each directory and the root.
    assert!(requests.list <= 4 * 21, "{requests:?}");
}

/// A store with so many directories of so many small files, and a mount of it.
fn directories(count: usize, files: usize, options: MemoryOptions) -> (Arc<MemoryStore>, Arc<MountTable>) {
    let store = MemoryStore::new(options);
    for dir in 0..count {
        for file in 0..files {
            store.put(&format!("d{dir:02}/f{file:02}"), "x");
        }
    }
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    (store, fs)
}

/// How many entries `ls` shows.
async fn entries(fs: &MountTable, dir: &str) -> Result<usize, Error> {
    let ino = stat(fs, dir).await?.attr.ino;
    Ok(list(fs, ino, 100, true).await?.len())
}

#[tokio::test(start_paused = true)]
async fn what_was_worth_listing_in_one_directory_is_in_those_beside_it() {
    const COUNT: usize = 20;
    // One after the other, and in no order.
    for step in [1, 7] {
        let (store, fs) = directories(COUNT, 10, MemoryOptions::default());
        for turn in 0..COUNT {
            for file in 0..10 {
                stat(&fs, &format!("d{:02}/f{file:02}", turn * step % COUNT)).await.unwrap();
            }
        }
        // A listing for each and for the root, and three probes in the root and in one directory of five.
        let lists = store.take_requests().list;
        assert!(lists <= 1 + COUNT + 3 * (1 + COUNT / 5), "{lists} with step {step}");
    }
}

#[tokio::test(start_paused = true)]
async fn directories_are_listed_for_a_name_only_where_that_was_worth_it() {
    let (store, fs) = directories(40, 3, MemoryOptions::default());
    for dir in 0..40 {
        stat(&fs, &format!("d{dir:02}/f00")).await.unwrap();
    }
    // The root: three probes and a listing.
    assert_eq!(store.take_requests().list, 4 + 40, "one name each");

    let mut pages_of_four = MemoryOptions::default();
    pages_of_four.listing.page = 4;
    let (store, fs) = directories(10, 50, pages_of_four);
    for dir in 0..10 {
        stat(&fs, &format!("d{dir:02}/f00")).await.unwrap();
        stat(&fs, &format!("d{dir:02}/f01")).await.unwrap();
    }
    store.take_requests();
    for file in 0..10 {
        stat(&fs, &format!("d00/f{file:02}")).await.unwrap();
    }
    let first = store.take_requests().list;
    assert!(first >= 50 / 4, "the first is listed: {first}");
    for dir in ["d01", "d02"] {
        assert_eq!(entries(&fs, dir).await.unwrap(), 50);
    }
    assert_eq!(store.take_requests().list, 2 * 13, "long ones are not listed before they are wanted");
}

#[tokio::test(start_paused = true)]
async fn who_goes_through_directories_does_not_wait_for_each() {
    let slow = MemoryOptions { request_delay: Duration::from_secs(1), ..MemoryOptions::default() };
    let (store, fs) = directories(20, 5, slow);
    let begin = tokio::time::Instant::now();
    assert_eq!(entries(&fs, "").await.unwrap(), 20);
    for dir in 0..20 {
        assert_eq!(entries(&fs, &format!("d{dir:02}")).await.unwrap(), 5);
    }
    assert_eq!(store.take_requests().list, 21);
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    // Who stops has caused little that nobody wanted.
    let (store, fs) = directories(20, 5, MemoryOptions::default());
    for dir in ["", "d00", "d01", "d02"] {
        entries(&fs, dir).await.unwrap();
    }
    let lists = store.take_requests().list;
    assert!((4..=4 + 4).contains(&lists), "{lists}");
}

#[tokio::test(start_paused = true)]
async fn one_listing_serves_ls_l() {
    let store = MemoryStore::new(MemoryOptions::default());
    for index in 0..2500 {
        store.put(&format!("f{index:04}"), "x");
    }
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    for plus in [true, false] {
        assert_eq!(list(&fs, Ino::ROOT, 100, plus).await.unwrap().len(), 2500);
        for index in 0..2500 {
            stat(&fs, &format!("f{index:04}")).await.unwrap();
        }
    }
    assert_eq!(store.take_requests(), Requests { list: 3, head: 0, get: 0 });
    let stats = fs.statfs(ctx(), Ino::ROOT).await.unwrap();
    assert_eq!(stats.blocks - stats.blocks_free, 1, "2500 bytes were seen");
}

#[tokio::test(start_paused = true)]
async fn the_first_entries_do_not_wait_for_the_last_page() {
    let slow = MemoryOptions { request_delay: Duration::from_secs(1), ..MemoryOptions::default() };
    let store = MemoryStore::new(slow);
    for index in 0..10_000 {
        store.put(&format!("f{index:05}"), "x");
    }
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let begin = tokio::time::Instant::now();
    let fh = fs.opendir(ctx(), Ino::ROOT).await.unwrap().fh;
    let request = wasmount_core::fs::ReadDir { offset: 0, limit: 100, plus: true };
    assert_eq!(fs.readdir(ctx(), fh, request).await.unwrap().len(), 100);
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_same_question_is_asked_once() {
    let slow = MemoryOptions { request_delay: Duration::from_secs(1), ..MemoryOptions::default() };
    let store = MemoryStore::new(slow);
    store.put("a", "x");
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let stats = futures::future::join_all((0..3).map(|_| stat(&fs, "a"))).await;
    assert!(stats.iter().all(Result::is_ok));
    let lists = futures::future::join_all((0..50).map(|_| list(&fs, Ino::ROOT, 10, false))).await;
    assert!(lists.iter().all(Result::is_ok));
    assert_eq!(store.take_requests(), Requests { list: 2, head: 0, get: 0 });
}

#[tokio::test(start_paused = true)]
async fn absence_is_remembered_for_a_while() {
    let store = MemoryStore::new(MemoryOptions::default());
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    for _ in 0..100 {
        assert_eq!(stat(&fs, "nothing").await.unwrap_err().kind, ErrorKind::NotFound);
    }
    assert_eq!(store.take_requests().list, 1);
    store.put("nothing", "now it is there");
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(stat(&fs, "nothing").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_open_with_consistency_open_sees_the_new_at_once() {
    for (consistency, seen_at_once) in [(Consistency::Open, true), (Consistency::Ttl, false)] {
        let store = MemoryStore::new(MemoryOptions::default());
        store.put("a", "old");
        let config = ObjectFsConfig { consistency, ..ObjectFsConfig::default() };
        let fs = mount(&store, config, ReadConfig::default());
        let old = stat(&fs, "a").await.unwrap();
        store.put("a", "newer");
        assert_eq!(
            fs.open(ctx(), old.attr.ino).await.is_err_and(|e| e.kind == ErrorKind::Stale),
            seen_at_once
        );
        // Like the kernel after `stale`: the name again, then the node it gave.
        let new = stat(&fs, "a").await.unwrap();
        assert_eq!(new.attr.ino != old.attr.ino, seen_at_once);
        if seen_at_once {
            assert_eq!(cat(&fs, new.attr.ino, 100).await.unwrap(), b"newer");
            assert_eq!(store.take_requests().head, 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_replaced_under_its_reader_is_stale_and_then_new() {
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("a", vec![1_u8; 3 << 20]);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let old = stat(&fs, "a").await.unwrap();
    let open = fs.open(ctx(), old.attr.ino).await.unwrap();
    assert_eq!(fs.read(ctx(), open.fh, ReadRequest::pages(0, 10)).await.unwrap().bytes, vec![1; 10]);
    store.put("a", vec![2_u8; 3 << 20]);
    assert_eq!(
        fs.read(ctx(), open.fh, ReadRequest::pages(2 << 20, 10)).await.unwrap_err().kind,
        ErrorKind::Stale
    );
    assert_eq!(fs.open(ctx(), old.attr.ino).await.unwrap_err().kind, ErrorKind::Stale);
    let new = stat(&fs, "a").await.unwrap();
    assert_ne!(new.attr.ino, old.attr.ino);
    assert!(cat(&fs, new.attr.ino, 1 << 20).await.unwrap().iter().all(|byte| *byte == 2));
}

/// What the kernel asks for while a program reads 128 KiB at a time: read-ahead that grows to a MiB, and then stands three quarters of a MiB
/// behind every multiple of one.
#[tokio::test(start_paused = true)]
async fn what_the_kernel_reads_ahead_is_not_copied_together() {
    const MIB: u64 = 1 << 20;
    const SIZE: u64 = 64 * MIB;
    let store = MemoryStore::new(MemoryOptions::default());
    let content: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    store.put("large", content.clone());
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let entry = stat(&fs, "large").await.unwrap();
    let open = fs.open(ctx(), entry.attr.ino).await.unwrap();
    let mut joined = Vec::new();
    let (mut at, mut size) = (0, MIB / 4);
    while at < SIZE {
        let wanted = ReadRequest { offset: at, size: size as u32, kept: true };
        let data = fs.read(ctx(), open.fh, wanted).await.unwrap();
        assert!(data.bytes == content[at as usize..(at + size).min(SIZE) as usize], "{size} bytes at {at}");
        joined.push(fs.read_stats().reads_joined);
        at += size;
        size = (size * 2).min(MIB);
    }
    assert!(*joined.last().unwrap() <= 8, "{joined:?}");
    assert!(store.take_requests().get <= 20);
}
