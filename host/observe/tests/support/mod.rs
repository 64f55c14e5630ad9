//! A file system that answers from memory, an operation, and a strict reader of what Prometheus reads.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod exposition;

use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wasmount_core::FileSystem;
use wasmount_core::fs::{DirEntry, Entry, FsStats, OpenDirectory, OpenFile, ReadData, ReadDir, ReadRequest};
use wasmount_core::ports::{BoxFuture, Operation, ServedFrom};
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino, Name, RequestCtx};

/// Knows the paths of nodes below 1,000,000 and nothing else, and counts who asks.
#[derive(Default)]
pub struct Paths {
    pub asked: AtomicU64,
}

/// The node with this path.
pub const SPACED: Ino = Ino(300);

fn no<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(std::future::ready(Err(Error::new(ErrorKind::Unsupported, Blame::Host, "only paths"))))
}

impl FileSystem for Paths {
    fn lookup<'a>(&'a self, _: RequestCtx, _: Ino, _: &'a Name) -> BoxFuture<'a, Result<Entry, Error>> {
        no()
    }
    fn forget(&self, _: Ino, _: u64) {}
    fn getattr(&self, _: RequestCtx, _: Ino) -> BoxFuture<'_, Result<Entry, Error>> {
        no()
    }
    fn open(&self, _: RequestCtx, _: Ino) -> BoxFuture<'_, Result<OpenFile, Error>> {
        no()
    }
    fn read(&self, _: RequestCtx, _: Fh, _: ReadRequest) -> BoxFuture<'_, Result<ReadData, Error>> {
        no()
    }
    fn release(&self, _: Fh) {}
    fn opendir(&self, _: RequestCtx, _: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>> {
        no()
    }
    fn readdir(&self, _: RequestCtx, _: Fh, _: ReadDir) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>> {
        no()
    }
    fn releasedir(&self, _: Fh) {}
    fn statfs(&self, _: RequestCtx, _: Ino) -> BoxFuture<'_, Result<FsStats, Error>> {
        no()
    }
    fn getxattr<'a>(&'a self, _: RequestCtx, _: Ino, _: &'a [u8]) -> BoxFuture<'a, Result<Bytes, Error>> {
        no()
    }
    fn listxattr(&self, _: RequestCtx, _: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        no()
    }
    fn path(&self, ino: Ino) -> Option<String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match ino {
            Ino::ROOT => Some(String::new()),
            SPACED => Some("dir/a name\n".into()),
            Ino(n @ ..1_000_000) => Some(format!("dir/{n}")),
            _ => None,
        }
    }
}

/// A context with a minute to go.
pub fn ctx() -> RequestCtx {
    RequestCtx { deadline: Instant::now() + Duration::from_secs(60), uid: 0, gid: 0, pid: 77 }
}

/// A read of 4096 bytes that took so long.
pub fn read(ino: Ino, from: ServedFrom, latency: Duration) -> Operation<'static> {
    Operation {
        op: "read",
        ino,
        name: None,
        fh: Some(Fh(12)),
        offset: 8192,
        size: 4096,
        given: 4096,
        ctx: ctx(),
        latency,
        error: None,
        from: Some(from),
        passthrough: false,
    }
}
