//! Looking at a cache directory and tidying it up, also while processes use it: what `wasmount cache ls|du|rm|verify` does.

use crate::config::{CacheError, MinFree};
use crate::entry::{Disk, Removal, find_listed, remove as remove_entry};
use crate::format::{EntryHash, pages};
use crate::read::{Fail, Patience, fill};
use crate::root::{Root, identities};
use crate::scan::{Seen, walk};
use crate::space::Space;
use bytes::BytesMut;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmount_core::ports::CACHE_PAGE;

/// Name of the file that says what an identity stands for.
pub(crate) const ABOUT: &str = "about";

/// One version of one object in a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub identity: String,
    /// What that stands for, if a mount has said so.
    pub label: Option<String>,
    /// The object's key; empty if the entry cannot be read.
    pub key: String,
    /// The object's version; empty if the entry cannot be read.
    pub version: String,
    /// The object's size in bytes.
    pub size: u64,
    /// Bytes of it that are there.
    pub cached_bytes: u64,
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// Whether all of it is there and was synced.
    pub complete: bool,
    /// When it was last opened, to the minute.
    pub last_used: SystemTime,
    /// Whether a process or the kernel has it open.
    pub in_use: bool,
    hash: EntryHash,
}

/// Which entries are meant; the default means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this identity.
    pub identity: Option<String>,
    /// Only keys that begin with this.
    pub key_prefix: Option<String>,
}

impl Filter {
    fn wants_identity(&self, identity: &str) -> bool {
        self.identity.as_deref().is_none_or(|wanted| wanted == identity)
    }

    fn wants(&self, entry: &Listed) -> bool {
        self.key_prefix.as_deref().is_none_or(|prefix| entry.key.starts_with(prefix))
    }
}

/// What a directory uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

/// What [`remove`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Entries that are gone.
    pub entries: u64,
    /// Bytes on the disk that they used.
    pub bytes: u64,
    /// Entries that are open somewhere and were left.
    pub in_use: u64,
}

/// What [`verify`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries that were read.
    pub entries: u64,
    /// Bytes that were read and right.
    pub bytes: u64,
    /// Pages that were not what was written; they are gone now, and will be fetched again.
    pub damaged_pages: u64,
    /// Entries that had some.
    pub damaged_entries: u64,
}

/// Calls `visit` for every entry that the filter means, in no particular order, until it returns false.
///
/// # Errors
/// The directory cannot be used or read.
pub fn list(dir: &Path, filter: &Filter, visit: impl FnMut(Listed) -> bool) -> Result<(), CacheError> {
    let root = Root::open_existing(dir)?;
    each(&root, filter, visit)
}

/// Bytes and entries, counted.
///
/// # Errors
/// The directory cannot be used or read.
pub fn usage(dir: &Path, filter: &Filter) -> Result<Usage, CacheError> {
    let mut usage = Usage::default();
    list(dir, filter, |entry| {
        usage.bytes += entry.disk_bytes;
        usage.entries += 1;
        true
    })?;
    Ok(usage)
}

/// Removes the entries that the filter means and nobody has open.
///
/// # Errors
/// The directory cannot be used, or an entry not be removed.
pub fn remove(dir: &Path, filter: &Filter) -> Result<Removed, CacheError> {
    let root = Root::open_existing(dir)?;
    let top = root.top();
    let mut removed = Removed::default();
    let mut failed = None;
    each(&root, filter, |entry| {
        match remove_entry(&top, &entry.identity, entry.hash) {
            Ok(Removal::Gone(bytes)) => {
                removed.entries += 1;
                removed.bytes += bytes;
            }
            Ok(Removal::InUse) => removed.in_use += 1,
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    let space = Space::new(u64::MAX >> 1, MinFree::Bytes(0));
    space.add(-(removed.bytes as i64), -(removed.entries as i64));
    let _ = space.sync(&root);
    match failed {
        Some(error) => Err(io(dir, "remove an entry of it")(error)),
        None => Ok(removed),
    }
}

/// Reads the entries that the filter means and checks every page; takes away those that are damaged. `progress` is called with each entry's
/// result and says whether to go on.
///
/// # Errors
/// The directory cannot be used or read.
pub fn verify(
    dir: &Path,
    filter: &Filter,
    mut progress: impl FnMut(&Listed, Verified) -> bool,
) -> Result<Verified, CacheError> {
    let root = Root::open_existing(dir)?;
    let mut sum = Verified::default();
    let mut failed = None;
    each(&root, filter, |entry| {
        let one = match find_listed(&root, &entry.identity, entry.hash) {
            Ok(Some((disk, header, _))) => check(&root, &disk, header.size),
            Ok(None) => return true,
            Err(error) => Err(error),
        };
        match one {
            Ok(one) => {
                sum.entries += 1;
                sum.bytes += one.bytes;
                sum.damaged_pages += one.damaged_pages;
                sum.damaged_entries += one.damaged_entries;
                progress(&entry, one)
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    })?;
    match failed {
        Some(error) => Err(io(dir, "read an entry of it")(error)),
        None => Ok(sum),
    }
}

fn io(dir: &Path, action: &'static str) -> impl FnOnce(Errno) -> CacheError {
    let path = dir.to_owned();
    move |error| CacheError::Io { path, action, source: error.into() }
}

fn each(root: &Root, filter: &Filter, mut visit: impl FnMut(Listed) -> bool) -> Result<(), CacheError> {
    let top = root.top();
    let names: Vec<_> = identities(&top)
        .map_err(io(root.path(), "list it"))?
        .into_iter()
        .filter(|name| filter.wants_identity(name))
        .collect();
    let labels: Vec<_> = names
        .iter()
        .map(|name| std::fs::read_to_string(root.path().join("v1").join(name).join(ABOUT)).ok())
        .collect();
    walk(&top, &names, |seen| {
        let identity = &names[seen.identity];
        let entry = look(root, identity, labels[seen.identity].clone(), &seen);
        !filter.wants(&entry) || visit(entry)
    })
    .map_err(io(root.path(), "list it"))
}

fn look(root: &Root, identity: &str, label: Option<String>, seen: &Seen) -> Listed {
    let hash = seen.hash;
    let used = UNIX_EPOCH + Duration::new(seen.used.0.max(0) as u64, seen.used.1.min(999_999_999) as u32);
    let mut entry = Listed {
        identity: identity.to_owned(),
        label,
        key: String::new(),
        version: String::new(),
        size: 0,
        cached_bytes: 0,
        disk_bytes: seen.bytes,
        complete: false,
        last_used: used,
        in_use: in_use(root, identity, hash),
        hash,
    };
    if let Ok(Some((disk, header, mark))) = find_listed(root, identity, hash) {
        entry.complete = mark;
        entry.cached_bytes = if mark { header.size } else { count(&disk, header.size) };
        entry.size = header.size;
        entry.key = header.key;
        entry.version = header.version;
    }
    entry
}

/// Whoever has it open holds a shared lock.
fn in_use(root: &Root, identity: &str, hash: EntryHash) -> bool {
    let path = crate::root::entry_path(identity, hash, "data");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(root.top().as_ref(), path, flags, rustix::fs::Mode::empty())
        .is_ok_and(|fd| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// Bytes of the pages that have words.
fn count(disk: &Disk, size: u64) -> u64 {
    let (all, mut present, mut at) = (pages(size), 0, 0);
    let mut buffer = [0; 16 << 10];
    while at < all {
        let n = (all - at).min(buffer.len() as u64 / 4);
        let words = &mut buffer[..n as usize * 4];
        if disk.words(at, words, ReadWriteFlags::empty()).is_err() {
            break;
        }
        present += words.chunks_exact(4).filter(|word| **word != [0; 4]).count() as u64;
        at += n;
    }
    (present * CACHE_PAGE).min(size)
}

fn check(root: &Root, disk: &Disk, size: u64) -> Result<Verified, Errno> {
    let mut result = Verified { entries: 1, ..Verified::default() };
    let mut buffer = BytesMut::with_capacity(1 << 20);
    let mut at = 0;
    while at < size {
        buffer.clear();
        let outcome = fill(disk, size, at, size.min(at + (1 << 20)), &mut buffer, Patience::Some);
        result.bytes += buffer.len() as u64;
        at += buffer.len() as u64;
        let bad = match outcome {
            Ok(()) => continue,
            Err(Fail::Io(Errno::IO, pages)) => pages.collect(),
            Err(Fail::Io(error, _)) => return Err(error),
            Err(Fail::Bad(bad)) => bad,
            // Not there, or no longer.
            Err(Fail::Gone(page)) => {
                // Those in front of it, in the same chunk, are still to be read.
                let start = at / CACHE_PAGE;
                if page > start {
                    buffer.clear();
                    match fill(disk, size, at, page * CACHE_PAGE, &mut buffer, Patience::Some) {
                        Ok(()) => result.bytes += buffer.len() as u64,
                        Err(Fail::Bad(bad)) => drop(damaged(root, disk, &bad, &mut result)),
                        Err(Fail::Io(Errno::IO, pages)) => {
                            damaged(root, disk, &pages.collect::<Vec<_>>(), &mut result);
                        }
                        Err(Fail::Io(error, _)) => return Err(error),
                        Err(_) => {}
                    }
                }
                at = ((page + 1) * CACHE_PAGE).min(size);
                continue;
            }
            Err(Fail::Wait) => continue,
        };
        // The words of the bad pages are gone: the next round reads those around them.
        if !damaged(root, disk, &bad, &mut result) {
            at = bad.last().map_or(size, |page| ((page + 1) * CACHE_PAGE).min(size));
        }
    }
    result.damaged_entries = u64::from(result.damaged_pages > 0);
    Ok(result)
}

/// Takes pages away; whether that was possible.
fn damaged(root: &Root, disk: &Disk, bad: &[u64], result: &mut Verified) -> bool {
    result.damaged_pages += bad.len() as u64;
    let Ok(pen) = disk.pen(root) else { return false };
    let gone = bad.iter().all(|page| pen.forget(*page, *page + 1).is_ok());
    disk.outdate();
    gone
}
