//! How a monitor client is configured, and what it wants from its driver.

use super::messages::Usage;
use super::{MonAddress, MonError, MonHosts};
use crate::msgr::Message;
use crate::types::Fsid;

/// A connection to a monitor, numbered by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonLink(pub u32);

/// A question to the monitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a monitor client is told.
#[derive(Clone, Debug)]
pub struct MonConfig {
    /// Where monitors are.
    pub hosts: MonHosts,
    /// The cluster it must be.
    pub fsid: Option<Fsid>,
    /// Name of this machine; monitors show it to administrators.
    pub hostname: String,
    /// How many monitors are tried at once (`mon_client_hunt_parallel`).
    pub parallel: usize,
    /// How long the first attempts may last (`mon_client_hunt_interval`). Later ones may last longer, up to ten times.
    pub attempt_ms: u64,
    /// How long a monitor may leave a question unanswered before another one is looked for.
    pub answer_ms: u64,
}

impl MonConfig {
    /// The usual numbers.
    #[must_use]
    pub fn new(hosts: MonHosts) -> Self {
        Self { hosts, fsid: None, hostname: String::new(), parallel: 3, attempt_ms: 3_000, answer_ms: 15_000 }
    }
}

/// What the client wants done, or has to say.
#[derive(Debug)]
pub enum MonAction<P> {
    /// Connect here, authenticating by [`Cephx::monitor`](crate::auth::Cephx::monitor); then tell by [`MonClient::ready`](super::MonClient::ready) or [`MonClient::failed`](super::MonClient::failed).
    Connect {
        /// Its number.
        link: MonLink,
        /// Where.
        address: MonAddress,
    },
    /// Close this connection; nothing it says matters any more.
    Close(MonLink),
    /// Send this.
    Send(MonLink, Message<P>),
    /// There is a session. Tickets are there; who waited for them may connect.
    Session {
        /// Whether the cluster now knows this client by another global id than before. Sessions with services that were made under
        /// the old one have to be made again.
        is_new: bool,
    },
    /// There are new tickets: connections that failed for want of one may be tried again.
    Tickets,
    /// The session is lost; another monitor is being looked for.
    Lost(String),
    /// No session can be had. It is tried again all the same, but if the error is permanent, nobody should wait for that.
    Trouble(MonError),
    /// The map of the monitors has changed.
    MonMap,
    /// A message that is not for this client: maps.
    Deliver(Message<P>),
    /// The answer to [`MonClient::get_version`](super::MonClient::get_version).
    Version {
        /// The question.
        request: RequestId,
        /// Newest version of the map.
        newest: u64,
        /// Oldest version that monitors still have.
        oldest: u64,
    },
    /// The answer to [`MonClient::usage`](super::MonClient::usage).
    Usage {
        /// The question.
        request: RequestId,
        /// So much room.
        usage: Usage,
    },
    /// The answer to [`MonClient::command`](super::MonClient::command).
    CommandDone {
        /// The command.
        request: RequestId,
        /// Negative errno, or 0.
        result: i32,
        /// For people.
        status: String,
        /// What it printed.
        output: Option<P>,
    },
}
