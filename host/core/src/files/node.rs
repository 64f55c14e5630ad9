//! One node of a store, and what is believed about it.

use super::data::Data;
use super::lease::{Given, Until};
use super::listing::Listings;
use crate::inode::StoreNode;
use crate::ports::FileAttributes;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;
use wasmount_types::{Attr, Ino, Name};

/// A node that the kernel knows.
pub(crate) struct Node {
    /// What the store calls it.
    pub(super) of: StoreNode,
    /// What the kernel calls it.
    pub(crate) ino: Ino,
    state: Mutex<NodeState>,
    /// Of a file that was opened.
    data: OnceLock<Box<Data>>,
    /// Of a directory that was opened.
    listings: OnceLock<Box<Listings>>,
}

/// What is believed about a node. Everything in it is covered by a right or a time; the epoch of [`FileFs`](super::FileFs) is compared under its lock.
#[derive(Default)]
pub(super) struct NodeState {
    /// References to give back.
    pub(super) references: u64,
    /// A directory it is in, and its name there: for people.
    pub(super) place: Option<(Weak<Node>, Name)>,
    /// The how-manieth entry it was of all listings, when it was listed last.
    pub(super) listed: u64,
    /// Its attributes.
    pub(super) attributes: Option<(FileAttributes, Until)>,
    /// Until when the kernel may believe attributes.
    pub(super) attributes_given: Given,
    /// They changed a short while ago: the kernel is not given any until then.
    pub(super) attributes_change: Option<Instant>,
    /// What a symbolic link leads to, which never changes.
    pub(super) target: Option<Bytes>,
    /// Names in a directory; `None`: there is no such name.
    pub(super) names: HashMap<Name, (Option<Weak<Node>>, Until)>,
    /// Until when the kernel may believe names in the directory.
    pub(super) names_given: Given,
    /// Names in it changed a short while ago: the kernel is not given any until then.
    pub(super) names_change: Option<Instant>,
}

impl Node {
    pub(super) fn new(of: StoreNode, ino: Ino) -> Arc<Self> {
        let (data, listings) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self { of, ino, state: Mutex::default(), data, listings })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, NodeState> {
        // Nothing that holds the lock can panic between two consistent states.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of its content, made by the first open.
    pub(super) fn data(&self, new: impl FnOnce() -> Data) -> &Data {
        self.data.get_or_init(|| Box::new(new()))
    }

    /// What is kept of its content, if it was ever opened.
    pub(super) fn opened_data(&self) -> Option<&Data> {
        self.data.get().map(|data| &**data)
    }

    /// Its listings.
    pub(super) fn listings(&self) -> &Listings {
        self.listings.get_or_init(Box::default)
    }

    /// Its listings, if it was ever opened.
    pub(super) fn opened_listings(&self) -> Option<&Listings> {
        self.listings.get().map(|listings| &**listings)
    }

    /// Attributes for the kernel.
    pub(super) fn attr(&self, attributes: &FileAttributes) -> Attr {
        Attr {
            ino: self.ino,
            kind: self.of.kind,
            perm: attributes.mode & 0o7777,
            nlink: attributes.links,
            uid: attributes.uid,
            gid: attributes.gid,
            device: packed(attributes.device),
            size: attributes.size,
            allocated: attributes.allocated,
            block_size: attributes.block_size,
            atime: attributes.accessed,
            mtime: attributes.modified,
            ctime: attributes.changed,
        }
    }
}

/// A device number of `makedev(3)` as the kernel packs it into 32 bits (`new_encode_dev`, `include/linux/kdev_t.h`).
fn packed(device: u64) -> u32 {
    let major = (device >> 8 & 0xfff) | (device >> 32 & 0xffff_f000);
    let minor = (device & 0xff) | (device >> 12 & 0xffff_ff00);
    let (major, minor) = (major as u32, minor as u32);
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let makedev = |major: u64, minor: u64| {
            (major & 0xfff) << 8 | (major & !0xfff) << 32 | (minor & 0xff) | (minor & !0xff) << 12
        };
        assert_eq!(packed(makedev(1, 3)), 0x0103);
        assert_eq!(packed(makedev(259, 70_000)), 70_000 & 0xff | 259 << 8 | (70_000 & 0xf_ff00) << 12);
        assert_eq!(packed(0), 0);
    }
}
