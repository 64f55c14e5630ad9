//! The encoding of a change (`OSDMap::Incremental`).

use super::decode::{
    Wrapper, decode_crush, osd_pairs, osds, skip_each, skip_profiles, skip_section, skip_snaps,
};
use super::{OsdMap, PgId, Pool};
use crate::crush::CrushMap;
use crate::encoding::{DecodeError, Decoder, Section};
use crate::types::{AddrVec, EntityAddr, Epoch, Fsid, UTime};

/// What makes the next version of a map: all of it was read and nothing was applied yet.
#[derive(Debug, Default)]
pub(super) struct Incremental {
    pub(super) fsid: Fsid,
    pub(super) epoch: Epoch,
    pub(super) modified: UTime,
    /// The whole next version, in place of all that follows.
    pub(super) full: Option<Box<OsdMap>>,
    pub(super) crush: Option<CrushMap>,
    pub(super) flags: Option<u32>,
    pub(super) max_osd: Option<u32>,
    pub(super) pools: Vec<(i64, Pool)>,
    pub(super) pool_names: Vec<(i64, String)>,
    pub(super) old_pools: Vec<i64>,
    /// OSDs that came up, and where.
    pub(super) up: Vec<(i32, AddrVec)>,
    /// States that are the other way round now; 0 stands for [`super::osd::Osd::UP`].
    pub(super) states: Vec<(i32, u32)>,
    pub(super) weights: Vec<(i32, u32)>,
    pub(super) primary_affinities: Vec<(i32, u32)>,
    /// Empty where there is none any more.
    pub(super) pg_temp: Vec<(PgId, Vec<i32>)>,
    /// -1 where there is none any more.
    pub(super) primary_temp: Vec<(PgId, i32)>,
    pub(super) pg_upmap: Vec<(PgId, Vec<i32>)>,
    pub(super) old_pg_upmap: Vec<PgId>,
    pub(super) pg_upmap_items: Vec<(PgId, Vec<(i32, i32)>)>,
    pub(super) old_pg_upmap_items: Vec<PgId>,
    pub(super) pg_upmap_primaries: Vec<(PgId, i32)>,
    pub(super) old_pg_upmap_primaries: Vec<PgId>,
    pub(super) blocklist: Vec<EntityAddr>,
    pub(super) old_blocklist: Vec<EntityAddr>,
    pub(super) range_blocklist: Vec<EntityAddr>,
    pub(super) old_range_blocklist: Vec<EntityAddr>,
    pub(super) require_osd_release: Option<u8>,
}

impl Incremental {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut wrapper = Wrapper::open("OSDMap::Incremental", bytes)?;
        let mut change = Self::default();
        change.decode_client(&mut wrapper.body)?;
        change.decode_extended(&mut wrapper.body)?;
        wrapper.check()?;
        Ok(change)
    }

    fn decode_client(&mut self, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("OSDMap::Incremental for clients", 9)?;
        self.fsid = Fsid(d.array()?);
        self.epoch = d.u32()?;
        self.modified = UTime::decode(&mut d)?;
        d.skip(8)?; // new_pool_max
        // Negative numbers say that nothing changed.
        self.flags = u32::try_from(d.i32()?).ok();
        let full = d.blob()?;
        if !full.is_empty() {
            self.full = Some(Box::new(OsdMap::decode(full)?));
        }
        if d.clone().u32()? == 0 {
            d.skip(4)?;
        } else {
            self.crush = Some(decode_crush(&mut d)?);
        }
        self.max_osd = u32::try_from(d.i32()?).ok();
        self.pools = d.pairs(Decoder::i64, Pool::decode)?;
        self.pool_names = d.pairs(Decoder::i64, Decoder::string)?;
        self.old_pools = d.list(Decoder::i64)?;
        self.up = d.pairs(Decoder::i32, AddrVec::decode)?;
        self.states = if version >= 5 {
            d.pairs(Decoder::i32, Decoder::u32)?
        } else {
            d.pairs(Decoder::i32, |d| d.u8().map(u32::from))?
        };
        self.weights = d.pairs(Decoder::i32, Decoder::u32)?;
        self.pg_temp = d.pairs(PgId::decode, osds)?;
        self.primary_temp = d.pairs(PgId::decode, Decoder::i32)?;
        if version >= 2 {
            self.primary_affinities = d.pairs(Decoder::i32, Decoder::u32)?;
        }
        if version >= 3 {
            skip_profiles(&mut d)?; // new_erasure_code_profiles
            skip_each(&mut d, Decoder::blob)?; // old_erasure_code_profiles
        }
        if version >= 4 {
            self.pg_upmap = d.pairs(PgId::decode, osds)?;
            self.old_pg_upmap = d.list(PgId::decode)?;
            self.pg_upmap_items = d.pairs(PgId::decode, osd_pairs)?;
            self.old_pg_upmap_items = d.list(PgId::decode)?;
        }
        if version >= 6 {
            skip_snaps(&mut d)?; // new_removed_snaps
            skip_snaps(&mut d)?; // new_purged_snaps
        }
        if version >= 8 {
            d.skip(16)?; // new_last_up_change, new_last_in_change
        }
        if version >= 9 {
            self.pg_upmap_primaries = d.pairs(PgId::decode, Decoder::i32)?;
            self.old_pg_upmap_primaries = d.list(PgId::decode)?;
        }
        Ok(())
    }

    fn decode_extended(&mut self, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("OSDMap::Incremental for OSDs", 12)?;
        let addresses = |d: &mut Decoder<'_>| {
            skip_each(d, |d| {
                d.skip(4)?;
                AddrVec::decode(d)
            })
        };
        addresses(&mut d)?; // new_hb_back_up
        skip_each(&mut d, |d| d.skip(8))?; // new_up_thru
        skip_each(&mut d, |d| d.skip(12))?; // new_last_clean_interval
        skip_each(&mut d, |d| d.skip(8))?; // new_lost
        self.blocklist = expiring(&mut d)?;
        self.old_blocklist = d.list(EntityAddr::decode)?;
        addresses(&mut d)?; // new_up_cluster
        d.blob()?; // cluster_snapshot
        skip_each(&mut d, |d| d.skip(4 + 16))?; // new_uuid
        skip_each(&mut d, |d| {
            d.skip(4)?;
            skip_section(d)
        })?; // new_xinfo
        addresses(&mut d)?; // new_hb_front_up
        if version >= 2 {
            d.skip(8)?; // encode_features
        }
        if version >= 3 {
            d.skip(8)?; // new_nearfull_ratio, new_full_ratio
        }
        if version >= 4 {
            d.skip(4)?; // new_backfillfull_ratio
        }
        if version == 5 {
            d.blob()?; // new_require_min_compat_client, as a name
        }
        if version >= 6 {
            d.skip(1)?; // new_require_min_compat_client
            let release = d.i8()?;
            self.require_osd_release = u8::try_from(release).ok();
        }
        if version >= 8 {
            skip_each(&mut d, |d| d.skip(8))?; // new_crush_node_flags
        }
        if version >= 9 {
            skip_each(&mut d, |d| d.skip(8))?; // new_device_class_flags
        }
        if version >= 10 {
            d.skip(1 + 4 * 4 + 1)?; // stretch mode
        }
        if version >= 11 {
            self.range_blocklist = expiring(&mut d)?;
            self.old_range_blocklist = d.list(EntityAddr::decode)?;
        }
        Ok(())
    }
}

/// Addresses, each with the time when it is forgiven.
fn expiring(decoder: &mut Decoder<'_>) -> Result<Vec<EntityAddr>, DecodeError> {
    Ok(decoder.pairs(EntityAddr::decode, UTime::decode)?.into_iter().map(|(address, _)| address).collect())
}
