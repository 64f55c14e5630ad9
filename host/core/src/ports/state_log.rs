//! The log of changes a successor process would need.

use super::NodeNumber;
use wasmount_types::{Fh, FileKind, Ino, MountId, ObjectKey, Version};

/// A change of the node or handle tables, as plain data.
///
/// Replaying all records of a process in order rebuilds both tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRecord {
    /// The kernel has been told of a node (one look-up counted).
    Lookup {
        /// The node.
        ino: Ino,
        /// The mount it belongs to; `None`: a directory of the mount table itself.
        mount: Option<MountId>,
        /// Path inside the mount, without a leading slash; empty for the mount's root.
        path: String,
        /// Version, size and modification time in seconds and nanoseconds for a file; `None` for a directory.
        file: Option<FileState>,
    },
    /// The kernel has been told of a node of a store that numbers its nodes itself (one look-up counted).
    LookupNode {
        /// The node.
        ino: Ino,
        /// The mount it belongs to.
        mount: MountId,
        /// What the store calls it.
        node: NodeNumber,
        /// Distinguishes nodes that had the same number at different times.
        generation: u64,
        /// The number that the store would show to applications.
        inode: u64,
        /// What it is.
        kind: FileKind,
    },
    /// The kernel has given look-ups back.
    Forget {
        /// The node.
        ino: Ino,
        /// How many.
        count: u64,
    },
    /// A file was opened.
    Open {
        /// The handle.
        fh: Fh,
        /// The node it reads.
        ino: Ino,
    },
    /// A directory was opened.
    OpenDir {
        /// The handle.
        fh: Fh,
        /// The directory.
        ino: Ino,
    },
    /// A handle was closed.
    Release {
        /// The handle.
        fh: Fh,
    },
}

/// What a file's node stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState {
    /// The object or image behind it.
    pub key: ObjectKey,
    /// Its bytes may change: version, size and times below mean nothing.
    pub live: bool,
    /// Its version, if the store has versions.
    pub version: Option<Version>,
    /// Its size in bytes.
    pub size: u64,
    /// Seconds of its modification time.
    pub mtime_seconds: i64,
    /// Nanoseconds of its modification time.
    pub mtime_nanoseconds: u32,
}

/// Takes every change of the tables *before* the reply that makes it visible is sent.
pub trait StateLog: Send + Sync + 'static {
    /// Appends a record, which is made only for a log that asks for it: there is one for every name of a listing. Must not block: it is called
    /// under the tables' locks.
    fn append(&self, record: &dyn Fn() -> StateRecord);
}

/// Keeps nothing: what a crash loses is lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStateLog;

impl StateLog for NoStateLog {
    fn append(&self, _record: &dyn Fn() -> StateRecord) {}
}
