//! From an object's name to the OSDs that hold it.

use super::name_hash::name_hash;
use super::osd::Osd;
use super::{NO_SHARD, OsdMap, PgId, Pool, PoolKind, RawPg, SpgId};
use crate::crush::{ITEM_NONE, hash::hash2};

/// Separates a namespace from the name that follows it, for the hash.
const NAMESPACE_END: u8 = 0x1f;

/// Where a placement group is.
///
/// In a replicated pool the lists hold OSDs, the primary first unless [`Self::acting_primary`] says otherwise. In an
/// erasure coded pool place i of a list is for shard i, and may be [`ITEM_NONE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// What CRUSH chose and people overrode, without the OSDs that are down.
    pub up: Vec<i32>,
    /// Who would lead these.
    pub up_primary: Option<i32>,
    /// Who serves now. Differs from [`Self::up`] while OSDs that are up have yet to get the data.
    pub acting: Vec<i32>,
    /// Whom to ask; `None` if nobody serves.
    pub acting_primary: Option<i32>,
}

impl OsdMap {
    /// The placement group of an object, with the hash it comes from. `key_or_name` is the object's locator key if it
    /// has one, else its name. `None` if there is no such pool.
    #[must_use]
    pub fn object_pg(&self, pool: i64, namespace: &[u8], key_or_name: &[u8]) -> Option<(RawPg, PgId)> {
        let info = self.pool(pool)?;
        let hash = if namespace.is_empty() {
            name_hash(info.object_hash, key_or_name)
        } else {
            name_hash(info.object_hash, &[namespace, &[NAMESPACE_END], key_or_name].concat())
        };
        Some((RawPg { pool, hash }, PgId { pool, seed: info.pg_seed(hash)? }))
    }

    /// Where a placement group is. Nowhere, if there is no such pool.
    ///
    /// Costs one run of a CRUSH rule, natively about 2 µs for 40 OSDs in racks and hosts and 12 µs for 1000 OSDs in 50
    /// hosts, for three replicas; many OSDs that are out make it slower. See `examples/placements.rs`. Whoever places
    /// the same groups again and again in an epoch may keep the results.
    #[must_use]
    pub fn place(&self, pg: PgId) -> Placement {
        let Some(pool) = self.pool(pg.pool) else { return Placement::default() };
        let (Some(seed), Some(crush_input)) = (pool.pg_seed(pg.seed), pool.crush_input(pg)) else {
            return Placement::default();
        };
        let pg = PgId { seed, ..pg };
        let mut raw = self.crush.map_rule(
            pool.crush_rule.into(),
            crush_input,
            pool.size.into(),
            &self.weights,
            Some(pg.pool),
        );
        self.keep(pool, &mut raw, Osd::exists);
        self.apply_upmaps(pg, &mut raw);
        let mut up = raw;
        self.keep(pool, &mut up, Osd::is_up);
        let up_primary = self.choose_primary(pool, crush_input, &mut up);
        let (acting, temporary_primary) = self.temporary(pool, pg);
        let (acting, acting_primary) = match acting {
            Some(acting) => (acting, temporary_primary),
            None => (up.clone(), temporary_primary.or(up_primary)),
        };
        Placement { up, up_primary, acting, acting_primary }
    }

    /// What requests for a placement group are addressed to: in an erasure coded pool the shard that the acting
    /// primary has. `None` if there is no such pool or nobody serves.
    #[must_use]
    pub fn primary_shard(&self, pg: PgId, placement: &Placement) -> Option<SpgId> {
        let primary = placement.acting_primary?;
        let shard = match self.pool(pg.pool)?.kind {
            PoolKind::Replicated => NO_SHARD,
            PoolKind::Erasure => {
                let place = placement.acting.iter().position(|&osd| osd == primary)?;
                i8::try_from(place).ok()?
            }
        };
        Some(SpgId { pg, shard })
    }

    /// Takes OSDs away of which `condition` is not true. Those of an erasure coded pool leave a hole.
    fn keep(&self, pool: &Pool, osds: &mut Vec<i32>, condition: impl Fn(&Osd) -> bool) {
        let stays = |&osd: &i32| self.osd(osd).is_some_and(&condition);
        match pool.kind {
            PoolKind::Replicated => osds.retain(stays),
            PoolKind::Erasure => {
                for osd in osds.iter_mut().filter(|osd| !stays(osd)) {
                    *osd = ITEM_NONE;
                }
            }
        }
    }

    /// Whether the OSD is known and out, which makes exceptions that name it void.
    fn is_out(&self, osd: i32) -> bool {
        usize::try_from(osd).ok().and_then(|osd| self.weights.get(osd)) == Some(&0)
    }

    /// Applies what the balancer or a person decided against CRUSH.
    fn apply_upmaps(&self, pg: PgId, raw: &mut Vec<i32>) {
        if let Some(osds) = self.pg_upmap.get(&pg) {
            if osds.iter().any(|&osd| self.is_out(osd)) {
                return;
            }
            raw.clone_from(osds);
        }
        for &(from, to) in self.pg_upmap_items.get(&pg).into_iter().flatten() {
            if raw.contains(&to) || self.is_out(to) {
                continue;
            }
            if let Some(place) = raw.iter_mut().find(|osd| **osd == from) {
                *place = to;
            }
        }
        if let Some(&primary) = self.pg_upmap_primaries.get(&pg)
            && self.osd(primary).is_some()
            && !self.is_out(primary)
            && let Some(place) = raw.iter().skip(1).position(|&osd| osd == primary)
        {
            raw.swap(0, place + 1);
        }
    }

    /// The primary of these OSDs: the first, unless affinities say otherwise. In a replicated pool it is moved to the
    /// front.
    fn choose_primary(&self, pool: &Pool, crush_input: u32, osds: &mut [i32]) -> Option<i32> {
        let mut candidates = osds.iter().copied().enumerate().filter(|&(_, osd)| osd != ITEM_NONE);
        // Hashing placement group and OSD together makes an OSD refuse the same share of its turns everywhere.
        let accepts = |osd: i32| {
            self.osd(osd).map(|osd| osd.primary_affinity).is_none_or(|affinity| {
                affinity >= Osd::DEFAULT_PRIMARY_AFFINITY || hash2(crush_input, osd as u32) >> 16 < affinity
            })
        };
        let first = candidates.clone().next()?;
        let (place, primary) = candidates.find(|&(_, osd)| accepts(osd)).unwrap_or(first);
        if pool.kind == PoolKind::Replicated {
            osds[..=place].rotate_right(1);
        }
        Some(primary)
    }

    /// Who serves in the meantime, and who leads, if the monitors said so.
    fn temporary(&self, pool: &Pool, pg: PgId) -> (Option<Vec<i32>>, Option<i32>) {
        let mut osds = self.pg_temp.get(&pg).cloned().unwrap_or_default();
        self.keep(pool, &mut osds, Osd::is_up);
        let first = osds.iter().copied().find(|&osd| osd != ITEM_NONE);
        let primary = self.primary_temp.get(&pg).copied().or(first);
        let osds = pool.shards_in_order(osds);
        ((!osds.is_empty()).then_some(osds), primary)
    }
}
