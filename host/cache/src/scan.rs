//! Walking over all entries of a cache directory, and evicting those that were not used for the longest time.

use crate::entry::{Removal, remove};
use crate::format::EntryHash;
use crate::root::{identities, list, shard_dir};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::collections::{BTreeMap, BinaryHeap};
use std::os::fd::OwnedFd;

/// The candidates for eviction that one walk remembers: 3 MiB of memory, however large the cache is.
const CANDIDATES: usize = 1 << 16;

/// An entry as a walk sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    /// Seconds and nanoseconds since 1970. First, because entries are ordered by it.
    pub used: (i64, u64),
    /// Bytes on the disk, both files.
    pub bytes: u64,
    /// Number of its identity in the walk.
    pub identity: usize,
    pub hash: EntryHash,
}

/// Calls `visit` for every entry; stops when it says so.
pub(crate) fn walk(
    top: &OwnedFd,
    names: &[String],
    mut visit: impl FnMut(Seen) -> bool,
) -> Result<(), Errno> {
    for (identity, name) in names.iter().enumerate() {
        for shard in 0..=255 {
            let dir = shard_dir(name, shard);
            let mut entries: BTreeMap<EntryHash, ((i64, u64), u64)> = BTreeMap::new();
            for (file, _) in list(top, &dir)? {
                let Some((hash, kind)) =
                    file.split_once('.').and_then(|(h, k)| Some((EntryHash::parse(h)?, k)))
                else {
                    continue;
                };
                let stat = match rustix::fs::statat(top, format!("{dir}/{file}"), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    // Gone meanwhile; or one that the file system has lost, which must not end every walk.
                    Err(Errno::NOENT | Errno::UCLEAN | Errno::BADMSG) => continue,
                    Err(error) => return Err(error),
                };
                let (used, bytes) = entries.entry(hash).or_default();
                *bytes += stat.st_blocks as u64 * 512;
                // The meta file's time is that of the last use; a data file alone has none.
                if kind == "meta" || *used == (0, 0) {
                    *used = (stat.st_mtime, stat.st_mtime_nsec);
                }
            }
            for (hash, (used, bytes)) in entries {
                if !visit(Seen { used, bytes, identity, hash }) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// What a walk has found.
pub(crate) struct Survey {
    /// Bytes on the disk.
    pub bytes: u64,
    pub entries: u64,
    names: Vec<String>,
    /// The entries that were used longest ago, the oldest first.
    oldest: Vec<Seen>,
}

/// Walks over everything; remembers candidates for eviction only if they are wanted.
pub(crate) fn survey(top: &OwnedFd, candidates: bool, stop: impl Fn() -> bool) -> Result<Survey, Errno> {
    let names = identities(top)?;
    let (mut bytes, mut entries) = (0, 0);
    // The youngest on top, so that it can make way for an older one.
    let mut oldest: BinaryHeap<Seen> = BinaryHeap::new();
    walk(top, &names, |seen| {
        bytes += seen.bytes;
        entries += 1;
        if candidates {
            if oldest.len() < CANDIDATES {
                oldest.push(seen);
            } else if oldest.peek().is_some_and(|youngest| seen < *youngest) {
                oldest.pop();
                oldest.push(seen);
            }
        }
        !stop()
    })?;
    Ok(Survey { bytes, entries, names, oldest: oldest.into_sorted_vec() })
}

impl Survey {
    /// Removes the entries used longest ago until `excess` bytes are gone; those that are open anywhere stay. Bytes and entries that are gone.
    pub(crate) fn evict(
        self,
        top: &OwnedFd,
        excess: u64,
        stop: impl Fn() -> bool,
    ) -> Result<(u64, u64), Errno> {
        let (mut bytes, mut entries) = (0, 0);
        for seen in self.oldest {
            if bytes >= excess || stop() {
                break;
            }
            let Some(name) = self.names.get(seen.identity) else { continue };
            match remove(top, name, seen.hash) {
                Ok(Removal::Gone(gone)) => {
                    bytes += gone;
                    entries += 1;
                }
                Ok(Removal::InUse) => {}
                Err(Errno::ROFS) => return Err(Errno::ROFS),
                // One that cannot be removed must not keep all others.
                Err(error) => tracing::debug!(hash = %seen.hash, %error, "not evicted"),
            }
        }
        Ok((bytes, entries))
    }
}
