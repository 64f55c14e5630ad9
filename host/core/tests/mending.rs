//! What the disk cache had no room for is fetched again in quiet moments.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{cached, ctx, stat};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::MountTable;
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{CacheFaults, MemoryCache, MemoryOptions, MemoryStore, Random};
use wasmount_types::{Blame, Error, ErrorKind, Fh};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 16 * MIB;
/// Longer than nothing else may be under way before it begins, and than it takes.
const QUIET: Duration = Duration::from_secs(2);

struct Mounted {
    store: Arc<MemoryStore>,
    cache: Arc<MemoryCache>,
    fs: Arc<MountTable>,
}

fn mounted(options: MemoryOptions) -> Mounted {
    let store = MemoryStore::new(options);
    for name in ["f", "other"] {
        store.put(name, Random::new(1).bytes(SIZE as usize));
    }
    let cache = MemoryCache::new(CacheFaults::default());
    let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
    Mounted { store, cache, fs }
}

impl Mounted {
    async fn open(&self, name: &str) -> Fh {
        let ino = stat(&self.fs, name).await.unwrap().attr.ino;
        self.fs.open(ctx(), ino).await.unwrap().fh
    }

    /// Reads all of `f`, a megabyte at a time; the cache's queue is full while those in `full` arrive.
    async fn read(&self, full: std::ops::Range<u64>) {
        let fh = self.open("f").await;
        for at in 0..SIZE / MIB {
            self.cache.set_full(full.contains(&at));
            self.fs.read(ctx(), fh, ReadRequest::pages(at * MIB, MIB as u32)).await.unwrap();
        }
        self.cache.set_full(false);
        self.fs.release(fh);
    }
}

#[tokio::test(start_paused = true)]
async fn holes_are_filled_after_the_file_was_closed_and_the_next_epoch_asks_for_nothing() {
    // Slow enough that the parts arrive one after the other.
    let it = mounted(MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() });
    it.read(3..6).await;
    let missing = SIZE - it.cache.bytes();
    assert!((MIB..SIZE / 2).contains(&missing), "{missing} bytes dropped");
    it.store.take_ranges();
    tokio::time::sleep(QUIET).await;
    assert_eq!(it.cache.bytes(), SIZE);
    let again = it.store.take_ranges().iter().map(|(from, to)| to - from).sum::<u64>();
    assert_eq!((again, it.fs.read_stats().bytes_mended), (missing, missing), "nothing else was fetched");
    it.read(0..0).await;
    assert!(it.store.take_ranges().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_mended_while_somebody_waits_for_the_store() {
    let it = mounted(MemoryOptions {
        request_delay: 2 * QUIET,
        chunk_delay: Duration::from_millis(1),
        ..MemoryOptions::default()
    });
    let fh = it.open("other").await;
    it.read(3..6).await;
    let missing = SIZE - it.cache.bytes();
    assert!(missing > 0);
    let read = tokio::spawn({
        let fs = it.fs.clone();
        async move { fs.read(ctx(), fh, ReadRequest::pages(0, 4096)).await.map(|_| ()) }
    });
    tokio::time::sleep(QUIET).await;
    assert_eq!(it.fs.read_stats().bytes_mended, 0);
    read.await.unwrap().unwrap();
    it.fs.release(fh);
    tokio::time::sleep(QUIET * 20).await;
    assert_eq!(it.fs.read_stats().bytes_mended, missing);
}

#[tokio::test(start_paused = true)]
async fn of_what_the_disk_is_far_too_slow_for_not_all_is_fetched_twice() {
    let it = mounted(MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() });
    it.read(0..SIZE).await;
    let there = it.cache.bytes();
    assert!(there < SIZE / 2, "{there}");
    tokio::time::sleep(QUIET).await;
    let again = it.fs.read_stats().bytes_mended;
    assert_eq!(it.cache.bytes(), there + again);
    assert!((MIB..=SIZE / 2).contains(&again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_stays_full_is_not_offered_a_hole_for_ever() {
    let it = mounted(MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() });
    it.read(3..6).await;
    it.cache.set_full(true);
    it.store.take_ranges();
    tokio::time::sleep(QUIET * 10).await;
    let again = it.store.take_ranges();
    assert!((1..=4).contains(&again.len()), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_has_changed_keeps_its_holes() {
    let it = mounted(MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() });
    it.read(3..6).await;
    let there = it.cache.bytes();
    it.store.put("f", Random::new(2).bytes(SIZE as usize));
    tokio::time::sleep(QUIET).await;
    assert_eq!((it.cache.bytes(), it.fs.read_stats().bytes_mended), (there, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_once() {
    let it = mounted(MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() });
    it.read(3..6).await;
    it.store.set_down(Some(Error::new(ErrorKind::Denied, Blame::Origin, "no")));
    tokio::time::sleep(QUIET).await;
    it.store.set_down(None);
    it.store.take_ranges();
    tokio::time::sleep(QUIET * 100).await;
    assert!(it.store.take_ranges().is_empty());
}
