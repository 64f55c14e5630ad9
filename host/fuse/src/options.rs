//! How a file system is mounted.

use std::path::PathBuf;
use std::time::Duration;

/// Where and how to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The mount point. Created if it does not exist.
    pub target: PathBuf,
    /// First column of `/proc/mounts` and `df`. White space in it becomes `_`: tools split lines at it.
    pub source: String,
    /// Shows as type `fuse.SUBTYPE`, which Fluid's readiness check looks for.
    pub subtype: String,
    /// Threads that read requests from the kernel; at least 1. Each also sends the answers that memory can give.
    pub threads: usize,
    /// Deadline of each request.
    pub request_timeout: Duration,
    /// Kernel read-ahead in KiB, set after mounting; the kernel's own default is 128.
    pub read_ahead_kib: u32,
}

impl MountOptions {
    /// The defaults for a mount point.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            source: "wasmount".to_owned(),
            subtype: "wasmount".to_owned(),
            threads: std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            request_timeout: Duration::from_secs(60),
            read_ahead_kib: 1024,
        }
    }
}
