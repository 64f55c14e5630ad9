//! What the client says to metadata servers.

use crate::mds::{CapRelease, CapsMessage, FilePath, LeaseMessage, Op, Rank, ReconnectCap, ReconnectRealm};

/// Something to say to a metadata server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a session: rights move there.
    Open {
        /// With this rank.
        rank: Rank,
    },
    /// Ask this, and call [`FsClient::replied`](super::FsClient::replied) or [`FsClient::failed`](super::FsClient::failed).
    Request {
        /// Number of the request.
        number: u64,
        /// What to ask.
        op: Op,
        /// About what.
        path: FilePath,
        /// A second path.
        path2: FilePath,
        /// The rank that most probably knows; `None`: any.
        rank: Option<Rank>,
    },
    /// Say this about a capability.
    Caps {
        /// To this rank.
        rank: Rank,
        /// This.
        message: Box<CapsMessage>,
    },
    /// Give capabilities back.
    Release {
        /// To this rank.
        rank: Rank,
        /// These.
        release: CapRelease,
    },
    /// Answer about a lease.
    Lease {
        /// To this rank.
        rank: Rank,
        /// This.
        message: LeaseMessage,
    },
    /// Tell what is held.
    Reconnect {
        /// To this rank.
        rank: Rank,
        /// Capabilities.
        caps: Vec<ReconnectCap>,
        /// Snapshot realms.
        realms: Vec<ReconnectRealm>,
    },
}
