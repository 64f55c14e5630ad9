//! What a file system means, over storage that knows nothing of files.
//!
//! This crate turns a provider (an object store or a store of block images; file systems will follow) into a [`FileSystem`]:
//! directories, attributes, numbers, handles, reads with read-ahead. It knows neither the FUSE protocol nor
//! WebAssembly nor HTTP; what it needs from outside are the small traits in [`ports`].

pub mod blocks;
pub mod control;
pub mod errno;
pub mod fs;
pub mod handle;
pub mod inode;
pub mod mounts;
pub mod objects;
pub mod ports;
pub mod read;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod wait;

pub use fs::FileSystem;
