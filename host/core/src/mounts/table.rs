//! The table itself: what each node number leads to.

use super::change::Numbers;
use super::config::{MountTableConfig, NextMount, Owner};
use super::directories::OpenDirectory;
use super::files::Open;
use super::opener::Mount;
use super::shape::Shape;
use super::tree::{self, Directory, ROOT};
use super::volume::{Opened, Volume};
use crate::fs::{Entry, FsStats};
use crate::handle::HandleTable;
use crate::inode::{FileVersion, Identity, InodeTable, NodeKind, StoreNode};
use crate::mounts::opener::State;
use crate::objects::Child;
use crate::ports::{Clock, Spawn, StateLog};
use crate::read::{ReadStats, Reading};
use crate::walk::Walks;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use wasmount_types::{Attr, Error, FileKind, Ino, NAME_MAX, Timestamp};

/// How long the kernel may use what it knows of the table's own directories: it is told when they change.
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
    /// Held for as long as it takes to copy a reference.
    pub(super) shape: RwLock<Arc<Shape>>,
    /// Held during a change.
    pub(super) numbers: Mutex<Numbers>,
    pub(super) inodes: Arc<InodeTable>,
    pub(super) files: HandleTable<Open>,
    pub(super) directories: HandleTable<OpenDirectory>,
    pub(super) reading: Arc<Reading>,
    /// Who goes through the small files of which directory of which mount.
    pub(super) walks: Walks<(usize, Arc<str>)>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawn>,
    pub(super) request_timeout: Duration,
    started: Timestamp,
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
    /// A node of a mount that has nodes of its own.
    Node { mount: usize, of: StoreNode },
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
        let table = Arc::new(Self {
            shape: RwLock::default(),
            numbers: Mutex::default(),
            inodes: Arc::new(InodeTable::new(state_log.clone())),
            files: HandleTable::files(state_log.clone()),
            directories: HandleTable::directories(state_log),
            started: clock.wall().into(),
            reading: Reading::new(config.read, config.cache, clock.clone(), spawn.clone()),
            walks: Walks::default(),
            clock,
            spawn,
            request_timeout: config.request_timeout,
        });
        table.change(config.mounts.into_iter().map(NextMount::New).collect(), config.owner)?;
        Ok(table)
    }

    /// What there is at this moment.
    pub(super) fn shape(&self) -> Arc<Shape> {
        self.shape.read().unwrap_or_else(PoisonError::into_inner).clone()
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
            Target::Node { mount, of } => (mount, self.node_path(mount, of, ino)?.into()),
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
            NodeKind::Node(of) => Target::Node { mount, of: *of },
            NodeKind::File(file) => Target::File { mount, path, file: file.clone(), outdated: node.outdated },
        })
    }

    /// A directory of the table.
    ///
    /// # Errors
    /// `stale`: it is gone.
    pub(super) fn directory(&self, index: usize) -> Result<Arc<Directory>, Error> {
        self.shape().directory(index).cloned()
    }

    /// A mount by its number.
    ///
    /// # Errors
    /// `stale`: it is gone.
    pub(super) fn mount(&self, number: usize) -> Result<Arc<Mount>, Error> {
        self.shape().mount(number).cloned()
    }

    /// Counts one look-up of a directory of the table.
    pub(super) fn look_up_table(&self, index: usize) -> Result<Entry, Error> {
        let shape = self.shape();
        let directory = shape.directory(index)?;
        if index != ROOT {
            self.inodes.look_up(tree::identity(index, &directory.path));
        }
        Ok(self.table_entry(&shape, directory))
    }

    /// Attributes of a directory of the table, from memory.
    pub(super) fn table_entry(&self, shape: &Shape, directory: &Directory) -> Entry {
        let mount = shape.shown(directory);
        let Owner { uid, gid, dir_mode } = mount.map_or(shape.owner, |mount| Owner {
            uid: mount.config.uid,
            gid: mount.config.gid,
            dir_mode: mount.config.dir_mode,
        });
        let attr = directory_attr(directory.ino, dir_mode, (uid, gid), directory.changed);
        // Nobody knows yet what the store says about a directory of its own.
        let found_by_paths = |mount: &Arc<Mount>| matches!(mount.state(), State::Ready(Opened::Paths(_)));
        let certain = mount.is_none_or(found_by_paths);
        Entry { attr, ttl: TABLE_TTL, attr_ttl: if certain { TABLE_TTL } else { Duration::ZERO } }
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
            Child::Directory => directory_attr(ino, config.dir_mode, (config.uid, config.gid), self.started),
            Child::File(file) | Child::Live(file) => Attr::plain(
                ino,
                FileKind::Regular,
                mount.file_mode(),
                (config.uid, config.gid),
                file.size,
                file.modified.unwrap_or(self.started),
            ),
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
            mount.report(error, |now| matches!(now, Opened::Paths(now) if now.is(volume)));
        }
        outcome
    }

    /// Sizes from memory: what was seen in listings so far, of a file system that never fills up.
    pub(super) fn stats(&self) -> FsStats {
        let (mut bytes, mut files) = (0_u64, self.inodes.len() as u64);
        for mount in self.shape().in_order() {
            if let State::Ready(opened) = mount.state() {
                let (seen, entries) = opened.totals();
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
            blocks_available: blocks - used,
            files: files.max(1),
            files_free: 0,
            name_max: NAME_MAX as u32,
        }
    }
}

impl Drop for MountTable {
    fn drop(&mut self) {
        self.shape().in_order().for_each(|mount| mount.stop());
        self.reading.close();
    }
}

fn directory_attr(ino: Ino, perm: u16, owner: (u32, u32), written: Timestamp) -> Attr {
    Attr::plain(ino, FileKind::Directory, perm, owner, DIRECTORY_SIZE, written)
}
