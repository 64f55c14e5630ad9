//! Runs rules with `choose` and `chooseleaf` steps; those that keep places (`indep`) are in [`super::indep`].

use super::bucket::{Algorithm, Permutation};
use super::hash::hash2;
use super::indep::Indep;
use super::{Bucket, Choose, CrushMap, Rule, RuleKind, Step, WeightSet, bucket_index, msr};
use std::collections::BTreeMap;

/// How many items may be drawn from for one mapping: every attempt counts with the size of its bucket. A mapping in a
/// healthy cluster takes tens to thousands, and some 130,000 for twelve of 10,000 OSDs in a single bucket; this much takes less than a
/// tenth of a second and is there because a map says itself how often to try.
pub const MAX_DRAWS: u64 = 1 << 22;

/// The map asks for more than [`MAX_DRAWS`].
pub(super) struct TooMuchWork;

/// The state of one mapping.
pub(super) struct Mapper<'a> {
    pub(super) map: &'a CrushMap,
    pub(super) x: u32,
    weights: &'a [u32],
    sets: Option<&'a BTreeMap<u32, WeightSet>>,
    permutations: BTreeMap<i32, Permutation>,
    draws_left: u64,
}

/// What an item turned out to be, for one who looks for items of a type.
pub(super) enum Met<'a> {
    /// One of that type.
    Wanted,
    /// A bucket of another type, to go on in.
    Inner(&'a Bucket),
    /// A device where a bucket is wanted, or nothing that the map knows.
    Useless,
}

/// The numbers that govern `firstn`.
#[derive(Clone, Copy)]
struct Firstn {
    kind: i32,
    tries: u32,
    /// Tries for the device below an item, if one is to be found.
    leaf_tries: Option<u32>,
    local_retries: u32,
    local_fallback_retries: u32,
    vary_r: u32,
    stable: bool,
}

/// See [`CrushMap::map_rule`].
pub(super) fn run(
    map: &CrushMap,
    rule: &Rule,
    x: u32,
    result_max: usize,
    weights: &[u32],
    sets: Option<&BTreeMap<u32, WeightSet>>,
) -> Result<Vec<i32>, TooMuchWork> {
    let mut mapper = Mapper { map, x, weights, sets, permutations: BTreeMap::new(), draws_left: MAX_DRAWS };
    match rule.kind {
        RuleKind::Classic => mapper.run_classic(rule, result_max),
        RuleKind::MsrFirstn | RuleKind::MsrIndep => msr::run(&mut mapper, rule, result_max),
    }
}

/// A step's argument that overrides a number if it is at least `least`.
fn overrides(number: &mut u32, argument: i32, least: i32) {
    if argument >= least {
        *number = argument.unsigned_abs();
    }
}

impl<'a> Mapper<'a> {
    fn run_classic(&mut self, rule: &Rule, result_max: usize) -> Result<Vec<i32>, TooMuchWork> {
        let tunables = &self.map.tunables;
        // The tunable counts retries.
        let mut tries = tunables.choose_total_tries.wrapping_add(1);
        let mut leaf_tries = 0;
        let mut local_retries = tunables.choose_local_tries;
        let mut local_fallback_retries = tunables.choose_local_fallback_tries;
        let mut vary_r = u32::from(tunables.chooseleaf_vary_r);
        let mut stable = u32::from(tunables.chooseleaf_stable);

        let mut result = Vec::new();
        let mut working: Vec<i32> = Vec::new();
        for step in &rule.steps {
            match *step {
                Step::Take(item) => {
                    let device = (0..self.map.max_devices).contains(&item);
                    if device || self.map.bucket(item).is_some() {
                        working = vec![item];
                    }
                }
                Step::SetChooseTries(n) => overrides(&mut tries, n, 1),
                Step::SetChooseleafTries(n) => overrides(&mut leaf_tries, n, 1),
                Step::SetChooseLocalTries(n) => overrides(&mut local_retries, n, 0),
                Step::SetChooseLocalFallbackTries(n) => overrides(&mut local_fallback_retries, n, 0),
                Step::SetChooseleafVaryR(n) => overrides(&mut vary_r, n, 0),
                Step::SetChooseleafStable(n) => overrides(&mut stable, n, 0),
                Step::Choose(choose) if choose.firstn => {
                    let leaf_tries = match leaf_tries {
                        0 if tunables.chooseleaf_descend_once => 1,
                        0 => tries,
                        set => set,
                    };
                    let settings = Firstn {
                        kind: choose.kind,
                        tries,
                        leaf_tries: choose.leaf.then_some(leaf_tries),
                        local_retries,
                        local_fallback_retries,
                        vary_r,
                        stable: stable != 0,
                    };
                    working = self.step_firstn(&working, choose, settings, result_max)?;
                }
                Step::Choose(choose) => {
                    let leaf_tries = choose.leaf.then_some(leaf_tries.max(1));
                    let settings = Indep { kind: choose.kind, count: 0, tries, leaf_tries };
                    working = self.step_indep(&working, choose, settings, result_max)?;
                }
                Step::Emit => {
                    let room = result_max.saturating_sub(result.len());
                    result.extend(working.drain(..).take(room));
                }
                Step::SetMsrDescents(_)
                | Step::SetMsrCollisionTries(_)
                | Step::ChooseMsr { .. }
                | Step::Other => {}
            }
        }
        Ok(result)
    }

    fn step_firstn(
        &mut self,
        working: &[i32],
        choose: Choose,
        settings: Firstn,
        result_max: usize,
    ) -> Result<Vec<i32>, TooMuchWork> {
        let mut chosen = Vec::new();
        for root in working {
            let (Some(count), Some(root)) = (wanted(choose, result_max), self.map.bucket(*root)) else {
                continue;
            };
            let (mut items, mut leaves) = (Vec::new(), Vec::new());
            for replica in 0..count {
                if chosen.len() + items.len() >= result_max {
                    break;
                }
                if let Some((item, leaf)) = self.pick(root, replica, settings, &items, &leaves)? {
                    items.push(item);
                    leaves.push(leaf);
                }
            }
            chosen.append(if choose.leaf { &mut leaves } else { &mut items });
        }
        Ok(chosen)
    }

    /// Picks the item for one replica, and the device below it if one is asked for (else the item once more). `items`
    /// and `leaves` are taken.
    fn pick(
        &mut self,
        root: &'a Bucket,
        replica: u32,
        settings: Firstn,
        items: &[i32],
        leaves: &[i32],
    ) -> Result<Option<(i32, i32)>, TooMuchWork> {
        let position = items.len();
        let mut bucket = root;
        let mut failures = 0_u32;
        // Failures since the last start from the root; they go on counting when the walk goes down a level.
        let mut local_failures = 0_u32;
        loop {
            let r = replica.wrapping_add(failures);
            let mut collides = false;
            self.charge(bucket)?;
            if bucket.len() > 0 {
                let permute = settings.local_fallback_retries > 0
                    && local_failures as usize >= bucket.len() >> 1
                    && local_failures > settings.local_fallback_retries;
                let drawn = if permute { self.permuted(bucket, r) } else { self.draw(bucket, r, position) };
                let Some(item) = drawn else { return Ok(None) };
                match self.meet(item, settings.kind) {
                    Met::Useless => return Ok(None),
                    Met::Inner(child) => {
                        bucket = child;
                        continue;
                    }
                    Met::Wanted => {}
                }
                collides = items.contains(&item);
                if !collides {
                    let leaf = self.leaf(item, r, settings, leaves)?;
                    if let Some(leaf) = leaf
                        && !(item >= 0 && self.is_out(item))
                    {
                        return Ok(Some((item, leaf)));
                    }
                }
            }
            failures = failures.wrapping_add(1);
            local_failures = local_failures.wrapping_add(1);
            let exhaust = bucket.len() as u64 + u64::from(settings.local_fallback_retries);
            let stay = collides && local_failures <= settings.local_retries
                || settings.local_fallback_retries > 0 && u64::from(local_failures) <= exhaust;
            if stay {
                continue;
            }
            if failures >= settings.tries {
                return Ok(None);
            }
            bucket = root;
            local_failures = 0;
        }
    }

    /// The device for `item`: below it, itself, or, if no device is asked for, the item.
    fn leaf(
        &mut self,
        item: i32,
        r: u32,
        settings: Firstn,
        leaves: &[i32],
    ) -> Result<Option<i32>, TooMuchWork> {
        let (Some(tries), Some(below)) = (settings.leaf_tries, self.map.bucket(item)) else {
            return Ok(Some(item));
        };
        let inherited = match settings.vary_r.checked_sub(1) {
            // Signed, as in Ceph.
            Some(shift) => (r as i32).checked_shr(shift).unwrap_or(0) as u32,
            None => 0,
        };
        let replica = if settings.stable { 0 } else { leaves.len() as u32 };
        let inner = Firstn { kind: 0, tries, leaf_tries: None, ..settings };
        let picked = self.pick(below, replica.wrapping_add(inherited), inner, leaves, &[])?;
        Ok(picked.map(|(device, _)| device))
    }

    /// Counts an attempt in a bucket.
    pub(super) fn charge(&mut self, bucket: &Bucket) -> Result<(), TooMuchWork> {
        self.spend(bucket.len() as u64 + 1)
    }

    /// Counts work that costs as much as so many draws.
    pub(super) fn spend(&mut self, draws: u64) -> Result<(), TooMuchWork> {
        self.draws_left = self.draws_left.checked_sub(draws).ok_or(TooMuchWork)?;
        Ok(())
    }

    /// Draws an item for attempt `r`, with the weights for place `position` of the result.
    pub(super) fn draw(&mut self, bucket: &Bucket, r: u32, position: usize) -> Option<i32> {
        if matches!(bucket.algorithm, Algorithm::Uniform) {
            return self.permuted(bucket, r);
        }
        let set = self.sets.and_then(|sets| sets.get(&(bucket_index(bucket.id)? as u32)));
        bucket.draw(self.x, r, set.map(|set| (set, position)))
    }

    fn permuted(&mut self, bucket: &Bucket, r: u32) -> Option<i32> {
        let permutation = self.permutations.entry(bucket.id).or_insert_with(|| Permutation::new(bucket));
        permutation.at(bucket, self.x, r)
    }

    pub(super) fn meet(&self, item: i32, kind: i32) -> Met<'a> {
        if item >= self.map.max_devices {
            return Met::Useless;
        }
        let map: &'a CrushMap = self.map;
        match map.bucket(item) {
            _ if item >= 0 && kind == 0 => Met::Wanted,
            Some(bucket) if i32::from(bucket.kind) == kind => Met::Wanted,
            Some(bucket) => Met::Inner(bucket),
            None => Met::Useless,
        }
    }

    /// Whether the device is to be skipped for this input, by its weight in the OSD map.
    pub(super) fn is_out(&self, device: i32) -> bool {
        let Some(&weight) = usize::try_from(device).ok().and_then(|device| self.weights.get(device)) else {
            return true;
        };
        match weight {
            0 => true,
            0x1_0000.. => false,
            _ => hash2(self.x, device as u32) & 0xffff >= weight,
        }
    }
}

/// How many items a step chooses below each item, if any.
pub(super) fn wanted(choose: Choose, result_max: usize) -> Option<u32> {
    let count = if choose.count > 0 {
        i64::from(choose.count)
    } else {
        i64::from(choose.count) + i64::try_from(result_max).ok()?
    };
    u32::try_from(count).ok().filter(|&count| count > 0)
}
