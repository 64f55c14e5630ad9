//! Reads that are answered with pipes: every byte is right, whoever took what, and nothing is left behind. `WASMOUNT_SEED` sets the seed,
//! `WASMOUNT_CASES` how many histories there are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{cached, ctx, mount, stat};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::{ReadAnswer, ReadRequest};
use wasmount_core::mounts::MountTable;
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{CacheFaults, Faults, MemoryCache, MemoryOptions, MemoryStore, Random};
use wasmount_types::{Error, Fh};

const MIB: u64 = 1 << 20;

/// The bytes, and whether they came in a pipe.
async fn piped(fs: &MountTable, fh: Fh, at: u64, size: u64) -> Result<(Vec<u8>, bool), Error> {
    let answer = fs.read_piped(ctx(), fh, ReadRequest::pages(at, size as u32)).await?;
    let is_piped = matches!(answer, ReadAnswer::Piped(_));
    Ok((answer.into_memory()?.bytes.to_vec(), is_piped))
}

/// Reads blocks from `from` on; how many came in pipes.
async fn blocks(fs: &MountTable, fh: Fh, content: &[u8], from: u64) -> usize {
    let (mut at, mut pipes) = (from, 0);
    while at < content.len() as u64 {
        let (bytes, is_piped) = piped(fs, fh, at, MIB).await.unwrap();
        assert!(bytes == content[at as usize..][..bytes.len()], "at {at}");
        at += bytes.len() as u64;
        pipes += usize::from(is_piped);
    }
    pipes
}

async fn open(fs: &MountTable, name: &str) -> Fh {
    let entry = stat(fs, name).await.unwrap();
    fs.open(ctx(), entry.attr.ino).await.unwrap().fh
}

fn store(options: MemoryOptions, size: u64) -> (Arc<MemoryStore>, Vec<u8>) {
    let store = MemoryStore::new(options);
    let content = Random::new(size).bytes(size as usize);
    store.put("f", content.clone());
    (store, content)
}

#[tokio::test]
async fn blocks_that_are_read_one_after_the_other_come_in_pipes() {
    let (store, content) = store(MemoryOptions::default(), 50 * MIB + 4097);
    let config = ReadConfig { pipes: 60, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), config);
    let fh = open(&fs, "f").await;
    // As the kernel's read-ahead begins, and goes on.
    let first = fs.read(ctx(), fh, ReadRequest::pages(0, 512 << 10)).await.unwrap().bytes;
    assert!(first == content[..first.len()]);
    let pipes = blocks(&fs, fh, &content, 512 << 10).await;
    assert!(pipes >= 40, "{pipes} of 51");
    let mut ranges = store.take_ranges();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "no byte twice: {ranges:?}");
    // What was given away is fetched again for those who come after.
    let other = open(&fs, "f").await;
    assert!(piped(&fs, other, 20 * MIB + 5, 100_000).await.unwrap().0 == content[20 << 20..][5..100_005]);
    fs.release(fh);
    fs.release(other);
    assert_eq!(fs.read_stats().memory_in_use_windows, 0);
}

#[tokio::test]
async fn who_share_a_file_between_them_fetch_nothing_ahead_that_another_one_has_had() {
    const QUARTER: u64 = 24 * MIB;
    let (store, content) = store(MemoryOptions::default(), 4 * QUARTER);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(open(&fs, "f").await);
    }
    for at in (0..QUARTER).step_by(MIB as usize) {
        for (fh, from) in handles.iter().zip((at..).step_by(QUARTER as usize)) {
            assert!(piped(&fs, *fh, from, MIB).await.unwrap().0 == content[from as usize..][..1 << 20]);
        }
    }
    let ranges = store.take_ranges();
    let fetched = ranges.iter().map(|(from, to)| to - from).sum::<u64>();
    assert_eq!(fetched, 4 * QUARTER, "{ranges:?}");
}

#[tokio::test]
async fn who_takes_no_pipes_gets_none_and_the_disk_cache_gets_every_byte() {
    let (store, content) = store(MemoryOptions::default(), 24 * MIB);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let fh = open(&fs, "f").await;
    for at in (0..content.len()).step_by(1 << 20) {
        let data = fs.read(ctx(), fh, ReadRequest::pages(at as u64, MIB as u32)).await.unwrap();
        assert!(data.bytes == content[at..][..data.bytes.len()]);
    }
    assert!(fs.read_stats().memory_kept > 0, "and what was read is kept");
    // Nor does one who gets pipes at other times, for what the kernel will not keep.
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let fh = open(&fs, "f").await;
    for at in (0..content.len()).step_by(1 << 20) {
        let answer = fs.read_piped(ctx(), fh, ReadRequest::direct(at as u64, MIB as u32)).await.unwrap();
        assert!(matches!(answer, ReadAnswer::Memory(_)), "at {at}");
    }

    let cache = MemoryCache::new(CacheFaults::default());
    let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
    let fh = open(&fs, "f").await;
    assert_eq!(blocks(&fs, fh, &content, 0).await, 0);
    assert_eq!(cache.bytes(), content.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_reads_what_in_whatever_order_gets_the_right_bytes() {
    let variable = |name, default| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (first, cases): (u64, u64) = (variable("WASMOUNT_SEED", 1), variable("WASMOUNT_CASES", 12));
    let mut pipes = 0;
    for seed in first..first + cases {
        let faults = Faults { seed, requests: 2, bodies: (seed % 3 * 5) as u8 };
        let chunk = [5_000, 100_000, 3 << 20][(seed / 3 % 3) as usize];
        let size = 20 * MIB + seed * 7919;
        let (store, content) = store(MemoryOptions { faults, chunk, ..MemoryOptions::default() }, size);
        let config = ReadConfig {
            memory: (8 + seed % 4 * 16) * MIB,
            attempts: 20,
            pipes: [3, 32][(seed % 2) as usize],
            retry_pause: Duration::from_millis(1),
            ..ReadConfig::default()
        };
        let fs = mount(&store, ObjectFsConfig::default(), config);
        let readers = (0..2).map(|index| {
            let reading = history(fs.clone(), content.clone(), seed << 1 | index);
            tokio::spawn(reading)
        });
        let all = tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(readers));
        for outcome in all.await.unwrap_or_else(|_| panic!("seed {seed}: somebody waits for ever")) {
            pipes += outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let mut patience = 100;
        while fs.read_stats().memory_in_use_windows > 0 {
            patience -= 1;
            assert!(patience > 0, "seed {seed}: something is left behind: {:?}", fs.read_stats());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(pipes as u64 > cases * 4, "{pipes} reads of {cases} histories came in pipes");
}

/// Runs of blocks, in order or not quite, and other reads in between; some are given up. How many came in pipes.
async fn history(fs: Arc<MountTable>, content: Vec<u8>, seed: u64) -> usize {
    let mut random = Random::new(seed);
    let (size, mut pipes) = (content.len() as u64, 0);
    let entry = loop {
        match stat(&fs, "f").await {
            Ok(entry) => break entry,
            Err(error) => assert_eq!(error.message, "the store answered 503"),
        }
    };
    for _ in 0..3 {
        let fh = fs.open(ctx(), entry.attr.ino).await.unwrap().fh;
        let mut at = [0, 0, random.below(size) / 4096 * 4096][random.below(3) as usize];
        for _ in 0..random.below(30) {
            // Several at once, as read-ahead sends them.
            let group = 1 + random.below(4);
            let reads = (0..group).map(|index| {
                let (from, length) = match random.below(20) {
                    0 => (random.below(size), 1 + random.below(300_000)),
                    1 => (at.saturating_sub(random.below(3 * MIB)) / 4096 * 4096, MIB),
                    2 => (at + index * MIB, 128 << 10),
                    _ => (at + index * MIB, MIB),
                };
                let patience = Duration::from_micros(if random.percent(3) { 500 } else { 30_000_000 });
                let (fs, content) = (&fs, &content);
                async move {
                    let Ok(read) = tokio::time::timeout(patience, piped(fs, fh, from, length)).await else {
                        return 0;
                    };
                    let (bytes, is_piped) = read.unwrap();
                    let end = (from + length).min(size).max(from.min(size));
                    assert!(bytes == content[from.min(size) as usize..end as usize], "{from}..{end}");
                    usize::from(is_piped)
                }
            });
            pipes += futures::future::join_all(reads.collect::<Vec<_>>()).await.into_iter().sum::<usize>();
            at = if random.percent(95) { at + group * MIB } else { random.below(size) / 4096 * 4096 };
            at = if at >= size { 0 } else { at };
        }
        fs.release(fh);
    }
    fs.forget(entry.attr.ino, 1);
    pipes
}
