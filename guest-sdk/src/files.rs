//! The records of a [`FileStore`](crate::FileStore), with constructors for the usual ones. Some share their names with records of
//! other kinds of store: import them one by one.

pub use crate::bindings::files::exports::wasmount::plugin::files::{
    Attributes, AttributesAnswer, CachePolicy, Context, DirectoryEntry, DirectoryPage, Entry, Forgotten,
    Handle, Node, NodeKind, OpenFlags, Opened, Place, Resolution, SeekTarget, Statistics, Validity,
};
pub use crate::file_store::ROOT;

use crate::Timestamp;

/// What holds until [`notify::invalidate`](crate::notify::invalidate) takes it back, as a number of milliseconds. Needs
/// [`Coherence::Pushed`](crate::Coherence::Pushed).
pub const UNTIL_INVALIDATED: u32 = u32::MAX;

impl Context {
    /// For what nobody asked for: root, without a process.
    pub fn of_the_host() -> Self {
        Self { uid: 0, gid: 0, pid: 0, umask: 0 }
    }
}

impl Attributes {
    /// Attributes of an empty node of root's, with one name and without times. Change the fields that differ.
    pub fn new(inode: u64, kind: NodeKind, mode: u16) -> Self {
        let never = Timestamp { seconds: 0, nanoseconds: 0 };
        Self {
            inode,
            kind,
            mode,
            links: 1,
            uid: 0,
            gid: 0,
            device: 0,
            size: 0,
            allocated: 0,
            block_size: 0,
            accessed: never,
            modified: never,
            changed: never,
            created: None,
            data_version: None,
        }
    }
}

impl Validity {
    /// Neither the name nor the attributes may be remembered.
    pub fn none() -> Self {
        Self { attributes_ms: 0, entry_ms: 0 }
    }

    /// Name and attributes hold for so many seconds.
    pub fn seconds(seconds: u32) -> Self {
        // The largest number means something else.
        let ms = seconds.saturating_mul(1000).min(UNTIL_INVALIDATED - 1);
        Self { attributes_ms: ms, entry_ms: ms }
    }

    /// Name and attributes hold until they are taken back.
    pub fn until_invalidated() -> Self {
        Self { attributes_ms: UNTIL_INVALIDATED, entry_ms: UNTIL_INVALIDATED }
    }
}

impl Statistics {
    /// Of a store that does not know how much room it has.
    pub fn unknown() -> Self {
        Self { block_size: 4096, blocks: 0, blocks_free: 0, blocks_available: 0, inodes: 0, inodes_free: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_taken_for_a_promise() {
        assert_eq!(Validity::seconds(2).entry_ms, 2000);
        assert_eq!(Validity::seconds(u32::MAX).attributes_ms, UNTIL_INVALIDATED - 1);
    }
}
