//! The encoding of a whole map (`OSDMap::encode`): a part for clients and a part for OSDs, of which the blocklist is
//! wanted.

use super::blocklist::Blocklist;
use super::osd::Osd;
use super::{OsdMap, PgId, Pool};
use crate::crush::CrushMap;
use crate::encoding::{DecodeError, Decoder, Section};
use crate::payload::crc32c;
use crate::types::{AddrVec, EntityAddr, Fsid, UTime};
use std::collections::BTreeMap;

/// Bytes of a versioned structure before its body.
const SECTION_HEADER: usize = 6;

impl OsdMap {
    /// Reads a whole map.
    ///
    /// # Errors It is cut off, damaged (its checksum does not match), contradicts itself, or was written for readers
    /// that know more than this one.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut wrapper = Wrapper::open("OSDMap", bytes)?;
        let mut map = Self::decode_client(&mut wrapper.body)?;
        map.decode_extended(&mut wrapper.body)?;
        wrapper.check()?;
        map.settle_flags();
        Ok(map)
    }

    fn decode_client(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("OSDMap for clients", 10)?;
        let (fsid, epoch) = (Fsid(d.array()?), d.u32()?);
        UTime::decode(&mut d)?; // created
        let modified = UTime::decode(&mut d)?;
        let mut pools: BTreeMap<i64, Pool> = d.pairs(Decoder::i64, Pool::decode)?.into_iter().collect();
        for (id, name) in d.pairs(Decoder::i64, Decoder::string)? {
            if let Some(pool) = pools.get_mut(&id) {
                pool.name = name;
            }
        }
        d.skip(4)?; // pool_max
        let flags = d.u32()?;
        let max_osd = d.u32()? as usize;
        let states = if version >= 5 { d.list(Decoder::u32)? } else { d.list(|d| d.u8().map(u32::from))? };
        let weights = d.list(Decoder::u32)?;
        let addresses = d.list(AddrVec::decode)?;
        let pg_temp = d.pairs(PgId::decode, osds)?.into_iter().collect();
        let primary_temp = d.pairs(PgId::decode, Decoder::i32)?.into_iter().collect();
        let affinities = if version >= 2 { d.list(Decoder::u32)? } else { Vec::new() };
        for (what, length) in
            [("states", states.len()), ("weights", weights.len()), ("addresses", addresses.len())]
        {
            if length != max_osd {
                return Err(d.error(format_args!("{length} {what} of {max_osd} OSDs")));
            }
        }
        let affinities = affinities.into_iter().chain(std::iter::repeat(Osd::DEFAULT_PRIMARY_AFFINITY));
        let osds = states
            .into_iter()
            .zip(addresses)
            .zip(affinities)
            .map(|((state, addrs), primary_affinity)| Osd { state, primary_affinity, addrs })
            .collect();
        let crush = decode_crush(&mut d)?;
        if version >= 3 {
            skip_profiles(&mut d)?;
        }
        let mut map = Self {
            fsid,
            epoch,
            modified,
            flags,
            pools,
            osds,
            weights,
            pg_temp,
            primary_temp,
            pg_upmap: BTreeMap::new(),
            pg_upmap_items: BTreeMap::new(),
            pg_upmap_primaries: BTreeMap::new(),
            crush,
            blocklist: Blocklist::default(),
            require_osd_release: 0,
        };
        map.decode_upmaps(&mut d, version)?;
        Ok(map)
    }

    /// The end of the part for clients.
    fn decode_upmaps(&mut self, d: &mut Decoder<'_>, version: u8) -> Result<(), DecodeError> {
        if version >= 4 {
            self.pg_upmap = d.pairs(PgId::decode, self::osds)?.into_iter().collect();
            self.pg_upmap_items = d.pairs(PgId::decode, osd_pairs)?.into_iter().collect();
        }
        if version >= 6 {
            d.skip(4)?; // crush_version
        }
        if version >= 7 {
            skip_snaps(d)?; // new_removed_snaps
            skip_snaps(d)?; // new_purged_snaps
        }
        if version >= 9 {
            d.skip(16)?; // last_up_change, last_in_change
        }
        if version >= 10 {
            self.pg_upmap_primaries = d.pairs(PgId::decode, Decoder::i32)?.into_iter().collect();
        }
        Ok(())
    }

    /// The part for OSDs.
    fn decode_extended(&mut self, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        let Section { version, body: mut d, .. } = decoder.section("OSDMap for OSDs", 12)?;
        skip_each(&mut d, AddrVec::decode)?; // hb_back_addrs
        skip_each(&mut d, |d| d.skip(25))?; // osd_info
        for address in d.pairs(EntityAddr::decode, UTime::decode)? {
            self.blocklist.insert(&address.0);
        }
        skip_each(&mut d, AddrVec::decode)?; // cluster_addrs
        d.skip(4)?; // cluster_snapshot_epoch
        d.blob()?; // cluster_snapshot
        skip_each(&mut d, |d| d.skip(16))?; // osd_uuid
        skip_each(&mut d, skip_section)?; // osd_xinfo
        skip_each(&mut d, AddrVec::decode)?; // hb_front_addrs
        if version >= 2 {
            d.skip(8)?; // nearfull_ratio, full_ratio
        }
        if version >= 3 {
            d.skip(4)?; // backfillfull_ratio
        }
        if version == 4 {
            d.blob()?; // require_min_compat_client, as a name
        }
        if version >= 5 {
            d.skip(1)?; // require_min_compat_client
            self.require_osd_release = d.u8()?;
        }
        if version >= 6 {
            skip_snaps(&mut d)?; // removed_snaps_queue
        }
        if version >= 8 {
            skip_each(&mut d, |d| d.skip(8))?; // crush_node_flags
        }
        if version >= 9 {
            skip_each(&mut d, |d| d.skip(8))?; // device_class_flags
        }
        if version >= 10 {
            d.skip(1 + 4 * 4)?; // stretch mode
        }
        if version >= 11 {
            for address in d.pairs(EntityAddr::decode, UTime::decode)? {
                self.blocklist.insert_network(&address.0);
            }
        }
        Ok(())
    }
}

/// What is around a map or a change: a versioned structure, with a checksum of all but itself behind its two parts.
pub(super) struct Wrapper<'a> {
    /// Everything.
    bytes: &'a [u8],
    /// Length of what is in it.
    length: usize,
    version: u8,
    /// What was not read yet.
    pub(super) body: Decoder<'a>,
}

impl<'a> Wrapper<'a> {
    pub(super) fn open(what: &'static str, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(what, bytes);
        // Older ones have two bytes of version and no length.
        if bytes.first().is_some_and(|&version| version < 7) {
            return Err(decoder.error("an encoding from before Ceph 0.80"));
        }
        let Section { version, body, .. } = decoder.section(what, 8)?;
        Ok(Self { bytes, length: body.remaining(), version, body })
    }

    /// Compares the checksum, which comes next.
    pub(super) fn check(&mut self) -> Result<(), DecodeError> {
        if self.version < 8 {
            return Ok(());
        }
        let at = SECTION_HEADER + self.length - self.body.remaining();
        let expected = self.body.u32()?;
        let (front, tail) = (self.bytes.get(..at), self.body.rest());
        let found = crc32c(crc32c(!0, front.unwrap_or_default()), tail);
        if found == expected {
            Ok(())
        } else {
            Err(self.body.error(format_args!("checksum {found:#010x}, which should be {expected:#010x}")))
        }
    }
}

/// A map of the hierarchy inside another map.
pub(super) fn decode_crush(decoder: &mut Decoder<'_>) -> Result<CrushMap, DecodeError> {
    let length = decoder.u32()?;
    CrushMap::decode(&mut decoder.sub("CRUSH map", length as usize)?)
}

/// Numbers of OSDs.
pub(super) fn osds(decoder: &mut Decoder<'_>) -> Result<Vec<i32>, DecodeError> {
    decoder.list(Decoder::i32)
}

/// OSDs, each with one that takes its place.
pub(super) fn osd_pairs(decoder: &mut Decoder<'_>) -> Result<Vec<(i32, i32)>, DecodeError> {
    decoder.pairs(Decoder::i32, Decoder::i32)
}

/// Passes over a list.
pub(super) fn skip_each<'a, T>(
    decoder: &mut Decoder<'a>,
    mut item: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    for _ in 0..decoder.count(1)? {
        item(decoder)?;
    }
    Ok(())
}

/// Passes over a versioned structure.
pub(super) fn skip_section(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    decoder.section("a part that clients do not need", u8::MAX).map(drop)
}

/// Passes over a map from strings to strings.
pub(super) fn skip_strings(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    skip_each(decoder, |decoder| {
        decoder.blob()?;
        decoder.blob()
    })
}

/// Passes over profiles of erasure codes: strings to maps of strings.
pub(super) fn skip_profiles(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    skip_each(decoder, |decoder| {
        decoder.blob()?;
        skip_strings(decoder)
    })
}

/// Passes over sets of snapshots by pool: intervals, each a beginning and a length.
pub(super) fn skip_snaps(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    skip_each(decoder, |decoder| {
        decoder.skip(8)?;
        skip_each(decoder, |decoder| decoder.skip(16))
    })
}
