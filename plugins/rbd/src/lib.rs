//! RBD: block images in a Ceph cluster, shown as files that are read without any of Ceph's own software.
//!
//! | module | knows |
//! |---|---|
//! | [`options`], [`location`], [`csi`] | the option table; mount points; ceph-csi's clusters and volumes |
//! | [`rados`] | what is needed of a cluster: a trait, so that everything below is tested without one |
//! | [`class`] | methods of the OSD class `rbd`, which knows how headers are kept |
//! | [`directory`], [`header`], [`features`] | names of images, what their headers say, which of them can be read |
//! | [`layout`], [`object_map`] | which bytes are in which object, and which objects exist |
//! | [`image`], [`handle`], [`questions`] | an open image and what it is a clone of; its name; looking at it again |
//! | [`read`], [`extents`] | its bytes; its holes |
//! | [`failure`] | what an error means, and what the user should change |
//! | [`store`] | the functions of a block store on top of these |
//!
//! A snapshot never changes: its bytes are named by image and snapshot id, and its object map, if there is one, spares requests for
//! objects that do not exist. A live image may change under its reader: nothing about it is kept but its size and what its parent shows through,
//! which are looked at again about once a second.
//!
//! That an object does not exist says little by itself. OSDs answer the same for a snapshot that was removed; and when an image is cut off
//! from its parent (`rbd flatten`), the object may have been copied up a moment later. So who has found none asks the header afterwards
//! ([`Image::confirm`](image::Image::confirm)): only if the snapshot is still there, and sees through to its parent as far as before, is it a
//! hole, or the parent's.

pub mod class;
pub mod csi;
pub mod directory;
pub mod extents;
pub mod failure;
pub mod features;
pub mod handle;
pub mod header;
pub mod image;
pub mod layout;
pub mod location;
pub mod object_map;
pub mod options;
pub mod questions;
pub mod rados;
pub mod read;
pub mod store;

#[cfg(test)]
mod fake;

wasmount_sdk::export_block_store!(store::Rbd);
