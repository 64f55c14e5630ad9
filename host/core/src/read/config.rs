//! Sizes and limits of reading.

use std::time::Duration;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Sizes and limits of reading. The defaults come from measurements on a loopback MinIO: 8 MiB parts over four
/// connections reach what the machine can do, larger ones only cost memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadConfig {
    /// Files up to this many bytes are fetched whole at the first read.
    pub whole: u64,
    /// First part of a sequential stream in bytes; each next one is twice as large up to [`part_max`](Self::part_max).
    pub part_min: u64,
    /// Largest part in bytes.
    pub part_max: u64,
    /// Parts of one stream that may be in flight at once.
    pub parallel: usize,
    /// How far a stream may fetch ahead of its reader, in bytes.
    pub ahead: u64,
    /// A read that begins at most this many bytes before or after where a stream stands belongs to it: the kernel's own
    /// read-ahead sends several reads at once, and they arrive in any order.
    pub slack: u64,
    /// Streams remembered per handle; the least recently used one is dropped, and its fetches with it.
    pub streams: usize,
    /// Reads of a handle after which a stream nobody read from is dropped.
    pub idle_reads: u64,
    /// Bytes of all blocks of all handles together.
    pub memory: u64,
    /// Attempts to get the bytes of a part without progress in between.
    pub attempts: u32,
    /// First pause between two attempts; doubles, with jitter, and never less than what the store asks for.
    pub retry_pause: Duration,
    /// Longest silence of a body before it counts as broken.
    pub stall: Duration,
    /// Longest life of one part's fetch, whoever waits for it.
    pub part_timeout: Duration,
}

impl Default for ReadConfig {
    fn default() -> Self {
        Self {
            whole: MIB,
            part_min: MIB,
            part_max: 8 * MIB,
            parallel: 4,
            ahead: 40 * MIB,
            slack: 4 * MIB,
            streams: 4,
            idle_reads: 32,
            memory: 256 * MIB,
            attempts: 3,
            retry_pause: Duration::from_millis(100),
            stall: Duration::from_secs(30),
            part_timeout: Duration::from_secs(300),
        }
    }
}
