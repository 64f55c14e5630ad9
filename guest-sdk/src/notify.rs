//! Telling the host that something it may have cached is no longer true, usually from a background task ([`task::spawn`](crate::task::spawn)).
//!
//! ```
//! use wasmount_sdk::Result;
//! use wasmount_sdk::notify::{Invalidation, invalidate, of_data};
//!
//! /// Somebody else wants to write the file: returns when nobody here sees its bytes any more.
//! async fn revoked(node: u64) -> Result<()> {
//!     invalidate(vec![of_data(node), Invalidation::Attributes(node)]).await
//! }
//! # fn main() {}
//! ```
//!
//! While [`invalidate`] waits, the host goes on calling this instance. Answer those reads and look-ups under the right that is being taken back,
//! and never make them wait for the answer to the one who wants it: that one is waiting for them. What they may be cached for
//! is taken out of the answers, and a read that was overtaken is made again: an author does not have to think of it, but may see a
//! [`read`](crate::FileStore::read) twice.

use crate::Result;
use crate::bindings::wasmount::plugin::notify as wire;
use crate::export::fence::Running;

pub use wire::{DataKey, EntryKey, Invalidation, shrink};

/// Most items that [`invalidate`] takes at once.
pub const MOST_ITEMS: usize = 1000;

/// Makes the host and the kernel forget these things. What vouched for them may be given up when it returns.
///
/// # Errors
/// `timed-out`: the kernel did not let go in time, and may show the old still; `too-large`: more than [`MOST_ITEMS`], or the host is not done
/// with others yet; `interrupted`: the call, or the instance, is being ended.
pub async fn invalidate(items: Vec<Invalidation>) -> Result<()> {
    let _running = Running::begin(&items);
    wire::invalidate(items).await
}

/// All bytes of a file, or of an open image of a block store.
pub fn of_data(node: u64) -> Invalidation {
    Invalidation::Data(DataKey { node, range: None })
}

/// One name in a directory, or its absence.
pub fn of_entry(parent: u64, name: impl Into<Vec<u8>>) -> Invalidation {
    Invalidation::Entry(EntryKey { parent, name: name.into() })
}
