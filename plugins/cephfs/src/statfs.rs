//! Space: of a quota where there is one, else of the cluster.

use crate::fs::Fs;
use wasmount_ceph::cephfs::{Attributes, FsError, Vino};
use wasmount_ceph::mds::{Caps, FilePath, ino};
use wasmount_ceph::mon::Usage;
use wasmount_sdk::files::Statistics;

/// Unit in which room is told: 4 MiB, as Ceph's clients do (`CEPH_BLOCK_SHIFT`).
const BLOCK: u32 = 4 << 20;
/// The same where a quota is less than one of these (`CEPH_4K_BLOCK_SHIFT` of `fs/ceph/quota.c`).
const SMALL_BLOCK: u32 = 4096;

/// The directories above the root of a mount, the nearest first, as far up as the user may see them. They are not forgotten: their quotas limit
/// the mount too.
pub async fn above(fs: &Fs, root: &str) -> Vec<Vino> {
    let mut found = Vec::new();
    let mut path = root.trim_matches('/');
    while !path.is_empty() {
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        match fs.find_root(FilePath::new(ino::ROOT, path)).await {
            Ok(entry) => found.push(entry.attributes.vino),
            Err(_) => break,
        }
    }
    found
}

/// The directory whose quota limits the room in a mount: its root, or the nearest one above it that has one (`Client::statfs`). Its MDS is asked
/// even if its attributes are known, since no capability covers what lies below a directory.
///
/// # Errors
/// As [`Fs::getattr`] of the root.
pub async fn limited(fs: &Fs, root: Vino, above: &[Vino]) -> Result<Option<Box<Attributes>>, FsError> {
    for vino in std::iter::once(root).chain(above.iter().copied()) {
        let known = match fs.getattr(vino, Caps::ANY_SHARED).await {
            Ok((attributes, _)) => attributes,
            Err(error) if vino == root => return Err(error),
            // It was removed, or may not be seen any more.
            Err(_) => continue,
        };
        if !is_limited(&known) {
            continue;
        }
        if vino.is_frozen() {
            return Ok(Some(known));
        }
        let asked = fs.find_path(FilePath::new(vino.ino, Vec::new())).await;
        return Ok(Some(asked.map_or(known, |entry| {
            fs.forget(std::iter::once((entry.attributes.vino, 1)));
            entry.attributes
        })));
    }
    Ok(None)
}

/// Whether a directory has a quota on bytes.
fn is_limited(directory: &Attributes) -> bool {
    directory.quota.max_bytes > 0
}

/// The room that the quota of a directory leaves, in whole blocks as Ceph's clients count them; `None`: it has none.
#[must_use]
pub fn of_quota(directory: &Attributes) -> Option<Statistics> {
    let limit = u64::try_from(directory.quota.max_bytes).ok().filter(|limit| *limit > 0)?;
    let used = directory.recursive.bytes;
    let unit = if limit < BLOCK.into() { SMALL_BLOCK } else { BLOCK };
    let in_units = |bytes: u64| bytes / u64::from(unit);
    Some(match in_units(limit) {
        // Not even one of the small ones: it is full or it is not.
        0 => blocks(unit, 1, u64::from(used < limit)),
        all => blocks(unit, all, all.saturating_sub(in_units(used))),
    })
}

/// The room that the monitors tell of.
#[must_use]
pub fn of_cluster(usage: &Usage) -> Statistics {
    let kib = u64::from(BLOCK >> 10);
    blocks(BLOCK, usage.total_kib / kib, usage.available_kib / kib)
}

/// So many blocks of a unit. There is no limit to the number of inodes.
fn blocks(unit: u32, blocks: u64, free: u64) -> Statistics {
    Statistics {
        block_size: unit,
        blocks,
        blocks_free: free,
        blocks_available: free,
        inodes: 0,
        inodes_free: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;
    use wasmount_ceph::cephfs::{RecursiveStat, Vino};
    use wasmount_ceph::mds::QuotaInfo;

    fn directory(max_bytes: i64, bytes: u64) -> Attributes {
        Attributes {
            quota: QuotaInfo { max_bytes, max_files: 5 },
            recursive: RecursiveStat { bytes, ..RecursiveStat::default() },
            ..fake::attributes(Vino::ROOT, 0o040_755)
        }
    }

    #[test]
    fn a_quota_is_counted_in_blocks_that_it_has_at_least_one_of() {
        let room = |max_bytes, bytes| {
            let directory = directory(max_bytes, bytes);
            assert_eq!(is_limited(&directory), max_bytes > 0);
            of_quota(&directory).map(|found| (found.blocks, found.blocks_available, found.block_size))
        };
        assert_eq!(room(0, 7), None);
        // What ceph-fuse shows for a quota of 100 MiB with 2.3 MiB in it.
        assert_eq!(room(104_857_600, 2_400_256), Some((25, 25, BLOCK)));
        assert_eq!(room(104_857_600, 9 << 20), Some((25, 23, BLOCK)));
        assert_eq!(room(100 << 20, 1 << 40), Some((25, 0, BLOCK)), "overrun");
        assert_eq!(room(10_000, 5000), Some((2, 1, SMALL_BLOCK)));
        assert_eq!(room(100, 99), Some((1, 1, SMALL_BLOCK)));
        assert_eq!(room(100, 100), Some((1, 0, SMALL_BLOCK)));
    }

    #[test]
    fn clusters_are_told_in_their_own_unit() {
        let usage = Usage { total_kib: 14_979_072, used_kib: 0, available_kib: 13_918_208, objects: 0 };
        let found = of_cluster(&usage);
        assert_eq!((found.blocks, found.blocks_available, found.block_size), (3657, 3398, 4 << 20));
    }
}
