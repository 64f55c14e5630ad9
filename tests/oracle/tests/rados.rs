//! The crate `rados`, on what it does right. Version 0.1.4 differs from Ceph in much of CRUSH, which is why crushtool
//! is the oracle that counts:
//!
//! - `chooseleaf firstn` compares hosts with the devices chosen so far, so that two replicas may land on one host;
//! - every replica of a `firstn` starts at attempt 0 if `chooseleaf_stable` is set, and retries repeat the same
//!   attempt if `chooseleaf_vary_r` is 0;
//! - `chooseleaf indep` retries leaves as often as items, with the stride of one replica;
//! - uniform buckets draw with another hash, the longest of equal straws is the last, and the number of nodes of a
//!   tree is read as 32 bits;
//! - `set_chooseleaf_tries`, the local tries of old tunables and weight sets are passed over.
//!
//! So: `choose` steps of devices or hosts, over straw2 and list buckets.

use proptest::prelude::*;
use wasmount_ceph::crush::{self, CrushMap};
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph_oracle::{Dice, RandomMap, Shape};

const SHAPE: Shape =
    Shape { algorithms: &[2, 5], any_tunables: false, weight_sets: false, empty_hosts: false };

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn maps_like_rados(seed in any::<u64>(), replicas in 1..7_usize) {
        let root = RandomMap::root(&Dice::new(seed), SHAPE);
        let rules: Vec<_> = [(2, 0), (3, 0), (2, 1), (3, 1), (3, 2)]
            .into_iter()
            .map(|(operation, kind)| vec![(8, 400, 0), (1, root, 0), (operation, 0, kind), (4, 0, 0)])
            .collect();
        let random = RandomMap::new(&mut Dice::new(seed), SHAPE, &rules);
        let ours = CrushMap::decode(&mut Decoder::new("CRUSH map", &random.bytes)).unwrap();
        let theirs = rados::crush::CrushMap::decode(&mut bytes::Bytes::from(random.bytes.clone())).unwrap();
        for rule in 0..rules.len() as u32 {
            for x in 0..32 {
                let mut expected = Vec::new();
                rados::crush::mapper::crush_do_rule(&theirs, rule, x, &mut expected, replicas, &random.weights).unwrap();
                let found = ours.map_rule(rule, x, replicas, &random.weights, None);
                // Ceph's attempts for replica n begin at n, rados' at 0: with as many of them Ceph may go on to find one more.
                let exhausted = rules[rule as usize][2].0 == 2 && expected.len() < replicas;
                let compared = if exhausted { expected.len().min(found.len()) } else { found.len() };
                prop_assert_eq!(&found[..compared], &expected, "rule {} x {}", rule, x);
                prop_assert!(found.iter().all(|&item| item == crush::ITEM_NONE || item < ours.max_devices()));
            }
        }
    }
}
