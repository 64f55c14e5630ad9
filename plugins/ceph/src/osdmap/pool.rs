//! Pools.

use super::PgId;
use super::decode::{skip_section, skip_strings};
use crate::crush::hash::hash2;
use crate::encoding::{DecodeError, Decoder, Section};
use crate::types::Epoch;

/// How a pool keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Whole copies.
    Replicated,
    /// Shards, of which some suffice.
    Erasure,
}

/// A pool (`pg_pool_t`): what of it matters to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// How it keeps its objects.
    pub kind: PoolKind,
    /// How many copies or shards.
    pub size: u8,
    /// How many of them must be there for the pool to serve.
    pub min_size: u8,
    /// Id of the rule by which CRUSH places it.
    pub crush_rule: u8,
    /// How names are hashed: 2 everywhere.
    pub object_hash: u8,
    /// How many placement groups it has.
    pub pg_num: u32,
    /// How many of them CRUSH tells apart; fewer while placement groups are being split.
    pub pgp_num: u32,
    /// How many it will have next; fewer while placement groups are about to be merged.
    pub pg_num_pending: u32,
    /// Its switches, such as [`Pool::FULL`].
    pub flags: u64,
    /// When something of it was changed.
    pub last_change: Epoch,
    /// Since when requests sent before must be sent again, whether or not their placement changed; 0 for never.
    pub last_force_op_resend: Epoch,
    /// The newest snapshot of the pool.
    pub snap_seq: u64,
    /// The most bytes it may have; 0 for any number.
    pub quota_max_bytes: u64,
    /// The most objects it may have; 0 for any number.
    pub quota_max_objects: u64,
    /// The pool that this one is a cache of.
    pub tier_of: Option<i64>,
    /// The pool that reads go to instead.
    pub read_tier: Option<i64>,
    /// The pool that writes go to instead.
    pub write_tier: Option<i64>,
    /// Bytes of an object in one stripe over all data shards of an erasure coded pool; 0 in others. Writes must be
    /// aligned to it unless [`Pool::EC_OVERWRITES`] is set.
    pub stripe_width: u32,
    /// How its objects are coded: a name.
    pub erasure_code_profile: String,
    /// Shards that cannot lead, a bit each ([`Pool::EC_OPTIMIZATIONS`]).
    pub nonprimary_shards: u128,
}

impl Pool {
    /// Placement groups of different pools do not lie on the same OSDs (`hashpspool`).
    pub const HASHPSPOOL: u64 = 1 << 0;
    /// No space left for it, or its quota is used up: writes fail or wait.
    pub const FULL: u64 = 1 << 1;
    /// Objects of an erasure coded pool may be overwritten in part.
    pub const EC_OVERWRITES: u64 = 1 << 2;
    /// Its quota is used up; [`Pool::FULL`] is then set, too.
    pub const FULL_QUOTA: u64 = 1 << 10;
    /// Whoever uses it makes its snapshots, as RBD and CephFS do.
    pub const SELFMANAGED_SNAPS: u64 = 1 << 13;
    /// Its snapshots are those of the whole pool.
    pub const POOL_SNAPS: u64 = 1 << 14;
    /// It is not ready yet.
    pub const CREATING: u64 = 1 << 15;
    /// Every request fails with EIO, because a person said so.
    pub const EIO: u64 = 1 << 16;
    /// Some shards of an erasure coded pool are not written each time, and cannot lead (Ceph 20).
    pub const EC_OPTIMIZATIONS: u64 = 1 << 19;

    /// Whether all of these switches are on.
    #[must_use]
    pub fn has(&self, flags: u64) -> bool {
        self.flags & flags == flags
    }

    /// Reads one, whose name comes from elsewhere.
    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        const OLDEST: u8 = 17;
        let Section { version, body: mut d, .. } = decoder.section("pg_pool_t", 33)?;
        if version < OLDEST {
            return Err(d.error(format_args!("version {version}, from before Ceph 0.94")));
        }
        let kind = match d.u8()? {
            1 => PoolKind::Replicated,
            3 => PoolKind::Erasure,
            other => return Err(d.error(format_args!("a pool of the unknown kind {other}"))),
        };
        let (size, crush_rule, object_hash) = (d.u8()?, d.u8()?, d.u8()?);
        let (pg_num, pgp_num) = (d.u32()?, d.u32()?);
        d.skip(8)?; // localized placement groups, which are gone
        let (last_change, snap_seq) = (d.u32()?, d.u64()?);
        d.skip(4)?; // snap_epoch
        for _ in 0..d.count(14)? {
            d.skip(8)?;
            skip_section(&mut d)?;
        }
        let removed = d.count(16)?;
        d.skip(removed * 16)?;
        d.skip(8)?; // auid
        let mut flags = d.u64()?;
        if snap_seq > 0 && flags & (Self::SELFMANAGED_SNAPS | Self::POOL_SNAPS) == 0 {
            // Pools from before Ceph 13.
            flags |= if removed > 0 { Self::SELFMANAGED_SNAPS } else { Self::POOL_SNAPS };
        }
        d.skip(4)?; // crash_replay_interval
        let min_size = d.u8()?;
        let (quota_max_bytes, quota_max_objects) = (d.u64()?, d.u64()?);
        let tiers = d.count(8)?;
        d.skip(tiers * 8)?;
        let tier_of = other_pool(d.i64()?);
        d.skip(1)?; // cache_mode
        let (read_tier, write_tier) = (other_pool(d.i64()?), other_pool(d.i64()?));
        skip_strings(&mut d)?; // properties
        skip_section(&mut d)?; // hit_set_params
        d.skip(8)?; // hit_set_period, hit_set_count
        let stripe_width = d.u32()?;
        d.skip(16 + 16)?; // targets of a cache tier
        let erasure_code_profile = d.string()?;
        let last_force_op_resend = d.u32()?;
        d.skip(4 + 8)?; // min_read_recency_for_promote, expected_num_objects
        let mut pool = Self {
            name: String::new(),
            kind,
            size,
            min_size,
            crush_rule,
            object_hash,
            pg_num,
            pgp_num,
            pg_num_pending: pg_num,
            flags,
            last_change,
            last_force_op_resend,
            snap_seq,
            quota_max_bytes,
            quota_max_objects,
            tier_of,
            read_tier,
            write_tier,
            stripe_width,
            erasure_code_profile,
            nonprimary_shards: 0,
        };
        pool.decode_additions(&mut d, version)?;
        Ok(pool)
    }

    /// What was added after version 17.
    fn decode_additions(&mut self, d: &mut Decoder<'_>, version: u8) -> Result<(), DecodeError> {
        if version >= 19 {
            d.skip(4)?; // cache_target_dirty_high_ratio_micro
        }
        if version >= 20 {
            d.skip(4)?; // min_write_recency_for_promote
        }
        if version >= 21 {
            d.skip(1)?; // use_gmt_hitset
        }
        if version >= 22 {
            d.skip(1)?; // fast_read
        }
        if version >= 23 {
            d.skip(8)?; // hit_set_grade_decay_rate, hit_set_search_last_n
        }
        if version >= 24 {
            skip_section(d)?; // opts
        }
        if version >= 25 {
            self.last_force_op_resend = d.u32()?;
        }
        if version >= 26 {
            for _ in 0..d.count(8)? {
                d.blob()?; // an application
                skip_strings(d)?;
            }
        }
        if version >= 27 {
            d.skip(8)?; // create_time
        }
        if version >= 28 {
            d.skip(8)?; // pg_num_target, pgp_num_target
            self.pg_num_pending = d.u32()?;
            d.skip(8)?; // epochs of a merge, now in last_pg_merge_meta
            self.last_force_op_resend = d.u32()?;
            d.skip(1)?; // pg_autoscale_mode
        }
        if version >= 29 {
            skip_section(d)?; // last_pg_merge_meta
        }
        // Peering rules of stretch clusters, which became optional.
        if version == 30 || version >= 31 && d.bool()? {
            d.skip(16)?;
        }
        if version >= 32 {
            self.nonprimary_shards = varint(d)? | varint(d)? << 64;
        }
        Ok(())
    }

    /// The placement group, by its seed, of what has this hash. `None` if the pool has none.
    #[must_use]
    pub fn pg_seed(&self, hash: u32) -> Option<u32> {
        stable_mod(hash, self.pg_num)
    }

    /// What CRUSH gets for a placement group. `None` if the pool has none.
    pub(super) fn crush_input(&self, pg: PgId) -> Option<u32> {
        let seed = stable_mod(pg.seed, self.pgp_num)?;
        let pool = pg.pool as u32;
        // Without the switch neighbouring pools overlap: 0.5 lies where 1.4 does.
        Some(if self.has(Self::HASHPSPOOL) { hash2(seed, pool) } else { seed.wrapping_add(pool) })
    }

    /// Puts a temporary mapping in the order of its shards. With [`Pool::EC_OPTIMIZATIONS`] the monitors write shards
    /// that can lead first, so that clients that know nothing of it choose a right primary
    /// (`pgtemp_undo_primaryfirst`).
    pub(super) fn shards_in_order(&self, osds: Vec<i32>) -> Vec<i32> {
        let size = usize::from(self.size);
        if self.kind != PoolKind::Erasure || !self.has(Self::EC_OPTIMIZATIONS) || osds.len() != size {
            return osds;
        }
        let cannot_lead =
            |&shard: &usize| self.nonprimary_shards.checked_shr(shard as u32).unwrap_or(0) & 1 == 1;
        let leaders = (0..size).filter(|shard| !cannot_lead(shard));
        let written = leaders.chain((0..size).filter(cannot_lead));
        let mut ordered = osds.clone();
        for (osd, shard) in osds.into_iter().zip(written) {
            ordered[shard] = osd;
        }
        ordered
    }
}

/// The id of another pool, negative for none.
fn other_pool(id: i64) -> Option<i64> {
    (id >= 0).then_some(id)
}

/// A number in groups of seven bits, lowest first, each but the last with its eighth bit set (`denc_varint`).
fn varint(decoder: &mut Decoder<'_>) -> Result<u128, DecodeError> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = decoder.u8()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number.into());
        }
    }
    Err(decoder.error("a number of more than 64 bits"))
}

/// The hash modulo a number of placement groups that need not be a power of two, such that when the number grows each
/// placement group is split and no other is touched (`ceph_stable_mod`).
fn stable_mod(hash: u32, number: u32) -> Option<u32> {
    // The smallest 2^n - 1 that is not below the highest seed.
    let mask = u32::MAX.checked_shr(number.checked_sub(1)?.leading_zeros()).unwrap_or(0);
    let seed = hash & mask;
    Some(if seed < number { seed } else { hash & (mask >> 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_numbers_of_placement_groups_split_them() {
        assert_eq!(stable_mod(5, 0), None);
        for number in 1..70 {
            for hash in 0..300 {
                let (before, after) =
                    (stable_mod(hash, number).unwrap(), stable_mod(hash, number + 1).unwrap());
                assert!(before < number);
                assert!(before == after || after == number, "{hash} {number}");
            }
        }
        assert_eq!((stable_mod(0xffff_ffff, 12), stable_mod(13, 12)), (Some(7), Some(5)));
        assert_eq!(stable_mod(u32::MAX, u32::MAX), Some(u32::MAX >> 1));
    }

    #[test]
    fn varints_are_read() {
        let read = |bytes: &[u8]| varint(&mut Decoder::new("test", bytes)).ok();
        assert_eq!(read(&[0x05]), Some(5));
        assert_eq!(read(&[0x85, 0x02]), Some(5 + 256));
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0xff; 11]), None);
    }
}
