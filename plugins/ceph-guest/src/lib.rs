//! Drives [`wasmount_ceph::rados::Cluster`] inside a component, for the plugins that speak to Ceph.
//!
//! | module | gives the cluster |
//! |---|---|
//! | [`client`] | requests of the plugin's calls, and their answers to whoever waits |
//! | `driver` | what happens: it does what the cluster asks for, and tells it what came of it |
//! | `background` | a place to run what goes on between calls |
//! | `link` | connections over the host's `tcp` |
//! | [`payload`], `cipher`, `clock` | buffers, ciphers, time and randomness of the host |
//! | [`failure`] | errors in the words of the contract |
//!
//! Payload stays in the host: a read of 4 MiB is one write of a request, a few small reads of headers, and one `read-buffer`.

mod background;
mod cipher;
pub mod client;
mod clock;
mod driver;
pub mod failure;
mod link;
pub mod payload;

pub use client::Client;
pub use failure::error;
pub use payload::HostBytes;
