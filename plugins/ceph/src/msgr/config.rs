//! What a connection has to know beforehand.

use super::features;
use super::frame::Limits;
use crate::types::EntityAddr;
use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;

/// How messages are protected on their way (`CEPH_CON_MODE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Against accidents, by checksums.
    Crc = 1,
    /// Against everybody, by encryption.
    Secure = 2,
}

impl Mode {
    /// The mode of this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Crc),
            2 => Some(Self::Secure),
            _ => None,
        }
    }

    /// Names of modes given by number, for people: `crc, secure`.
    #[must_use]
    pub fn names(numbers: &[u32]) -> String {
        let names = numbers.iter().map(|&number| match Self::from_number(number) {
            Some(mode) => mode.to_string(),
            None => format!("number {number}"),
        });
        names.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crc => "crc",
            Self::Secure => "secure",
        })
    }
}

/// What becomes of a session when its connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It ends, and whoever had sent something sends it again if it still matters: monitors and OSDs.
    Lossy,
    /// It goes on with the next connection, and no message is lost or comes twice: metadata servers.
    Lossless,
}

/// Counts the connections that one client makes, to whomever: of two connections between the same processes, a server takes the one with the
/// higher number for the newer. All connections of a client share one of these.
#[derive(Clone, Debug, Default)]
pub struct GlobalSequence(Rc<Cell<u64>>);

impl GlobalSequence {
    /// The number of a connection that is made now.
    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().saturating_add(1));
        self.0.get()
    }

    /// Goes beyond a number that a server knows from before.
    pub(crate) fn next_after(&self, known: u64) -> u64 {
        self.0.set(self.0.get().max(known));
        self.next()
    }
}

/// When to ask whether the peer is still there, and when to give it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Milliseconds between questions. They are asked even while the peer talks: monitors forget clients that do not ask.
    pub every_ms: u64,
    /// Milliseconds of silence after which the peer is given up.
    pub dead_after_ms: u64,
}

/// What a connection has to know beforehand. Plain data but for the counter.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer's kind, one of [`entity`](crate::types::entity).
    pub peer_kind: u8,
    /// The peer's address as maps or the user name it.
    pub target: EntityAddr,
    /// What becomes of the session when the connection breaks.
    pub policy: Policy,
    /// Modes to offer, the most wanted first.
    pub modes: Vec<Mode>,
    /// Tells this client apart from others on the same machine; the same for all its connections.
    pub nonce: u32,
    /// The address that this client goes by, if it is known from an earlier connection. A client has one even if it is seen from
    /// several, since it is blocklisted by it.
    pub own_ip: Option<IpAddr>,
    /// Feature bits to announce.
    pub features: u64,
    /// Longest segments to accept.
    pub limits: Limits,
    /// The client's count of connections.
    pub connections: GlobalSequence,
    /// Milliseconds until messages must flow.
    pub handshake_ms: u64,
    /// Keepalives, if any.
    pub keepalive: Option<Keepalive>,
}

impl Config {
    /// A configuration with the usual values: lossy, modes `crc, secure`, 10 s for the handshake (`ms_connection_ready_timeout`), and
    /// keepalives every 10 s with an end after 30 s (`mon_client_ping_interval` and `mon_client_ping_timeout`).
    #[must_use]
    pub fn new(peer_kind: u8, target: EntityAddr, nonce: u32, connections: GlobalSequence) -> Self {
        Self {
            peer_kind,
            target,
            policy: Policy::Lossy,
            modes: vec![Mode::Crc, Mode::Secure],
            nonce,
            own_ip: None,
            features: features::SUPPORTED,
            limits: Limits::default(),
            connections,
            handshake_ms: 10_000,
            keepalive: Some(Keepalive { every_ms: 10_000, dead_after_ms: 30_000 }),
        }
    }
}
