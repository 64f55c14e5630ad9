//! Ceph's client on tokio: the driver for [`wasmount_ceph::rados::Cluster`] where there is no sandbox.
//!
//! wasmount itself runs the client inside a component. This crate runs the same machines natively, against real clusters: to test and to
//! measure them without everything around. `examples/rados-probe.rs` is a small tool made of it.

mod aead;
mod client;
mod driver;

pub use aead::{Aes128Gcm, Aes128GcmFactory};
pub use client::{Client, ClientError, Pending};
