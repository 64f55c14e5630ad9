//! What a cluster's driver does for it.

use super::error::RadosError;
use super::request::{OpId, OpReply};
use crate::msgr::{Chunk, NONCE_LEN};
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
    /// Something for the log. Never holds a secret.
    Log {
        /// How much it matters.
        level: Level,
        /// The sentence.
        text: String,
    },
}
