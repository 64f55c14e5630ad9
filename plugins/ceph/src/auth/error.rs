//! Why an authentication failed, in sentences for the person who configured it.

use super::{KeyError, KeyType, KeyringError};
use crate::encoding::DecodeError;

/// An authentication that failed. None of these sentences holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The text is not a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keyring has no key for the user.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The name of the user is not one.
    #[error("{0:?} is not the name of a user: it has the form client.NAME")]
    Entity(String),
    /// The cluster does not know the user, or does not accept the key. Only a change of the configuration, here or there, helps.
    #[error("the cluster refuses user {entity}: it is unknown or its key is wrong{}; compare with `ceph auth get {entity}`", old_key(*key_type))]
    Refused {
        /// `client.admin`.
        entity: String,
        /// The type of its key, if it has one.
        key_type: Option<KeyType>,
    },
    /// The cluster wants another way to authenticate.
    #[error(
        "the cluster authenticates by {allowed}, this client by {used}: set auth_client_required alike on both sides"
    )]
    Method {
        /// What is configured here: `cephx`.
        used: &'static str,
        /// What the cluster offered: `none`.
        allowed: String,
    },
    /// The cluster wants another connection mode.
    #[error(
        "the cluster accepts connections in mode {allowed} only: allow that mode here, or change the cluster's ms_*_mode options"
    )]
    Mode {
        /// What the cluster offered: `secure`.
        allowed: String,
    },
    /// The peer refused for a reason that has no sentence of its own.
    #[error("the {peer} refuses user {entity}: errno {errno}")]
    Errno {
        /// `monitor`, `osd`.
        peer: &'static str,
        /// `client.admin`.
        entity: String,
        /// Positive.
        errno: i32,
    },
    /// A monitor refuses to believe that this client is who it was before. If all do, [`Cephx::forget`](super::Cephx::forget) helps: then
    /// the client begins a new session with a new global id.
    #[error("it does not accept the earlier session of {entity}, or its key")]
    SessionLost {
        /// `client.admin`.
        entity: String,
    },
    /// Another monitor has authenticated this client while this one was about to.
    #[error("another monitor has answered first")]
    Superseded,
    /// There is no valid ticket for the service yet; the monitor client is to get one.
    #[error("no valid ticket for the {service} service yet")]
    NoTicket {
        /// `osd`.
        service: &'static str,
    },
    /// The service does not accept the ticket, which has been thrown away; the monitor client is to get a new one.
    #[error(
        "the {service} service refuses the ticket, which has expired or was made with keys that it no longer has; a new one is asked for \
         (if this goes on, compare the clocks of the cluster's machines)"
    )]
    TicketRefused {
        /// `osd`.
        service: &'static str,
    },
    /// The service has read the ticket and knows who this is, and lets nobody in who has no capabilities there. Older OSDs (Ceph 16) let such
    /// users in, and refuse each request.
    #[error(
        "the {service} service does not let user {entity} in: it has no {service} capabilities; see `ceph auth get {entity}`"
    )]
    NoCaps {
        /// `osd`.
        service: &'static str,
        /// `client.admin`.
        entity: String,
    },
    /// Something encrypted cannot be decrypted, or a proof is wrong: both sides do not have the same secret.
    #[error("{what} cannot be verified: the peer does not have the key it should have")]
    Unverified {
        /// `the authorizer's reply`.
        what: &'static str,
    },
    /// The peer did something in the wrong moment.
    #[error("authentication: {0}")]
    Protocol(&'static str),
    /// The peer sent bytes that are not what they should be.
    #[error("authentication: {0}")]
    Decode(#[from] DecodeError),
}

impl AuthError {
    /// Whether only a change of the configuration helps, so that whoever waits for the cluster should be told.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Key(_)
            | Self::Keyring(_)
            | Self::Entity(_)
            | Self::Refused { .. }
            | Self::Method { .. }
            | Self::Mode { .. }
            | Self::Unverified { .. } => true,
            Self::Errno { .. }
            | Self::SessionLost { .. }
            | Self::Superseded
            | Self::NoTicket { .. }
            | Self::TicketRefused { .. }
            | Self::NoCaps { .. }
            | Self::Protocol(_)
            | Self::Decode(_) => false,
        }
    }
}

/// New clusters refuse all keys of the old type (CVE-2025-30156), in the same words as a wrong one.
fn old_key(key_type: Option<KeyType>) -> &'static str {
    match key_type {
        Some(KeyType::Aes) => {
            ", or the cluster no longer accepts keys of type aes (`ceph mon dump` shows auth_allowed_ciphers)"
        }
        Some(KeyType::Aes256k) | None => "",
    }
}
