//! The OSD map: which pools there are, which OSDs are up and where, and which of them hold an object.
//!
//! A client gets a whole map once ([`OsdMap::decode`]) and then what changed ([`OsdMap::apply`]), an [`Epoch`] each.
//! From an object's name a map computes its placement group ([`OsdMap::object_pg`]), and from that the OSDs that hold
//! it ([`OsdMap::place`]); requests go to the *acting primary*. Both must agree with Ceph bit for bit.
//!
//! - `ids`: placement groups. `pool`: pools. `osd`: what a map knows of an OSD.
//! - `decode`: a whole map. `incremental`: a change, and `apply`: making it.
//! - `placement`: CRUSH and the exceptions from it, in order: upmaps, OSDs that are down, primary affinity, temporary
//!   mappings.
//! - `blocklist`: clients that must not be served.
//!
//! Source: `osd/OSDMap.cc`, `osd/osd_types.cc` of Ceph. Encodings of Ceph 0.80 to 20 are read, and what later
//! releases append is skipped.

mod apply;
mod blocklist;
mod decode;
pub mod flags;
mod ids;
mod incremental;
pub(crate) mod name_hash;
mod osd;
mod placement;
mod pool;

pub use apply::{ApplyError, BYTES_PER_OSD, MAX_OSDS};
pub use ids::{NO_SHARD, PgId, RawPg, SpgId};
pub use placement::Placement;
pub use pool::{Pool, PoolKind};

use crate::crush::CrushMap;
use crate::types::{AddrVec, EntityAddr, Epoch, Fsid, UTime};
use blocklist::Blocklist;
use osd::Osd;
use std::collections::BTreeMap;

/// A cluster's OSDs and pools at an [`Epoch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OsdMap {
    /// Id of the cluster.
    pub fsid: Fsid,
    /// Number of this version.
    pub epoch: Epoch,
    /// When it was made.
    pub modified: UTime,
    /// Switches for the whole cluster, see [`flags`].
    pub flags: u32,
    pools: BTreeMap<i64, Pool>,
    osds: Vec<Osd>,
    /// Of each OSD, 16.16 fixed point: `0x10000` is in, 0 is out. Apart from [`Osd`] because CRUSH wants them in a row.
    weights: Vec<u32>,
    pg_temp: BTreeMap<PgId, Vec<i32>>,
    primary_temp: BTreeMap<PgId, i32>,
    pg_upmap: BTreeMap<PgId, Vec<i32>>,
    pg_upmap_items: BTreeMap<PgId, Vec<(i32, i32)>>,
    pg_upmap_primaries: BTreeMap<PgId, i32>,
    crush: CrushMap,
    blocklist: Blocklist,
    /// Number of the oldest release whose OSDs may take part: 16 for pacific, 20 for tentacle.
    require_osd_release: u8,
}

impl OsdMap {
    /// The pool of this id.
    #[must_use]
    pub fn pool(&self, id: i64) -> Option<&Pool> {
        self.pools.get(&id)
    }

    /// The pool of this name, with its id.
    #[must_use]
    pub fn pool_by_name(&self, name: &str) -> Option<(i64, &Pool)> {
        self.pools().find(|(_, pool)| pool.name == name)
    }

    /// All pools, with their ids.
    pub fn pools(&self) -> impl Iterator<Item = (i64, &Pool)> {
        self.pools.iter().map(|(&id, pool)| (id, pool))
    }

    /// OSDs have numbers below this.
    #[must_use]
    pub fn max_osd(&self) -> usize {
        self.osds.len()
    }

    /// Whether an OSD of this number was made and not destroyed.
    #[must_use]
    pub fn exists(&self, osd: i32) -> bool {
        self.osd(osd).is_some_and(Osd::exists)
    }

    /// Whether the OSD serves, as far as the monitors know.
    #[must_use]
    pub fn is_up(&self, osd: i32) -> bool {
        self.osd(osd).is_some_and(Osd::is_up)
    }

    /// Where clients reach the OSD; `None` if there is no such OSD. Of one that is down these are its last ones.
    #[must_use]
    pub fn addrs(&self, osd: i32) -> Option<&AddrVec> {
        self.osd(osd).filter(|osd| osd.exists()).map(|osd| &osd.addrs)
    }

    /// Whether the cluster refuses to serve the client at this address: itself, its whole host, or its network.
    #[must_use]
    pub fn is_blocklisted(&self, address: &EntityAddr) -> bool {
        self.blocklist.contains(address)
    }

    /// The hierarchy and the rules by which data is placed.
    #[must_use]
    pub fn crush(&self) -> &CrushMap {
        &self.crush
    }

    /// Number of the oldest release whose OSDs may take part: 16 for pacific, 20 for tentacle; 0 if unknown.
    #[must_use]
    pub fn require_osd_release(&self) -> u8 {
        self.require_osd_release
    }

    fn osd(&self, osd: i32) -> Option<&Osd> {
        self.osds.get(usize::try_from(osd).ok()?)
    }

    /// Flags that follow from the oldest release that may take part: the switches that once stood for a release are
    /// gone, and what every OSD of that release does is always on.
    fn settle_flags(&mut self) {
        const LUMINOUS: u8 = 12;
        const NAUTILUS: u8 = 14;
        if self.require_osd_release >= LUMINOUS {
            self.flags &= !flags::LEGACY_REQUIRE;
            self.flags |= flags::RECOVERY_DELETES;
        }
        if self.require_osd_release >= NAUTILUS {
            self.flags |= flags::PGLOG_HARDLIMIT;
        }
    }
}

#[cfg(test)]
mod golden_tests;
