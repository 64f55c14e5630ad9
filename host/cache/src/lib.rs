//! Bytes of objects on a local disk.
//!
//! A [`DiskCache`] keeps what was read once, over restarts, for all mounts and processes of a node that share its directory. Every object's version is
//! one sparse file exactly as long as the object, with a second file beside it that says whose it is and holds one checksum per page:
//!
//! ```text
//! DIR/v1/IDENTITY/xx/HASH.data     the bytes, where they are known
//! DIR/v1/IDENTITY/xx/HASH.meta     key, version, size; completion mark; a CRC-32C per 4 KiB page, 0 = not there
//! DIR/v1/IDENTITY/about            what the identity stands for, for people
//! DIR/v1/usage                     bytes and entries of all processes together
//! DIR/v1/evict.lock                held by the one process that evicts
//! ```
//!
//! Three rules carry the rest:
//!
//! * *A page's word is written after its bytes, and every read checks it.* So there is nothing to recover after a crash, and no wrong byte
//!   is served, whatever the disk or a person did to the files.
//! * *Readers never wait for the cache to be written.* Offers go to one thread through a bounded queue; what does not fit is dropped.
//! * *A file whose every page is there, synced and, if this process did not write it in this boot, verified* may be read by the kernel itself
//!   ([`backing`](wasmount_core::ports::CachedFile::backing)).
//!
//! A disk that is full or sick is a state of the cache, never an error of a read: see [`Health`].

pub mod admin;
mod bitmap;
mod cache;
mod config;
mod entry;
mod file;
mod finish;
mod format;
mod health;
mod index;
mod keep;
mod pens;
mod read;
mod root;
mod scan;
mod slow;
mod space;
mod stats;
mod write;

pub use cache::DiskCache;
pub use config::{CacheError, DiskCacheConfig, MinFree};
pub use health::Health;
pub use stats::CacheStats;
