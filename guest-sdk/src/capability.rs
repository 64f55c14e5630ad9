//! What most stores can do, to start from.

use crate::bindings::wasmount::plugin::capabilities::{
    BlockCapabilities, BlockOperations, Listing, ObjectCapabilities, Pinning, ProviderCapabilities,
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
