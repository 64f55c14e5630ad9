//! Ceph's client on tokio: the driver for [`wasmount_ceph::rados::Machine`]s where there is no sandbox.
//!
//! wasmount itself runs the client inside a component. This crate runs the same machines natively, against real clusters: to test and to
//! measure them without everything around. `examples/rados-probe.rs` and `examples/cephfs-probe.rs` are small tools made of it.

mod aead;
mod client;
mod driver;
mod files;

pub use aead::{Aes128Gcm, Aes128GcmFactory};
pub use client::{Call, Client, ClientError, NativeCluster, Pending};
pub use driver::NativeMachine;
pub use files::{Files, FilesError, NativeMount};
