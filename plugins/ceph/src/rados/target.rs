//! Where a request goes, according to one map; and whether a new map sends it again.

use super::request::OpRequest;
use crate::osd::{HObject, Redirect, flags};
use crate::osdmap::{NO_SHARD, OsdMap, PgId, Placement, Pool, SpgId, flags as map_flags};
use crate::payload::Payload;
use crate::types::Epoch;
use std::collections::HashMap;

/// Placements that are remembered at most. Every request needs one, and computing one costs a walk through the CRUSH map.
const REMEMBERED_PLACEMENTS: usize = 8192;

/// Placements of one map, as far as they were needed.
#[derive(Default)]
pub(super) struct Placements {
    known: HashMap<PgId, Placement>,
}

impl Placements {
    /// Forgets everything: the map is another.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    fn of(&mut self, map: &OsdMap, pg: PgId) -> &Placement {
        if self.known.len() >= REMEMBERED_PLACEMENTS {
            self.known.clear();
        }
        self.known.entry(pg).or_insert_with(|| map.place(pg))
    }
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The object, as the OSD orders it.
    pub(super) object: HObject,
    /// Its placement group, and the shard that answers for it.
    pub(super) pg: SpgId,
    /// OSDs that serve the placement group.
    acting: Vec<i32>,
    /// The one of them that answers; `None`: nobody can.
    pub(super) primary: Option<i32>,
    /// Placement groups of the pool.
    pg_num: u32,
    /// The map that all this is from.
    epoch: Epoch,
    /// What it must wait for although there is an OSD.
    pub(super) pause: Option<Pause>,
}

/// Why a request waits although there is an OSD for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// `ceph osd set pause`, for reads.
    Reads,
    /// The same for writes.
    Writes,
    /// The cluster is full.
    ClusterFull,
    /// The pool is full.
    PoolFull,
    /// A metadata server has told that maps older than this one must not be used.
    Barrier(Epoch),
}

impl Pause {
    /// The sentence for a request that timed out so.
    pub(super) fn sentence(self) -> String {
        match self {
            Self::Reads => "reads are paused in the whole cluster (`ceph osd unset pause`)".into(),
            Self::Writes => "writes are paused in the whole cluster (`ceph osd unset pause`)".into(),
            Self::ClusterFull => "the cluster is full".into(),
            Self::PoolFull => "the pool is full, or its quota is used up".into(),
            Self::Barrier(epoch) => format!("no monitor has sent map {epoch} of the cluster yet"),
        }
    }
}

/// A request that goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTarget {
    /// The map has no such pool; a newer one may.
    PoolMissing {
        /// Its id.
        pool: i64,
    },
    /// An administrator let all requests to the pool fail (pool flag `eio`).
    PoolFails,
}

impl Target {
    /// Where this map sends a request.
    pub(super) fn of<P: Payload>(
        map: &OsdMap,
        placements: &mut Placements,
        request: &OpRequest<P>,
        request_flags: u32,
        redirect: Option<&Redirect>,
    ) -> Result<Self, NoTarget> {
        let mut pool_id = redirect.map_or(request.pool, |redirect| redirect.locator.pool);
        let missing = |pool| NoTarget::PoolMissing { pool };
        let mut pool = map.pool(pool_id).ok_or(missing(pool_id))?;
        if request_flags & flags::IGNORE_OVERLAY == 0
            && let Some(tier) = overlay(pool, request_flags)
        {
            pool_id = tier;
            pool = map.pool(tier).ok_or(missing(tier))?;
        }
        if pool.flags & Pool::EIO != 0 {
            return Err(NoTarget::PoolFails);
        }
        let (namespace, key, name) = match redirect {
            None => (&request.namespace, &request.key, &request.object),
            Some(redirect) if redirect.object.is_empty() => {
                (&redirect.locator.namespace, &redirect.locator.key, &request.object)
            }
            Some(redirect) => (&redirect.locator.namespace, &redirect.locator.key, &redirect.object),
        };
        let hashed = if key.is_empty() { name } else { key };
        let (raw, pg) = map.object_pg(pool_id, namespace, hashed).ok_or(missing(pool_id))?;
        let placement = placements.of(map, pg);
        let object = HObject {
            pool: pool_id,
            namespace: namespace.clone(),
            key: key.clone(),
            name: name.clone(),
            snap: request.snap,
            hash: raw.hash,
            max: false,
        };
        Ok(Self {
            object,
            pg: map.primary_shard(pg, placement).unwrap_or(SpgId { pg, shard: NO_SHARD }),
            acting: placement.acting.clone(),
            primary: placement.acting_primary,
            pg_num: pool.pg_num,
            epoch: map.epoch,
            pause: pause(map.flags, pool.flags, request_flags),
        })
    }

    /// Whether a request that was sent to `self` has to be sent again to `new`, although it may be the same OSD: the one that has it
    /// may have dropped it.
    pub(super) fn must_resend(&self, new: &Self, pool: Option<&Pool>) -> bool {
        // An OSD drops requests sent before the pool's tiers changed, as of this epoch.
        let forced = pool.is_some_and(|pool| pool.last_force_op_resend > self.epoch);
        // It drops what it has when the cluster is paused, and nothing tells when that was.
        let unpaused = self.pause.is_some() && new.pause.is_none();
        // It also drops those sent before their placement group was split or merged. Not every group of the pool is concerned, but
        // sending again is harmless and seldom.
        let split = self.pg_num != new.pg_num;
        forced || unpaused || split || self.pg != new.pg || self.moved(new)
    }

    /// Whether another OSD answers, or the same one in another place of the order.
    fn moved(&self, new: &Self) -> bool {
        let rank = |target: &Self| target.acting.iter().position(|&osd| Some(osd) == target.primary);
        self.primary != new.primary || rank(self) != rank(new)
    }
}

/// The tier that lies over a pool for such a request.
fn overlay(pool: &Pool, request_flags: u32) -> Option<i64> {
    let writes = (request_flags & flags::WRITE != 0).then_some(pool.write_tier).flatten();
    let reads = (request_flags & flags::READ != 0).then_some(pool.read_tier).flatten();
    writes.or(reads)
}

/// What a request waits for, by the flags of map, pool and request.
fn pause(map: u32, pool: u64, request: u32) -> Option<Pause> {
    let reads = request & flags::READ != 0;
    let writes = request & flags::WRITE != 0;
    let needs_room = writes && request & (flags::FULL_TRY | flags::FULL_FORCE) == 0;
    if reads && map & map_flags::PAUSE_READ != 0 {
        Some(Pause::Reads)
    } else if writes && map & map_flags::PAUSE_WRITE != 0 {
        Some(Pause::Writes)
    } else if needs_room && map & map_flags::FULL != 0 {
        Some(Pause::ClusterFull)
    } else if needs_room && pool & (Pool::FULL | Pool::FULL_QUOTA) != 0 {
        Some(Pause::PoolFull)
    } else {
        None
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
pub(super) mod tests;
