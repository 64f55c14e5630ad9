//! Attributes as applications see them: those that ceph-fuse shows.

use crate::nodes::Nodes;
use wasmount_ceph::cephfs::{Attributes, EntryRight, Kind, Rights};
use wasmount_ceph::types::UTime;
use wasmount_sdk::Timestamp;
use wasmount_sdk::files::{self, NodeKind, UNTIL_INVALIDATED, Validity};

/// Smallest size of a read that is recommended.
const SMALLEST_BLOCK: u32 = 4096;
/// Unit of `st_blocks`.
const SECTOR: u64 = 512;

/// The attributes of an inode. `pages`: its bytes may be kept, so a number that stands for them can be told.
#[must_use]
pub fn shown(nodes: &Nodes, of: &Attributes, pages: bool) -> files::Attributes {
    let directory = of.kind == Kind::Directory;
    // A directory is as large as all that is in it, and has a name more for each directory (`client_dirsize_rbytes`).
    let (size, allocated) = match of.kind {
        Kind::Directory => (of.recursive.bytes, SECTOR),
        _ => (of.size, of.size.div_ceil(SECTOR).saturating_mul(SECTOR)),
    };
    let links = match of.nlink {
        nlink if directory && nlink > 0 => {
            u32::try_from(of.dir_subdirs.saturating_add(2)).unwrap_or(u32::MAX)
        }
        nlink => nlink,
    };
    files::Attributes {
        inode: nodes.shown(of.vino),
        kind: kind(of.kind),
        mode: (of.mode & 0o7777) as u16,
        links,
        uid: of.uid,
        gid: of.gid,
        device: device(of.rdev),
        size,
        allocated,
        block_size: of.layout.stripe_unit.max(SMALLEST_BLOCK),
        accessed: timestamp(of.atime),
        modified: timestamp(of.mtime),
        // A writer tells the time of a change of the content before the MDS notes it as a change.
        changed: timestamp(of.ctime.max(of.mtime)),
        created: Some(of.btime).filter(|time| *time != UTime::default()).map(timestamp),
        data_version: (of.kind == Kind::Regular && pages).then(|| of.data_version()),
    }
}

/// A device number as `makedev(3)` has it. An MDS has it as Linux keeps it inside (`MKDEV`): 12 bits of major above 20 of minor.
fn device(of: u32) -> u64 {
    let (major, minor) = (of >> 20, of & 0xf_ffff);
    u64::from((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// What the host may keep of an answer about a name.
#[must_use]
pub fn validity(rights: Rights) -> Validity {
    Validity { attributes_ms: attributes_ms(rights), entry_ms: entry_ms(rights.entry) }
}

/// How long attributes may be kept.
#[must_use]
pub fn attributes_ms(rights: Rights) -> u32 {
    if rights.attributes { UNTIL_INVALIDATED } else { 0 }
}

/// How long a name, or its absence, may be kept.
#[must_use]
pub fn entry_ms(right: EntryRight) -> u32 {
    match right {
        EntryRight::No => 0,
        EntryRight::For(ms) => u32::try_from(ms).unwrap_or(UNTIL_INVALIDATED).min(UNTIL_INVALIDATED - 1),
        EntryRight::UntilInvalidated => UNTIL_INVALIDATED,
    }
}

/// What a node is, in the words of the contract.
#[must_use]
pub fn kind(kind: Kind) -> NodeKind {
    match kind {
        Kind::Regular => NodeKind::Regular,
        Kind::Directory => NodeKind::Directory,
        Kind::Symlink => NodeKind::Symlink,
        Kind::Fifo => NodeKind::Fifo,
        Kind::Socket => NodeKind::Socket,
        Kind::BlockDevice => NodeKind::BlockDevice,
        Kind::CharacterDevice => NodeKind::CharacterDevice,
    }
}

/// A time of the cluster.
#[must_use]
pub fn timestamp(time: UTime) -> Timestamp {
    Timestamp { seconds: time.seconds.into(), nanoseconds: time.nanoseconds.min(999_999_999) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use wasmount_ceph::cephfs::{RecursiveStat, Vino};

    fn attributes(change: impl FnOnce(&mut Attributes)) -> files::Attributes {
        let mut of = fake::attributes(Vino::head(0x100), 0o100_644);
        change(&mut of);
        shown(&Nodes::new(Vino::ROOT, None), &of, true)
    }

    #[test]
    fn files_are_as_large_as_their_bytes() {
        let found = attributes(|of| (of.size, of.mode) = (2800, 0o104_751));
        assert_eq!((found.size, found.allocated, found.links, found.mode), (2800, 6 * 512, 1, 0o4751));
        assert_eq!((found.kind, found.inode, found.block_size), (NodeKind::Regular, 0x100, 4 << 20));
        assert!(found.data_version.is_some());
    }

    #[test]
    fn directories_count_what_is_in_them() {
        let found = attributes(|of| {
            (of.kind, of.dir_subdirs) = (Kind::Directory, 6);
            of.recursive = RecursiveStat { bytes: 7_560_000, ..RecursiveStat::default() };
        });
        assert_eq!((found.size, found.allocated, found.links), (7_560_000, 512, 8));
        assert_eq!(found.data_version, None);
        let removed = attributes(|of| (of.kind, of.nlink) = (Kind::Directory, 0));
        assert_eq!(removed.links, 0);
    }

    #[test]
    fn times_are_those_that_others_see() {
        let at = |seconds| UTime { seconds, nanoseconds: 7 };
        let found = attributes(|of| (of.mtime, of.ctime, of.btime) = (at(9), at(5), UTime::default()));
        assert_eq!((found.modified.seconds, found.changed.seconds, found.created.is_none()), (9, 9, true));
        let found = attributes(|of| (of.mtime, of.ctime, of.btime) = (at(5), at(9), at(1)));
        assert_eq!((found.changed.seconds, found.created.map(|time| time.seconds)), (9, Some(1)));
    }

    #[test]
    fn rights_become_times() {
        let rights = Rights { attributes: true, entry: EntryRight::For(u64::MAX), pages: false };
        let found = validity(rights);
        assert_eq!((found.attributes_ms, found.entry_ms), (UNTIL_INVALIDATED, UNTIL_INVALIDATED - 1));
        assert_eq!(entry_ms(EntryRight::UntilInvalidated), UNTIL_INVALIDATED);
        let none = validity(Rights::NONE);
        assert_eq!((none.attributes_ms, none.entry_ms), (0, 0));
    }
}
