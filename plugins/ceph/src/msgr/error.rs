//! Why a connection ended.

use super::features::Features;
use super::frame::{FrameError, Tag};
use crate::auth::AuthError;
use crate::encoding::DecodeError;
use std::fmt;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is no transport.
    Idle,
    /// Both sides say which protocol they speak.
    Banner,
    /// Both sides say who they are.
    Hello,
    /// Both sides prove it.
    Authentication,
    /// Both sides prove that nobody changed what was said.
    Signature,
    /// The session begins.
    Session,
    /// Messages flow.
    Ready,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "without a transport",
            Self::Banner => "waiting for its banner",
            Self::Hello => "waiting for its greeting",
            Self::Authentication => "authenticating",
            Self::Signature => "waiting for its signature",
            Self::Session => "beginning the session",
            Self::Ready => "in the session",
        })
    }
}

/// Why a connection ended. The sentences speak of the *peer*; who reports them says which one it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The old protocol is spoken at this port.
    #[error(
        "the peer speaks only the old protocol v1 (its banner is \"{banner}\"): give the address of its msgr2 port (of a monitor, 3300) or turn it on (ceph mon enable-msgr2)"
    )]
    OldProtocol {
        /// `ceph v027`.
        banner: String,
    },
    /// Something else than Ceph is spoken at this port.
    #[error(
        "the peer does not speak Ceph's protocol: it begins with \"{banner}\" where \"ceph v2\" is expected"
    )]
    NotCeph {
        /// The first bytes, escaped.
        banner: String,
    },
    /// The peer knows only the first revision of msgr2.
    #[error(
        "the peer does not speak revision 2.1 of the protocol (it supports {supported:#x}): Ceph 16 or newer does"
    )]
    OldRevision {
        /// Bits of its banner.
        supported: u64,
    },
    /// The peer's banner requires what this crate does not know.
    #[error(
        "the peer requires protocol features that this client does not have ({missing:#x}): it is too new"
    )]
    NewRevision {
        /// Bits of its banner.
        missing: u64,
    },
    /// The banner is too short or too long to be one.
    #[error("the peer's banner announces {0} bytes of features, 16 are expected")]
    Banner(u16),
    /// A daemon of another kind answers at this address.
    #[error("the peer is {found}, not {expected} as expected: another daemon has taken the address")]
    WrongPeer {
        /// `an OSD`.
        expected: &'static str,
        /// `a monitor`.
        found: &'static str,
    },
    /// The peer requires features of clients which this crate lacks.
    #[error("the peer requires features that this client does not have: {0}")]
    MissingFeatures(Features),
    /// The peer chose a mode that was not offered.
    #[error("the peer chose connection mode {chosen}, which was not offered ({offered})")]
    Mode {
        /// `secure`.
        chosen: String,
        /// `crc`.
        offered: String,
    },
    /// The mode is secure, but the authentication gave too few secret bytes.
    #[error("secure mode needs a connection secret of 40 bytes, the authentication gave {0}")]
    NoSecret(usize),
    /// The driver has no cipher left.
    #[error("no cipher for secure mode is to be had")]
    NoCipher,
    /// Authentication failed.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The authentication goes on without end.
    #[error("the peer asks for more and more to authenticate")]
    EndlessAuthentication,
    /// What one side sent is not what the other received.
    #[error(
        "the peer's signature of the handshake is wrong: something between here and there changes what is sent"
    )]
    Signature,
    /// A frame cannot be read or written.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame that has no place here.
    #[error("the peer sent {tag} while {phase}")]
    Unexpected {
        /// Which.
        tag: Tag,
        /// When.
        phase: Phase,
    },
    /// A frame whose payload is not what it should be.
    #[error("the peer sent {0}")]
    Decode(#[from] DecodeError),
    /// Messages are missing.
    #[error("message {expected} is missing, the peer sent {found}")]
    Sequence {
        /// Which was expected.
        expected: u64,
        /// Which came.
        found: u64,
    },
    /// The peer is connecting to this side at the same moment, and its connection is the one that counts.
    #[error("the peer asks to wait for a connection of its own")]
    Wait,
    /// The handshake takes too long.
    #[error("the peer did not answer within {milliseconds} ms, {phase}")]
    TimedOut {
        /// Where it stopped.
        phase: Phase,
        /// The limit.
        milliseconds: u64,
    },
    /// Nothing was heard of the peer for too long.
    #[error("nothing was heard of the peer for {milliseconds} ms")]
    Silent {
        /// The limit.
        milliseconds: u64,
    },
    /// The driver called what has no place here.
    #[error("the driver answered a question that was not asked")]
    Driver,
}
