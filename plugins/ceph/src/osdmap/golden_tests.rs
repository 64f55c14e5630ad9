//! Placements that Ceph's tools and clusters made; `tests/fixtures/make-golden.sh` tells how.

use super::*;
use crate::crush::ITEM_NONE;
use proptest::prelude::*;
use serde_json::Value;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/", $name)).as_slice()
    };
}

/// `2.1f`.
fn pg(text: &str) -> PgId {
    let (pool, seed) = text.split_once('.').unwrap();
    PgId { pool: pool.parse().unwrap(), seed: u32::from_str_radix(seed, 16).unwrap() }
}

fn osds(value: &Value) -> Vec<i32> {
    value.as_array().unwrap().iter().map(|osd| osd.as_i64().unwrap() as i32).collect()
}

#[test]
fn objects_of_a_living_cluster() {
    let map = OsdMap::decode(fixture!("golden/osdmap.bin")).unwrap();
    let objects: Value = serde_json::from_slice(fixture!("golden/live-object-map.json")).unwrap();
    let objects = objects.as_array().unwrap();
    for object in objects {
        let text = |key: &str| object[key].as_str().unwrap();
        let (id, pool) = map.pool_by_name(text("pool")).unwrap();
        assert_eq!((id, pool.kind), (object["pool_id"].as_i64().unwrap(), PoolKind::Replicated));
        let (raw, found) = map.object_pg(id, text("ns").as_bytes(), text("obj").as_bytes()).unwrap();
        assert_eq!((raw.pool, raw.hash), (id, pg(text("raw_pgid")).seed), "{object}");
        assert_eq!(found, pg(text("pgid")), "{object}");
        let placement = map.place(found);
        let primary = object["primary"].as_i64().unwrap() as i32;
        assert_eq!(
            (placement.up, placement.acting),
            (osds(&object["up"]), osds(&object["acting"])),
            "{object}"
        );
        assert_eq!(placement.acting_primary, Some(primary), "{object}");
    }
    assert_eq!(objects.len(), 600);
}

/// A map of which osdmaptool was told that all OSDs are up and in.
fn big_map() -> OsdMap {
    let mut map = OsdMap::decode(fixture!("golden/big-osdmap.bin")).unwrap();
    for osd in &mut map.osds {
        osd.state |= Osd::EXISTS | Osd::UP;
    }
    map.weights.fill(0x1_0000);
    assert_eq!((map.max_osd(), map.pg_upmap_items.len()), (40, 30));
    map
}

/// `([38,11,6], p38)`.
fn placed(text: &str) -> (Vec<i32>, Option<i32>) {
    let (list, primary) = text.trim_start_matches("([").split_once("], p").unwrap();
    let osds = list.split(',').filter(|osd| !osd.is_empty()).map(|osd| match osd {
        "NONE" => ITEM_NONE,
        number => number.parse().unwrap(),
    });
    let primary: i32 = primary.trim_end_matches(')').parse().unwrap();
    (osds.collect(), (primary >= 0).then_some(primary))
}

/// Compares a line like `1.0 raw ([38,11,6], p38) up ([38,11,6], p38) acting ([38,11,6], p38)`.
fn agrees(map: &OsdMap, line: &str) {
    let (id, rest) = line.split_once(" raw ").unwrap();
    let (up, acting) = rest.split_once(" up ").unwrap().1.split_once(" acting ").unwrap();
    let placement = map.place(pg(id));
    assert_eq!((placement.up, placement.up_primary), placed(up), "epoch {}: {line}", map.epoch);
    assert_eq!((placement.acting, placement.acting_primary), placed(acting), "epoch {}: {line}", map.epoch);
}

fn all_agree(map: &OsdMap, text: &[u8]) -> usize {
    let lines = str::from_utf8(text).unwrap().lines().filter(|line| line.contains(" raw "));
    lines.map(|line| agrees(map, line)).count()
}

#[test]
fn placement_groups_of_forty_osds_with_upmaps() {
    let mut map = big_map();
    assert_eq!(all_agree(&map, fixture!("golden/big-pgs-dump-all.txt")), 320);
    map.weights[7] = 0;
    assert_eq!(all_agree(&map, fixture!("golden/big-pgs-out7.txt")), 320);
}

#[test]
fn objects_of_forty_osds() {
    let map = big_map();
    let mut compared = 0;
    // ` object '10000000000.00000000' -> 1.130 -> [5,35,17]`
    for line in str::from_utf8(fixture!("golden/big-objects.txt")).unwrap().lines() {
        let [object, id, expected] = line.split(" -> ").collect::<Vec<_>>()[..] else { continue };
        let name = object.trim_start_matches(" object '").trim_end_matches('\'');
        let (_, found) = map.object_pg(1, b"", name.as_bytes()).unwrap();
        assert_eq!(found.to_string(), id, "{line}");
        let acting = format!("{:?}", map.place(found).acting).replace(", ", ",");
        assert_eq!(acting, expected);
        compared += 1;
    }
    assert_eq!(compared, 40);
}

#[test]
fn maps_of_ceph_16_and_20() {
    let map = OsdMap::decode(fixture!("golden/osdmap.bin")).unwrap();
    let pools: Vec<(i64, &str)> = map.pools().map(|(id, pool)| (id, pool.name.as_str())).collect();
    assert!(pools.contains(&(2, "cephfs_data")) && pools.contains(&(3, "rbd")), "{pools:?}");
    assert_eq!((map.require_osd_release(), map.max_osd()), (16, 2));
    assert!(map.pools().all(|(_, pool)| pool.has(Pool::HASHPSPOOL) && !pool.has(Pool::FULL)));
    let address = map.addrs(0).unwrap().msgr2().unwrap();
    assert!(map.is_up(0) && address.socket.unwrap().port() >= 26_800);
    assert_eq!((map.is_up(2), map.is_up(-1), map.addrs(2)), (false, false, None));

    let map = OsdMap::decode(fixture!("golden/tentacle-osdmap.bin")).unwrap();
    assert_eq!((map.require_osd_release(), map.max_osd()), (20, 2));
    assert!(map.pool_by_name("cephfs_data").is_some() && map.pool_by_name("nothing").is_none());
    for (id, pool) in map.pools() {
        for seed in 0..pool.pg_num {
            let pg = PgId { pool: id, seed };
            let placement = map.place(pg);
            assert!(placement.acting_primary.is_some_and(|osd| map.is_up(osd)));
            assert_eq!(map.primary_shard(pg, &placement), Some(SpgId { pg, shard: NO_SHARD }));
        }
    }
}

#[test]
fn damage_is_noticed() {
    let bytes = fixture!("golden/osdmap.bin");
    for at in [20, 300, 1_000, bytes.len() - 1] {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(OsdMap::decode(&changed).is_err(), "{at}");
    }
    // The creation time: nothing but the checksum can tell.
    let mut changed = bytes.to_vec();
    changed[12 + 16 + 4] ^= 1;
    assert!(OsdMap::decode(&changed).unwrap_err().to_string().contains("checksum"));
    for end in 0..bytes.len() {
        assert!(OsdMap::decode(&bytes[..end]).is_err(), "{end}");
    }
}

/// Records of the fixtures: length, bytes.
fn records(bytes: &[u8]) -> Vec<&[u8]> {
    let mut decoder = crate::encoding::Decoder::new("records", bytes);
    std::iter::from_fn(|| (!decoder.is_empty()).then(|| decoder.blob().unwrap())).collect()
}

/// A cluster's whole life, in changes. At some epochs the map must be what the monitors had, and place what
/// osdmaptool did.
fn live(maps: &[u8], changes: &[u8], placements: &[u8]) -> (Vec<OsdMap>, usize) {
    let whole: Vec<OsdMap> = records(maps).into_iter().map(|map| OsdMap::decode(map).unwrap()).collect();
    let placements: Vec<&str> = str::from_utf8(placements).unwrap().split("epoch ").skip(1).collect();
    assert_eq!(whole.len(), placements.len());

    let mut map = whole[0].clone();
    let mut compared = 0;
    let mut next = 1;
    for change in records(changes) {
        map.apply(change).unwrap();
        let expected = &whole[next];
        if map.epoch < expected.epoch {
            continue;
        }
        assert_eq!(map, *expected, "epoch {}", map.epoch);
        let (epoch, lines) = placements[next].split_once('\n').unwrap();
        assert_eq!(epoch, map.epoch.to_string());
        compared += all_agree(&map, lines.as_bytes());
        next += 1;
    }
    assert_eq!(next, whole.len());
    (whole, compared)
}

/// Pools come, go, are renamed and split; OSDs come, go, die, are weighted; upmaps, temporary mappings, affinities,
/// weight sets, tunables, the blocklist.
#[test]
fn a_cluster_from_its_first_epoch_on() {
    let (maps, compared) = live(
        fixture!("history/maps.bin"),
        fixture!("history/changes.bin"),
        fixture!("history/placements.txt"),
    );
    assert_eq!((maps.len(), maps[10].epoch), (11, 93));
    assert!(compared > 800, "{compared}");
}

/// Ceph 20: primaries swapped, networks on the blocklist, shards that cannot lead, rules that retry across levels.
#[test]
fn a_cluster_of_ceph_20_from_its_first_epoch_on() {
    let (maps, compared) = live(
        fixture!("history20/maps.bin"),
        fixture!("history20/changes.bin"),
        fixture!("history20/placements.txt"),
    );
    assert!(compared > 300, "{compared}");
    assert!(maps.iter().any(|map| map.pg_upmap_primaries.len() == 6));
    let client = |text: &str| EntityAddr::msgr2(text.parse().unwrap(), 5);
    let last = &maps[5];
    assert!(last.is_blocklisted(&client("192.168.127.1:80")) && !last.is_blocklisted(&client("10.0.0.1:80")));
    let (_, optimized) = last.pool_by_name("ec").unwrap();
    assert!(optimized.has(Pool::EC_OPTIMIZATIONS | Pool::EC_OVERWRITES) && optimized.nonprimary_shards != 0);
    assert!(maps.iter().any(|map| map.pg_temp.keys().any(|pg| map.pool(pg.pool) == Some(optimized))));
}

#[test]
fn the_life_has_everything_in_it() {
    let maps: Vec<OsdMap> =
        records(fixture!("history/maps.bin")).into_iter().map(|map| OsdMap::decode(map).unwrap()).collect();
    let any = |condition: &dyn Fn(&OsdMap) -> bool| assert!(maps.iter().any(condition));
    any(&|map| !map.pg_temp.is_empty());
    any(&|map| !map.primary_temp.is_empty());
    any(&|map| !map.pg_upmap.is_empty());
    any(&|map| !map.pg_upmap_items.is_empty());
    any(&|map| map.osds.iter().any(|osd| osd.primary_affinity == 0));
    any(&|map| map.weights.contains(&0) && map.weights.iter().any(|&weight| weight > 0 && weight < 0x1_0000));
    any(&|map| map.pools().any(|(_, pool)| pool.kind == PoolKind::Erasure));
    any(&|map| map.pools().any(|(_, pool)| !pool.has(Pool::HASHPSPOOL) && pool.pgp_num < pool.pg_num));
    any(&|map| map.max_osd() == 20);
    any(&|map| map.exists(6) && !map.is_up(6));
    let blocked = |text: &str, nonce| EntityAddr::msgr2(text.parse().unwrap(), nonce);
    any(&|map| {
        map.is_blocklisted(&blocked("10.1.2.3:0", 4711)) && map.is_blocklisted(&blocked("10.9.9.9:5", 1))
    });
    any(&|map| {
        map.is_blocklisted(&blocked("10.1.2.3:0", 4711)) && !map.is_blocklisted(&blocked("10.1.2.4:0", 1))
    });
    // A hole where a shard's OSD is down.
    let hole = |map: &OsdMap| {
        map.pools().filter(|(_, pool)| pool.kind == PoolKind::Erasure).any(|(id, pool)| {
            (0..pool.pg_num).any(|seed| map.place(PgId { pool: id, seed }).up.contains(&ITEM_NONE))
        })
    };
    any(&hole);
}

#[test]
fn only_the_next_change_is_applied() {
    let first = OsdMap::decode(records(fixture!("history/maps.bin"))[0]).unwrap();
    let changes = records(fixture!("history/changes.bin"));
    let mut map = first.clone();
    assert_eq!(map.apply(changes[1]), Err(ApplyError::Epoch { found: 3, expected: 2 }));
    map.apply(changes[0]).unwrap();
    assert_eq!(map.apply(changes[0]), Err(ApplyError::Epoch { found: 2, expected: 3 }));

    let mut other = OsdMap { fsid: Fsid([7; 16]), ..first.clone() };
    assert!(matches!(other.apply(changes[0]), Err(ApplyError::Fsid { .. })));
    let mut damaged = changes[0].to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut map = first.clone();
    assert!(matches!(map.apply(&damaged), Err(ApplyError::Decode(_))));
    assert_eq!(map, first);
}

#[test]
fn shards_are_addressed_by_their_place() {
    let maps = records(fixture!("history/maps.bin"));
    let map = OsdMap::decode(maps[3]).unwrap();
    let (pool, info) = map.pool_by_name("ec").unwrap();
    for seed in 0..info.pg_num {
        let pg = PgId { pool, seed };
        let placement = map.place(pg);
        let shard = map.primary_shard(pg, &placement).unwrap().shard;
        assert_eq!(placement.acting.get(shard as usize).copied(), placement.acting_primary);
    }
}

#[test]
fn primaries_can_be_swapped() {
    let mut map = big_map();
    let pg = PgId { pool: 1, seed: 0 };
    let before = map.place(pg).acting;
    map.pg_upmap_primaries.insert(pg, before[2]);
    let after = map.place(pg);
    assert_eq!(
        (after.acting, after.acting_primary),
        (vec![before[2], before[1], before[0]], Some(before[2]))
    );
    // Not to an OSD that is out, nor to one that does not hold it.
    map.weights[before[2] as usize] = 0;
    map.pg_upmap.insert(pg, before.clone());
    map.pg_upmap_items.clear();
    assert_ne!(map.place(pg).acting_primary, Some(before[2]));
    map.weights[before[2] as usize] = 0x1_0000;
    let stranger = (0..40).find(|osd| !before.contains(osd)).unwrap();
    map.pg_upmap_primaries.insert(pg, stranger);
    assert_eq!(map.place(pg).acting, before);
}

#[test]
fn temporary_mappings_of_optimized_pools_are_put_in_order() {
    let mut pool = OsdMap::decode(records(fixture!("history/maps.bin"))[3])
        .unwrap()
        .pool_by_name("ec")
        .unwrap()
        .1
        .clone();
    pool.size = 6;
    pool.nonprimary_shards = 0b1110;
    let written = vec![ITEM_NONE, 9, 10, 6, 7, 8];
    assert_eq!(pool.shards_in_order(written.clone()), written);
    pool.flags |= Pool::EC_OPTIMIZATIONS;
    // The example in Ceph's `OSDMap::pgtemp_primaryfirst`.
    assert_eq!(pool.shards_in_order(written), [ITEM_NONE, 6, 7, 8, 9, 10]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damaged changes are refused; nothing panics.
    #[test]
    fn damaged_changes_do_no_harm(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let changes = records(fixture!("history/changes.bin"));
        let mut changed = changes[which.index(changes.len())].to_vec();
        let original = changed.clone();
        for (index, byte) in damage {
            let index = index.index(changed.len());
            changed[index] = byte;
        }
        // Before version 8 there was no checksum.
        let noticed = incremental::Incremental::decode(&changed).is_err() || changed[0] != original[0];
        prop_assert!(noticed || changed == original);
    }
}
