//! CephFS, coherent with all its other clients, read without any of Ceph's own software.
//!
//! | module | knows |
//! |---|---|
//! | [`options`], [`location`], [`csi`] | the option table; mount points; ceph-csi's volumes |
//! | [`nodes`] | numbers by which the host knows inodes |
//! | [`attributes`], [`xattr`], [`statfs`] | what applications see of an inode and of the whole |
//! | [`read`], [`seek`] | the bytes of a file, and its holes |
//! | [`fs`], [`events`] | calls of the file system's client, and what it tells by itself |
//! | [`failure`] | what an error means, and what the user should change |
//! | [`store`] | the functions of a file system on top of these |
//!
//! Everything that is kept, here and in the kernel, is kept under a capability that an MDS has given and may take back: whose rules those are,
//! `wasmount_ceph::cephfs` knows. This crate passes rights on to the host, and has the host forget what is taken back before an MDS is told that it was.

pub mod attributes;
pub mod csi;
pub mod events;
pub mod failure;
pub mod fs;
pub mod location;
pub mod nodes;
pub mod options;
pub mod read;
pub mod seek;
pub mod statfs;
pub mod store;
pub mod xattr;

#[cfg(test)]
mod fake;

wasmount_sdk::export_file_store!(store::CephFs);
