//! What a node stands for, and the number that follows from it.

use super::siphash;
use crate::ports::NodeNumber;
use std::sync::Arc;
use wasmount_types::{FileKind, Ino, MountId, Timestamp, Version};

/// One version of a file, as the store described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileVersion {
    /// Its version, if the store has versions.
    pub version: Option<Version>,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, if the store says so.
    pub modified: Option<Timestamp>,
}

impl FileVersion {
    /// Whether both are the same bytes: the same version, or where one of them has none the same size and time.
    ///
    /// Some stores name versions with an object and not in listings.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.version, &other.version) {
            (Some(a), Some(b)) => a == b,
            _ => self.size == other.size && same_time(self.modified, other.modified),
        }
    }
}

/// Whether two times are not known to differ, at the resolution of the coarser: listings have milliseconds, HTTP dates
/// seconds, and some answers no time at all.
fn same_time(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return true };
    if a.nanoseconds == 0 || b.nanoseconds == 0 { a.seconds == b.seconds } else { a == b }
}

/// What a node stands for.
#[derive(Clone, Debug)]
pub enum NodeKind {
    /// A directory of the mount table: index in the table's tree.
    Virtual(usize),
    /// A directory inside a mount.
    Directory,
    /// One version of a file inside a mount.
    File(FileVersion),
    /// A file inside a mount whose bytes may change: one node for good.
    Live,
    /// A node of a file system of its own, whatever its names are.
    Node(StoreNode),
}

/// A node of a store that numbers its nodes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreNode {
    /// What the store calls it.
    pub number: NodeNumber,
    /// Distinguishes nodes that had the same number at different times.
    pub generation: u64,
    /// The number that the store would show to applications.
    pub inode: u64,
    /// What it is.
    pub kind: FileKind,
}

/// A node: a path and, for files, a version of it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Number of the mount in the table: one that was exchanged for another of the same name has other nodes. Meaningless for [`NodeKind::Virtual`].
    pub mount: usize,
    /// Its id; empty for a directory of the table.
    pub mount_id: MountId,
    /// Path inside the mount (inside the table for virtual directories), without slashes around it; empty for a [`NodeKind::Node`].
    pub path: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
}

/// Two halves of "wasmount" "inode v1": changing them renumbers every file of every mount.
const KEY: (u64, u64) = (0x746e_756f_6d73_6177, 0x3176_2065_646f_6e69);

impl Identity {
    /// The first number that a node may have.
    pub const FIRST_NUMBER: u64 = 256;

    /// Whether both stand for the same node.
    pub fn same(&self, other: &Self) -> bool {
        self.mount == other.mount
            && self.mount_id == other.mount_id
            && self.path == other.path
            && match (&self.kind, &other.kind) {
                (NodeKind::Virtual(a), NodeKind::Virtual(b)) => a == b,
                (NodeKind::Directory, NodeKind::Directory) | (NodeKind::Live, NodeKind::Live) => true,
                (NodeKind::File(a), NodeKind::File(b)) => a.same(b),
                (NodeKind::Node(a), NodeKind::Node(b)) => {
                    (a.number, a.generation, a.kind) == (b.number, b.generation, b.kind)
                }
                _ => false,
            }
    }

    /// Its number; `probe` counts the numbers that other nodes already have. Never below [`Self::FIRST_NUMBER`]: 0 the kernel
    /// does not know, 1 is the root, the others belong to what is no part of any mount.
    pub fn number(&self, probe: u32) -> Ino {
        let mut data = Vec::with_capacity(self.mount_id.as_str().len() + self.path.len() + 64);
        // A NUL can be in neither part, so no two identities give the same text.
        data.extend_from_slice(self.mount_id.as_str().as_bytes());
        data.push(0);
        data.extend_from_slice(self.path.as_bytes());
        data.push(0);
        match &self.kind {
            NodeKind::Virtual(_) => data.push(b't'),
            NodeKind::Directory => data.push(b'd'),
            NodeKind::Live => data.push(b'l'),
            // A listing without attributes knows no more of an entry.
            NodeKind::Node(node) => {
                data.push(b'n');
                data.extend_from_slice(&node.inode.to_le_bytes());
            }
            NodeKind::File(FileVersion { version: Some(version), .. }) => {
                data.push(b'v');
                data.extend_from_slice(version.as_str().as_bytes());
            }
            NodeKind::File(FileVersion { version: None, size, modified }) => {
                data.push(b's');
                data.extend_from_slice(&size.to_le_bytes());
                if let Some(time) = modified {
                    data.extend_from_slice(&time.seconds.to_le_bytes());
                    data.extend_from_slice(&time.nanoseconds.to_le_bytes());
                }
            }
        }
        match siphash::hash((KEY.0, KEY.1 ^ u64::from(probe)), &data) {
            small @ 0..Self::FIRST_NUMBER => Ino(small + Self::FIRST_NUMBER),
            number => Ino(number),
        }
    }
}
