//! What a cluster's driver does for it.

use super::error::RadosError;
use super::peers::PeerId;
use super::request::{OpId, OpReply};
use crate::mon::{RequestId, Usage};
use crate::msgr::{Chunk, Message, NONCE_LEN};
use std::rc::Rc;

/// Number of a connection, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(super) u64);

/// How much a message in the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only who looks for a fault wants to see it.
    Debug,
    /// Worth a line.
    Info,
    /// Somebody may have to do something.
    Warn,
}

/// One thing to do.
#[derive(Debug)]
pub enum Action<P, C> {
    /// Make a connection, and call [`Cluster::connected`](super::Cluster::connected) or [`Cluster::failed`](super::Cluster::failed).
    Connect {
        /// Its number.
        link: LinkId,
        /// A name, or an IP address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// Write these, in order, and call [`Cluster::written`](super::Cluster::written). The next ones come only then.
    Write {
        /// To this connection.
        link: LinkId,
        /// All of them.
        chunks: Vec<Chunk<P>>,
    },
    /// Decrypt, and call [`Cluster::opened`](super::Cluster::opened). Reading the same connection goes on meanwhile.
    Open {
        /// For this connection.
        link: LinkId,
        /// With this cipher.
        cipher: Rc<C>,
        /// And this nonce.
        nonce: [u8; NONCE_LEN],
        /// Ciphertext and tag.
        sealed: P,
    },
    /// Encrypt as one text, and call [`Cluster::sealed`](super::Cluster::sealed).
    Seal {
        /// For this connection.
        link: LinkId,
        /// With this cipher.
        cipher: Rc<C>,
        /// And this nonce.
        nonce: [u8; NONCE_LEN],
        /// The text.
        plain: Vec<Chunk<P>>,
    },
    /// Drop the connection. Nothing more is said about it, and calls about it have no effect.
    Close {
        /// This one.
        link: LinkId,
    },
    /// A request has ended.
    Completed {
        /// This one.
        op: OpId,
        /// So.
        result: Result<OpReply<P>, RadosError>,
    },
    /// A message of a monitor that the cluster itself does not use: a map that [`Cluster::subscribe`](super::Cluster::subscribe) asked for.
    Delivered(Message<P>),
    /// The answer to [`Cluster::usage`](super::Cluster::usage).
    Usage {
        /// The question.
        request: RequestId,
        /// So much room.
        usage: Usage,
    },
    /// Messages flow to and from a peer.
    PeerReady {
        /// This one.
        peer: PeerId,
        /// Whether the session from before goes on, and nothing was lost.
        resumed: bool,
        /// Feature bits that both sides have.
        features: u64,
    },
    /// A peer has forgotten the session: what it had not acknowledged is lost, and so is what was given to it while it could not be reached.
    /// A [`PeerReady`](Self::PeerReady) follows, and with it a new session begins.
    PeerReset {
        /// This one.
        peer: PeerId,
    },
    /// A peer says something.
    PeerMessage {
        /// This one.
        peer: PeerId,
        /// This.
        message: Message<P>,
    },
    /// The connection to a peer could not be made, or broke. It is told again only when the reason is another one.
    PeerLost {
        /// This one.
        peer: PeerId,
        /// Why, in words that can follow its name.
        reason: String,
        /// Whether it is not tried again before somebody calls [`Cluster::peer_open`](super::Cluster::peer_open): trying does not help.
        permanent: bool,
    },
    /// The cluster does not serve this client any more. Requests fail until [`Cluster::rename`](super::Cluster::rename). Told once.
    Blocklisted {
        /// The address under which it is listed.
        address: String,
    },
    /// Something for the log. Never holds a secret.
    Log {
        /// How much it matters.
        level: Level,
        /// The sentence.
        text: String,
    },
}
