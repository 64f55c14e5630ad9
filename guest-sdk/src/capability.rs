//! What most stores can do, to start from.

use crate::bindings::wasmount::plugin::capabilities::{
    BlockCapabilities, BlockOperations, Coherence, FileCapabilities, FileOperations, Listing,
    ObjectCapabilities, Pinning, ProviderCapabilities,
};

impl ObjectCapabilities {
    /// A read-only store with ranged reads pinned to the current version, whose listings are ordered and consistent but
    /// neither fold nor start in the middle, in pages of at most 1000. Change the fields that differ:
    ///
    /// ```
    /// use wasmount_sdk::{ObjectCapabilities, Pinning};
    ///
    /// let capabilities = ObjectCapabilities { pinning: Pinning::None, ..ObjectCapabilities::read_only() };
    /// assert!(capabilities.ranges);
    /// ```
    pub fn read_only() -> Self {
        Self {
            listing: Listing {
                ordered: true,
                delimiter: false,
                start_after: false,
                page: 1000,
                consistent: true,
            },
            pinning: Pinning::Current,
            ranges: true,
            max_key: 1024,
            writing: None,
        }
    }
}

impl BlockCapabilities {
    /// A read-only store without snapshots, of which up to 16 MiB can be read at once. Change the fields that differ:
    ///
    /// ```
    /// use wasmount_sdk::{BlockCapabilities, BlockOperations};
    ///
    /// let operations = BlockOperations::SNAPSHOTS | BlockOperations::EXTENTS;
    /// let capabilities = BlockCapabilities { operations, ..BlockCapabilities::read_only() };
    /// assert!(!capabilities.writable);
    /// ```
    pub fn read_only() -> Self {
        Self { operations: BlockOperations::empty(), writable: false, max_transfer: 16 << 20 }
    }
}

impl FileCapabilities {
    /// A read-only file system without any optional operation, coherent by time alone, of which up to 1 MiB can be read at once. Change the
    /// fields that differ:
    ///
    /// ```
    /// use wasmount_sdk::{Coherence, FileCapabilities, FileOperations};
    ///
    /// let operations = FileOperations::SYMLINKS | FileOperations::DIRECTORY_ATTRIBUTES;
    /// let capabilities =
    ///     FileCapabilities { operations, coherence: Coherence::Pushed, ..FileCapabilities::read_only() };
    /// assert!(!capabilities.writable);
    /// ```
    pub fn read_only() -> Self {
        Self {
            operations: FileOperations::empty(),
            coherence: Coherence::Timed,
            writable: false,
            max_read: 1 << 20,
            max_write: 0,
            max_name: 255,
            max_file: i64::MAX as u64,
        }
    }
}

impl From<ObjectCapabilities> for ProviderCapabilities {
    fn from(capabilities: ObjectCapabilities) -> Self {
        Self::Objects(capabilities)
    }
}

impl From<BlockCapabilities> for ProviderCapabilities {
    fn from(capabilities: BlockCapabilities) -> Self {
        Self::Blocks(capabilities)
    }
}

impl From<FileCapabilities> for ProviderCapabilities {
    fn from(capabilities: FileCapabilities) -> Self {
        Self::Files(capabilities)
    }
}
