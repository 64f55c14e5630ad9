//! What most object stores can do, to start from.

use crate::bindings::wasmount::plugin::capabilities::{Listing, ObjectCapabilities, Pinning};

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
