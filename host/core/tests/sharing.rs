//! What several handles, scattered reads and the disk cache share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{cached, cat, ctx, mount, stat};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::{MountTable, xattr};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::ports::ServedFrom;
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{CacheFaults, MemoryCache, MemoryKernel, MemoryOptions, MemoryStore, Random};
use wasmount_types::Fh;

const MIB: u64 = 1 << 20;

/// A store with the file `f`.
fn store_with(options: MemoryOptions, size: u64) -> (Arc<MemoryStore>, Vec<u8>) {
    let store = MemoryStore::new(options);
    let content = Random::new(size).bytes(size as usize);
    store.put("f", content.clone());
    (store, content)
}

fn slow() -> MemoryOptions {
    let (request_delay, chunk_delay) = (Duration::from_millis(20), Duration::from_millis(1));
    MemoryOptions { request_delay, chunk_delay, ..MemoryOptions::default() }
}

async fn open(fs: &MountTable, path: &str) -> Fh {
    let entry = stat(fs, path).await.unwrap();
    fs.open(ctx(), entry.attr.ino).await.unwrap().fh
}

/// Lets what goes on in the background come to its end.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

fn fetched(store: &MemoryStore) -> u64 {
    store.take_ranges().iter().map(|(from, to)| to - from).sum()
}

#[tokio::test(start_paused = true)]
async fn sixteen_handles_fetch_a_file_once() {
    let (store, content) = store_with(slow(), 20 * MIB);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let whole = || async {
        let fh = open(&fs, "f").await;
        let mut at = 0;
        while at < content.len() {
            let bytes = fs.read(ctx(), fh, ReadRequest::pages(at as u64, 131_072)).await.unwrap().bytes;
            assert!(bytes == content[at..][..bytes.len()]);
            at += bytes.len();
        }
        fs.release(fh);
    };
    futures::future::join_all((0..16).map(|_| whole())).await;
    let mut ranges = store.take_ranges();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "no byte twice: {ranges:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_dropped_leaves_others_their_bytes() {
    let (store, content) = store_with(slow(), 100_000);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let (first, second) = (open(&fs, "f").await, open(&fs, "f").await);
    let waiting = fs.read(ctx(), second, ReadRequest::pages(0, 1000));
    tokio::pin!(waiting);
    {
        // The first one fetches, the second one waits for it.
        let driving = fs.read(ctx(), first, ReadRequest::pages(0, 1000));
        tokio::pin!(driving);
        assert!(futures::poll!(&mut driving).is_pending() && futures::poll!(&mut waiting).is_pending());
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(futures::poll!(&mut driving).is_pending() && futures::poll!(&mut waiting).is_pending());
    }
    assert_eq!(waiting.await.unwrap().bytes[..], content[..1000]);
    assert_eq!(fs.read_stats().parts_in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn single_reads_of_many_large_files_stay_single() {
    let store = MemoryStore::new(MemoryOptions::default());
    let content = bytes::Bytes::from(Random::new(1).bytes(16 << 20));
    let mut random = Random::new(5);
    for index in 0..100 {
        store.put(&format!("f{index}"), content.clone());
    }
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    for index in 0..100 {
        let fh = open(&fs, &format!("f{index}")).await;
        let at = random.below(4095) * 4096;
        assert_eq!(
            fs.read(ctx(), fh, ReadRequest::pages(at, 4096)).await.unwrap().bytes[..],
            content[at as usize..][..4096]
        );
        fs.release(fh);
    }
    let ranges = store.take_ranges();
    assert_eq!((ranges.len(), ranges.iter().map(|(from, to)| to - from).max()), (100, Some(4096)));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_keeps_being_hit_is_fetched_within_the_bound_and_given_to_the_kernel() {
    let size = 160 * MIB + 777;
    let (store, content) = store_with(slow(), size);
    let config = ReadConfig::default();
    let fs = mount(&store, ObjectFsConfig::default(), config.clone());
    let kernel = Arc::new(MemoryKernel::default());
    fs.mounted(kernel.clone());
    let ino = stat(&fs, "f").await.unwrap().attr.ino;
    let handles = [open(&fs, "f").await, open(&fs, "f").await];
    let (mut random, mut total) = (Random::new(7), 0);
    let mut pages = vec![false; size.div_ceil(4096) as usize];
    let mut reads = 0_u64;
    loop {
        // What the kernel has it answers by itself; the next page that it has not is asked for.
        let begin = random.below(pages.len() as u64) as usize;
        let missing = (begin..pages.len()).chain(0..begin).find(|page| !pages[*page]);
        let Some(page) = missing else { break };
        let (at, fh) = (page as u64 * 4096, handles[(reads % 2) as usize]);
        let bytes = fs.read(ctx(), fh, ReadRequest::pages(at, 4096)).await.unwrap().bytes;
        assert!(bytes == content[at as usize..][..bytes.len()]);
        (pages[page], reads) = (true, reads + 1);
        for (node, at, bytes) in kernel.take() {
            assert!(node == ino && bytes == content[at as usize..][..bytes.len()]);
            let end = at + bytes.len() as u64;
            for page in at.div_ceil(4096)..end / 4096 + u64::from(end == size) {
                pages[page as usize] = true;
            }
        }
        total += fetched(&store);
        assert!(total <= reads * 4096 * config.amplification, "{total} bytes for {reads} reads");
    }
    assert!(reads < 2000, "{reads} reads until all was there");
    assert!(total < size + size / 4, "{total} bytes for a file of {size}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_kept_is_not_fetched() {
    let (store, content) = store_with(MemoryOptions::default(), 64 * MIB);
    let read = ReadConfig { memory: 16 * MIB, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let fh = open(&fs, "f").await;
    let mut random = Random::new(3);
    for _ in 0..400 {
        let at = random.below(64 * MIB - 4096);
        assert!(
            fs.read(ctx(), fh, ReadRequest::pages(at, 4096)).await.unwrap().bytes
                == content[at as usize..][..4096]
        );
    }
    settle().await;
    let fetched = fetched(&store);
    assert!(fetched < 400 * 2 * 65_536, "{fetched} bytes");
}

#[tokio::test(start_paused = true)]
async fn reads_at_a_constant_distance_are_expected() {
    let (store, content) = store_with(slow(), 128 * MIB);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    for backwards in [false, true] {
        let fh = open(&fs, "f").await;
        let mut waited = 0;
        for step in 0..30_u64 {
            let at = 4096 + if backwards { 29 - step } else { step } * (4 * MIB + 12_288);
            let data = fs.read(ctx(), fh, ReadRequest::pages(at, 8192)).await.unwrap();
            assert!(data.bytes == content[at as usize..][..8192]);
            waited += usize::from(step >= 8 && data.from == ServedFrom::Origin);
            // Between two reads there is time for a request.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        fs.release(fh);
        assert_eq!(waited, 0, "backwards: {backwards}");
        let fetched = fetched(&store);
        assert!(fetched <= 40 * 16_384, "not the gaps: {fetched} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cached_is_not_fetched_again_not_even_after_a_restart() {
    let (store, content) = store_with(MemoryOptions::default(), 20 * MIB + 5);
    store.put("small", Random::new(4).bytes(20_000));
    let cache = MemoryCache::new(CacheFaults::default());
    for epoch in 0..3 {
        let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
        let entry = stat(&fs, "f").await.unwrap();
        assert!(cat(&fs, entry.attr.ino, 131_072).await.unwrap() == content);
        let small = stat(&fs, "small").await.unwrap();
        assert_eq!(cat(&fs, small.attr.ino, 131_072).await.unwrap(), Random::new(4).bytes(20_000));
        let stats = fs.read_stats();
        let (requests, size) = (store.take_requests().get, content.len() as u64 + 20_000);
        if epoch == 0 {
            assert!(requests > 1 && stats.bytes_fetched == size && stats.bytes_disk == 0, "{stats:?}");
        } else {
            assert_eq!((requests, stats.bytes_fetched, stats.bytes_origin), (0, 0, 0), "{stats:?}");
            assert_eq!(stats.bytes_disk + stats.bytes_memory, size);
            let mut random = Random::new(epoch);
            let fh = open(&fs, "f").await;
            for _ in 0..500 {
                let at = random.below(20 * MIB);
                let data = fs.read(ctx(), fh, ReadRequest::pages(at, 5000)).await.unwrap();
                assert!(data.bytes == content[at as usize..][..data.bytes.len()]);
                assert_ne!(data.from, ServedFrom::Origin);
            }
            fs.release(fh);
        }
        let value = fs.getxattr(ctx(), entry.attr.ino, xattr::CACHED.as_bytes()).await.unwrap();
        assert_eq!(value, (20 * MIB + 5).to_string());
        let names = fs.listxattr(ctx(), entry.attr.ino).await.unwrap();
        assert!(names.contains(&xattr::CACHED.as_bytes().to_vec()));
    }
    assert_eq!(store.take_requests().get, 0);
}

#[tokio::test(start_paused = true)]
async fn half_from_the_disk_and_half_from_the_store() {
    let (store, content) = store_with(MemoryOptions::default(), 64 * MIB);
    // Half of the blocks are not taken.
    let cache = MemoryCache::new(CacheFaults { seed: 1, offers: 50, ..CacheFaults::default() });
    for _ in 0..4 {
        let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
        let ino = stat(&fs, "f").await.unwrap().attr.ino;
        store.take_ranges();
        let missing = 64 * MIB - cache.bytes();
        assert!(cat(&fs, ino, 131_072).await.unwrap() == content);
        let fetched = fetched(&store);
        assert_eq!(fetched, missing, "what the disk has is not fetched");
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_hanging_disk_costs_a_request_and_nothing_else() {
    let (store, content) = store_with(MemoryOptions::default(), 20 * MIB);
    let cache = MemoryCache::new(CacheFaults::default());
    let fs = || cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
    let read_all = || async {
        let fs = fs();
        let ino = stat(&fs, "f").await.unwrap().attr.ino;
        assert!(cat(&fs, ino, 131_072).await.unwrap() == content);
        fs.read_stats()
    };
    read_all().await;
    cache.damage();
    let stats = read_all().await;
    assert!(stats.disk_errors > 0 && stats.bytes_fetched >= 20 * MIB, "{stats:?}");
    let stats = read_all().await;
    assert_eq!((stats.disk_errors, stats.bytes_fetched), (0, 0), "what was damaged was offered again");
    cache.set_read_delay(Duration::from_secs(1000));
    let fs = fs();
    let fh = open(&fs, "f").await;
    let begin = tokio::time::Instant::now();
    let data = fs.read(ctx(), fh, ReadRequest::pages(5 * MIB + 1, 4096)).await.unwrap();
    assert!(data.bytes == content[5 * MIB as usize + 1..][..4096] && data.from == ServedFrom::Origin);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_disk_is_waited_for_once_and_asked_again_later() {
    let (store, content) = store_with(MemoryOptions::default(), 20 * MIB);
    store.put("small", content[..10_000].to_vec());
    let cache = MemoryCache::new(CacheFaults::default());
    let fs = || cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
    let warm = fs();
    for path in ["small", "f"] {
        let ino = stat(&warm, path).await.unwrap().attr.ino;
        cat(&warm, ino, 131_072).await.unwrap();
    }
    cache.set_read_delay(Duration::from_secs(1000));
    let fs = fs();
    let begin = tokio::time::Instant::now();
    // A small one first: it is read as a whole, from the disk as long as that says to have it.
    let ino = stat(&fs, "small").await.unwrap().attr.ino;
    assert!(cat(&fs, ino, 131_072).await.unwrap() == content[..10_000]);
    let ino = stat(&fs, "f").await.unwrap().attr.ino;
    assert!(cat(&fs, ino, 131_072).await.unwrap() == content);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(fs.read_stats().disk_errors, 1);
    cache.set_read_delay(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let fh = open(&fs, "f").await;
    let data = fs.read(ctx(), fh, ReadRequest::pages(5 * MIB, 4096)).await.unwrap();
    assert_eq!((data.from, &data.bytes[..]), (ServedFrom::Disk, &content[5 * MIB as usize..][..4096]));
}

#[tokio::test(start_paused = true)]
async fn a_whole_file_is_offered_to_the_kernel_and_reads_the_ordinary_way_too() {
    let (store, content) = store_with(MemoryOptions::default(), 3 * MIB + 1);
    let cache = MemoryCache::new(CacheFaults::default());
    let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
    let ino = stat(&fs, "f").await.unwrap().attr.ino;
    let first = fs.open(ctx(), ino).await.unwrap();
    assert!(first.backing.is_none());
    fs.release(first.fh);
    assert!(cat(&fs, ino, 131_072).await.unwrap() == content);
    let second = fs.open(ctx(), ino).await.unwrap();
    let backing = second.backing.unwrap();
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(backing.try_clone().unwrap());
    assert_eq!(file.metadata().unwrap().len(), 3 * MIB + 1);
    let mut bytes = vec![0; content.len()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == content && (&file).take(0).read(&mut []).is_ok());
    assert_eq!(fs.read(ctx(), second.fh, ReadRequest::pages(5, 10)).await.unwrap().bytes[..], content[5..15]);
    assert_eq!(fs.read_stats().passthrough_offers, 1);
    cache.lose(100);
    assert!(fs.open(ctx(), ino).await.unwrap().backing.is_none());
}

#[tokio::test(start_paused = true)]
async fn memory_that_the_cache_still_writes_from_counts_as_used() {
    let (store, content) = store_with(MemoryOptions::default(), 4 * MIB);
    let cache = MemoryCache::new(CacheFaults::default());
    cache.hold_offers(true);
    let read = ReadConfig { memory: 16 * MIB, ..ReadConfig::default() };
    let fs = cached(&store, &cache, ObjectFsConfig::default(), read);
    let fh = open(&fs, "f").await;
    for at in (0..4 * MIB).step_by(1 << 17) {
        assert!(
            fs.read(ctx(), fh, ReadRequest::pages(at, 1 << 17)).await.unwrap().bytes
                == content[at as usize..][..1 << 17]
        );
    }
    fs.release(fh);
    settle().await;
    let stats = fs.read_stats();
    assert_eq!(stats.memory_in_use_windows + stats.memory_kept, 4 * MIB, "{stats:?}");
    cache.hold_offers(false);
    assert_eq!(fs.read_stats().memory_in_use_windows, 0);
}

#[tokio::test(start_paused = true)]
async fn an_offer_says_how_much_memory_it_keeps() {
    for size in [5000, 256 << 10, 257 << 10, MIB + 1, 3 * MIB + 5] {
        let (store, content) = store_with(MemoryOptions::default(), size);
        let cache = MemoryCache::new(CacheFaults::default());
        cache.hold_offers(true);
        let fs = cached(&store, &cache, ObjectFsConfig::default(), ReadConfig::default());
        assert!(cat(&fs, stat(&fs, "f").await.unwrap().attr.ino, 1 << 17).await.unwrap() == content);
        settle().await;
        let stats = fs.read_stats();
        assert_eq!(
            stats.memory_in_use_windows + stats.memory_kept,
            cache.charged(),
            "{size} bytes: {stats:?}"
        );
        assert_eq!(cache.bytes(), size);
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_readers_get_on_within_a_small_memory() {
    const FILES: u64 = 64;
    let store = MemoryStore::new(slow());
    let content = bytes::Bytes::from(Random::new(1).bytes(16 << 20));
    for index in 0..FILES {
        store.put(&format!("f{index}"), content.clone());
    }
    let read = ReadConfig { memory: 90 * MIB, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let reader = |index: u64| {
        let (fs, content) = (fs.clone(), content.clone());
        async move {
            let fh = open(&fs, &format!("f{index}")).await;
            let (mut at, mut longest) = (0, Duration::ZERO);
            while at < content.len() {
                let begin = tokio::time::Instant::now();
                let bytes = fs.read(ctx(), fh, ReadRequest::pages(at as u64, 131_072)).await.unwrap().bytes;
                longest = longest.max(begin.elapsed());
                assert!(bytes == content[at..][..bytes.len()]);
                at += bytes.len();
            }
            fs.release(fh);
            longest
        }
    };
    let longest = futures::future::join_all((0..FILES).map(reader)).await.into_iter().max().unwrap();
    assert!(longest < Duration::from_secs(2), "a read took {longest:?}");
    let stats = fs.read_stats();
    assert_eq!(stats.memory_in_use_windows, 0, "{stats:?}");
    let fetched = fetched(&store);
    assert!(fetched < FILES * 16 * MIB * 11 / 10, "{fetched} bytes for {}", FILES * 16 * MIB);
}

#[tokio::test(start_paused = true)]
async fn files_read_one_after_the_other_are_fetched_ahead_and_not_far() {
    for (siblings, step, waits) in [(8, 1, 25), (0, 1, 100), (8, 37, 100)] {
        let store = MemoryStore::new(slow());
        for index in 0..100 {
            store.put(&format!("d/f{index:03}"), Random::new(index).bytes(10_000));
        }
        let fs = mount(&store, ObjectFsConfig::default(), ReadConfig { siblings, ..ReadConfig::default() });
        let dir = stat(&fs, "d").await.unwrap().attr.ino;
        harness::list(&fs, dir, 100, true).await.unwrap();
        store.take_requests();
        let mut waited = 0;
        for index in 0..100_u64 {
            let index = index * step % 100;
            let fh = open(&fs, &format!("d/f{index:03}")).await;
            let data = fs.read(ctx(), fh, ReadRequest::pages(0, 131_072)).await.unwrap();
            assert_eq!(data.bytes, Random::new(index).bytes(10_000));
            waited += usize::from(data.from == ServedFrom::Origin);
            fs.release(fh);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(waited <= waits && (siblings > 0 && step == 1 || waited == waits), "{waited} waited");
        assert_eq!(store.take_requests().get, 100, "each file once");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_kept_until_somebody_needs_the_memory() {
    let (store, content) = store_with(MemoryOptions::default(), 500_000);
    store.put("large", Random::new(1).bytes(40 << 20));
    let read = ReadConfig { memory: 16 * MIB, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let whole = |path: &'static str| {
        let fs = fs.clone();
        async move {
            let ino = stat(&fs, path).await.unwrap().attr.ino;
            cat(&fs, ino, 131_072).await.unwrap()
        }
    };
    assert!(whole("f").await == content);
    assert!(fs.read_stats().memory_kept >= 500_000);
    store.take_requests();
    assert!(whole("f").await == content);
    assert_eq!(store.take_requests().get, 0, "from memory");
    let large = open(&fs, "large").await;
    for at in (0..40 * MIB).step_by(1 << 19) {
        assert_eq!(
            fs.read(ctx(), large, ReadRequest::pages(at, 1 << 19)).await.unwrap().bytes.len(),
            1 << 19
        );
        let stats = fs.read_stats();
        assert!(stats.memory_in_use_windows + stats.memory_kept <= stats.memory_limit, "{stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_idle_handles_share_is_given_up_too() {
    let store = MemoryStore::new(MemoryOptions::default());
    let content = bytes::Bytes::from(Random::new(1).bytes(20 << 20));
    for index in 0..9 {
        store.put(&format!("f{index}"), content.clone());
    }
    let read = ReadConfig { memory: 8 * MIB, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let mut handles = Vec::new();
    for index in 0..8 {
        let path = format!("f{index}");
        // Both stop in the middle, with the same blocks fetched ahead.
        handles.extend([open(&fs, &path).await, open(&fs, &path).await]);
        for at in (0..4 * 131_072).step_by(131_072) {
            for fh in &handles[2 * index..] {
                fs.read(ctx(), *fh, ReadRequest::pages(at, 131_072)).await.unwrap();
            }
        }
        settle().await;
    }
    let begin = tokio::time::Instant::now();
    let fh = open(&fs, "f8").await;
    assert_eq!(fs.read(ctx(), fh, ReadRequest::pages(0, 1 << 20)).await.unwrap().bytes.len(), 1 << 20);
    assert_eq!(fs.read(ctx(), fh, ReadRequest::pages(10 * MIB, 1 << 20)).await.unwrap().bytes.len(), 1 << 20);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_is_gone_keeps_nothing() {
    let (store, _) = store_with(MemoryOptions::default(), 500_000);
    let fs = mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let ino = stat(&fs, "f").await.unwrap().attr.ino;
    cat(&fs, ino, 131_072).await.unwrap();
    assert!(fs.read_stats().memory_kept > 0);
    let left = Arc::downgrade(&store);
    drop((fs, store));
    settle().await;
    assert_eq!(left.strong_count(), 0, "what was kept of it has let go");
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_ahead_is_cancelled_when_the_reader_goes_elsewhere() {
    let very_slow = MemoryOptions { chunk_delay: Duration::from_secs(1), ..MemoryOptions::default() };
    let (store, _) = store_with(very_slow, 200 * MIB);
    let read = ReadConfig { streams: 1, ..ReadConfig::default() };
    let fs = mount(&store, ObjectFsConfig::default(), read);
    let fh = open(&fs, "f").await;
    for at in 0..4 {
        fs.read(ctx(), fh, ReadRequest::pages(at * 131_072, 131_072)).await.unwrap();
    }
    assert!(store.open_bodies() > 1, "it fetches ahead");
    fs.read(ctx(), fh, ReadRequest::pages(150 * MIB, 4096)).await.unwrap();
    assert_eq!(store.open_bodies(), 0);
    let stats = fs.read_stats();
    assert!(stats.bytes_prefetched_unused > 0 && stats.parts_in_flight == 0, "{stats:?}");
}
