//! Drives a [`Machine`](wasmount_ceph::rados::Machine) inside a component, for the plugins that speak to Ceph: a cluster's client, or one that is
//! built around it.
//!
//! | module | gives the machine |
//! |---|---|
//! | [`client`] | requests of the plugin's calls, and their answers to whoever waits |
//! | `driver` | what happens: it does what the machine asks for, and tells it what came of it |
//! | `background` | a place to run what goes on between calls |
//! | `link` | connections over the host's `tcp` |
//! | [`payload`], `cipher`, `clock` | buffers, ciphers, time and randomness of the host |
//! | [`failure`] | errors in the words of the contract |
//! | [`objects`] | reads of objects, in parallel, and what they make up |
//! | [`options`] | the part of the option table that all these plugins share |
//!
//! Payload stays in the host: a read of 4 MiB is one write of a request, a few small reads of headers, and one `read-buffer`.

mod background;
mod cipher;
pub mod client;
mod clock;
mod driver;
pub mod failure;
mod link;
pub mod objects;
pub mod options;
pub mod payload;

pub use cipher::HostCiphers;
pub use client::Client;
pub use driver::{HostCluster, HostMachine};
pub use failure::error;
pub use payload::HostBytes;
