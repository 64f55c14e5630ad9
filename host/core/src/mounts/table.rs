//! The table itself: what each node number leads to.

use super::config::MountTableConfig;
use super::directories::OpenDirectory;
use super::files::OpenFile;
use super::opener::Mount;
use super::siblings::Siblings;
use super::tree::{Directory, ROOT, Tree};
use super::volume::Volume;
use crate::fs::{Entry, FsStats};
use crate::handle::HandleTable;
use crate::inode::{FileVersion, Identity, InodeTable, NodeKind};
use crate::mounts::opener::State;
use crate::objects::Child;
use crate::ports::{Clock, Spawn, StateLog};
use crate::read::{ReadStats, Reading};
use futures::future::{AbortHandle, Abortable};
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Attr, Blame, Error, ErrorKind, FileKind, Ino, MountId, NAME_MAX, Timestamp};

/// How long the kernel may use what it knows of the table's own directories, which never change.
const TABLE_TTL: Duration = Duration::from_secs(60);
/// Size shown for directories.
const DIRECTORY_SIZE: u64 = 4096;
/// Block size of `statfs`.
const BLOCK_SIZE: u32 = 4096;
/// Size of the file system of `statfs` in bytes: no store says how large it is, and zero makes `df` hide it.
const CAPACITY: u64 = 1 << 50;

/// The mounts of a Dataset as one file system.
///
/// The root, the directories that lead to mounts, and the attributes of each mount's own directory are answered from
/// memory, whatever state the stores are in.
pub struct MountTable {
    pub(super) tree: Tree,
    pub(super) mounts: Vec<Arc<Mount>>,
    pub(super) inodes: InodeTable,
    pub(super) files: HandleTable<OpenFile>,
    pub(super) directories: HandleTable<OpenDirectory>,
    pub(super) reading: Arc<Reading>,
    pub(super) siblings: Siblings,
    pub(super) clock: Arc<dyn Clock>,
    started: Timestamp,
    uid: u32,
    gid: u32,
    dir_mode: u16,
    openers: Vec<AbortHandle>,
}

/// What a node number leads to.
pub(super) enum Target {
    /// A directory of the table.
    Table(usize),
    /// A directory inside a mount.
    Directory { mount: usize, path: Arc<str> },
    /// A file inside a mount.
    File { mount: usize, path: Arc<str>, file: FileVersion, outdated: bool },
    /// A file inside a mount whose bytes may change.
    Live { mount: usize, path: Arc<str> },
}

impl MountTable {
    /// Lays out the mounts and starts opening them; returns at once.
    ///
    /// # Errors
    /// `invalid` when two mounts have the same place or the same id.
    pub fn new(
        config: MountTableConfig,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
        state_log: Arc<dyn StateLog>,
    ) -> Result<Arc<Self>, Error> {
        let mut tree = Tree::build(config.mounts.iter().map(|mount| (&mount.id, &mount.place)))?;
        for (index, mount) in config.mounts.iter().enumerate() {
            if config.mounts.iter().take(index).any(|other| other.id == mount.id) {
                let message = format!("two mounts are called `{}`; give one of them another name", mount.id);
                return Err(Error::new(ErrorKind::Invalid, Blame::Caller, message));
            }
        }
        let inodes = InodeTable::new(state_log.clone());
        for (index, directory) in tree.directories.iter_mut().enumerate().skip(ROOT + 1) {
            // Counted once for the table itself, so that no forget of the kernel can make it go.
            directory.ino = inodes.look_up(table_identity(index, &directory.path));
        }
        let timeout = config.request_timeout;
        let mounts = config
            .mounts
            .into_iter()
            .map(|mount| Arc::new(Mount::new(mount, timeout, clock.clone(), spawn.clone())))
            .collect::<Vec<_>>();
        let mut openers = Vec::new();
        for mount in &mounts {
            let (abort, registration) = AbortHandle::new_pair();
            let task = Abortable::new(mount.clone().keep_open(), registration);
            spawn.spawn(Box::pin(async move {
                let _stopped = task.await;
            }));
            openers.push(abort);
        }
        Ok(Arc::new(Self {
            tree,
            mounts,
            inodes,
            files: HandleTable::files(state_log.clone()),
            directories: HandleTable::directories(state_log),
            started: clock.wall().into(),
            reading: Reading::new(config.read, config.cache, clock.clone(), spawn),
            siblings: Siblings::default(),
            clock,
            uid: config.uid,
            gid: config.gid,
            dir_mode: config.dir_mode,
            openers,
        }))
    }

    /// What reading has done so far, and what it holds at the moment.
    pub fn read_stats(&self) -> ReadStats {
        self.reading.stats()
    }

    /// The path of a node the kernel knows, below the mount point and without a leading slash.
    pub(super) fn path_of(&self, ino: Ino) -> Option<String> {
        let (mount, path) = match self.target(ino).ok()? {
            Target::Table(index) => return Some(self.directory(index).ok()?.path.to_string()),
            Target::Directory { mount, path }
            | Target::File { mount, path, .. }
            | Target::Live { mount, path } => (mount, path),
        };
        let place = self.mount(mount).ok()?.place.relative().to_owned();
        Some(if place.is_empty() { path.to_string() } else { format!("{place}/{path}") })
    }

    pub(super) fn target(&self, ino: Ino) -> Result<Target, Error> {
        if ino == Ino::ROOT {
            return Ok(Target::Table(ROOT));
        }
        let node = self.inodes.get(ino).ok_or_else(|| Error::stale(format_args!("node {ino}")))?;
        let (mount, path) = (node.identity.mount, node.identity.path.clone());
        Ok(match &node.identity.kind {
            NodeKind::Virtual(index) => Target::Table(*index),
            NodeKind::Directory => Target::Directory { mount, path },
            NodeKind::Live => Target::Live { mount, path },
            NodeKind::File(file) => Target::File { mount, path, file: file.clone(), outdated: node.outdated },
        })
    }

    pub(super) fn directory(&self, index: usize) -> Result<&Directory, Error> {
        self.tree.directories.get(index).ok_or_else(|| Error::stale("a directory of the mount table"))
    }

    pub(super) fn mount(&self, index: usize) -> Result<&Arc<Mount>, Error> {
        self.mounts.get(index).ok_or_else(|| Error::stale("a mount"))
    }

    /// Counts one look-up of a directory of the table.
    pub(super) fn look_up_table(&self, index: usize) -> Result<Entry, Error> {
        let directory = self.directory(index)?;
        if index != ROOT {
            self.inodes.look_up(table_identity(index, &directory.path));
        }
        Ok(self.table_entry(directory))
    }

    /// Attributes of a directory of the table, from memory.
    pub(super) fn table_entry(&self, directory: &Directory) -> Entry {
        let config = directory.mount.and_then(|mount| self.mounts.get(mount)).map(|mount| &mount.config);
        let (uid, gid, mode) =
            config.map_or((self.uid, self.gid, self.dir_mode), |c| (c.uid, c.gid, c.dir_mode));
        Entry { attr: directory_attr(directory.ino, mode, uid, gid, self.started), ttl: TABLE_TTL }
    }

    /// What `path` of a mount is as a node.
    pub(super) fn identity(&self, index: usize, path: &str, child: &Child) -> Result<Identity, Error> {
        let kind = match child {
            Child::Directory => NodeKind::Directory,
            Child::File(file) => NodeKind::File(file.clone()),
            Child::Live(_) => NodeKind::Live,
        };
        Ok(Identity { mount: index, mount_id: self.mount(index)?.id.clone(), path: path.into(), kind })
    }

    /// Attributes of a node inside a mount.
    pub(super) fn attr(&self, index: usize, ino: Ino, child: &Child) -> Result<Attr, Error> {
        let mount = self.mount(index)?;
        let config = &mount.config;
        Ok(match child {
            Child::Directory => directory_attr(ino, config.dir_mode, config.uid, config.gid, self.started),
            Child::File(file) | Child::Live(file) => Attr {
                ino,
                kind: FileKind::Regular,
                perm: mount.file_mode(),
                nlink: 1,
                uid: config.uid,
                gid: config.gid,
                size: file.size,
                mtime: file.modified.unwrap_or(self.started),
            },
        })
    }

    /// Passes an error of a mount on, and lets the mount know of it.
    pub(super) fn noted<T>(
        &self,
        mount: &Mount,
        volume: &Volume,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &outcome {
            mount.report(volume, error);
        }
        outcome
    }

    /// Sizes from memory: what was seen in listings so far, of a file system that never fills up.
    pub(super) fn stats(&self) -> FsStats {
        let (mut bytes, mut files) = (0_u64, self.inodes.len() as u64);
        for mount in &self.mounts {
            if let State::Ready(volume) = mount.state() {
                let (seen, entries) = volume.totals();
                bytes = bytes.saturating_add(seen);
                files = files.max(entries);
            }
        }
        let used = bytes.div_ceil(BLOCK_SIZE.into());
        let blocks = (CAPACITY / u64::from(BLOCK_SIZE)).max(used.saturating_mul(2));
        FsStats {
            block_size: BLOCK_SIZE,
            blocks,
            blocks_free: blocks - used,
            files: files.max(1),
            name_max: NAME_MAX as u32,
        }
    }
}

impl Drop for MountTable {
    fn drop(&mut self) {
        self.openers.iter().for_each(AbortHandle::abort);
        self.reading.close();
    }
}

fn table_identity(index: usize, path: &Arc<str>) -> Identity {
    Identity {
        mount: usize::MAX,
        mount_id: MountId::new(""),
        path: path.clone(),
        kind: NodeKind::Virtual(index),
    }
}

fn directory_attr(ino: Ino, perm: u16, uid: u32, gid: u32, mtime: Timestamp) -> Attr {
    Attr { ino, kind: FileKind::Directory, perm, nlink: 2, uid, gid, size: DIRECTORY_SIZE, mtime }
}
