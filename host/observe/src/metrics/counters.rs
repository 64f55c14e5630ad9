//! Counting operations on the threads that serve them: atomics in fixed arrays, no lock, no allocation.

use super::histogram::{BUCKETS, Histogram, bucket};
use crate::words::{BLAMED, Blamed, OPS, RESULTS, SOURCES, op_index, result_index, source_index};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use wasmount_core::ports::Operation;

/// Most copies of the counters, about 16 KiB each. More threads than that at once share some.
const MAX_SHARDS: usize = 8;

/// One copy of the counters. Threads have one each, as far as there are enough, so that no cache line travels between cores.
#[repr(align(128))]
struct Shard {
    results: [[AtomicU64; RESULTS.len()]; OPS.len()],
    latencies: [[AtomicU64; BUCKETS]; OPS.len()],
    blame_nanos: [[AtomicU64; BLAMED.len()]; OPS.len()],
    reads: [AtomicU64; SOURCES.len()],
    read_bytes: [AtomicU64; SOURCES.len()],
    passthrough_opens: AtomicU64,
}

impl Shard {
    fn new() -> Self {
        Self {
            results: [const { [const { AtomicU64::new(0) }; RESULTS.len()] }; OPS.len()],
            latencies: [const { [const { AtomicU64::new(0) }; BUCKETS] }; OPS.len()],
            blame_nanos: [const { [const { AtomicU64::new(0) }; BLAMED.len()] }; OPS.len()],
            reads: [const { AtomicU64::new(0) }; SOURCES.len()],
            read_bytes: [const { AtomicU64::new(0) }; SOURCES.len()],
            passthrough_opens: AtomicU64::new(0),
        }
    }
}

/// Counters of all operations.
pub(crate) struct Counters {
    /// As many as a power of two, so that choosing one is a mask.
    shards: Box<[Shard]>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = cores.next_power_of_two().min(MAX_SHARDS);
        Self { shards: (0..shards).map(|_| Shard::new()).collect() }
    }

    /// Counts one operation.
    pub(crate) fn count(&self, operation: &Operation<'_>, nanos: u64, blamed: Blamed) {
        let Some(shard) = self.shards.get(thread_number() & (self.shards.len() - 1)) else { return };
        let op = op_index(operation.op);
        let result = result_index(operation.error.map(|(kind, _)| kind));
        add(&shard.results[op][result], 1);
        add(&shard.latencies[op][bucket(nanos)], 1);
        add(&shard.blame_nanos[op][blamed as usize], nanos);
        if let Some(from) = operation.from
            && operation.op == "read"
            && operation.error.is_none()
        {
            add(&shard.reads[source_index(from)], 1);
            add(&shard.read_bytes[source_index(from)], operation.given);
        }
        if operation.passthrough && operation.op == "open" && operation.error.is_none() {
            add(&shard.passthrough_opens, 1);
        }
    }

    /// What has been counted so far. Operations that end meanwhile may be in some of the numbers only.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            for (op, sum) in totals.ops.iter_mut().enumerate() {
                accumulate(&mut sum.results, &shard.results[op]);
                accumulate(&mut sum.latency.buckets, &shard.latencies[op]);
                accumulate(&mut sum.blame_nanos, &shard.blame_nanos[op]);
            }
            accumulate(&mut totals.reads, &shard.reads);
            accumulate(&mut totals.read_bytes, &shard.read_bytes);
            totals.passthrough_opens += shard.passthrough_opens.load(Ordering::Relaxed);
        }
        for sum in &mut totals.ops {
            sum.latency.nanos = sum.blame_nanos.iter().sum();
        }
        totals
    }
}

/// Sums over all threads.
pub(crate) struct Totals {
    /// In the order of [`OPS`].
    pub(crate) ops: [OpTotals; OPS.len()],
    /// Successful reads, in the order of [`SOURCES`].
    pub(crate) reads: [u64; SOURCES.len()],
    /// Bytes they gave.
    pub(crate) read_bytes: [u64; SOURCES.len()],
    /// Files opened so that the kernel reads the cache file itself.
    pub(crate) passthrough_opens: u64,
}

// By hand, since longer arrays have no default.
impl Default for Totals {
    fn default() -> Self {
        Self {
            ops: std::array::from_fn(|_| OpTotals::default()),
            reads: Default::default(),
            read_bytes: Default::default(),
            passthrough_opens: 0,
        }
    }
}

/// Sums of one operation.
#[derive(Default)]
pub(crate) struct OpTotals {
    /// In the order of [`RESULTS`].
    pub(crate) results: [u64; RESULTS.len()],
    /// How long they took.
    pub(crate) latency: Histogram,
    /// The same time by blame, in the order of [`BLAMED`].
    pub(crate) blame_nanos: [u64; BLAMED.len()],
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn accumulate<const N: usize>(sums: &mut [u64; N], counters: &[AtomicU64; N]) {
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum += counter.load(Ordering::Relaxed);
    }
}

/// A number of this thread, counted up from 0 in the order in which threads first count something.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is ending counts with the first.
    NUMBER.try_with(|number| *number).unwrap_or(0)
}
