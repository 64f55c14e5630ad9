//! How a file system is mounted.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::ports::{NoOperations, Operations};

/// Where and how to mount.
#[derive(Clone)]
pub struct MountOptions {
    /// The mount point. Created if it does not exist.
    pub target: PathBuf,
    /// First column of `/proc/mounts` and `df`. White space in it becomes `_`: tools split lines at it.
    pub source: String,
    /// Shows as type `fuse.SUBTYPE`, which Fluid's readiness check looks for.
    pub subtype: String,
    /// Threads that read requests from the kernel; at least 1. Each also sends the answers that memory can give. One more
    /// than is busy costs: for a single reader of small files on two cores, two took half as much CPU again as one.
    pub threads: usize,
    /// Called on the thread that starts them: they inherit how the kernel schedules it.
    pub thread_start: fn(),
    /// Deadline of each request. Shorter where the operator makes the kernel less patient than twice this.
    pub request_timeout: Duration,
    /// Kernel read-ahead in KiB, set after mounting; the kernel's own default is 128.
    /// READs get as large if `fs.fuse.max_pages_limit` of the machine allows.
    pub read_ahead_kib: u32,
    /// Whether files that core has on a local disk are handed to the kernel, where kernel and privileges allow it
    /// ([`crate::Mounted::passthrough`]). A mount that does this cannot be a layer of an overlay.
    pub passthrough: bool,
    /// Whether core may put bytes into the kernel's page cache. It may only where the kernel ends a connection that does not answer,
    /// [`Self::unanswered`] or a sysctl willing.
    pub store_pages: bool,
    /// The kernel is asked to end the mount when it has waited so long for an answer, at least: the time is raised to twice
    /// [`Self::request_timeout`]. It can be asked since Linux 6.14, and looks every 15 seconds. `None`: it is not asked. A process
    /// that is stopped (debugger, `SIGSTOP`, frozen cgroup) for so long loses its mount.
    pub unanswered: Option<Duration>,
    /// Whether the kernel may be given names for as long as nothing changes, where it can be told to look them all up again
    /// (Linux 6.16). When it is told so, which is at any change that somebody else makes, it also takes away what is mounted on a
    /// directory or file inside this mount, as soon as somebody goes there.
    pub keep_names: bool,
    /// Told of every request that has been answered.
    pub operations: Arc<dyn Operations>,
}

impl MountOptions {
    /// The defaults for a mount point.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            source: "wasmount".to_owned(),
            subtype: "wasmount".to_owned(),
            threads: std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).clamp(1, 8),
            thread_start: || {},
            request_timeout: Duration::from_secs(60),
            read_ahead_kib: 1024,
            passthrough: true,
            store_pages: true,
            unanswered: Some(crate::patience::DEFAULT),
            keep_names: true,
            operations: Arc::new(NoOperations),
        }
    }
}

impl fmt::Debug for MountOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountOptions")
            .field("target", &self.target)
            .field("source", &self.source)
            .field("subtype", &self.subtype)
            .field("threads", &self.threads)
            .field("request_timeout", &self.request_timeout)
            .field("read_ahead_kib", &self.read_ahead_kib)
            .field("passthrough", &self.passthrough)
            .field("store_pages", &self.store_pages)
            .field("unanswered", &self.unanswered)
            .field("keep_names", &self.keep_names)
            .finish_non_exhaustive()
    }
}
