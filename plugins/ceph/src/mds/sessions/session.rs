//! One session.

use crate::mds::{FeatureSet, Gid};
use crate::time::Now;

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Asked for, or about to be: as soon as there is a connection.
    Opening {
        /// When it was last asked for.
        asked: Option<u64>,
    },
    /// The MDS has it.
    Open,
    /// Its daemon is gone. The next one will ask for it.
    Orphaned,
    /// The next daemon asks for it.
    Reconnecting {
        /// What the client holds was said.
        told: bool,
    },
    /// The client is leaving.
    Closing,
}

/// One session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The daemon it is with, or was.
    pub(super) gid: Gid,
    pub(super) state: State,
    /// There is a connection, or one is being made.
    pub(super) linked: bool,
    /// The connection stands.
    pub(super) ready: bool,
    /// What the MDS can do.
    pub(super) features: FeatureSet,
    /// Messages that the MDS has pushed on it.
    pub(super) seq: u64,
    /// Number of the last renewal.
    pub(super) renewal: u64,
    /// When it was sent.
    pub(super) renewal_sent: u64,
    /// When the next one is sent.
    pub(super) renew_at: u64,
    /// Until when capabilities count.
    pub(super) valid_until: u64,
    /// They count no more, and that was said.
    pub(super) stale: bool,
    /// When it was opened.
    pub(super) since: u64,
    /// What is wrong with the connection.
    pub(super) trouble: Option<String>,
}

impl Session {
    pub(super) fn new(gid: Gid, now: Now) -> Self {
        Self {
            gid,
            state: State::Opening { asked: None },
            linked: false,
            ready: false,
            features: FeatureSet::default(),
            seq: 0,
            renewal: 0,
            renewal_sent: 0,
            renew_at: 0,
            valid_until: 0,
            stale: false,
            since: now.monotonic_ms,
            trouble: None,
        }
    }

    /// Whether the MDS would take messages about capabilities.
    pub(super) fn speaks(&self) -> bool {
        matches!(self.state, State::Open | State::Reconnecting { told: true } | State::Closing)
    }

    /// Whether the client may hold something in it.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.state, State::Opening { .. })
    }
}
