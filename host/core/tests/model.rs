//! Random operations on a random store, against a plain reference.
//!
//! The reference is the list of all states the store ever had, with their times. Whatever the file system says must
//! have been true at some moment within the TTL; bytes must be exactly those of one version, never a mixture.
//! `WASMOUNT_MODEL_CASES` sets the number of cases, `WASMOUNT_SEED` the seed.

mod harness;
mod reference;

use harness::{cached, cat, ctx, list, mount, stat};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use reference::{History, Tree};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::fs::{Entry, OpenFile};
use wasmount_core::mounts::MountTable;
use wasmount_core::objects::{Consistency, ObjectFsConfig};
use wasmount_core::ports::{Listing, Pinning};
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{CacheFaults, Faults, MemoryCache, MemoryOptions, MemoryStore, Random};
use wasmount_types::{Error, ErrorKind, FileKind};

#[derive(Clone, Debug)]
enum Op {
    Put {
        key: String,
        seed: u64,
        length: usize,
    },
    Delete {
        key: String,
    },
    Wait {
        seconds: u64,
    },
    Stat {
        path: String,
    },
    List {
        path: String,
        page: usize,
        plus: bool,
    },
    Cat {
        path: String,
        size: u32,
    },
    Open {
        path: String,
    },
    /// Reads of a file opened before, several at once.
    Read {
        which: usize,
        seed: u64,
        reads: usize,
    },
    Close {
        which: usize,
    },
    /// The disk cache forgets pages.
    Lose {
        percent: u8,
    },
    /// Bits flip in the disk cache.
    Damage,
    /// Another process takes over: nothing is left but the disk cache.
    Restart,
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => prop::sample::select(vec!["a", "b", "a!", "a-", "a0", "b.c", "é", "a b"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["", ".", ".."]).prop_map(str::to_owned),
        1 => Just("n".repeat(256)),
    ]
}

fn key() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment(), 1..=3), prop::bool::weighted(0.15))
        .prop_map(|(segments, marker)| segments.join("/") + if marker { "/" } else { "" })
        .prop_filter("keys are not empty", |key| !key.is_empty())
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "a!", "a-", "a0", "b.c", "é", "a b", "zz"]);
    prop::collection::vec(name, 0..=3).prop_map(|names| names.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    // Lengths around the limits of `SMALL`: empty, one block's worth, many parts.
    let length = prop_oneof![Just(0), 1_usize..5000, 5000_usize..200_000];
    prop_oneof![
        4 => (key(), any::<u64>(), length).prop_map(|(key, seed, length)| Op::Put { key, seed, length }),
        2 => key().prop_map(|key| Op::Delete { key }),
        2 => prop::sample::select(vec![0, 1, 5, 11, 30, 61]).prop_map(|seconds| Op::Wait { seconds }),
        6 => path().prop_map(|path| Op::Stat { path }),
        4 => (path(), 1_usize..5, any::<bool>()).prop_map(|(path, page, plus)| Op::List { path, page, plus }),
        4 => (path(), 1_u32..70_000).prop_map(|(path, size)| Op::Cat { path, size }),
        3 => path().prop_map(|path| Op::Open { path }),
        5 => (any::<usize>(), any::<u64>(), 1_usize..6).prop_map(|(which, seed, reads)| Op::Read { which, seed, reads }),
        1 => any::<usize>().prop_map(|which| Op::Close { which }),
        1 => (1_u8..=100).prop_map(|percent| Op::Lose { percent }),
        1 => Just(Op::Damage),
        1 => Just(Op::Restart),
    ]
}

fn options() -> impl Strategy<Value = MemoryOptions> {
    let listing = (any::<[bool; 3]>(), prop::sample::select(vec![1, 2, 3, 7, 1000]));
    let reading = (0..4_usize, any::<bool>(), prop::sample::select(vec![1_000, 4096, 65_536, 1 << 20]));
    let faults = (any::<u64>(), prop::bool::weighted(0.3));
    (listing, reading, faults, any::<bool>()).prop_map(|(listing, reading, faults, empty_pages)| {
        let ([ordered, delimiter, start_after], page) = listing;
        let (pinning, ranges, chunk) = reading;
        let (versions, pinning) = [
            (true, Pinning::Current),
            (true, Pinning::History),
            (true, Pinning::None),
            (false, Pinning::None),
        ][pinning];
        let (seed, faulty) = faults;
        let faults = if faulty { Faults { seed, requests: 10, bodies: 30 } } else { Faults::default() };
        let listing = Listing { ordered, delimiter, start_after, page, consistent: true };
        MemoryOptions {
            listing,
            pinning,
            versions,
            ranges,
            empty_pages,
            chunk,
            faults,
            ..MemoryOptions::default()
        }
    })
}

/// Sizes small enough that files of 200 kB have many parts. Blocks stay at 1 MiB.
fn small_reads() -> ReadConfig {
    ReadConfig {
        whole: 4096,
        part_min: 8192,
        part_max: 65_536,
        ahead: 131_072,
        slack: 32_768,
        memory: 8 << 20,
        // Few reads make a file worth growing blocks, and all of it.
        exact_reads: 2,
        fill_after: 6,
        ..ReadConfig::default()
    }
}

struct Held {
    path: String,
    open: OpenFile,
    entry: Entry,
}

fn cache_faults() -> impl Strategy<Value = Option<CacheFaults>> {
    let faults = (any::<u64>(), prop::sample::select(vec![0_u8, 10, 50]), any::<[bool; 3]>());
    prop::option::weighted(
        0.7,
        faults.prop_map(|(seed, percent, [opens, offers, reads])| {
            let some = |fault: bool| if fault { percent } else { 0 };
            CacheFaults { seed, opens: some(opens), offers: some(offers), reads: some(reads) }
        }),
    )
}

struct Run {
    store: Arc<MemoryStore>,
    cache: Option<Arc<MemoryCache>>,
    config: ObjectFsConfig,
    fs: Arc<MountTable>,
    history: History,
    held: Vec<Held>,
    ttl: Duration,
    absent_ttl: Duration,
    faulty: bool,
}

/// Only what a fault may lead to.
fn excused(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Corrupt)
}

impl Run {
    async fn step(&mut self, op: Op) {
        match op {
            Op::Put { key, seed, length } => {
                let bytes = Random::new(seed).bytes(length);
                self.store.put(&key, bytes.clone());
                self.history.change(|tree| tree.put(&key, bytes));
            }
            Op::Delete { key } => {
                self.store.delete(&key);
                self.history.change(|tree| tree.delete(&key));
            }
            Op::Wait { seconds } => tokio::time::sleep(Duration::from_secs(seconds)).await,
            Op::Stat { path } => {
                self.stat(&path).await;
            }
            Op::List { path, page, plus } => self.list(&path, page, plus).await,
            Op::Cat { path, size } => self.cat(&path, size).await,
            Op::Open { path } => self.open(path).await,
            Op::Read { which, seed, reads } => self.read(which, seed, reads).await,
            Op::Close { which } => {
                if !self.held.is_empty() {
                    let held = self.held.swap_remove(which % self.held.len());
                    self.fs.release(held.open.fh);
                    self.fs.forget(held.entry.attr.ino, 1);
                }
            }
            Op::Lose { percent } => self.cache.iter().for_each(|cache| cache.lose(percent)),
            Op::Damage => self.cache.iter().for_each(|cache| cache.damage()),
            Op::Restart => {
                self.held.clear();
                self.fs = start(&self.store, self.cache.as_ref(), self.config.clone());
            }
        }
    }

    /// Whether something was true at some moment since `since` less the TTL.
    fn was(&self, ttl: Duration, since: tokio::time::Instant, what: impl Fn(&Tree) -> bool) -> bool {
        self.history.since(since, ttl).any(what)
    }

    async fn stat(&self, path: &str) -> Option<Entry> {
        let begin = tokio::time::Instant::now();
        let outcome = stat(&self.fs, path).await;
        match &outcome {
            Ok(entry) if entry.attr.kind == FileKind::Directory => {
                assert!(self.was(self.ttl, begin, |tree| tree.is_directory(path)), "{path} was no directory");
            }
            Ok(entry) => {
                let size = |tree: &Tree| tree.file(path).map(|bytes| bytes.len() as u64);
                assert!(
                    self.was(self.ttl, begin, |tree| size(tree) == Some(entry.attr.size)),
                    "{path} was not so"
                );
            }
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::NotDirectory) => {
                // An ancestor that was a file within the TTL counts as well as a name that was not there.
                let absent = |tree: &Tree| !tree.is_directory(path) && tree.file(path).is_none();
                assert!(
                    self.was(self.absent_ttl, begin, absent)
                        || (error.kind == ErrorKind::NotDirectory && self.was(self.ttl, begin, absent)),
                    "{path} was there: {error}"
                );
            }
            Err(error) => assert!(self.faulty && excused(error), "stat {path}: {error:?}"),
        }
        outcome.ok()
    }

    async fn list(&self, path: &str, page: usize, plus: bool) {
        let Some(entry) = self.stat(path).await.filter(|e| e.attr.kind == FileKind::Directory) else {
            return;
        };
        let begin = tokio::time::Instant::now();
        let listed = match list(&self.fs, entry.attr.ino, page, plus).await {
            Ok(listed) => listed,
            Err(error) => {
                assert!(self.faulty && excused(&error), "list {path}: {error:?}");
                return;
            }
        };
        for (name, kind) in &listed {
            let was = |tree: &Tree| tree.children(path).get(name) == Some(kind);
            assert!(self.was(self.ttl, begin, was), "{path} did not have {name} as {kind:?}");
        }
        let ever = self.history.since(begin, self.ttl).flat_map(|tree| tree.children(path).into_keys());
        for name in ever.collect::<std::collections::BTreeSet<_>>() {
            let absent = |tree: &Tree| !tree.children(path).contains_key(&name);
            assert!(listed.contains_key(&name) || self.was(self.ttl, begin, absent), "{path} lost {name}");
        }
    }

    /// Like an application that repeats once what failed with `ESTALE`.
    async fn cat(&self, path: &str, size: u32) {
        let mut stale = 0;
        loop {
            let Some(entry) = self.stat(path).await.filter(|e| e.attr.kind == FileKind::Regular) else {
                return;
            };
            let begin = tokio::time::Instant::now();
            let outcome = cat(&self.fs, entry.attr.ino, size).await;
            self.fs.forget(entry.attr.ino, 1);
            match outcome {
                Ok(bytes) => {
                    let same = |tree: &Tree| tree.file(path) == Some(&bytes);
                    assert!(self.was(self.ttl, begin, same), "{path}: {} bytes that never were", bytes.len());
                    return;
                }
                Err(error) if error.kind == ErrorKind::Stale => {
                    let other =
                        |tree: &Tree| tree.file(path).is_none_or(|b| b.len() as u64 != entry.attr.size);
                    let changed =
                        self.history.since(begin, self.ttl).count() > 1 || self.was(self.ttl, begin, other);
                    assert!(changed, "{path} did not change and was stale");
                    stale += 1;
                    assert!(stale < 2, "{path} stays stale: {error}");
                }
                Err(error) => {
                    assert!(self.faulty && excused(&error), "cat {path}: {error:?}");
                    return;
                }
            }
        }
    }

    async fn open(&mut self, path: String) {
        let Some(entry) = self.stat(&path).await.filter(|e| e.attr.kind == FileKind::Regular) else { return };
        match self.fs.open(ctx(), entry.attr.ino).await {
            Ok(open) => self.held.push(Held { path, open, entry }),
            Err(error) => {
                self.fs.forget(entry.attr.ino, 1);
                let changed = self.history.since(tokio::time::Instant::now(), self.ttl).count() > 1;
                let fine = (error.kind == ErrorKind::Stale && changed) || (self.faulty && excused(&error));
                assert!(fine, "open {path}: {error:?}");
            }
        }
    }

    async fn read(&mut self, which: usize, seed: u64, reads: usize) {
        if self.held.is_empty() {
            return;
        }
        let held = &self.held[which % self.held.len()];
        let size = held.entry.attr.size;
        let mut random = Random::new(seed);
        let from = random.below(size + 10);
        let ranges = (0..reads as u64).map(|index| {
            let length = 1 + random.below(40_000) as u32;
            // Half of them run on from each other, out of order, as the kernel's read-ahead does.
            let offset =
                if seed.is_multiple_of(2) { from + (index ^ 1) * 4096 } else { random.below(size + 10) };
            (offset, length)
        });
        let ranges = ranges.collect::<Vec<_>>();
        let outcomes = ranges
            .iter()
            .map(|(offset, length)| self.fs.read(ctx(), held.open.fh, ReadRequest::pages(*offset, *length)));
        let outcomes = futures::future::join_all(outcomes).await;
        // One version explains all of them.
        let explains = |bytes: &Vec<u8>| {
            bytes.len() as u64 == size
                && ranges.iter().zip(&outcomes).all(|((offset, length), outcome)| {
                    let begin = (*offset).min(size) as usize;
                    let end = (offset + u64::from(*length)).min(size) as usize;
                    outcome.as_ref().map_or(true, |read| read.bytes[..] == bytes[begin..end])
                })
        };
        assert!(
            self.history.all().any(|tree| tree.file(&held.path).is_some_and(explains)),
            "{}: a mixture",
            held.path
        );
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            let gone = error.kind == ErrorKind::Stale && self.history.all().count() > 1;
            assert!(gone || (self.faulty && excused(error)), "read {}: {error:?}", held.path);
        }
    }
}

fn start(
    store: &Arc<MemoryStore>,
    cache: Option<&Arc<MemoryCache>>,
    config: ObjectFsConfig,
) -> Arc<MountTable> {
    match cache {
        Some(cache) => cached(store, cache, config, small_reads()),
        None => mount(store, config, small_reads()),
    }
}

async fn run(
    options: MemoryOptions,
    cache: Option<CacheFaults>,
    consistency: Consistency,
    ttl: u64,
    ops: Vec<Op>,
) {
    let store = MemoryStore::new(options);
    let ttl = Duration::from_secs(ttl);
    let absent_ttl = Duration::from_secs(10).min(ttl);
    let config = ObjectFsConfig {
        attr_ttl: ttl,
        negative_ttl: absent_ttl,
        consistency,
        listing_entries: 20,
        ..ObjectFsConfig::default()
    };
    let cache = cache.map(MemoryCache::new);
    let fs = start(&store, cache.as_ref(), config.clone());
    let faulty = options.faults.requests > 0;
    let mut run =
        Run { store, cache, config, fs, history: History::new(), held: Vec::new(), ttl, absent_ttl, faulty };
    for op in ops {
        run.step(op).await;
    }
    // Nothing is left behind: no fetch goes on, all memory is free again.
    for held in std::mem::take(&mut run.held) {
        run.fs.release(held.open.fh);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(run.store.open_bodies(), 0, "a fetch outlived its file");
    let stats = run.fs.read_stats();
    assert_eq!(
        (stats.parts_in_flight, stats.open_files, stats.memory_in_use_windows),
        (0, 0, 0),
        "{stats:?}"
    );
    assert!(stats.memory_kept <= stats.memory_limit / 2 + stats.memory_limit / 8, "{stats:?}");
}

fn cases() -> u32 {
    std::env::var("WASMOUNT_MODEL_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000)
}

fn seed() -> RngSeed {
    let seed = std::env::var("WASMOUNT_SEED").ok().and_then(|seed| seed.parse().ok());
    // New ones belong to `make soak`.
    let seed = seed.unwrap_or(1);
    println!("WASMOUNT_SEED={seed}");
    RngSeed::Fixed(seed)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        rng_seed: seed(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_seen_was_true(
        options in options(),
        cache in cache_faults(),
        open in any::<bool>(),
        ttl in prop::sample::select(vec![0, 5, 60]),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let consistency = if open { Consistency::Open } else { Consistency::Ttl };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(options, cache, consistency, ttl, ops));
    }
}
