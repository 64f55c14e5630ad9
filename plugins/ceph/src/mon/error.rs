//! Why there is no session with the monitors.

use super::{MonAddress, MonHostError};
use crate::auth::AuthError;
use crate::types::Fsid;

/// Why a connection to a monitor ended, as its driver saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFailure {
    /// The authentication failed.
    Auth(AuthError),
    /// Anything else, in words that can follow the address: `connection refused`.
    Broken(String),
}

/// An address that was tried, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Where.
    pub address: MonAddress,
    /// `connection refused`.
    pub outcome: String,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonError {
    /// The list of monitors is not one.
    #[error(transparent)]
    Hosts(#[from] MonHostError),
    /// None of the known monitors could be used. They are tried again.
    #[error("no monitor can be reached: {}", sentences(.0))]
    Unreachable(Vec<Tried>),
    /// A monitor refused this client.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The monitors belong to another cluster.
    #[error(
        "the monitors belong to cluster {found}, but fsid {expected} is configured: one of the two is wrong"
    )]
    WrongFsid {
        /// What is configured.
        expected: Fsid,
        /// What the monitors say.
        found: Fsid,
    },
}

impl MonError {
    /// Whether only a change of the configuration helps, so that whoever waits for the cluster should be told. The client goes on trying.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Hosts(_) | Self::WrongFsid { .. } => true,
            Self::Auth(error) => error.is_permanent(),
            Self::Unreachable(_) => false,
        }
    }
}

fn sentences(tried: &[Tried]) -> String {
    let each = tried.iter().map(|tried| format!("{}: {}", tried.address, tried.outcome));
    each.collect::<Vec<_>>().join("; ")
}
