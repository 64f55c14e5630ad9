//! How the mounts are doing, for people and metrics.

use super::opener::State;
use super::table::MountTable;
use wasmount_types::{Error, MountId};

/// The state of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountState {
    /// It is being opened for the first time.
    Opening,
    /// It works, as far as is known.
    Ready,
    /// It could not be opened; it is tried again by itself.
    Failed(Error),
}

impl MountTable {
    /// All mounts in the order of the configuration. From memory, at once.
    pub fn mount_states(&self) -> Vec<(MountId, MountState)> {
        let state = |state| match state {
            State::Opening => MountState::Opening,
            State::Ready(_) => MountState::Ready,
            State::Failed(error) => MountState::Failed(error),
            // Not among those of the table any more but for a moment.
            State::Ended => MountState::Failed(Error::stale("the mount is being taken away")),
        };
        self.shape().in_order().map(|mount| (mount.id.clone(), state(mount.state()))).collect()
    }
}
