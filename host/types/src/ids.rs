//! Numbers the kernel and the host know things by.

use std::fmt;
use std::sync::Arc;

/// Number of a node, unique in one FUSE mount and equal to the kernel's node id.
///
/// Computed from (mount, path, version), so the same state of the same file has the same number after a
/// `forget` and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The root of a FUSE mount (`FUSE_ROOT_ID` of the kernel's `fuse.h`).
    pub const ROOT: Self = Self(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Number of an open file or directory, valid from `open` to `release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fh(pub u64);

/// Name of a mount of the Dataset: unique in one process and stable over restarts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountId(Arc<str>);

impl MountId {
    /// Makes an id; any text will do, uniqueness is the caller's business.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
