//! Making the next version of a map.

use super::incremental::Incremental;
use super::osd::Osd;
use super::{OsdMap, PgId};
use crate::encoding::DecodeError;
use crate::types::{Epoch, Fsid};
use std::collections::BTreeMap;

/// The most OSDs a change may make room for: ten times what monitors allow unless told otherwise (`mon_max_osd`).
pub const MAX_OSDS: u32 = 100_000;

/// Memory that a map needs for each OSD it has room for, in bytes, whether there is such an OSD or not; its addresses come on top.
pub const BYTES_PER_OSD: usize = size_of::<Osd>() + size_of::<u32>();

/// A change that cannot be applied. The map is what it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It is of another cluster.
    #[error("a change of the OSD map of cluster {found}, but this is cluster {expected}")]
    Fsid {
        /// Cluster of the change.
        found: Fsid,
        /// Cluster of the map.
        expected: Fsid,
    },
    /// It does not lead from this version to the next: changes are missing, or it was applied before. Ask for what
    /// follows the map's own version.
    #[error("a change that makes OSD map {found}, but map {expected} comes next")]
    Epoch {
        /// Version that the change makes.
        found: Epoch,
        /// Version that would be the next.
        expected: Epoch,
    },
    /// It is about an OSD that cannot be.
    #[error("a change of osd.{osd} in a map of {max_osd} OSDs")]
    UnknownOsd {
        /// Its number.
        osd: i32,
        /// How many there can be.
        max_osd: usize,
    },
    /// It makes room for more than [`MAX_OSDS`].
    #[error("a change that makes room for {found} OSDs; this client can do with {MAX_OSDS}")]
    TooManyOsds {
        /// For how many.
        found: u32,
    },
}

impl OsdMap {
    /// Makes this map the next version of itself. A change may carry that version as a whole.
    ///
    /// # Errors
    /// The change cannot be read, or is not the one that comes next; then nothing has changed.
    pub fn apply(&mut self, incremental: &[u8]) -> Result<(), ApplyError> {
        let change = Incremental::decode(incremental)?;
        self.check(&change)?;
        if let Some(full) = change.full {
            *self = *full;
            return Ok(());
        }
        self.epoch = change.epoch;
        self.modified = change.modified;
        self.flags = change.flags.unwrap_or(self.flags);
        self.apply_pools(&change);
        self.apply_osds(&change);
        self.apply_exceptions(&change);
        self.apply_blocklist(&change);
        if let Some(crush) = change.crush {
            self.crush = crush;
        }
        if let Some(release) = change.require_osd_release {
            self.require_osd_release = release;
            self.settle_flags();
        }
        Ok(())
    }

    /// Finds out whether the change fits, before any of it is made.
    fn check(&self, change: &Incremental) -> Result<(), ApplyError> {
        let whole = change.full.as_deref();
        let found = whole.map_or(change.fsid, |map| map.fsid);
        if let Some(found) = [change.fsid, found].into_iter().find(|&fsid| fsid != self.fsid) {
            return Err(ApplyError::Fsid { found, expected: self.fsid });
        }
        let expected = self.epoch.wrapping_add(1);
        let found = whole.map_or(change.epoch, |map| map.epoch);
        if let Some(found) = [change.epoch, found].into_iter().find(|&epoch| epoch != expected) {
            return Err(ApplyError::Epoch { found, expected });
        }
        if let Some(found) = change.max_osd.filter(|&max| max > MAX_OSDS) {
            return Err(ApplyError::TooManyOsds { found });
        }
        let max_osd = change.max_osd.map_or(self.max_osd(), |max| max as usize);
        let numbers = change.states.iter().chain(&change.weights).chain(&change.primary_affinities);
        let numbers = numbers.map(|&(osd, _)| osd).chain(change.up.iter().map(|&(osd, _)| osd));
        for osd in numbers {
            if usize::try_from(osd).is_ok_and(|osd| osd < max_osd) {
                continue;
            }
            return Err(ApplyError::UnknownOsd { osd, max_osd });
        }
        Ok(())
    }

    fn apply_pools(&mut self, change: &Incremental) {
        for (id, pool) in &change.pools {
            let name = self.pools.remove(id).map(|pool| pool.name).unwrap_or_default();
            let pool = super::Pool { name, last_change: change.epoch, ..pool.clone() };
            self.pools.insert(*id, pool);
        }
        for (id, name) in &change.pool_names {
            if let Some(pool) = self.pools.get_mut(id) {
                pool.name.clone_from(name);
            }
        }
        for id in &change.old_pools {
            self.pools.remove(id);
        }
    }

    fn apply_osds(&mut self, change: &Incremental) {
        if let Some(max_osd) = change.max_osd {
            self.osds.resize_with(max_osd as usize, Osd::default);
            self.weights.resize(max_osd as usize, 0);
        }
        for &(osd, weight) in &change.weights {
            self.set_weight(osd, weight);
        }
        for &(osd, affinity) in &change.primary_affinities {
            if let Some(osd) = self.osd_mut(osd) {
                osd.primary_affinity = affinity;
            }
        }
        for &(osd, toggled) in &change.states {
            let Some(osd) = self.osd_mut(osd) else { continue };
            let toggled = if toggled == 0 { Osd::UP } else { toggled };
            if osd.exists() && toggled & Osd::EXISTS != 0 {
                *osd = Osd::default();
            } else {
                osd.state ^= toggled;
            }
        }
        for (osd, addrs) in &change.up {
            if let Some(osd) = self.osd_mut(*osd) {
                osd.state = (osd.state | Osd::EXISTS | Osd::UP) & !Osd::STOP;
                osd.addrs.clone_from(addrs);
            }
        }
    }

    fn set_weight(&mut self, osd: i32, weight: u32) {
        let index = usize::try_from(osd).ok();
        if let Some(slot) = index.and_then(|index| self.weights.get_mut(index)) {
            *slot = weight;
        }
        if weight > 0
            && let Some(osd) = self.osd_mut(osd)
        {
            osd.state &= !(Osd::AUTO_OUT | Osd::NEW);
        }
    }

    fn apply_exceptions(&mut self, change: &Incremental) {
        for (pg, osds) in &change.pg_temp {
            if osds.is_empty() {
                self.pg_temp.remove(pg);
            } else {
                self.pg_temp.insert(*pg, osds.clone());
            }
        }
        for &(pg, osd) in &change.primary_temp {
            if osd == -1 {
                self.primary_temp.remove(&pg);
            } else {
                self.primary_temp.insert(pg, osd);
            }
        }
        replace(&mut self.pg_upmap, &change.pg_upmap, &change.old_pg_upmap);
        replace(&mut self.pg_upmap_items, &change.pg_upmap_items, &change.old_pg_upmap_items);
        replace(&mut self.pg_upmap_primaries, &change.pg_upmap_primaries, &change.old_pg_upmap_primaries);
    }

    fn apply_blocklist(&mut self, change: &Incremental) {
        for address in &change.blocklist {
            self.blocklist.insert(address);
        }
        for address in &change.old_blocklist {
            self.blocklist.remove(address);
        }
        for network in &change.range_blocklist {
            self.blocklist.insert_network(network);
        }
        for network in &change.old_range_blocklist {
            self.blocklist.remove_network(network);
        }
    }

    fn osd_mut(&mut self, osd: i32) -> Option<&mut Osd> {
        self.osds.get_mut(usize::try_from(osd).ok()?)
    }
}

/// Puts exceptions in, then takes exceptions out: one may be in both lists.
fn replace<T: Clone>(map: &mut BTreeMap<PgId, T>, new: &[(PgId, T)], old: &[PgId]) {
    map.extend(new.iter().cloned());
    for pg in old {
        map.remove(pg);
    }
}
