//! What reading has done so far, as plain numbers.

use crate::ports::ServedFrom;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what reading has done and holds. Counters only grow; gauges are the value at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Counter: reads answered with bytes.
    pub reads: u64,
    /// Counter: bytes given to readers that were in memory when they asked.
    pub bytes_memory: u64,
    /// Counter: bytes given to readers that came from the disk cache while they waited.
    pub bytes_disk: u64,
    /// Counter: bytes given to readers that had to wait for the storage system.
    pub bytes_origin: u64,
    /// Counter: bytes received from the storage system.
    pub bytes_fetched: u64,
    /// Counter: bytes received and given up before anybody had asked for them.
    pub bytes_prefetched_unused: u64,
    /// Counter: bytes put into the kernel's page cache without having been asked for.
    pub bytes_stored: u64,
    /// Counter: bytes fetched again for the disk cache, which had no room for them when they came first.
    pub bytes_mended: u64,
    /// Counter: requests for bytes sent to the storage system.
    pub fetches: u64,
    /// Counter: of these, the ones that repeat or resume one that failed.
    pub fetch_retries: u64,
    /// Counter: reads of the disk cache that failed or took too long; the bytes came from the storage system instead.
    pub disk_errors: u64,
    /// Counter: opens that offered the kernel the cache file itself.
    pub passthrough_offers: u64,
    /// Counter: small files fetched because files before them in the same directory were read.
    pub siblings: u64,
    /// Counter: reads whose bytes lay in no single block and were copied together.
    pub reads_joined: u64,
    /// Gauge: open files.
    pub open_files: u64,
    /// Gauge: parts that are being fetched or wait for memory.
    pub parts_in_flight: u64,
    /// Gauge: bytes that reading may hold.
    pub memory_limit: u64,
    /// Gauge: bytes held for readers: what they fetch ahead, replies being written, offers to the disk cache.
    pub memory_in_use_windows: u64,
    /// Gauge: bytes held in case they are read again; given up as soon as anybody needs memory.
    pub memory_kept: u64,
    /// Gauge: fetches that wait in line for memory.
    pub memory_waiters: u64,
}

/// The counters behind [`ReadStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reads: AtomicU64,
    bytes_memory: AtomicU64,
    bytes_disk: AtomicU64,
    bytes_origin: AtomicU64,
    pub(super) bytes_fetched: AtomicU64,
    pub(super) bytes_prefetched_unused: AtomicU64,
    pub(super) bytes_stored: AtomicU64,
    pub(super) bytes_mended: AtomicU64,
    pub(super) fetches: AtomicU64,
    pub(super) fetch_retries: AtomicU64,
    pub(super) disk_errors: AtomicU64,
    pub(super) passthrough_offers: AtomicU64,
    pub(super) siblings: AtomicU64,
    pub(super) open_files: AtomicU64,
    pub(super) parts_in_flight: AtomicU64,
}

impl Counters {
    /// Counts a read of `bytes`.
    pub(super) fn given(&self, from: ServedFrom, bytes: u64) {
        let counter = match from {
            ServedFrom::Memory => &self.bytes_memory,
            ServedFrom::Disk => &self.bytes_disk,
            ServedFrom::Origin => &self.bytes_origin,
        };
        add(&self.reads, 1);
        add(counter, bytes);
    }

    /// All counters; what the memory holds is for the caller to fill in.
    pub(super) fn snapshot(&self) -> ReadStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ReadStats {
            reads: get(&self.reads),
            bytes_memory: get(&self.bytes_memory),
            bytes_disk: get(&self.bytes_disk),
            bytes_origin: get(&self.bytes_origin),
            bytes_fetched: get(&self.bytes_fetched),
            bytes_prefetched_unused: get(&self.bytes_prefetched_unused),
            bytes_stored: get(&self.bytes_stored),
            bytes_mended: get(&self.bytes_mended),
            fetches: get(&self.fetches),
            fetch_retries: get(&self.fetch_retries),
            disk_errors: get(&self.disk_errors),
            passthrough_offers: get(&self.passthrough_offers),
            siblings: get(&self.siblings),
            open_files: get(&self.open_files),
            parts_in_flight: get(&self.parts_in_flight),
            ..ReadStats::default()
        }
    }
}

/// Adds to a counter or gauge.
pub(super) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// One more of a gauge for as long as this lives.
pub(super) struct Gauge<C: std::ops::Deref<Target = Counters>> {
    counters: C,
    of: fn(&Counters) -> &AtomicU64,
}

impl<C: std::ops::Deref<Target = Counters>> Gauge<C> {
    pub(super) fn new(counters: C, of: fn(&Counters) -> &AtomicU64) -> Self {
        add(of(&counters), 1);
        Self { counters, of }
    }
}

impl<C: std::ops::Deref<Target = Counters>> Drop for Gauge<C> {
    fn drop(&mut self) {
        (self.of)(&self.counters).fetch_sub(1, Ordering::Relaxed);
    }
}
