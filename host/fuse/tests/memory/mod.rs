//! A file system in memory with switchable faults, for tests of the adapter.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses a part; a test that cannot go on has failed"
)]

pub(crate) mod fixture;

use bytes::Bytes;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::{
    DirEntry, Entry, FsStats, OpenDirectory, OpenFile, Piped, ReadAnswer, ReadData, ReadDir, ReadRequest,
    Seek,
};
use wasmount_core::ports::{BoxFuture, KernelPages, ServedFrom};
use wasmount_pipe::Pipes;
use wasmount_types::{Attr, Blame, Error, ErrorKind, Fh, FileKind, Ino, Name, RequestCtx, Timestamp};

pub(crate) const MANY: u64 = 10_000;
const MANY_DIR: u64 = 3;
pub(crate) const BIG: u64 = 4;
pub(crate) const HANG: u64 = 5;
const PANIC: u64 = 6;
const SLOW_OPEN: u64 = 7;
/// Its first entries are listed without attributes, and gone when they are looked up.
const VANISHING: u64 = 8;
pub(crate) const VANISHED: u64 = 500;
pub(crate) const FIRST_OF_MANY: u64 = 1000;
pub(crate) const BIG_SIZE: u64 = 40 << 20;

/// Root: `many/` (10,000 files, odd ones without attributes in listings), `big`, `hang`, `panic`, `slow-open`,
/// `vanishing/` (500 entries that are gone, then `file-0` to `file-2`).
#[derive(Default)]
pub(crate) struct Memory {
    /// Look-ups minus forgets, by node.
    pub(crate) lookups: Mutex<HashMap<u64, i64>>,
    /// Opens minus releases.
    pub(crate) open: AtomicI64,
    pub(crate) reads: AtomicU64,
    pub(crate) readdirs: AtomicU64,
    /// Local files with the bytes of nodes, given to opens while they are here.
    pub(crate) backings: Mutex<HashMap<u64, Arc<OwnedFd>>>,
    /// Every file is opened for direct reads.
    pub(crate) direct: AtomicBool,
    /// Milliseconds an open has to wait, and is then answered by a thread of the runtime.
    pub(crate) open_waits: AtomicU64,
    /// Where large READs are answered from.
    pub(crate) pipes: Mutex<Option<Arc<Pipes>>>,
    /// READs that get a byte more than they asked for, in a pipe.
    pub(crate) too_long: AtomicU64,
    /// READs that got a pipe.
    pub(crate) piped: AtomicU64,
    /// The kernel's page cache.
    pub(crate) kernel: Mutex<Option<Arc<dyn KernelPages>>>,
    next: AtomicU64,
}

/// Byte of a node at an offset: no two nodes are equal.
pub(crate) fn byte(ino: u64, offset: u64) -> u8 {
    if ino < FIRST_OF_MANY { big_byte(offset) } else { big_byte(offset) ^ (ino ^ (ino >> 7)) as u8 }
}

/// All bytes of a node.
pub(crate) fn content(ino: u64) -> Bytes {
    // Computed once: it takes a second without optimisation.
    static BIG_BYTES: OnceLock<Bytes> = OnceLock::new();
    let all = || (0..attr(ino).size).map(|offset| byte(ino, offset)).collect();
    if ino == BIG { BIG_BYTES.get_or_init(all).clone() } else { all() }
}

/// Byte of `big` at an offset: no two nearby blocks are equal.
pub(crate) fn big_byte(offset: u64) -> u8 {
    (offset ^ (offset >> 8) ^ (offset >> 16).wrapping_mul(31)) as u8
}

fn attr(ino: u64) -> Attr {
    let (kind, size) = match ino {
        1 | MANY_DIR | VANISHING => (FileKind::Directory, 4096),
        BIG => (FileKind::Regular, BIG_SIZE),
        FIRST_OF_MANY.. => (FileKind::Regular, ino),
        _ => (FileKind::Regular, 10),
    };
    let perm = if kind == FileKind::Directory { 0o755 } else { 0o644 };
    let written = Timestamp { seconds: 1_600_000_000, nanoseconds: 5 };
    Attr::plain(Ino(ino), kind, perm, (12, 34), size, written)
}

fn entry(ino: u64) -> Entry {
    Entry::new(attr(ino), Duration::from_secs(60))
}

const ROOT: [(&str, u64); 6] = [
    ("many", MANY_DIR),
    ("big", BIG),
    ("hang", HANG),
    ("panic", PANIC),
    ("slow-open", SLOW_OPEN),
    ("vanishing", VANISHING),
];

impl Memory {
    fn count(&self, ino: u64, by: i64) {
        *self.lookups.lock().unwrap().entry(ino).or_default() += by;
    }

    fn handle(&self, ino: u64) -> Fh {
        Fh(self.next.fetch_add(1, Ordering::Relaxed) << 32 | ino)
    }
}

impl FileSystem for Memory {
    fn lookup<'a>(
        &'a self,
        _ctx: RequestCtx,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Entry, Error>> {
        Box::pin(async move {
            let text = name.as_str().unwrap_or("");
            let found = match parent.0 {
                1 => ROOT.iter().find(|(n, _)| *n == text).map(|(_, ino)| *ino),
                MANY_DIR | VANISHING => {
                    text.strip_prefix("file-").and_then(|n| n.parse().ok()).map(|n: u64| FIRST_OF_MANY + n)
                }
                _ => None,
            };
            // Half of the look-ups have to wait, so that both ways through the adapter are used.
            if found.is_some_and(|ino| ino % 2 == 0) {
                tokio::time::sleep(Duration::from_micros(50)).await;
            }
            let ino = found.ok_or_else(|| Error::not_found(name))?;
            self.count(ino, 1);
            Ok(entry(ino))
        })
    }

    fn forget(&self, ino: Ino, count: u64) {
        self.count(ino.0, -(count as i64));
    }

    fn getattr(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Entry, Error>> {
        Box::pin(async move { Ok(entry(ino.0)) })
    }

    fn open(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenFile, Error>> {
        Box::pin(async move {
            if ino.0 == SLOW_OPEN {
                // Longer than the request's deadline in the tests, but it does succeed.
                tokio::time::sleep(Duration::from_millis(2300)).await;
            }
            match self.open_waits.load(Ordering::Relaxed) {
                0 => {}
                wait => tokio::time::sleep(Duration::from_millis(wait)).await,
            }
            self.open.fetch_add(1, Ordering::SeqCst);
            let backing = self.backings.lock().unwrap().get(&ino.0).cloned();
            let direct_io = self.direct.load(Ordering::Relaxed);
            Ok(OpenFile { fh: self.handle(ino.0), keep_cache: true, direct_io, backing })
        })
    }

    fn read(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        ReadRequest { offset, size, .. }: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadData, Error>> {
        Box::pin(async move {
            let ino = fh.0 & 0xffff_ffff;
            self.reads.fetch_add(1, Ordering::Relaxed);
            assert!(ctx.pid < u32::MAX && ino != PANIC, "a fault on purpose");
            if ino == HANG {
                std::future::pending::<()>().await;
            }
            let end = (offset + u64::from(size)).min(attr(ino).size);
            tokio::task::yield_now().await;
            let bytes = match ino {
                BIG => content(ino).slice(offset.min(end) as usize..end as usize),
                _ => (offset..end.max(offset)).map(|offset| byte(ino, offset)).collect(),
            };
            Ok(ReadData { bytes, from: ServedFrom::Memory })
        })
    }

    fn read_piped(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        wanted: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadAnswer, Error>> {
        Box::pin(async move {
            let data = self.read(ctx, fh, wanted).await?;
            let pipe = self.pipes.lock().unwrap().as_ref().and_then(Pipes::take);
            let Some(mut pipe) = pipe.filter(|_| data.bytes.len() >= 512 << 10) else {
                return Ok(ReadAnswer::Memory(data));
            };
            for page in data.bytes.chunks(4096) {
                assert_eq!(pipe.push(page).unwrap(), page.len());
            }
            let one_less = |left: u64| left.checked_sub(1);
            if self.too_long.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                pipe.push(&[0]).unwrap();
            }
            self.piped.fetch_add(1, Ordering::SeqCst);
            Ok(ReadAnswer::Piped(Piped::new(pipe, data.from, Arc::new(()))))
        })
    }

    /// Every second MiB is a hole.
    fn seek(&self, _ctx: RequestCtx, fh: Fh, offset: u64, what: Seek) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let size = attr(fh.0 & 0xffff_ffff).size;
            let wanted = if what == Seek::Data { 0 } else { 1 };
            let found = if (offset >> 20) % 2 == wanted { offset } else { ((offset >> 20) + 1) << 20 };
            match (found < size, what) {
                (true, _) => Ok(found),
                (false, Seek::Hole) if offset < size => Ok(size),
                (false, _) => Err(Error::new(ErrorKind::OutOfRange, Blame::Caller, "beyond the end")),
            }
        })
    }

    fn release(&self, _fh: Fh) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn opendir(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>> {
        Box::pin(async move { Ok(OpenDirectory { fh: self.handle(ino.0), cache: false, keep_cache: false }) })
    }

    fn readdir(
        &self,
        _ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>> {
        Box::pin(async move {
            self.readdirs.fetch_add(1, Ordering::Relaxed);
            let all: Vec<(String, u64)> = match fh.0 & 0xffff_ffff {
                1 => ROOT.iter().map(|(name, ino)| ((*name).to_owned(), *ino)).collect(),
                VANISHING => {
                    let gone = (0..VANISHED).map(|n| (format!("gone-{n}"), FIRST_OF_MANY + 2 * n + 1));
                    gone.chain((0..3).map(|n| (format!("file-{n}"), FIRST_OF_MANY + n))).collect()
                }
                _ => (0..MANY).map(|n| (format!("file-{n}"), FIRST_OF_MANY + n)).collect(),
            };
            let skip = request.offset as usize;
            let page = all.into_iter().enumerate().skip(skip).take(request.limit);
            Ok(page
                .map(|(index, (name, ino))| {
                    let with = request.plus && (ino < FIRST_OF_MANY || ino % 2 == 0);
                    if with {
                        self.count(ino, 1);
                    }
                    DirEntry {
                        name: Name::new(name.as_bytes()).unwrap(),
                        ino: Ino(ino),
                        kind: attr(ino).kind,
                        next_offset: index as u64 + 1,
                        entry: with.then(|| entry(ino)),
                    }
                })
                .collect())
        })
    }

    fn releasedir(&self, _fh: Fh) {}

    fn statfs(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<FsStats, Error>> {
        // A quota of its own for each node.
        let (blocks_free, blocks_available, files_free) = (400, 300, 7);
        let blocks = 1000 + ino.0;
        let stats = FsStats {
            block_size: 4096,
            blocks,
            blocks_free,
            blocks_available,
            files: 77,
            files_free,
            name_max: 255,
        };
        Box::pin(async move { Ok(stats) })
    }

    fn getxattr<'a>(
        &'a self,
        _ctx: RequestCtx,
        _ino: Ino,
        name: &'a [u8],
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            match name {
                b"user.wasmount.error" => Ok(Bytes::from_static(b"no such bucket")),
                _ => Err(Error::new(ErrorKind::NoAttribute, Blame::Caller, "none")),
            }
        })
    }

    fn listxattr(&self, _ctx: RequestCtx, _ino: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        Box::pin(async move { Ok(vec![b"user.a".to_vec(), b"user.wasmount.error".to_vec()]) })
    }

    fn mounted(&self, kernel: Arc<dyn KernelPages>) {
        *self.kernel.lock().unwrap() = Some(kernel);
    }
}
