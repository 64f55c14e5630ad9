//! Sizes and limits of reading.

use crate::walk::Reach;
use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// Sizes and limits of reading. The defaults come from measurements on a loopback MinIO, which takes 0.93 s of CPU for a GiB in parts of
/// 8 MiB and 0.78 s in parts of 32 MiB: each request costs it about a millisecond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadConfig {
    /// Files up to this many bytes are fetched whole at the first read.
    pub whole: u64,
    /// First part of a sequential stream in bytes; each next one is twice as large up to [`part_max`](Self::part_max).
    pub part_min: u64,
    /// Largest part in bytes. When memory is short for the number of active readers, parts are smaller.
    pub part_max: u64,
    /// Parts of one stream that may be in flight at once.
    pub parallel: usize,
    /// How far a stream may fetch ahead of its reader, in bytes. Less when memory is short for the number of readers.
    pub ahead: u64,
    /// A read that begins at most this many bytes before or after where a stream stands belongs to it: the kernel's own
    /// read-ahead sends several reads at once, and they arrive in any order.
    pub slack: u64,
    /// Streams remembered per handle; the least recently used one is dropped, and its fetches with it.
    pub streams: usize,
    /// Reads of a handle after which a stream nobody read from is dropped.
    pub idle_reads: u64,
    /// Bytes that reading may hold, all told: windows, what is kept, replies that are being written, offers to the cache.
    pub memory: u64,
    /// Scattered reads of a file that fetch exactly what they ask for; further ones fetch growing blocks.
    pub exact_reads: u64,
    /// Scattered reads of a file after which the rest of it is fetched in the background.
    pub fill_after: u64,
    /// Most bytes that scattered reads may fetch for each byte they ask for.
    pub amplification: u64,
    /// Bytes of one file that the kernel's page cache is expected to keep: a file that is larger than what can be kept
    /// (this, [`keep_disk`](Self::keep_disk) with a disk cache, half of [`memory`](Self::memory)) is not fetched whole for
    /// scattered reads.
    pub keep_kernel: u64,
    /// Bytes of one file that the disk cache, if there is one, is expected to keep.
    pub keep_disk: u64,
    /// Most small files fetched ahead when the files of a directory are read whole, one after the other; 0: none.
    pub siblings: usize,
    /// So many files have to be opened one after the other first.
    pub siblings_after: usize,
    /// Blocks that may lie in pipes of the kernel at once; each takes two descriptors, and 256 pages of the 16,384 that the pipes of a user may have
    /// on a machine by default (`fs.pipe-user-pages-soft`).
    pub pipes: usize,
    /// Longest wait for the disk cache before the storage system is asked instead. A cache that has not answered in time is
    /// left alone for ten times as long.
    pub disk_wait: Duration,
    /// Attempts to get the bytes of a part without progress in between.
    pub attempts: u32,
    /// First pause between two attempts; doubles, with jitter, and never less than what the store asks for.
    pub retry_pause: Duration,
    /// Longest silence of a body before it counts as broken.
    pub stall: Duration,
    /// Longest life of the fetch of one part of up to 8 MiB, whoever waits for it; larger ones may take as much longer as they are larger.
    pub part_timeout: Duration,
}

impl Default for ReadConfig {
    fn default() -> Self {
        Self {
            whole: MIB,
            part_min: MIB,
            part_max: 32 * MIB,
            parallel: 4,
            ahead: 64 * MIB,
            slack: 4 * MIB,
            streams: 4,
            idle_reads: 32,
            memory: 256 * MIB,
            exact_reads: 8,
            fill_after: 128,
            amplification: 512,
            keep_kernel: 4 * GIB,
            keep_disk: 16 * GIB,
            siblings: 32,
            siblings_after: 4,
            pipes: 32,
            disk_wait: Duration::from_secs(1),
            attempts: 3,
            retry_pause: Duration::from_millis(100),
            stall: Duration::from_secs(30),
            part_timeout: Duration::from_secs(300),
        }
    }
}

impl ReadConfig {
    /// How far ahead of somebody who reads the files of a directory one after the other.
    pub(crate) fn reach(&self) -> Reach {
        Reach { sure: self.siblings_after, most: self.siblings }
    }
}
