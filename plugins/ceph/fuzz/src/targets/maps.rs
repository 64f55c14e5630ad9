//! Maps of the cluster, and what is computed with them.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use wasmount_ceph::crush::CrushMap;
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::mon::MonMap;
use wasmount_ceph::osd::MapMessage;
use wasmount_ceph::osdmap::{BYTES_PER_OSD, MAX_OSDS, OsdMap, PgId};

use crate::seeds::fixture;

/// The recorded life of a small cluster: one full map, and all changes after it.
const STORY: &str = "maps/story.mosdmap";
const STORY_VERSION: u16 = 4;

/// `ceph osd setmaxosd` is a change of a few bytes that makes room for any number of OSDs that a client puts up with.
pub(super) const OSD_TABLES: usize = MAX_OSDS as usize * BYTES_PER_OSD;

/// Version of the outermost structure of a change that has no checksum: with one, no change that was changed would be read.
const WITHOUT_CHECKSUM: u8 = 7;

pub(super) fn monmap(input: &[u8]) {
    if let Ok(map) = MonMap::decode(input) {
        std::hint::black_box(format!("{map:?}"));
    }
}

pub(super) fn monmap_seeds() -> Result<Vec<Vec<u8>>> {
    ["golden/monmap.bin", "golden/tentacle-monmap.bin"].map(fixture).into_iter().collect()
}

/// What a client does with a map.
fn use_map(map: &OsdMap) {
    for (id, pool) in map.pools().take(4) {
        std::hint::black_box(map.pool_by_name(&pool.name));
        if let Some((_, pg)) = map.object_pg(id, b"namespace", b"object") {
            let placement = map.place(pg);
            std::hint::black_box(map.primary_shard(pg, &placement));
        }
        for seed in 0..3 {
            std::hint::black_box(map.place(PgId { pool: id, seed }));
        }
    }
    for osd in -1..4 {
        if let Some(address) = map.addrs(osd).and_then(|addresses| addresses.msgr2()) {
            std::hint::black_box(map.is_up(osd) && map.is_blocklisted(&address));
        }
    }
}

pub(super) fn osdmap(input: &[u8]) {
    if let Ok(map) = OsdMap::decode(input) {
        use_map(&map);
    }
}

pub(super) fn osdmap_seeds() -> Result<Vec<Vec<u8>>> {
    ["golden/osdmap.bin", "golden/big-osdmap.bin", "golden/tentacle-osdmap.bin"]
        .map(fixture)
        .into_iter()
        .collect()
}

/// The full map of the story, decoded once.
fn first_map() -> Option<&'static OsdMap> {
    static FIRST: OnceLock<Option<OsdMap>> = OnceLock::new();
    let decode = || -> Option<OsdMap> {
        let story = fixture(STORY).ok()?;
        let message = MapMessage::decode(STORY_VERSION, &story).ok()?;
        OsdMap::decode(message.full.first()?.1).ok()
    };
    FIRST.get_or_init(decode).as_ref()
}

pub(super) fn incremental(input: &[u8]) {
    let Some(mut map) = first_map().cloned() else { return };
    if map.apply(input).is_ok() {
        use_map(&map);
    }
}

/// Every change of the story as it is, and as it would be if it were the first one: epoch and fsid must fit before anything else is
/// looked at.
pub(super) fn incremental_seeds() -> Result<Vec<Vec<u8>>> {
    let story = fixture(STORY)?;
    let message = MapMessage::decode(STORY_VERSION, &story)?;
    let next = first_map().context("the first map")?.epoch + 1;
    let mut seeds = Vec::new();
    for (epoch, change) in &message.incrementals {
        let mut first = change.to_vec();
        // The epoch follows two section heads of six bytes each and the fsid.
        let place = first.get_mut(28..32).context("a change that is too short")?;
        if *place == epoch.to_le_bytes() {
            place.copy_from_slice(&next.to_le_bytes());
            first[0] = WITHOUT_CHECKSUM;
        }
        seeds.extend([change.to_vec(), first]);
    }
    Ok(seeds)
}

pub(super) fn crush(input: &[u8]) {
    let Ok(map) = CrushMap::decode(&mut Decoder::new("crush", input)) else { return };
    // Of sixteen devices one is out and one half in.
    let mut weights = [0x1_0000; 16];
    (weights[3], weights[7]) = (0, 0x8000);
    for rule in 0..4 {
        for x in 0..3 {
            std::hint::black_box(map.map_rule(rule, x, 6, &weights, [None, Some(-1), Some(1)][x as usize]));
        }
    }
}

pub(super) fn crush_seeds() -> Result<Vec<Vec<u8>>> {
    let kinds = [
        "list-jewel",
        "msr",
        "straw-firefly",
        "straw-legacy",
        "straw2-jewel",
        "tree-bobtail",
        "uniform-legacy",
    ];
    let small = kinds.iter().map(|kind| fixture(&format!("crush/{kind}.bin")));
    small.chain([fixture("golden/big-crush.bin")]).collect()
}
