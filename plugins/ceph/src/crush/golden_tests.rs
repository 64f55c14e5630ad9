//! Mappings that Ceph's crushtool made; `tests/fixtures/make-golden.sh` tells how.

use super::*;
use crate::encoding::Decoder;
use proptest::prelude::*;

macro_rules! fixture {
    ($($part:literal)+) => {
        include_bytes!(concat!("../../tests/fixtures/", $($part),+)).as_slice()
    };
}

fn map(bytes: &[u8]) -> CrushMap {
    let mut decoder = Decoder::new("CRUSH map", bytes);
    let map = CrushMap::decode(&mut decoder).unwrap();
    assert!(decoder.is_empty());
    map
}

/// Numbers of OSDs, separated by commas.
fn list(text: &str) -> Vec<i32> {
    text.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().unwrap()).collect()
}

/// Compares with lines like `CRUSH rule 0 x 17 [4,27,33]`.
fn agrees_with_crushtool(text: &[u8], replicas: usize, weights: &[u32]) {
    let map = map(fixture!("golden/big-crush.bin"));
    let mut compared = 0;
    for line in str::from_utf8(text).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [_, _, rule, _, x, osds] = words[..] else { panic!("{line}") };
        let expected = list(osds.trim_matches(['[', ']']));
        let found = map.map_rule(rule.parse().unwrap(), x.parse().unwrap(), replicas, weights, None);
        assert_eq!(found, expected, "{line}");
        compared += 1;
    }
    assert_eq!(compared, 256);
}

#[test]
fn racks_and_hosts_and_classes_and_shards() {
    let all = [0x1_0000; 40];
    agrees_with_crushtool(fixture!("golden/crush-rule0.txt"), 3, &all);
    agrees_with_crushtool(fixture!("golden/crush-rule1.txt"), 2, &all);
    agrees_with_crushtool(fixture!("golden/crush-rule2.txt"), 6, &all);
}

#[test]
fn devices_that_are_partly_out() {
    let mut weights = [0x1_0000; 40];
    (weights[3], weights[7], weights[20]) = (0x8000, 0x4000, 0);
    agrees_with_crushtool(fixture!("golden/crush-rule0-reweight.txt"), 3, &weights);
}

/// Compares with lines like `3 0 17 4,27,33`: replicas, rule, input, devices.
fn agrees(bytes: &[u8], text: &[u8]) {
    let map = map(bytes);
    let mut weights = [0x1_0000; 24];
    for (osd, weight) in [(3, 0x8000), (9, 0), (10, 0), (11, 0), (20, 52_428)] {
        weights[osd] = weight;
    }
    let mut compared = 0;
    for line in str::from_utf8(text).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [replicas, rule, x, osds] = words[..] else { panic!("{line}") };
        let found = map.map_rule(
            rule.parse().unwrap(),
            x.parse().unwrap(),
            replicas.parse().unwrap(),
            &weights,
            Some(0),
        );
        assert_eq!(found, list(osds), "{line}");
        compared += 1;
    }
    assert_eq!(compared, 2 * 8 * 32);
}

macro_rules! agrees {
    ($($test:ident $file:literal)*) => {
        $(
            #[test]
            fn $test() {
                agrees(fixture!("crush/" $file ".bin"), fixture!("crush/" $file ".txt"));
            }
        )*
    };
}

agrees! {
    straw2_with_weight_sets "straw2-jewel"
    straw2_with_weight_sets_and_legacy_tunables "straw2-legacy"
    straw "straw-jewel"
    straw_with_firefly_tunables "straw-firefly"
    straw_with_legacy_tunables "straw-legacy"
    list_buckets "list-jewel"
    list_buckets_with_legacy_tunables "list-legacy"
    tree_buckets "tree-bobtail"
    tree_buckets_with_legacy_tunables "tree-legacy"
    uniform_buckets "uniform-jewel"
    uniform_buckets_with_legacy_tunables "uniform-legacy"
    rules_that_retry_across_levels "msr"
}

#[test]
fn weight_sets_change_something() {
    let map = map(fixture!("crush/straw2-jewel.bin"));
    let weights = [0x1_0000; 24];
    let differs =
        |set| (0..32).any(|x| map.map_rule(0, x, 3, &weights, set) != map.map_rule(0, x, 3, &weights, None));
    assert!(differs(Some(0)));
    // There is no default set here to fall back to.
    assert!(!differs(Some(7)));
}

#[test]
fn what_is_not_there_maps_to_nothing() {
    let map = map(fixture!("golden/big-crush.bin"));
    assert!(map.has_rule(0) && !map.has_rule(99));
    assert!(map.map_rule(99, 1, 3, &[0x1_0000; 40], None).is_empty());
    assert!(map.map_rule(0, 1, 3, &[], None).is_empty());
    assert_eq!(map.map_rule(2, 1, 4, &[], None), [ITEM_NONE; 4]);
    assert!(map.map_rule(0, 1, 0, &[0x1_0000; 40], None).is_empty());
}

#[test]
fn a_map_that_asks_for_too_much_work_maps_to_nothing() {
    let mut map = map(fixture!("crush/straw2-jewel.bin"));
    assert_eq!(map.map_rule(1, 1, 6, &[], None), [ITEM_NONE; 6]);
    map.tunables.choose_total_tries = u32::MAX - 1;
    assert!(map.map_rule(1, 1, 6, &[], None).is_empty());

    let mut map = self::map(fixture!("crush/msr.bin"));
    assert_eq!(map.map_rule(0, 1, 6, &[], None), [ITEM_NONE; 6]);
    map.tunables.msr_descents = u32::MAX;
    map.tunables.msr_collision_tries = 0;
    assert!(map.map_rule(0, 1, 6, &[], None).is_empty());
}

#[test]
fn a_bucket_inside_itself_is_refused() {
    let bytes = fixture!("golden/big-crush.bin");
    let mut map = map(bytes);
    let position = |id: i32| bytes.windows(4).rposition(|window| window == id.to_le_bytes());
    // The last use of a host's id as an item, replaced by the id of a bucket that contains it.
    let inner = map.buckets.iter_mut().flatten().find(|bucket| bucket.items.iter().all(|&item| item < 0));
    let inner = inner.unwrap();
    let words: Vec<u8> = inner.items.iter().flat_map(|item| item.to_le_bytes()).collect();
    let at = bytes.windows(words.len()).position(|window| window == words).unwrap();
    assert!(position(inner.id).is_some());
    let mut changed = bytes.to_vec();
    changed[at..at + 4].copy_from_slice(&inner.id.to_le_bytes());
    let error = CrushMap::decode(&mut Decoder::new("CRUSH map", &changed)).unwrap_err();
    assert!(error.to_string().contains("contains itself"), "{error}");
}

#[test]
fn every_prefix_is_an_error_or_an_older_map() {
    let bytes = fixture!("crush/straw2-jewel.bin");
    let whole = (0..bytes.len())
        .filter(|&end| CrushMap::decode(&mut Decoder::new("CRUSH map", &bytes[..end])).is_ok());
    // Before the tunables and between its groups of fields that were added later.
    let ends: Vec<usize> = whole.map(|end| bytes.len() - end).collect();
    assert!(ends.len() >= 6 && ends.len() <= 9, "{ends:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damaged maps are refused or map to something; nothing panics and nothing goes on for ever.
    #[test]
    fn damage_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        file in 0..4_usize,
        x in any::<u32>(),
    ) {
        let files = [
            fixture!("crush/straw2-legacy.bin"),
            fixture!("crush/tree-legacy.bin"),
            fixture!("crush/uniform-jewel.bin"),
            fixture!("crush/msr.bin"),
        ];
        let bytes = files[file];
        let mut changed = bytes.to_vec();
        for (index, byte) in damage {
            let index = index.index(changed.len());
            changed[index] = byte;
        }
        if let Ok(map) = CrushMap::decode(&mut Decoder::new("CRUSH map", &changed)) {
            for rule in 0..8 {
                let mapped = map.map_rule(rule, x, 5, &[0x1_0000; 24], Some(0));
                prop_assert!(mapped.len() <= 5);
            }
        }
    }
}
