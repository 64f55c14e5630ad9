//! Reading directories: `.` and `..`, positions, and replies that are full.
//!
//! The kernel's position 1 is after `.`, 2 after `..`, and a position `p` of core is `p + 2`.

use fuser::{FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use wasmount_core::FileSystem;
use wasmount_core::fs::{DirEntry, ReadDir};
use wasmount_types::{Error, ErrorKind, Fh, Ino, RequestCtx};

use crate::reply;

/// `.` and `..`.
const DOTS: u64 = 2;

/// Number of a parent we do not know (libfuse's `FUSE_UNKNOWN_INO`); the kernel resolves `..` itself.
const UNKNOWN_INO: u64 = 0xffff_ffff;

/// Most entries that are ever asked for at once.
const MAX_LIMIT: usize = 8192;

/// How many entries fit in a reply. fuser does not tell the size of the kernel's buffer, so the answer is learned
/// from the replies before.
pub(crate) struct Fit(AtomicUsize);

impl Fit {
    pub(crate) const fn new(first: usize) -> Self {
        Self(AtomicUsize::new(first))
    }

    fn limit(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// `delivered` of `got` entries fitted when `asked` had been asked for.
    fn learn(&self, asked: usize, got: usize, delivered: usize) {
        if delivered < got {
            // A little more than fitted, since names differ in length.
            self.0.store(delivered + delivered / 8 + 8, Ordering::Relaxed);
        } else if got == asked {
            self.0.store((asked * 2).min(MAX_LIMIT), Ordering::Relaxed);
        }
    }
}

/// What was read for one request.
pub(crate) struct Chunk {
    dir: Ino,
    /// The kernel's position.
    offset: u64,
    asked: usize,
    entries: Vec<DirEntry>,
}

/// Reads as many entries as will probably fit, from the kernel's position.
pub(crate) async fn fetch(
    fs: &dyn FileSystem,
    ctx: RequestCtx,
    dir: Ino,
    fh: Fh,
    offset: u64,
    fit: &Fit,
    plus: bool,
) -> Result<Chunk, Error> {
    let asked = fit.limit();
    let mut position = offset.saturating_sub(DOTS);
    loop {
        let mut entries = fs.readdir(ctx, fh, ReadDir { offset: position, limit: asked, plus }).await?;
        let last = entries.last().map(|entry| entry.next_offset);
        if plus {
            complete(fs, ctx, dir, &mut entries).await?;
        }
        match last {
            // All of them are gone since they were listed, and an empty reply would mean the end of the directory.
            Some(next) if entries.is_empty() && next > position => position = next,
            _ => return Ok(Chunk { dir, offset, asked, entries }),
        }
    }
}

/// Looks up the entries that came without attributes: a READDIRPLUS reply cannot go without them.
async fn complete(
    fs: &dyn FileSystem,
    ctx: RequestCtx,
    dir: Ino,
    entries: &mut Vec<DirEntry>,
) -> Result<(), Error> {
    let mut index = 0;
    while let Some(entry) = entries.get_mut(index) {
        if entry.entry.is_none() {
            match fs.lookup(ctx, dir, &entry.name).await {
                Ok(found) => entry.entry = Some(found),
                Err(error) if error.kind == ErrorKind::NotFound => {
                    entries.remove(index);
                    continue;
                }
                Err(error) => {
                    for rest in entries.drain(index..).filter_map(|entry| entry.entry) {
                        fs.forget(rest.attr.ino, 1);
                    }
                    // What came before is delivered; the error comes with the next request, if it still is one.
                    return if index == 0 { Err(error) } else { Ok(()) };
                }
            }
        }
        index += 1;
    }
    Ok(())
}

/// Answers READDIR.
pub(crate) fn answer(fit: &Fit, chunk: Chunk, mut reply: ReplyDirectory) {
    let dots = dots(&chunk);
    if !dots.iter().any(|(ino, position, name)| {
        reply.add(INodeNo(*ino), *position, FileType::Directory, OsStr::from_bytes(name))
    }) {
        let full = |entry: &DirEntry| {
            let name = OsStr::from_bytes(entry.name.as_bytes());
            reply.add(INodeNo(entry.ino.0), entry.next_offset + DOTS, reply::file_type(entry.kind), name)
        };
        let delivered = chunk.entries.iter().position(full).unwrap_or(chunk.entries.len());
        fit.learn(chunk.asked, chunk.entries.len(), delivered);
    }
    reply.ok();
}

/// Answers READDIRPLUS and gives back the look-ups of what did not fit.
pub(crate) fn answer_plus(fs: &dyn FileSystem, fit: &Fit, chunk: Chunk, mut reply: ReplyDirectoryPlus) {
    let mut full = dots(&chunk).iter().any(|(ino, position, name)| {
        // The kernel takes neither attributes nor a look-up from `.` and `..`.
        let attr = dot_attr(*ino);
        let name = OsStr::from_bytes(name);
        reply.add(INodeNo(*ino), *position, name, &Duration::ZERO, &attr, Generation(0))
    });
    let mut delivered = 0;
    for entry in &chunk.entries {
        let Some(found) = &entry.entry else { continue };
        if !full {
            let attr = reply::file_attr(&found.attr);
            let name = OsStr::from_bytes(entry.name.as_bytes());
            // fuser has but one time for name and attributes.
            let ttl = found.ttl.min(found.attr_ttl);
            full = reply.add(attr.ino, entry.next_offset + DOTS, name, &ttl, &attr, Generation(0));
        }
        if full {
            fs.forget(found.attr.ino, 1);
        } else {
            delivered += 1;
        }
    }
    fit.learn(chunk.asked, chunk.entries.len(), delivered);
    reply.ok();
}

/// Gives back the look-ups of a reply that nobody waits for any more.
pub(crate) fn undo(fs: &dyn FileSystem, chunk: Chunk) {
    for found in chunk.entries.into_iter().filter_map(|entry| entry.entry) {
        fs.forget(found.attr.ino, 1);
    }
}

/// Those of `.` and `..` that lie after the position: number, position after it, name.
fn dots(chunk: &Chunk) -> Vec<(u64, u64, &'static [u8])> {
    let parent = if chunk.dir == Ino::ROOT { Ino::ROOT.0 } else { UNKNOWN_INO };
    let all: [(u64, u64, &'static [u8]); 2] = [(chunk.dir.0, 1, b"."), (parent, 2, b"..")];
    all.into_iter().filter(|(_, position, _)| *position > chunk.offset).collect()
}

fn dot_attr(ino: u64) -> fuser::FileAttr {
    fuser::FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_by_position() {
        let names = |dir, offset| -> Vec<_> {
            let chunk = Chunk { dir: Ino(dir), offset, asked: 1, entries: Vec::new() };
            dots(&chunk).into_iter().map(|(ino, position, _)| (ino, position)).collect()
        };
        assert_eq!(names(7, 0), [(7, 1), (UNKNOWN_INO, 2)]);
        assert_eq!(names(7, 1), [(UNKNOWN_INO, 2)]);
        assert_eq!(names(7, 2), []);
        assert_eq!(names(1, 0), [(1, 1), (1, 2)]);
    }

    #[test]
    fn the_limit_follows_what_fits() {
        let fit = Fit::new(256);
        fit.learn(256, 256, 25);
        assert_eq!(fit.limit(), 36);
        fit.learn(36, 36, 36);
        assert_eq!(fit.limit(), 72);
        fit.learn(72, 10, 10);
        assert_eq!(fit.limit(), 72, "the end of a directory teaches nothing");
    }
}
