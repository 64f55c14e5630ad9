//! What the cache has done, in numbers.

use crate::health::Health;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counted since this process opened the cache; bytes in bytes.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CacheStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Bytes on the disk that the directory uses, all processes together. As of the last second or so.
            pub used_bytes: u64,
            /// Entries in it.
            pub entries: u64,
            /// Bytes of memory that wait to be written, or that what waits keeps from being used again.
            pub queued_bytes: u64,
            /// The state of the disk.
            pub health: Health,
        }

        /// The counters behind [`CacheStats`].
        #[derive(Default)]
        pub(crate) struct Counters { $(pub $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn snapshot(&self) -> CacheStats {
                CacheStats { $($name: self.$name.load(Ordering::Relaxed),)* ..CacheStats::default() }
            }
        }
    };
}

counters! {
    /// Files that were opened and had bytes here.
    opens_found,
    /// Files that were opened and had none.
    opens_missed,
    /// Reads answered.
    hits,
    /// Times that bytes were asked for and were not here.
    misses,
    /// Bytes of the reads answered.
    read_bytes,
    /// Reads that had to wait for the disk.
    slow_reads,
    /// Bytes written.
    written_bytes,
    /// Offers that were dropped: the queue or the disk was full, or the disk sick.
    dropped_offers,
    /// Their bytes.
    dropped_bytes,
    /// Pages whose bytes were not what was written, or were gone.
    damaged_pages,
    /// Reads that the disk failed or did not answer in time.
    read_errors,
    /// Writes that failed.
    write_errors,
    /// Entries evicted by this process.
    evicted_files,
    /// Their bytes on the disk.
    evicted_bytes,
    /// Files that were complete, synced and marked.
    completed_files,
    /// Files that were read in full and found right.
    verified_files,
    /// Files that were read in full and were not.
    failed_verifications,
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
