//! The client of a whole cluster: [`Cluster`] takes requests on objects, and sees to it that each is answered by the OSD which is
//! responsible for the object, whatever happens to the cluster in the meantime.
//!
//! - `cluster` is what a driver sees, and holds the parts: the [monitor client](crate::mon), one [connection](crate::msgr) for each
//!   daemon, and the objecter; `dispatch` passes on what they have to say to each other.
//! - `objecter` decides which request goes where, when, and when again; `target` computes the place from a map.
//! - `links` are the connections, `action` is what their driver does. `peers` are those whose sessions outlive their connections.
//! - [`Machine`] is what a driver drives: a cluster, or something that is built around one.
//!
//! Behaviour follows `osdc/Objecter.cc` of Ceph, which OSDs rely on.

mod action;
mod cluster;
mod config;
mod dispatch;
mod error;
mod jitter;
mod links;
mod machine;
mod objecter;
mod peers;
mod request;
mod target;

pub use action::{Action, Level, LinkId};
pub use cluster::{Cluster, Status};
pub use config::Config;
pub use error::RadosError;
pub use machine::Machine;
pub use objecter::Limits;
pub use peers::PeerId;
pub use request::{Mutation, OpId, OpReply, OpRequest};
