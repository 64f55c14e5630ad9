//! The same read path on several threads at once: nothing waits for ever, no byte is wrong, nothing is left behind.
//! `WASMOUNT_SEED` sets the seed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{cached, ctx, stat};
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{
    CacheFaults, Faults, MemoryCache, MemoryKernel, MemoryOptions, MemoryStore, Random,
};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_readers_on_many_threads_in_little_memory() {
    let seed = std::env::var("WASMOUNT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("WASMOUNT_SEED={seed}");
    let faults = Faults { seed, requests: 2, bodies: 5 };
    let store = MemoryStore::new(MemoryOptions { faults, ..MemoryOptions::default() });
    let content = bytes::Bytes::from(Random::new(seed).bytes(12 << 20));
    let length = |file: u64| if file < 4 { content.len() } else { 10_000 * file as usize };
    for file in 0..12 {
        store.put(&format!("f{file}"), content.slice(..length(file)));
    }
    let cache = MemoryCache::new(CacheFaults { seed, opens: 10, offers: 30, reads: 10 });
    let config = ReadConfig {
        memory: 12 * MIB,
        exact_reads: 2,
        fill_after: 10,
        attempts: 20,
        retry_pause: Duration::from_millis(1),
        ..ReadConfig::default()
    };
    let fs = cached(&store, &cache, ObjectFsConfig::default(), config);
    fs.mounted(Arc::new(MemoryKernel::default()));
    let reader = |index: u64| {
        let (fs, content) = (fs.clone(), content.clone());
        async move {
            let mut random = Random::new(seed ^ index << 32);
            for _ in 0..12 {
                let file = random.below(12);
                let entry = loop {
                    match stat(&fs, &format!("f{file}")).await {
                        Ok(entry) => break entry,
                        Err(error) => assert_eq!(error.message, "the store answered 503"),
                    }
                };
                let fh = fs.open(ctx(), entry.attr.ino).await.unwrap().fh;
                let size = entry.attr.size;
                let mut at = random.below(size);
                for _ in 0..20 + random.below(60) {
                    let length = 1 + random.below(200_000) as u32;
                    let read = fs.read(ctx(), fh, ReadRequest::pages(at, length));
                    // Some callers lose their patience.
                    let patience = Duration::from_micros(if random.percent(10) { 300 } else { 30_000_000 });
                    if let Ok(data) = tokio::time::timeout(patience, read).await {
                        let bytes = data.unwrap().bytes;
                        let end = (at + u64::from(length)).min(size);
                        assert!(bytes == content[at as usize..end as usize], "f{file} {at}..{end}");
                    }
                    at = if index.is_multiple_of(2) {
                        (at + u64::from(length)) % size
                    } else {
                        random.below(size)
                    };
                }
                fs.release(fh);
                fs.forget(entry.attr.ino, 1);
            }
        }
    };
    let readers = (0..32).map(|index| tokio::spawn(reader(index)));
    let all = tokio::time::timeout(Duration::from_secs(120), futures::future::join_all(readers)).await;
    for outcome in all.expect("every reader comes to its end") {
        outcome.unwrap();
    }
    for _ in 0..100 {
        let stats = fs.read_stats();
        if (stats.parts_in_flight, stats.memory_in_use_windows) == (0, 0) {
            assert!(stats.bytes_disk > 0 && stats.disk_errors > 0 && stats.bytes_stored > 0, "{stats:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("something is left behind: {:?}", fs.read_stats());
}
