//! What an operator decides about the cache, and why it could not be opened.

use std::io;
use std::path::PathBuf;

/// Free space of the file system that the cache leaves to others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinFree {
    /// This many bytes.
    Bytes(u64),
    /// This share of the file system, between 0 and 1.
    Fraction(f64),
}

impl MinFree {
    /// In bytes, on a file system of `total` bytes.
    pub(crate) fn bytes(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Fraction(share) => (total as f64 * share.clamp(0.0, 1.0)) as u64,
        }
    }
}

/// Where the cache is and how large it may grow.
#[derive(Clone, Debug)]
pub struct DiskCacheConfig {
    /// The directory. Made if it is not there; several processes may share it.
    pub dir: PathBuf,
    /// Bytes on the disk that all processes which share the directory may use together.
    pub max_bytes: u64,
    /// What stays free on its file system.
    pub min_free: MinFree,
    /// Bytes of memory that may wait to be written, counted as those who offer them charge for them; what is offered beyond is dropped. A
    /// burst of small files fits in 64 MiB, and so does what a network delivers while a disk takes a short break.
    pub queue_bytes: u64,
}

impl DiskCacheConfig {
    /// The defaults for a directory: 32 GiB or less, 10 % of the file system left free, 64 MiB waiting.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), max_bytes: 32 << 30, min_free: MinFree::Fraction(0.1), queue_bytes: 64 << 20 }
    }
}

/// Why a cache directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refused something about it.
    #[error("cache directory {path}: cannot {action}: {source}; choose another with --cache-dir")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could change what is in it.
    #[error("cache directory {path}: {reason}, so its contents cannot be trusted; {remedy}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The limits make no sense.
    #[error("cache directory {path}: the limit of {max_bytes} bytes is too small; give it at least {least}")]
    TooSmall {
        /// The directory.
        path: PathBuf,
        /// What was asked for.
        max_bytes: u64,
        /// What is needed.
        least: u64,
    },
}
