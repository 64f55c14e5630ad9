//! Who wants to know what the file system was asked.

use std::time::Duration;
use wasmount_types::{Blame, ErrorKind, Fh, Ino, RequestCtx};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServedFrom {
    /// Memory of this process.
    Memory,
    /// The disk cache.
    Disk,
    /// The storage system was asked.
    Origin,
}

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// What: `lookup`, `read`, … as in the kernel's protocol, lower case.
    pub op: &'static str,
    /// The node it was about; the directory for `lookup`.
    pub ino: Ino,
    /// The name in it, for `lookup`.
    pub name: Option<&'a [u8]>,
    /// The handle, for what has one.
    pub fh: Option<Fh>,
    /// First byte, for `read`.
    pub offset: u64,
    /// Bytes asked for, for `read`.
    pub size: u32,
    /// Bytes given, for `read`.
    pub given: u64,
    /// Who asked.
    pub ctx: RequestCtx,
    /// From when the request was read to when its answer was written.
    pub latency: Duration,
    /// What went wrong, and whose fault it was.
    pub error: Option<(ErrorKind, Blame)>,
    /// Where the answer came from; `None` where nobody knows.
    pub from: Option<ServedFrom>,
    /// The file was opened so that the kernel reads the cache file itself.
    pub passthrough: bool,
}

/// Told of every request once it is answered. Must return at once: it is called on the thread that serves.
pub trait Operations: Send + Sync + 'static {
    /// A request has been answered.
    fn finished(&self, operation: &Operation<'_>);
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOperations;

impl Operations for NoOperations {
    fn finished(&self, _operation: &Operation<'_>) {}
}
