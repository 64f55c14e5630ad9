//! Authentication: keys, and the cephx protocol with monitors and services.
//!
//! Cephx in short. The client shows a monitor that it has the user's key, by answering a challenge. It gets a *ticket* for the
//! authentication service, and with it tickets for the services it wants (OSDs). A ticket has two halves: a session key for the client,
//! and a blob for the service that holds the same key and that only the service can open. To connect to an OSD the client sends the blob
//! and proves that it has the session key (an *authorizer*); the OSD proves the same. Tickets are renewed before they
//! expire. The ticket for the authentication service also proves who the client was, so that it keeps its global id over reconnects.
//!
//! [`Cephx`] is the store of tickets that everything shares, [`MonAuthenticator`] and [`ServiceAuthenticator`] are what a connection
//! authenticates with.
//!
//! Sources: `doc/dev/cephx_protocol.rst` of Ceph, and `auth/Crypto.cc`, `auth/cephx/CephxProtocol.h` for what it leaves out.

mod aes;
mod aes256k;
mod cephx;
mod error;
mod key;
pub mod keyring;
mod monitor;
mod refusal;
mod service;
#[cfg(test)]
pub(crate) mod testing;
mod ticket;

pub use cephx::Cephx;
pub use error::AuthError;
pub use key::{Key, KeyError, KeyType, Usage};
pub use keyring::KeyringError;
pub use monitor::MonAuthenticator;
pub use service::ServiceAuthenticator;
