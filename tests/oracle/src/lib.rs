//! Random CRUSH maps in Ceph's encoding, to have them mapped by several implementations.
//!
//! A map is a root with racks with hosts with devices. Each bucket is of a random kind and each item of a random
//! weight; hosts may be empty and devices out. What a test must avoid because its oracle cannot do it is said in
//! [`Shape`].

use wasmount_ceph::encoding::Encoder;

/// What maps to make.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Kinds of buckets, as numbered by Ceph: 1 uniform, 2 list, 3 tree, 4 straw, 5 straw2.
    pub algorithms: &'static [u8],
    /// Whether tunables are random, too, or those of Ceph 10 and later.
    pub any_tunables: bool,
    /// Whether some straw2 buckets have weight sets.
    pub weight_sets: bool,
    /// Whether some hosts have no devices.
    pub empty_hosts: bool,
}

/// A map.
#[derive(Clone, Debug)]
pub struct RandomMap {
    /// In Ceph's encoding.
    pub bytes: Vec<u8>,
    /// Weight of each device in an OSD map, in 16.16 fixed point.
    pub weights: Vec<u32>,
    /// Whether a device that is in weighs anything in its bucket. If none does, devices are found all the same.
    pub weighs: bool,
}

/// A step of a rule: operation and arguments as Ceph numbers them.
pub type Step = (u32, i32, i32);

/// Numbers that look random (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from `0` to `below - 1`.
    pub fn below(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % u64::from(below.max(1))) as u32
    }

    /// Whether an event of this probability happens, in percent.
    pub fn happens(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

/// A bucket before it is written.
struct Bucket {
    id: i32,
    kind: u16,
    items: Vec<i32>,
    weights: Vec<u32>,
}

impl RandomMap {
    /// Makes a map with these rules.
    #[must_use]
    pub fn new(dice: &mut Dice, shape: Shape, rules: &[Vec<Step>]) -> Self {
        let mut buckets = Vec::new();
        let mut devices = 0;
        let mut racks = Vec::new();
        for _ in 0..1 + dice.below(5) {
            let mut hosts = Vec::new();
            for _ in 0..1 + dice.below(5) {
                let least = u32::from(!shape.empty_hosts);
                let count = (least + dice.below(5)) as i32;
                hosts.push(add(dice, &mut buckets, 1, (devices..devices + count).collect(), None));
                devices += count;
            }
            let (ids, weights) = hosts.into_iter().unzip();
            racks.push(add(dice, &mut buckets, 2, ids, Some(weights)));
        }
        let (ids, weights) = racks.into_iter().unzip();
        add(dice, &mut buckets, 3, ids, Some(weights));

        let mut encoder = Encoder::new();
        encoder.u32(0x1_0000).length(buckets.len()).length(rules.len()).i32(devices);
        let algorithms: Vec<u8> =
            buckets.iter().map(|bucket| write(&mut encoder, dice, shape, bucket)).collect();
        for (id, steps) in (0..).zip(rules) {
            encoder.u32(1).length(steps.len()).u8(id).u8(1).u8(1).u8(100);
            for &(operation, first, second) in steps {
                encoder.u32(operation).i32(first).i32(second);
            }
        }
        write_names(&mut encoder, &buckets, rules.len());
        let tunables = if shape.any_tunables {
            [dice.below(4), dice.below(7), 3 + dice.below(50), dice.below(2), dice.below(5), dice.below(2)]
        } else {
            [0, 0, 50, 1, 1, 1]
        };
        let [local, fallback, total, once, vary_r, stable] = tunables;
        encoder
            .u32(local)
            .u32(fallback)
            .u32(total)
            .u32(once)
            .u8(vary_r as u8)
            .u8(1)
            .u32(0xff)
            .u8(stable as u8);
        encoder.u32(0).u32(0).u32(0); // no device classes
        write_weight_sets(&mut encoder, dice, shape, &buckets, &algorithms);
        let weights: Vec<u32> = (0..devices)
            .map(|_| match dice.below(10) {
                0 => 0,
                // Multiples of 1/64, which survive a trip through decimal text.
                1 => dice.below(64) << 10,
                _ => 0x1_0000,
            })
            .collect();
        let in_hosts = buckets.iter().filter(|bucket| bucket.kind == 1);
        let mut devices = in_hosts.flat_map(|host| host.items.iter().zip(&host.weights));
        let is_in = |device: i32| weights.get(device as usize).is_some_and(|&weight| weight > 0);
        let weighs = devices.any(|(&device, &weight)| weight > 0 && is_in(device));
        Self { bytes: encoder.finish(), weights, weighs }
    }

    /// The id of the root of a map: it is written last.
    #[must_use]
    pub fn root(dice: &Dice, shape: Shape) -> i32 {
        let map = Self::new(&mut dice.clone(), shape, &[]);
        -i32::from_le_bytes(map.bytes[4..8].try_into().unwrap_or_default())
    }
}

/// Adds a bucket; returns its id and weight.
fn add(
    dice: &mut Dice,
    buckets: &mut Vec<Bucket>,
    kind: u16,
    items: Vec<i32>,
    weights: Option<Vec<u32>>,
) -> (i32, u32) {
    let id = -1 - buckets.len() as i32;
    let weights: Vec<u32> = weights.unwrap_or_else(|| {
        items.iter().map(|_| dice.below(0x4_0000) * u32::from(dice.happens(95))).collect()
    });
    let weight = weights.iter().sum();
    buckets.push(Bucket { id, kind, items, weights });
    (id, weight)
}

/// Writes a bucket of a random kind, which it returns.
fn write(encoder: &mut Encoder, dice: &mut Dice, shape: Shape, bucket: &Bucket) -> u8 {
    let mut algorithm = shape.algorithms[dice.below(shape.algorithms.len() as u32) as usize];
    // A tree in which nothing weighs anything leads to a leaf that is not there.
    if algorithm == 3 && bucket.weights.contains(&0) || bucket.items.is_empty() {
        algorithm = 5;
    }
    let total: u32 = bucket.weights.iter().sum();
    encoder.u32(algorithm.into()).i32(bucket.id).u16(bucket.kind).u8(algorithm).u8(0).u32(total);
    encoder.list(bucket.items.iter(), |encoder, &item| {
        encoder.i32(item);
    });
    match algorithm {
        1 => {
            encoder.u32(bucket.weights.first().copied().unwrap_or(0));
        }
        2 => {
            let mut sum = 0;
            for &weight in &bucket.weights {
                sum += weight;
                encoder.u32(weight).u32(sum);
            }
        }
        3 => write_tree(encoder, &bucket.weights),
        4 => {
            for &weight in &bucket.weights {
                // Any scale will do: what straws have to do with weights is the business of who makes maps.
                encoder.u32(weight).u32(if weight == 0 { 0 } else { 0x1_0000 + dice.below(0x2_0000) });
            }
        }
        _ => {
            for &weight in &bucket.weights {
                encoder.u32(weight);
            }
        }
    }
    algorithm
}

fn write_tree(encoder: &mut Encoder, weights: &[u32]) {
    let leaves = weights.len().next_power_of_two();
    let mut nodes = vec![0; leaves * 2];
    for (index, &weight) in weights.iter().enumerate() {
        let mut node = index * 2 + 1;
        nodes[node] = weight;
        // The parent of a node of height h is 2^h away, on the side that leaves its bit h + 1 clear.
        for height in 0..leaves.trailing_zeros() {
            let half = 1 << height;
            node = if node & (half << 1) == 0 { node + half } else { node - half };
            nodes[node] += weight;
        }
    }
    encoder.u8(nodes.len() as u8);
    for node in nodes {
        encoder.u32(node);
    }
}

/// Names, without which crushtool shows nothing.
fn write_names(encoder: &mut Encoder, buckets: &[Bucket], rules: usize) {
    encoder.list(["osd", "host", "rack", "root"].into_iter().enumerate(), |encoder, (kind, name)| {
        encoder.length(kind).blob(name);
    });
    encoder.list(buckets.iter(), |encoder, bucket| {
        encoder.i32(bucket.id).blob(format!("b{}", -bucket.id));
    });
    encoder.list(0..rules, |encoder, rule| {
        encoder.length(rule).blob(format!("rule{rule}"));
    });
}

fn write_weight_sets(
    encoder: &mut Encoder,
    dice: &mut Dice,
    shape: Shape,
    buckets: &[Bucket],
    algorithms: &[u8],
) {
    if !shape.weight_sets {
        encoder.u32(0);
        return;
    }
    let positions = 1 + dice.below(3);
    let with_set: Vec<(usize, &Bucket)> = buckets
        .iter()
        .enumerate()
        .filter(|&(index, bucket)| algorithms[index] == 5 && !bucket.items.is_empty() && dice.happens(50))
        .collect();
    encoder.u32(1).i64(0).length(with_set.len());
    for (index, bucket) in with_set {
        encoder.length(index).u32(positions);
        for _ in 0..positions {
            encoder.list(bucket.items.iter(), |encoder, _| {
                encoder.u32(dice.below(0x4_0000));
            });
        }
        let ids = if dice.happens(50) { bucket.items.as_slice() } else { &[] };
        encoder.list(ids.iter(), |encoder, id| {
            encoder.i32(id - 1000);
        });
    }
}
