//! What a file system says about its nodes, against what it promised and what a kernel can be told.

use super::super::check::Checker;
use super::exports::Promises;
use super::wit;
use crate::bindings::v0_1::host::wasmount::plugin::{capabilities, types};
use crate::text::printable;
use wasmount_core::ports::{
    AttributesAnswer, CachePolicy, Coherence, DirectoryPage, FileAttributes, FileCapabilities, FileDirEntry,
    FileEntry, FileStatistics, NodeNumber, Resolution, Validity,
};
use wasmount_types::{Error, FileKind, NAME_MAX, Name, Timestamp};

/// Longest target of a symlink that Linux follows: `PATH_MAX` less its NUL (`limits.h`).
const LONGEST_TARGET: usize = 4095;
/// Largest block that is shown: applications make buffers of that size.
const LARGEST_BLOCK: u32 = 64 << 20;
/// Longest value of an extended attribute, and bytes of all names with a NUL after each: `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` (`limits.h`).
const XATTR_SIZE: usize = 65536;
const XATTR_LIST: usize = 65536;
/// Longest name of an extended attribute: `XATTR_NAME_MAX` (`limits.h`).
pub(super) const XATTR_NAME: usize = 255;

impl Checker<'_> {
    /// What a file system says it can do.
    pub(super) fn promises(&self, given: &capabilities::FileCapabilities) -> Result<Promises, Error> {
        use capabilities::FileOperations;
        if given.max_read == 0 || given.max_name == 0 {
            return Err(self.corrupt("reads or names of length 0"));
        }
        let promised = |operation| given.operations.contains(operation);
        let core = FileCapabilities {
            coherence: match given.coherence {
                capabilities::Coherence::Timed => Coherence::Timed,
                capabilities::Coherence::Pushed => Coherence::Pushed,
            },
            directory_attributes: promised(FileOperations::DIRECTORY_ATTRIBUTES),
            xattrs: promised(FileOperations::EXTENDED_ATTRIBUTES),
            seek: promised(FileOperations::SEEK_DATA),
            max_read: given.max_read.min(self.limits.read),
            max_name: given.max_name.min(NAME_MAX as u32),
        };
        Ok(Promises { core, symlinks: promised(FileOperations::SYMLINKS) })
    }

    /// Attributes of a node.
    fn attributes(&self, node: u64, given: &wit::Attributes) -> Result<FileAttributes, Error> {
        let wrong = |what: std::fmt::Arguments<'_>| Err(self.corrupt(format_args!("node {node} has {what}")));
        if given.inode == 0 {
            return wrong(format_args!("the inode number 0"));
        }
        if given.mode > 0o7777 {
            return wrong(format_args!("the mode {:o}, which is more than permissions", given.mode));
        }
        if i64::try_from(given.size).is_err() {
            return wrong(format_args!("{} bytes", given.size));
        }
        let time = |time: types::Timestamp| match time.nanoseconds {
            0..1_000_000_000 => Ok(Timestamp { seconds: time.seconds, nanoseconds: time.nanoseconds }),
            other => Err(self.corrupt(format_args!("node {node} has a time with {other} nanoseconds"))),
        };
        Ok(FileAttributes {
            inode: given.inode,
            kind: kind(given.kind),
            mode: given.mode,
            links: given.links,
            uid: given.uid,
            gid: given.gid,
            device: given.device,
            size: given.size,
            allocated: given.allocated,
            block_size: given.block_size.min(LARGEST_BLOCK),
            accessed: time(given.accessed)?,
            modified: time(given.modified)?,
            changed: time(given.changed)?,
            data_version: given.data_version,
        })
    }

    /// A time for which something holds.
    fn lasts(&self, milliseconds: u32, coherence: Coherence) -> Result<u32, Error> {
        if milliseconds == Validity::FOREVER && coherence == Coherence::Timed {
            return Err(self.corrupt("what holds until it is invalidated, and it promises no invalidations"));
        }
        Ok(milliseconds)
    }

    /// Attributes of a node, and how long they hold.
    pub(super) fn attributes_answer(
        &self,
        node: NodeNumber,
        given: &wit::AttributesAnswer,
        coherence: Coherence,
    ) -> Result<AttributesAnswer, Error> {
        Ok(AttributesAnswer {
            attributes: self.attributes(node.0, &given.attributes)?,
            attributes_ms: self.lasts(given.attributes_ms, coherence)?,
        })
    }

    /// An entry.
    fn entry(&self, given: &wit::Entry, coherence: Coherence) -> Result<FileEntry, Error> {
        if given.node == 0 {
            return Err(self.corrupt("an entry of node 0"));
        }
        Ok(FileEntry {
            node: NodeNumber(given.node),
            generation: given.generation,
            attributes: self.attributes(given.node, &given.attributes)?,
            validity: Validity {
                attributes_ms: self.lasts(given.validity.attributes_ms, coherence)?,
                entry_ms: self.lasts(given.validity.entry_ms, coherence)?,
            },
        })
    }

    /// What a name stands for.
    pub(super) fn resolution(
        &self,
        given: &wit::Resolution,
        coherence: Coherence,
    ) -> Result<Resolution, Error> {
        match given {
            wit::Resolution::Found(entry) => self.entry(entry, coherence).map(Resolution::Found),
            wit::Resolution::Absent(milliseconds) => {
                self.lasts(*milliseconds, coherence).map(Resolution::Absent)
            }
        }
    }

    /// What may be kept of something open.
    pub(super) fn cache_policy(
        &self,
        given: wit::CachePolicy,
        coherence: Coherence,
    ) -> Result<CachePolicy, Error> {
        let says = |flag| given.contains(flag);
        let (bypass, immutable) = (says(wit::CachePolicy::BYPASS), says(wit::CachePolicy::IMMUTABLE));
        if bypass && (immutable || says(wit::CachePolicy::WRITE_BACK)) {
            return Err(self.corrupt("a file that may be cached and must not be"));
        }
        if says(wit::CachePolicy::WRITE_BACK) && (immutable || coherence == Coherence::Timed) {
            return Err(self.corrupt("writes that may be kept back although nobody asks for them"));
        }
        Ok(CachePolicy { keep: says(wit::CachePolicy::KEEP), bypass, immutable })
    }

    /// Part of a directory, asked for at most `limit` entries after `cookie`.
    pub(super) fn directory_page(
        &self,
        given: wit::DirectoryPage,
        asked: Page,
        promised: &FileCapabilities,
    ) -> Result<DirectoryPage, Error> {
        let (count, limit) = (given.entries.len(), asked.limit);
        if count > limit as usize {
            return Err(self.corrupt(format_args!("a page of {count} entries, {limit} were asked for")));
        }
        let mut entries = Vec::with_capacity(count);
        let mut before = asked.cookie;
        for one in given.entries {
            let shown = || printable(&String::from_utf8_lossy(&one.name), 200);
            let name = Name::new(&one.name)
                .map_err(|what| self.corrupt(format_args!("a directory entry {:?}: {what}", shown())))?;
            if one.name.len() > promised.max_name as usize {
                let most = promised.max_name;
                return Err(self.corrupt(format_args!("{:?} is longer than {most} bytes", shown())));
            }
            // Whoever goes on there would begin anew, or for ever stay where it is.
            if one.cookie == 0 || one.cookie == before {
                let cookie = one.cookie;
                return Err(self.corrupt(format_args!("{:?} comes before position {cookie}", shown())));
            }
            before = one.cookie;
            let coherence = promised.coherence;
            let entry = match &one.entry {
                Some(_) if !asked.with_attributes => {
                    let text = format!("{:?} with attributes that nobody asked for", shown());
                    return Err(self.corrupt(text));
                }
                Some(entry) => Some(self.entry(entry, coherence)?),
                None => None,
            };
            if one.inode == 0 {
                return Err(self.corrupt(format_args!("{:?} has the inode number 0", shown())));
            }
            let kind = one.kind.map(kind);
            entries.push(FileDirEntry { name, inode: one.inode, kind, cookie: one.cookie, entry });
        }
        // A page without entries leaves nothing to go on from.
        Ok(DirectoryPage { end: given.end || entries.is_empty(), entries })
    }

    /// Target of a symlink.
    pub(super) fn target(&self, target: Vec<u8>) -> Result<Vec<u8>, Error> {
        match target.len() {
            1..=LONGEST_TARGET if !target.contains(&0) => Ok(target),
            1..=LONGEST_TARGET => Err(self.corrupt("the target of a symlink with a NUL in it")),
            length => Err(self.corrupt(format_args!("the target of a symlink of {length} bytes"))),
        }
    }

    /// Value of an extended attribute.
    pub(super) fn xattr(&self, value: Vec<u8>) -> Result<Vec<u8>, Error> {
        match value.len() {
            0..=XATTR_SIZE => Ok(value),
            length => Err(self.corrupt(format_args!("an extended attribute of {length} bytes"))),
        }
    }

    /// Names of all extended attributes of a node.
    pub(super) fn xattr_names(&self, names: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
        for name in &names {
            if name.is_empty() || name.len() > XATTR_NAME || name.contains(&0) {
                let shown = printable(&String::from_utf8_lossy(name), 300);
                return Err(self.corrupt(format_args!("an extended attribute with the name {shown:?}")));
            }
        }
        match names.iter().map(|name| name.len() + 1).sum::<usize>() {
            0..=XATTR_LIST => Ok(names),
            bytes => Err(self.corrupt(format_args!("{bytes} bytes of names of extended attributes"))),
        }
    }

    /// Space and limits.
    pub(super) fn statistics(&self, given: wit::Statistics) -> Result<FileStatistics, Error> {
        if given.block_size == 0 {
            return Err(self.corrupt("statistics in blocks of 0 bytes"));
        }
        Ok(FileStatistics {
            block_size: given.block_size,
            blocks: given.blocks,
            blocks_free: given.blocks_free,
            blocks_available: given.blocks_available,
            inodes: given.inodes,
            inodes_free: given.inodes_free,
        })
    }
}

/// A question for a part of a directory.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// What it comes after.
    pub(super) cookie: u64,
    /// Most entries.
    pub(super) limit: u32,
    /// Attributes were asked for.
    pub(super) with_attributes: bool,
}

fn kind(kind: wit::NodeKind) -> FileKind {
    match kind {
        wit::NodeKind::Regular => FileKind::Regular,
        wit::NodeKind::Directory => FileKind::Directory,
        wit::NodeKind::Symlink => FileKind::Symlink,
        wit::NodeKind::Fifo => FileKind::Fifo,
        wit::NodeKind::Socket => FileKind::Socket,
        wit::NodeKind::BlockDevice => FileKind::BlockDevice,
        wit::NodeKind::CharacterDevice => FileKind::CharacterDevice,
    }
}

#[cfg(test)]
mod tests;
