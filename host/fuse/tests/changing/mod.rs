//! A file system in memory whose files change and whose answers can be held back, with a count of all it is asked.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part; a test that cannot go on has failed"
)]

use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use wasmount_core::FileSystem;
use wasmount_core::fs::{DirEntry, Entry, FsStats, OpenDirectory, OpenFile, ReadData, ReadDir, ReadRequest};
use wasmount_core::ports::{BoxFuture, KernelPages, ServedFrom};
use wasmount_fuse::{MountOptions, Mounted, mount};
use wasmount_types::{Attr, Blame, Error, ErrorKind, Fh, FileKind, Ino, Name, RequestCtx, Timestamp};

/// Number of directory `dir-0`; the next ones follow.
pub(crate) const FIRST_DIR: u64 = 1000;
/// Where the link at the root leads.
pub(crate) const LINK_TARGET: &str = "dir-0/file-1";
/// Size of each file.
pub(crate) const SIZE: u64 = 64 << 10;

/// What is at the root beside directories: name, type, permissions, device.
const SPECIAL: [(&str, FileKind, u16, u32); 6] = [
    ("link", FileKind::Symlink, 0o777, 0),
    ("fifo", FileKind::Fifo, 0o600, 0),
    ("socket", FileKind::Socket, 0o600, 0),
    ("disk", FileKind::BlockDevice, 0o660, 8 << 8 | 1),
    ("tty", FileKind::CharacterDevice, 0o620, 4 << 8 | 64),
    ("tool", FileKind::Regular, 0o4751, 0),
];
const FIRST_SPECIAL: u64 = 100;

/// Number of `dir-D/file-N`.
pub(crate) const fn file(dir: u64, n: u64) -> u64 {
    (dir + 1) << 32 | n
}

/// Directories `dir-D` with files `file-N`, a link, and one of each other type.
pub(crate) struct Changing {
    dirs: u64,
    files: u64,
    /// How long names and attributes may be kept.
    pub(crate) ttl: Mutex<(Duration, Duration)>,
    /// Listings may be kept.
    pub(crate) keep_listings: AtomicBool,
    /// What each byte of a file is, and the second it was changed; 0 unless it is here.
    versions: Mutex<HashMap<u64, u8>>,
    /// READs of these nodes are not answered.
    held: watch::Sender<HashSet<u64>>,
    asked: Mutex<HashMap<(&'static str, u64), u64>>,
    kernel: Mutex<Option<Arc<dyn KernelPages>>>,
}

impl Changing {
    /// So many directories with so many files each, whose names and attributes may be kept for an hour.
    pub(crate) fn new(dirs: u64, files: u64) -> Arc<Self> {
        let hour = Duration::from_secs(3600);
        Arc::new(Self {
            dirs,
            files,
            ttl: Mutex::new((hour, hour)),
            keep_listings: AtomicBool::new(false),
            versions: Mutex::default(),
            held: watch::Sender::new(HashSet::new()),
            asked: Mutex::default(),
            kernel: Mutex::default(),
        })
    }

    /// Mounts it on a runtime.
    pub(crate) fn mount(
        self: &Arc<Self>,
        target: &Path,
        runtime: &tokio::runtime::Runtime,
        change: impl FnOnce(&mut MountOptions),
    ) -> Mounted {
        let mut options = MountOptions::new(target);
        change(&mut options);
        mount(self.clone(), runtime.handle().clone(), &options).expect("mounting needs root and /dev/fuse")
    }

    /// How often something was asked about a node.
    pub(crate) fn asked(&self, op: &'static str, ino: u64) -> u64 {
        self.asked.lock().unwrap().get(&(op, ino)).copied().unwrap_or(0)
    }

    /// How often something was asked about any node.
    pub(crate) fn asked_in_all(&self, op: &'static str) -> u64 {
        self.asked.lock().unwrap().iter().filter(|((asked, _), _)| *asked == op).map(|(_, count)| count).sum()
    }

    /// The kernel it is mounted in.
    pub(crate) fn kernel(&self) -> Arc<dyn KernelPages> {
        self.kernel.lock().unwrap().clone().expect("told of the kernel when it was mounted")
    }

    /// Changes a file: all its bytes, and its times.
    pub(crate) fn change(&self, ino: u64, version: u8) {
        self.versions.lock().unwrap().insert(ino, version);
    }

    /// READs of these nodes are not answered from now on.
    pub(crate) fn hold(&self, nodes: impl IntoIterator<Item = u64>) {
        self.held.send_modify(|held| held.extend(nodes));
    }

    /// READs are answered again.
    pub(crate) fn free(&self) {
        self.held.send_modify(HashSet::clear);
    }

    fn count(&self, op: &'static str, ino: u64) {
        *self.asked.lock().unwrap().entry((op, ino)).or_default() += 1;
    }

    fn version(&self, ino: u64) -> u8 {
        self.versions.lock().unwrap().get(&ino).copied().unwrap_or(0)
    }

    fn entry(&self, ino: u64) -> Entry {
        let (kind, perm, device, size) = match ino {
            1 | FIRST_DIR..=0xffff_ffff => (FileKind::Directory, 0o755, 0, 4096),
            FIRST_SPECIAL..FIRST_DIR => {
                let (_, kind, perm, device) = SPECIAL[(ino - FIRST_SPECIAL) as usize];
                (kind, perm, device, if kind == FileKind::Symlink { LINK_TARGET.len() as u64 } else { 0 })
            }
            _ => (FileKind::Regular, 0o644, 0, SIZE),
        };
        let changed = Timestamp { seconds: self.version(ino).into(), nanoseconds: 0 };
        let attr = Attr { device, ..Attr::plain(Ino(ino), kind, perm, (0, 0), size, changed) };
        let (ttl, attr_ttl) = *self.ttl.lock().unwrap();
        Entry { attr, ttl, attr_ttl }
    }

    fn child(&self, dir: u64, name: &str) -> Option<u64> {
        let number = |prefix: &str, limit: u64| {
            name.strip_prefix(prefix).and_then(|n| n.parse::<u64>().ok()).filter(|n| *n < limit)
        };
        match dir {
            1 => number("dir-", self.dirs).map(|n| FIRST_DIR + n).or_else(|| {
                let index = SPECIAL.iter().position(|special| special.0 == name)?;
                Some(FIRST_SPECIAL + index as u64)
            }),
            _ => number("file-", self.files).map(|n| file(dir - FIRST_DIR, n)),
        }
    }

    /// The entry at a position of a directory.
    fn nth(&self, dir: u64, index: u64) -> Option<(String, u64)> {
        match dir {
            1 if index < self.dirs => Some((format!("dir-{index}"), FIRST_DIR + index)),
            1 => {
                let special = SPECIAL.get((index - self.dirs) as usize)?;
                Some((special.0.to_owned(), FIRST_SPECIAL + index - self.dirs))
            }
            _ => (index < self.files).then(|| (format!("file-{index}"), file(dir - FIRST_DIR, index))),
        }
    }

    fn handle(&self, ino: u64) -> Fh {
        // Which node it is, is all that matters.
        Fh(ino)
    }
}

fn now<'a, T: Send + 'a>(answer: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl FileSystem for Changing {
    fn lookup<'a>(
        &'a self,
        _ctx: RequestCtx,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Entry, Error>> {
        let found = self.child(parent.0, name.as_str().unwrap_or(""));
        self.count("lookup", found.unwrap_or(0));
        now(found.map(|ino| self.entry(ino)).ok_or_else(|| Error::not_found(name)))
    }

    fn forget(&self, _ino: Ino, _count: u64) {}

    fn getattr(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Entry, Error>> {
        self.count("getattr", ino.0);
        now(Ok(self.entry(ino.0)))
    }

    fn readlink(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Bytes, Error>> {
        self.count("readlink", ino.0);
        now(Ok(Bytes::from_static(LINK_TARGET.as_bytes())))
    }

    fn open(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenFile, Error>> {
        now(Ok(OpenFile { fh: self.handle(ino.0), keep_cache: true, direct_io: false, backing: None }))
    }

    fn read(
        &self,
        _ctx: RequestCtx,
        fh: Fh,
        ReadRequest { offset, size, .. }: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadData, Error>> {
        let ino = fh.0;
        self.count("read", ino);
        Box::pin(async move {
            // The sender is never dropped.
            let _ = self.held.subscribe().wait_for(|held| !held.contains(&ino)).await;
            let length = SIZE.saturating_sub(offset).min(size.into()) as usize;
            Ok(ReadData { bytes: vec![self.version(ino); length].into(), from: ServedFrom::Memory })
        })
    }

    fn release(&self, _fh: Fh) {}

    fn opendir(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>> {
        let keep = self.keep_listings.load(Ordering::Relaxed);
        now(Ok(OpenDirectory { fh: self.handle(ino.0), cache: keep, keep_cache: keep }))
    }

    fn readdir(
        &self,
        _ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>> {
        let dir = fh.0;
        self.count("readdir", dir);
        let page = (request.offset..).map_while(|index| Some((index, self.nth(dir, index)?)));
        let entries = page.take(request.limit).map(|(index, (name, ino))| {
            let entry = self.entry(ino);
            DirEntry {
                name: Name::new(name.as_bytes()).unwrap(),
                ino: Ino(ino),
                kind: entry.attr.kind,
                next_offset: index + 1,
                entry: request.plus.then_some(entry),
            }
        });
        now(Ok(entries.collect()))
    }

    fn releasedir(&self, _fh: Fh) {}

    fn statfs(&self, _ctx: RequestCtx, _ino: Ino) -> BoxFuture<'_, Result<FsStats, Error>> {
        let (blocks, files) = (0, self.dirs * self.files);
        now(Ok(FsStats {
            block_size: 4096,
            blocks,
            blocks_free: 0,
            blocks_available: 0,
            files,
            files_free: 0,
            name_max: 255,
        }))
    }

    fn getxattr<'a>(
        &'a self,
        _ctx: RequestCtx,
        _ino: Ino,
        _name: &'a [u8],
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        now(Err(Error::new(ErrorKind::NoAttribute, Blame::Caller, "none")))
    }

    fn listxattr(&self, _ctx: RequestCtx, _ino: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        now(Ok(Vec::new()))
    }

    fn mounted(&self, kernel: Arc<dyn KernelPages>) {
        *self.kernel.lock().unwrap() = Some(kernel);
    }
}
