//! What a mount's view of its store stands on.

use crate::objects::ObjectFsConfig;
use crate::ports::{CacheIdentity, Clock, Spawn};
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::MountId;

/// What all kinds of mounts need beside their store.
#[derive(Clone)]
pub struct MountContext {
    /// The mount: for log lines and inode numbers.
    pub id: MountId,
    /// Whose bytes these are in the block cache; `None`: they are not cached.
    pub cache: Option<CacheIdentity>,
    /// How the store is to look.
    pub config: ObjectFsConfig,
    /// Bounds the requests that many may wait for.
    pub request_timeout: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Background work.
    pub spawn: Arc<dyn Spawn>,
}
