//! What sessions are asked, and what they tell.

use crate::encoding::DecodeError;
use crate::mds::{
    Caller, CapReleaseItem, CapsMessage, FeatureSet, FilePath, Gid, LeaseMessage, Op, QuotaMessage, Rank,
    Reply, SnapMessage,
};
use crate::msgr::Message;
use crate::rados::Level;
use crate::types::{EntityAddr, Epoch};

/// Number of a request, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Which rank to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whichever serves: one with a session before others.
    Random,
    /// This one: it is responsible. If it is down, the request waits for it.
    Auth(Rank),
    /// This one if it serves, since it has a copy; else any.
    Any(Rank),
}

/// A metadata request.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it asks.
    pub op: Op,
    /// Of what.
    pub path: FilePath,
    /// And a second one.
    pub path2: FilePath,
    /// Of whom.
    pub target: Target,
    /// For whom.
    pub caller: Caller,
    /// What is given back on the way. Only the first attempt carries it.
    pub releases: Vec<CapReleaseItem>,
    /// The answer shall have the directory and the name, with a lease.
    pub want_dentry: bool,
    /// When nobody waits any more, on the monotonic clock; `None`: somebody always does.
    pub deadline_ms: Option<u64>,
}

impl Request {
    /// A request about a path that anybody may answer, for the superuser.
    #[must_use]
    pub fn new(op: Op, path: FilePath) -> Self {
        Self {
            op,
            path,
            path2: FilePath::default(),
            target: Target::Random,
            caller: Caller::default(),
            releases: Vec::new(),
            want_dentry: false,
            deadline_ms: None,
        }
    }
}

/// Why a request was not answered. That the file does not exist, or may not be read, is an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// There is no session, and there will be none before somebody changes something. The sentence says what.
    #[error("{0}")]
    Refused(String),
    /// The deadline came first.
    #[error("timed out: {waiting}")]
    TimedOut {
        /// What it was waiting for.
        waiting: String,
    },
    /// Ranks have sent it back and forth.
    #[error("MDSs have sent the request on {forwards} times and none has answered it")]
    Forwarded {
        /// How often.
        forwards: u32,
    },
    /// A change was made and perhaps not written, and the session with the MDS that knows is gone.
    #[error("{rank} has lost the session before it had written the change")]
    Lost {
        /// That MDS.
        rank: Rank,
    },
    /// The answer is not one.
    #[error("the MDS's answer is malformed: {0}")]
    Malformed(#[from] DecodeError),
}

/// Whether the file system can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not now; the sentence says what is in the way.
    Waiting(String),
    /// There is a session with a rank that serves.
    Ready,
    /// Not with this configuration, or not for this user. The sentence says why, and what would help.
    Refused(String),
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The MDS does not want this client (any more).
    Refused,
    /// An administrator or the MDS has thrown this client out, for instance because it did not answer.
    Evicted,
    /// The MDS has forgotten it: it was restarted, and this client came too late to tell what it held.
    Lost,
    /// In order: it was asked for, or the rank has given up all it had.
    Bye,
}

/// What sessions tell.
#[derive(Debug)]
pub enum SessionEvent<P> {
    /// Ask the monitors for a map.
    Subscribe {
        /// Which: `fsmap.user`, `mdsmap.1`.
        what: String,
        /// From this version on; 0: the newest.
        start: u64,
        /// Just one.
        once: bool,
    },
    /// This version of a map is here.
    Got {
        /// Which.
        what: String,
        /// Its version.
        epoch: u64,
    },
    /// A map is not wanted any more.
    Unsubscribe {
        /// Which.
        what: String,
    },
    /// Make a lossless connection, and call [`peer_ready`](super::Sessions::peer_ready).
    Connect {
        /// To the daemon of this rank.
        rank: Rank,
        /// Which is this one.
        gid: Gid,
        /// There.
        address: EntityAddr,
    },
    /// End the connection for good: the other side is not to remember it. Nothing that comes from it is wanted any more.
    Disconnect {
        /// With this rank.
        rank: Rank,
    },
    /// Send a message.
    Send {
        /// To this rank.
        rank: Rank,
        /// This one.
        message: Message<P>,
    },
    /// A session is open. The client has nothing in it yet but what another rank has said that is there for it.
    Opened {
        /// With this rank.
        rank: Rank,
        /// How many messages the MDS has pushed on it so far.
        seq: u64,
        /// What the MDS can do.
        features: FeatureSet,
    },
    /// What the client has of this rank counts no more, until [`Renewed`](Self::Renewed).
    Stale {
        /// Of this rank.
        rank: Rank,
        /// The MDS says so: what it gave before counts no more even then; it gives again what is left. If not, the time for which the
        /// capabilities were given has passed without word from the MDS, which may have given them to others.
        revoked: bool,
    },
    /// What the client has of this rank counts.
    Renewed {
        /// Of this rank.
        rank: Rank,
        /// Until then, on the monotonic clock.
        until_ms: u64,
    },
    /// A session has ended, or is not to be had. What the client had in it, or was to have, is void; its requests are sent again in the
    /// next session.
    Closed {
        /// With this rank.
        rank: Rank,
        /// Why.
        reason: CloseReason,
        /// The same as a sentence.
        why: String,
    },
    /// Another daemon takes the rank over: tell it what the client has, by [`reconnect`](super::Sessions::reconnect), and soon. Sequence
    /// numbers of capabilities begin anew.
    WantReconnect {
        /// With this rank.
        rank: Rank,
    },
    /// The new daemon has heard it. It will say if something of it is not so.
    Reconnected {
        /// With this rank.
        rank: Rank,
    },
    /// Give capabilities of this rank back until there are not more than this.
    Recall {
        /// Of this rank.
        rank: Rank,
        /// So many.
        max_caps: u64,
    },
    /// The MDS cannot write any more: exclusive capabilities are void.
    ReadOnly {
        /// That of this rank.
        rank: Rank,
    },
    /// About a capability.
    Caps {
        /// From this rank.
        rank: Rank,
        /// This is said.
        message: Box<CapsMessage>,
    },
    /// About the lease of a name.
    Lease {
        /// From this rank.
        rank: Rank,
        /// This is said.
        message: LeaseMessage,
    },
    /// About snapshots.
    Snap {
        /// From this rank.
        rank: Rank,
        /// This is said.
        message: SnapMessage,
    },
    /// About a quota.
    Quota {
        /// From this rank.
        rank: Rank,
        /// This is said.
        message: QuotaMessage,
    },
    /// A request was answered. What the answer gives counts in the order of these events with [`Caps`](Self::Caps) of the same rank, and also if
    /// nobody waits for it any more: answers to requests that were cancelled or timed out still come.
    Reply {
        /// This request.
        id: RequestId,
        /// By this rank.
        rank: Rank,
        /// When it was asked, on the monotonic clock: leases count from there.
        sent_ms: u64,
        /// So.
        reply: Box<Reply>,
    },
    /// A request was not answered and will not be.
    Failed {
        /// This one.
        id: RequestId,
        /// Why.
        error: RequestError,
    },
    /// No object may be read or written with an older map of OSDs than this.
    OsdBarrier(Epoch),
    /// Something for the log.
    Log {
        /// How much it matters.
        level: Level,
        /// The sentence.
        text: String,
    },
}
