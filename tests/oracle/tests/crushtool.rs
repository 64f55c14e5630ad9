//! Ceph's own crushtool, on maps with everything in them. Wants crushtool of Ceph 16 or later: `apt-get install
//! ceph-base`.

use proptest::prelude::*;
use std::process::Command;
use wasmount_ceph::crush::CrushMap;
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph_oracle::{Dice, RandomMap, Shape, Step};

const SHAPE: Shape =
    Shape { algorithms: &[1, 2, 3, 4, 5, 5], any_tunables: true, weight_sets: true, empty_hosts: true };

/// Rules of any steps that make sense.
fn rules(dice: &mut Dice, root: i32) -> Vec<Vec<Step>> {
    (0..6)
        .map(|_| {
            let mut steps = Vec::new();
            for operation in 8..=13 {
                if dice.happens(25) {
                    steps.push((operation, dice.below(6) as i32, 0));
                }
            }
            steps.push((1, root, 0));
            // choose firstn, choose indep, chooseleaf firstn, chooseleaf indep.
            let last = [2, 3, 6, 7][dice.below(4) as usize];
            // The last step must lead to devices: crushtool counts how often each was chosen, and crashes over buckets.
            let kind = if last < 6 { 0 } else { dice.below(3) as i32 };
            if kind < 2 && dice.happens(40) {
                steps.push((2 + dice.below(2), 1 + dice.below(3) as i32, 2));
            }
            // A negative number is so many less than are wanted.
            steps.push((last, dice.below(5) as i32 - 1, kind));
            steps.push((4, 0, 0));
            steps
        })
        .collect()
}

fn crushtool(map: &RandomMap, replicas: usize) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &map.bytes).unwrap();
    let mut command = Command::new("crushtool");
    command.arg("-i").arg(file.path());
    command.args(["--enable-unsafe-tunables", "--test", "--show-mappings", "--min-x", "0", "--max-x", "31"]);
    command.args(["--min-rule", "0", "--max-rule", "5", "--num-rep", &replicas.to_string()]);
    for (device, weight) in map.weights.iter().enumerate() {
        command.args(["--weight", &device.to_string(), &(f64::from(*weight) / 65536.0).to_string()]);
    }
    let output = command.output().expect("crushtool is missing: apt-get install ceph-base");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn compare(seed: u64, replicas: usize) -> Result<(), TestCaseError> {
    let mut dice = Dice::new(seed);
    let root = RandomMap::root(&Dice::new(seed ^ 1), SHAPE);
    let rules = rules(&mut dice, root);
    let random = RandomMap::new(&mut Dice::new(seed ^ 1), SHAPE, &rules);
    let mut decoder = Decoder::new("CRUSH map", &random.bytes);
    let map = CrushMap::decode(&mut decoder).unwrap();
    prop_assert!(decoder.is_empty());
    let mut compared = 0;
    for line in crushtool(&random, replicas).lines() {
        // CRUSH rule 0 x 17 [4,27,33]
        let words: Vec<&str> = line.split(' ').collect();
        let ["CRUSH", "rule", rule, "x", x, devices] = words[..] else { continue };
        let found =
            map.map_rule(rule.parse().unwrap(), x.parse().unwrap(), replicas, &random.weights, Some(0));
        let found = format!("{found:?}").replace(", ", ",");
        prop_assert_eq!(found, devices, "{} {:?}", line, rules);
        compared += 1;
    }
    if compared == 0 {
        // It shows nothing for a map in which no device that is in weighs anything.
        prop_assert!(!random.weighs);
    } else {
        prop_assert_eq!(compared, 6 * 32);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn maps_like_crushtool(seed in any::<u64>(), replicas in 1..7_usize) {
        compare(seed, replicas)?;
    }
}

/// About one map of 3,000 is like this.
#[test]
fn nothing_is_shown_if_nothing_weighs_anything() {
    compare(8_870_532_030_576_482_094, 1).unwrap();
}
