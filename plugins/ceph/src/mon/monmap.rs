//! The map of monitors (`MonMap` of `mon/MonMap.h`).

use super::MonAddress;
use crate::auth::KeyType;
use crate::encoding::{DecodeError, Decoder};
use crate::types::{AddrVec, Epoch, Fsid};

/// One monitor (`mon_info_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonInfo {
    /// `a`.
    pub name: String,
    /// Where it listens.
    pub addrs: AddrVec,
    /// Those with the lowest number are asked first.
    pub priority: u16,
    /// Among these, how likely it is asked first; all 0: equally.
    pub weight: u16,
}

impl MonInfo {
    /// Where it speaks msgr2; `None`: only the old protocol.
    #[must_use]
    pub fn address(&self) -> Option<MonAddress> {
        self.addrs.msgr2().and_then(|address| address.socket).map(MonAddress::of)
    }
}

/// The monitors of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonMap {
    /// The cluster.
    pub fsid: Fsid,
    /// Its version.
    pub epoch: Epoch,
    /// In the order of their names.
    pub mons: Vec<MonInfo>,
    /// The oldest release that a monitor of this cluster may be of: 16 is Pacific, 20 Tentacle; 0: not said.
    pub min_mon_release: u8,
    /// Rises when all tickets become worthless.
    pub auth_epoch: u32,
    /// Types of keys that the cluster accepts; empty: not said. Types that this client does not know are left out.
    pub allowed_key_types: Vec<KeyType>,
}

/// The version with everything that is read here; later ones only add.
const KNOWN: u8 = 10;
/// The first version with lists of addresses for each monitor: Nautilus.
const OLDEST: u8 = 6;

impl MonMap {
    /// Reads a map.
    ///
    /// # Errors
    /// It is cut off or malformed, or older than Ceph 14.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("MonMap", bytes);
        let section = decoder.section("MonMap", KNOWN)?;
        let (version, mut body) = (section.version, section.body);
        if version < OLDEST {
            return Err(body.error(format_args!("version {version} of the map, from before Ceph 14")));
        }
        let fsid = Fsid(body.array()?);
        let epoch = body.u32()?;
        // When it was changed and made, and two sets of features.
        body.skip(16)?;
        body.section("mon_feature_t", 1)?;
        body.section("mon_feature_t", 1)?;
        let mut mons = body.list(|body| {
            body.blob()?;
            decode_mon(body)
        })?;
        mons.sort_by(|a, b| a.name.cmp(&b.name));
        body.list(|body| body.blob().map(drop))?;
        let min_mon_release = if version >= 7 { body.u8()? } else { 0 };
        if version >= 8 {
            // Removed ranks, election strategy, and who may not lead.
            body.list(Decoder::u32)?;
            body.skip(1)?;
            body.list(|body| body.blob().map(drop))?;
        }
        if version >= 9 {
            // Stretch mode, its tiebreaker, and what is down in it.
            body.skip(1)?;
            body.blob()?;
            body.list(|body| body.blob().map(drop))?;
        }
        let (mut auth_epoch, mut allowed_key_types) = (0, Vec::new());
        if version >= 10 {
            auth_epoch = body.u32()?;
            // The type of tickets' keys.
            body.skip(4)?;
            let allowed = body.list(Decoder::u32)?;
            let known = |number: u32| u16::try_from(number).ok().and_then(KeyType::from_number);
            allowed_key_types = allowed.into_iter().filter_map(known).collect();
        }
        Ok(Self { fsid, epoch, mons, min_mon_release, auth_epoch, allowed_key_types })
    }
}

/// `mon_info_t`, of which versions before 2 have no priority and before 4 no weight.
fn decode_mon(decoder: &mut Decoder<'_>) -> Result<MonInfo, DecodeError> {
    let section = decoder.section("mon_info_t", 6)?;
    let (version, mut body) = (section.version, section.body);
    let name = body.string()?;
    let addrs = AddrVec::decode(&mut body)?;
    let priority = if version >= 2 { body.u16()? } else { 0 };
    let weight = if version >= 4 { body.u16()? } else { 0 };
    Ok(MonInfo { name, addrs, priority, weight })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACIFIC: &[u8] = include_bytes!("../../tests/fixtures/golden/monmap.bin");
    const TENTACLE: &[u8] = include_bytes!("../../tests/fixtures/golden/tentacle-monmap.bin");

    #[test]
    fn a_map_is_what_the_monitor_says_it_is() {
        let json = include_str!("../../tests/fixtures/golden/monmap.json");
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        let map = MonMap::decode(PACIFIC).unwrap();
        assert_eq!(json["fsid"], map.fsid.to_string());
        assert_eq!(json["epoch"], map.epoch);
        assert_eq!(json["min_mon_release"], map.min_mon_release);
        let mons = json["mons"].as_array().unwrap();
        assert_eq!(mons.len(), map.mons.len());
        for (json, mon) in mons.iter().zip(&map.mons) {
            assert_eq!(json["name"], mon.name);
            assert_eq!(json["priority"], mon.priority);
            assert_eq!(json["weight"], mon.weight);
            let v2 = &json["public_addrs"]["addrvec"][0];
            assert_eq!(
                (v2["type"].as_str(), &v2["addr"]),
                (Some("v2"), &mon.address().unwrap().to_string().into())
            );
        }
        assert_eq!((map.auth_epoch, map.allowed_key_types), (0, vec![]));
    }

    #[test]
    fn a_newer_map_says_which_keys_are_accepted() {
        let map = MonMap::decode(TENTACLE).unwrap();
        assert_eq!((map.epoch, map.min_mon_release, map.mons.len()), (2, 20, 1));
        assert_eq!(map.mons[0].address().unwrap().to_string(), "127.0.0.1:25300");
        assert_eq!((map.auth_epoch, map.allowed_key_types), (0, vec![KeyType::Aes, KeyType::Aes256k]));
    }

    #[test]
    fn a_damaged_map_is_an_error() {
        for length in 0..TENTACLE.len() {
            assert!(MonMap::decode(&TENTACLE[..length]).is_err(), "{length}");
        }
        for at in 0..TENTACLE.len() {
            let mut damaged = TENTACLE.to_vec();
            damaged[at] ^= 0xff;
            // Only that it comes back matters: most bytes may have any value.
            let _ = MonMap::decode(&damaged);
        }
    }
}
