//! Reading: what is fetched, when, and within which memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{cached, cat, ctx, mount, stat};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::MountTable;
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{
    CacheFaults, Faults, MemoryCache, MemoryKernel, MemoryOptions, MemoryStore, Random,
};
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino};

const MIB: u64 = 1 << 20;

async fn open(
    options: MemoryOptions,
    read: ReadConfig,
    size: u64,
) -> (Arc<MemoryStore>, Arc<MountTable>, Fh, Vec<u8>) {
    let store = MemoryStore::new(options);
    let content = Random::new(size).bytes(size as usize);
    store.put("f", content.clone());
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let entry = stat(&fs, "f").await.unwrap();
    let fh = fs.open(ctx(), entry.attr.ino).await.unwrap().fh;
    (store, fs, fh, content)
}

#[tokio::test(start_paused = true)]
async fn a_sequential_read_is_fetched_once_in_growing_parts_in_parallel() {
    let slow = MemoryOptions {
        request_delay: Duration::from_millis(20),
        chunk_delay: Duration::from_millis(1),
        ..MemoryOptions::default()
    };
    let (store, fs, fh, content) = open(slow, ReadConfig::default(), 100 * MIB + 12_345).await;
    let mut at = 0;
    while at < content.len() as u64 {
        let bytes = fs.read(ctx(), fh, ReadRequest::pages(at, 131_072)).await.unwrap().bytes;
        assert_eq!(bytes[..], content[at as usize..][..bytes.len()]);
        at += bytes.len() as u64;
    }
    assert!(fs.read(ctx(), fh, ReadRequest::pages(at, 131_072)).await.unwrap().bytes.is_empty());
    let mut ranges = store.take_ranges();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "no byte twice: {ranges:?}");
    assert!(ranges.len() < 20, "{ranges:?}");
    let longest = ranges.iter().map(|r| r.1 - r.0).max().unwrap();
    assert!((32 * MIB..48 * MIB).contains(&longest), "{ranges:?}");
    let last = ranges.last().unwrap();
    assert!(last.1 - last.0 > MIB, "no request for what little is left: {ranges:?}");
    assert_eq!(store.most_in_flight().clamp(1, 4), store.most_in_flight(), "at most four requests at once");
}

#[tokio::test(start_paused = true)]
async fn who_reads_one_file_after_the_other_as_a_whole_gets_the_next_one_in_few_requests() {
    const SIZE: u64 = 16 * MIB;
    let store = MemoryStore::new(MemoryOptions::default());
    for name in 0..8 {
        store.put(&format!("{name}"), Random::new(name).bytes(SIZE as usize));
    }
    // With a disk cache, which wants all of it in memory.
    let cache = MemoryCache::new(CacheFaults::default());
    let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
    // Reads so much of a file; how many requests that took, and bytes.
    let read = async |name: u64, until: u64| {
        let ino = stat(&fs, &format!("{name}")).await.unwrap().attr.ino;
        let fh = fs.open(ctx(), ino).await.unwrap().fh;
        store.take_ranges();
        for at in (0..until).step_by(MIB as usize) {
            fs.read(ctx(), fh, ReadRequest::pages(at, MIB as u32)).await.unwrap();
        }
        fs.release(fh);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ranges = store.take_ranges();
        (ranges.len(), ranges.iter().map(|(from, to)| to - from).sum::<u64>())
    };
    let first = read(0, SIZE).await;
    assert!(first.0 >= 4 && first.1 == SIZE, "{first:?}");
    for name in 1..4 {
        read(name, SIZE).await;
    }
    assert_eq!(read(4, SIZE).await, (2, SIZE));
    // Whoever does something else once is expected to do so again: a look at both ends of a file here.
    let ino = stat(&fs, "5").await.unwrap().attr.ino;
    let fh = fs.open(ctx(), ino).await.unwrap().fh;
    for at in [0, SIZE - 131_072] {
        fs.read(ctx(), fh, ReadRequest::pages(at, 131_072)).await.unwrap();
    }
    fs.release(fh);
    let (_, bytes) = read(6, MIB).await;
    assert!(bytes < SIZE / 2, "{bytes}");
    assert_eq!(read(7, SIZE).await, first);
}

#[tokio::test(start_paused = true)]
async fn reads_of_the_kernels_readahead_may_arrive_in_any_order() {
    let (store, fs, fh, content) = open(MemoryOptions::default(), ReadConfig::default(), 64 * MIB).await;
    let mut random = Random::new(1);
    for group in 0..32_u64 {
        let mut offsets = (0..4).map(|index| (group * 4 + index) * MIB / 2).collect::<Vec<_>>();
        for index in (1..offsets.len()).rev() {
            offsets.swap(index, random.below(index as u64 + 1) as usize);
        }
        let reads = offsets.iter().map(|at| fs.read(ctx(), fh, ReadRequest::pages(*at, 1 << 19)));
        for (at, bytes) in offsets.iter().zip(futures::future::join_all(reads).await) {
            assert_eq!(bytes.unwrap().bytes[..], content[*at as usize..][..1 << 19]);
        }
    }
    let fetched = store.take_ranges().iter().map(|(from, to)| to - from).sum::<u64>();
    assert!(fetched <= 66 * MIB, "{fetched} bytes fetched for {}", 64 * MIB);
}

#[tokio::test(start_paused = true)]
async fn the_first_scattered_reads_fetch_what_they_ask_for() {
    let (store, fs, fh, content) = open(MemoryOptions::default(), ReadConfig::default(), 64 * MIB).await;
    let mut random = Random::new(2);
    for _ in 0..8 {
        let at = 1 + random.below(64 * MIB - 5000);
        assert_eq!(
            fs.read(ctx(), fh, ReadRequest::pages(at, 4096)).await.unwrap().bytes[..],
            content[at as usize..][..4096]
        );
    }
    let ranges = store.take_ranges();
    assert!(ranges.len() == 8 && ranges.iter().all(|(from, to)| to - from <= 2 * 4096), "{ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn two_streams_in_one_handle() {
    let (store, fs, fh, content) = open(MemoryOptions::default(), ReadConfig::default(), 160 * MIB).await;
    for step in 0..128_u64 {
        for base in [0, 80 * MIB] {
            let at = base + step * MIB / 4;
            assert_eq!(
                fs.read(ctx(), fh, ReadRequest::pages(at, 1 << 18)).await.unwrap().bytes[..],
                content[at as usize..][..1 << 18]
            );
        }
    }
    let mut ranges = store.take_ranges();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "no byte twice: {ranges:?}");
    assert!(ranges.len() < 40, "{ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn closing_a_file_stops_its_fetches() {
    let slow = MemoryOptions { chunk_delay: Duration::from_millis(100), ..MemoryOptions::default() };
    let (store, fs, fh, _) = open(slow, ReadConfig::default(), 64 * MIB).await;
    for at in 0..4 {
        fs.read(ctx(), fh, ReadRequest::pages(at * 131_072, 131_072)).await.unwrap();
    }
    assert!(store.open_bodies() > 1, "it fetches ahead");
    fs.release(fh);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(store.open_bodies(), 0);
}

#[tokio::test(start_paused = true)]
async fn broken_bodies_are_resumed_where_they_broke() {
    let faults = Faults { seed: 3, requests: 10, bodies: 50 };
    let store = MemoryStore::new(MemoryOptions { faults, ..MemoryOptions::default() });
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig { attempts: 20, ..ReadConfig::default() });
    let content = Random::new(9).bytes(40 << 20);
    store.put("f", content.clone());
    let entry = loop {
        // A look-up is asked again by whoever needs it.
        match stat(&fs, "f").await {
            Ok(entry) => break entry,
            Err(error) => assert_eq!(error.message, "the store answered 503"),
        }
    };
    assert!(cat(&fs, entry.attr.ino, 131_072).await.unwrap() == content);
    let mut ranges = store.take_ranges();
    ranges.sort_unstable();
    let fetched_again = ranges.windows(2).filter(|pair| pair[0].0 == pair[1].0).count();
    assert!(ranges.len() > 12 && fetched_again < ranges.len() / 2, "resumed, not repeated: {ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_files_share_a_small_memory() {
    let store =
        MemoryStore::new(MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() });
    for index in 0..100_u64 {
        store.put(&format!("f{index}"), Random::new(index).bytes(3 << 20));
    }
    let read = ReadConfig { memory: 8 * MIB, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let whole = |index: u64| {
        let fs = fs.clone();
        async move {
            let entry = stat(&fs, &format!("f{index}")).await.unwrap();
            // Kept open until all are done: idle files must give their memory to the others.
            let open = fs.open(ctx(), entry.attr.ino).await.unwrap();
            let mut content = Vec::new();
            while content.len() < 3 << 20 {
                content.extend_from_slice(
                    &fs.read(ctx(), open.fh, ReadRequest::pages(content.len() as u64, 131_072))
                        .await
                        .unwrap()
                        .bytes,
                );
            }
            assert!(content == Random::new(index).bytes(3 << 20));
        }
    };
    futures::future::join_all((0..100).map(whole)).await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_fetched_in_the_background_takes_no_memory_while_the_file_is_open() {
    let (request_delay, chunk_delay) = (Duration::from_millis(10), Duration::from_millis(1));
    let slow = MemoryOptions { request_delay, chunk_delay, ..MemoryOptions::default() };
    let read = ReadConfig { fill_after: 32, ..ReadConfig::default() };
    let (store, fs, fh, content) = open(slow, read, 64 * MIB).await;
    let mut random = Random::new(4);
    for _ in 0..40 {
        let at = random.below(64 * MIB / 4096) * 4096;
        let bytes = fs.read(ctx(), fh, ReadRequest::pages(at, 4096)).await.unwrap().bytes;
        assert_eq!(bytes[..], content[at as usize..][..4096]);
    }
    // The background has begun with the whole file, and what it has not asked for yet fails.
    let before = fs.read_stats();
    assert!(before.parts_in_flight > 1, "{before:?}");
    store.set_down(Some(Error::new(ErrorKind::Unavailable, Blame::Origin, "down")));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stats = fs.read_stats();
    assert!(stats.bytes_fetched > before.bytes_fetched && stats.memory_kept < 64 * MIB, "{stats:?}");
    assert_eq!((stats.open_files, stats.parts_in_flight), (1, 0), "{stats:?}");
    assert_eq!(stats.memory_in_use_windows, 0, "{stats:?}");
}

/// What the kernel has it does not ask for, so that what is missing in it, be it only because too much came at once, is fetched again.
#[tokio::test(start_paused = true)]
async fn a_file_that_keeps_being_hit_is_fetched_once_and_goes_to_the_kernel_block_by_block() {
    const SIZE: u64 = 320 * MIB;
    let slow = MemoryOptions { chunk_delay: Duration::from_millis(1), ..MemoryOptions::default() };
    let read = ReadConfig::default();
    let (store, fs, fh, content) = open(slow, read, SIZE).await;
    let kernel = Arc::new(MemoryKernel::default());
    fs.mounted(kernel.clone());
    let (mut random, mut pages, mut missing) = (Random::new(7), vec![false; (SIZE / 4096) as usize], SIZE);
    store.take_ranges();
    while missing > SIZE / 16 {
        let page = random.below(SIZE / 4096);
        if pages[page as usize] {
            continue;
        }
        let at = page * 4096;
        let bytes = fs.read(ctx(), fh, ReadRequest::pages(at, 4096)).await.unwrap().bytes;
        assert_eq!(bytes[..], content[at as usize..][..4096]);
        // What its queue takes.
        let mut room = 8 * MIB;
        for (_, at, bytes) in kernel.take().into_iter().chain([(Ino::ROOT, at, bytes)]) {
            assert!(bytes.len() as u64 <= MIB && bytes[..] == content[at as usize..][..bytes.len()]);
            let Some(left) = room.checked_sub(bytes.len() as u64) else { continue };
            room = left;
            for page in &mut pages[(at / 4096) as usize..][..bytes.len() / 4096] {
                missing -= if std::mem::replace(page, true) { 0 } else { 4096 };
            }
        }
    }
    let ranges = store.take_ranges();
    let fetched = ranges.iter().map(|(from, to)| to - from).sum::<u64>();
    // The first hits are told from others by nothing yet: each gets its own, then a block. Afterwards no byte is asked for twice.
    assert!(fetched <= SIZE + SIZE / 8, "{} MiB in {} requests", fetched / MIB, ranges.len());
    assert!(ranges.len() < 280, "{} requests", ranges.len());
}

#[tokio::test(start_paused = true)]
async fn while_much_waits_for_the_disk_only_what_is_read_comes_at_once() {
    const SIZE: u64 = 64 * MIB;
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("f", Random::new(SIZE).bytes(SIZE as usize));
    // How much is there a tenth of a second after the first eighth was read, and how long all of it takes.
    let read = async |crowded: bool| {
        let cache = MemoryCache::new(CacheFaults::default());
        cache.set_crowded(crowded);
        let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
        let entry = stat(&fs, "f").await.unwrap();
        let fh = fs.open(ctx(), entry.attr.ino).await.unwrap().fh;
        let (begin, mut ahead, mut waited) = (tokio::time::Instant::now(), 0, Duration::ZERO);
        for at in (0..SIZE).step_by(MIB as usize) {
            if at == SIZE / 8 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                (ahead, waited) = (fs.read_stats().bytes_fetched - at, Duration::from_millis(100));
            }
            fs.read(ctx(), fh, ReadRequest::pages(at, MIB as u32)).await.unwrap();
        }
        (ahead, begin.elapsed() - waited)
    };
    let (free, crowded) = (read(false).await, read(true).await);
    assert!(free.0 >= 16 * MIB && crowded.0 <= 8 * MIB, "{free:?} {crowded:?}");
    assert!(crowded.1 <= free.1 + Duration::from_millis(10), "{free:?} {crowded:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_ends_at_the_deadline() {
    let never = MemoryOptions { request_delay: Duration::from_secs(1_000_000), ..MemoryOptions::default() };
    let store = MemoryStore::new(never);
    store.put("f", "x");
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let begin = tokio::time::Instant::now();
    let error: Error = stat(&fs, "f").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(begin.elapsed() <= Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_ranges_works_too() {
    let whole = MemoryOptions { ranges: false, ..MemoryOptions::default() };
    let (_store, fs, fh, content) = open(whole, ReadConfig::default(), 5 * MIB).await;
    for at in [4 * MIB, 0, MIB + 1] {
        assert_eq!(
            fs.read(ctx(), fh, ReadRequest::pages(at, 1000)).await.unwrap().bytes[..],
            content[at as usize..][..1000]
        );
    }
}
