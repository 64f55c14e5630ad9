//! Monitors: finding one, staying in touch with it, and what it tells.
//!
//! [`parse_mon_host`] reads where they are, [`MonClient`] does the rest: it tries several at once until one has authenticated this
//! client, moves on when that one goes away, keeps subscriptions and tickets alive, and hands on the maps that come.
//!
//! Sources: `mon/MonClient.cc` of Ceph for the behaviour that monitors expect, `messages/MMon*.h` for the messages.

mod action;
mod address;
mod client;
mod error;
mod hunt;
pub mod messages;
mod monmap;
mod requests;
mod session;
mod subscriptions;

pub use action::{MonAction, MonConfig, MonLink, RequestId};
pub use address::{MonAddress, MonHostError, MonHosts, PORT, parse_mon_host};
pub use client::MonClient;
pub use error::{LinkFailure, MonError, Tried};
pub use messages::Usage;
pub use monmap::{MonInfo, MonMap};
pub use subscriptions::Repeat;
