//! The nodes of the control directory: numbers, attributes, and who may look.

use super::{ControlFile, DIRECTORY};
use crate::fs::{DirEntry, Entry};
use crate::inode::Identity;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Attr, Blame, Error, ErrorKind, FileKind, Ino, Name, RequestCtx, Timestamp};

/// Number of the directory. That of a file is this plus one plus its index.
const DIRECTORY_INO: Ino = Ino(Ino::ROOT.0 + 1);

/// Most files: their numbers lie below those of all other nodes.
const MAX_FILES: usize = (Identity::FIRST_NUMBER - DIRECTORY_INO.0 - 1) as usize;

/// How long the kernel may keep names and attributes. They never change.
const TTL: Duration = Duration::from_secs(3600);

/// Whether a node belongs to the control directory: requests for it say nothing about the storage.
pub const fn is_control(ino: Ino) -> bool {
    ino.0 >= DIRECTORY_INO.0 && ino.0 < Identity::FIRST_NUMBER
}

/// The directory and its files.
pub(super) struct Nodes {
    files: Vec<(Name, Arc<dyn ControlFile>)>,
    owner: u32,
    since: Timestamp,
}

impl Nodes {
    /// Files beyond [`MAX_FILES`] have no number and are left out.
    pub(super) fn new(mut files: Vec<(Name, Arc<dyn ControlFile>)>, owner: u32, since: Timestamp) -> Self {
        files.truncate(MAX_FILES);
        Self { files, owner, since }
    }

    /// Refuses everybody but root and whom wasmount runs as, whether or not the kernel checks modes.
    pub(super) fn admit(&self, ctx: RequestCtx) -> Result<(), Error> {
        if ctx.uid == 0 || ctx.uid == self.owner {
            return Ok(());
        }
        let message = format!("{DIRECTORY} is for root and for uid {}, as which wasmount runs", self.owner);
        Err(Error::new(ErrorKind::Denied, Blame::Caller, message))
    }

    /// The directory itself.
    pub(super) fn directory(&self) -> Entry {
        self.node(DIRECTORY_INO, FileKind::Directory, 0o500, 2)
    }

    /// A node by number.
    pub(super) fn by_number(&self, ino: Ino) -> Result<Entry, Error> {
        if ino == DIRECTORY_INO {
            return Ok(self.directory());
        }
        self.file(ino).map(|_| self.file_entry(ino))
    }

    /// A file by name.
    pub(super) fn by_name(&self, name: &Name) -> Result<Entry, Error> {
        let index = self.files.iter().position(|(known, _)| known == name);
        let index = index.ok_or_else(|| Error::not_found(format_args!("{DIRECTORY}/{name}")))?;
        Ok(self.file_entry(number(index)))
    }

    /// What is behind a file.
    pub(super) fn file(&self, ino: Ino) -> Result<&(Name, Arc<dyn ControlFile>), Error> {
        if ino == DIRECTORY_INO {
            let message = format!("{DIRECTORY} is a directory");
            return Err(Error::new(ErrorKind::IsDirectory, Blame::Caller, message));
        }
        let index = ino.0.checked_sub(number(0).0).and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| self.files.get(index))
            .ok_or_else(|| Error::not_found(format_args!("node {ino} of {DIRECTORY}")))
    }

    /// Path below the mount point.
    pub(super) fn path(&self, ino: Ino) -> Option<String> {
        if ino == DIRECTORY_INO {
            return Some(DIRECTORY.to_owned());
        }
        self.file(ino).ok().map(|(name, _)| format!("{DIRECTORY}/{name}"))
    }

    /// At most `limit` entries from a position on.
    pub(super) fn list(&self, offset: u64, limit: usize, plus: bool) -> Vec<DirEntry> {
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        let files = self.files.iter().enumerate().skip(first).take(limit);
        files
            .map(|(index, (name, _))| DirEntry {
                name: name.clone(),
                ino: number(index),
                kind: FileKind::Regular,
                next_offset: index as u64 + 1,
                entry: plus.then(|| self.file_entry(number(index))),
            })
            .collect()
    }

    fn file_entry(&self, ino: Ino) -> Entry {
        self.node(ino, FileKind::Regular, 0o400, 1)
    }

    fn node(&self, ino: Ino, kind: FileKind, perm: u16, nlink: u32) -> Entry {
        // A size of 0, as in /proc: how long a text is shows when it is read.
        let attr = Attr { nlink, ..Attr::plain(ino, kind, perm, (self.owner, 0), 0, self.since) };
        Entry::new(attr, TTL)
    }
}

fn number(index: usize) -> Ino {
    Ino(DIRECTORY_INO.0 + 1 + index as u64)
}
