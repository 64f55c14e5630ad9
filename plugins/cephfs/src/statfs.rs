//! Space: of a quota where there is one, else of the cluster.

use wasmount_ceph::cephfs::Attributes;
use wasmount_ceph::mon::Usage;
use wasmount_sdk::files::Statistics;

/// Unit in which a quota is told. Quotas may be small.
const QUOTA_BLOCK: u32 = 4096;
/// Unit in which a cluster is told: 4 MiB, as Ceph's own clients do (`CEPH_BLOCK_SHIFT`).
const CLUSTER_BLOCK: u32 = 4 << 20;

/// The room that the quotas of these directories leave, of the tightest one; `None`: none of them has one.
#[must_use]
pub fn of_quota(directories: &[&Attributes]) -> Option<Statistics> {
    let quotas = directories.iter().filter_map(|directory| {
        let limit = u64::try_from(directory.quota.max_bytes).ok().filter(|limit| *limit > 0)?;
        Some((limit.saturating_sub(directory.recursive.bytes), limit))
    });
    let (free, limit) = quotas.min()?;
    Some(blocks(QUOTA_BLOCK, limit, free))
}

/// The room that the monitors tell of.
#[must_use]
pub fn of_cluster(usage: &Usage) -> Statistics {
    blocks(CLUSTER_BLOCK, usage.total_kib.saturating_mul(1024), usage.available_kib.saturating_mul(1024))
}

/// Bytes in blocks of a unit. There is no limit to the number of inodes.
fn blocks(unit: u32, all: u64, free: u64) -> Statistics {
    let (blocks, free) = (all / u64::from(unit), free / u64::from(unit));
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

    fn room(directories: &[&Attributes]) -> Option<(u64, u64, u32)> {
        of_quota(directories).map(|found| (found.blocks, found.blocks_free, found.block_size))
    }

    #[test]
    fn the_tightest_quota_counts() {
        let (none, wide, tight) = (directory(0, 7), directory(1 << 30, 1 << 20), directory(10 << 20, 4096));
        assert_eq!(room(&[&none]), None);
        assert_eq!(room(&[&none, &wide]), Some((262_144, 261_888, 4096)));
        assert_eq!(room(&[&wide, &tight]), Some((2560, 2559, 4096)));
        assert_eq!(room(&[&tight, &directory(1 << 30, 1 << 30)]), Some((262_144, 0, 4096)), "the fullest");
        assert_eq!(room(&[&directory(4096, 1 << 40)]), Some((1, 0, 4096)), "overrun");
    }

    #[test]
    fn clusters_are_told_in_their_own_unit() {
        let usage = Usage { total_kib: 14_979_072, used_kib: 0, available_kib: 13_918_208, objects: 0 };
        let found = of_cluster(&usage);
        assert_eq!((found.blocks, found.blocks_available, found.block_size), (3657, 3398, 4 << 20));
    }
}
