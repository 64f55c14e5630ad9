//! What the mount table is told: at start, and when the mounts are to be others.

use super::Place;
use crate::objects::ObjectFsConfig;
use crate::ports::{BlockCache, NoBlockCache, ProviderSource};
use crate::read::ReadConfig;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::MountId;

/// Everything the table needs to know at start.
pub struct MountTableConfig {
    /// The mounts, in the order of the configuration. May be empty: an empty root. [`MountTable::change`](super::MountTable::change)
    /// makes them others.
    pub mounts: Vec<MountConfig>,
    /// How long the host's own requests may take (opening a provider, a page of a listing, a probe that
    /// others wait for). Callers bring their own deadline with each call.
    pub request_timeout: Duration,
    /// Reading and read-ahead; the memory budget in it is shared by all mounts.
    pub read: ReadConfig,
    /// Bytes on the local disk, shared by all mounts.
    pub cache: Arc<dyn BlockCache>,
    /// Of the directories that belong to no mount.
    pub owner: Owner,
}

impl Default for MountTableConfig {
    fn default() -> Self {
        Self {
            mounts: Vec::new(),
            request_timeout: Duration::from_secs(60),
            read: ReadConfig::default(),
            cache: Arc::new(NoBlockCache),
            owner: Owner::default(),
        }
    }
}

/// Owner and permission bits of the directories that belong to no mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub dir_mode: u16,
}

impl Default for Owner {
    fn default() -> Self {
        Self { uid: 0, gid: 0, dir_mode: 0o755 }
    }
}

/// One mount of the Dataset.
pub struct MountConfig {
    /// Its id: in inode numbers and log lines.
    pub id: MountId,
    /// Where it appears.
    pub place: Place,
    /// Opens its provider. A mount that can never work has a source that says why.
    pub source: Arc<dyn ProviderSource>,
    /// How an object store looks as a file system.
    pub objects: ObjectFsConfig,
}

/// One mount of the table as it is to be from now on.
pub enum NextMount {
    /// The one with this id, as it is: its provider, its connections and its open files stay.
    Same(MountId),
    /// A new one, also where one with the same id or at the same place was before.
    New(MountConfig),
}
