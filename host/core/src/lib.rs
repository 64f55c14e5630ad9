//! What a file system means, over storage that knows nothing of files.
//!
//! This crate turns a provider (an object store, a store of block images, a file system of its own) into a [`FileSystem`]:
//! directories, attributes, numbers, handles, reads with read-ahead. It knows neither the FUSE protocol nor
//! WebAssembly nor HTTP; what it needs from outside are the small traits in [`ports`].

mod again;
pub mod blocks;
mod context;
pub mod control;
pub mod errno;
mod files;
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
mod walk;

pub use context::MountContext;
pub use fs::FileSystem;
