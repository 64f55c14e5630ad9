//! CRUSH: from a number and a description of the cluster to the OSDs that hold it, computed alike by everybody.
//!
//! A [`CrushMap`] is a tree of *buckets* (hosts, racks, roots) whose leaves are devices, and *rules* that walk it.
//! [`CrushMap::map_rule`] runs a rule. It must agree with Ceph bit for bit, or requests go to OSDs that do not have
//! the object; so the oddities of the original (`crush/mapper.c`, `crush/CrushWrapper.cc`) that change a result are
//! kept, and named where they are. Where the original would read outside its memory, because a map contradicts
//! itself, this one finds nothing.
//!
//! - `decode`: the map's encoding, from the oldest tunables to MSR rules (Ceph 19).
//! - `bucket`: how each kind of bucket draws one of its items.
//! - `mapper`, `indep`: rules with `choose` and `chooseleaf` steps.
//! - `msr`: rules with `choosemsr` steps, which retry across levels.
//!
//! The paper: Weil et al., *CRUSH: Controlled, Scalable, Decentralized Placement of Replicated Data* (2006).

mod bucket;
mod decode;
pub(crate) mod hash;
mod indep;
mod ln;
mod mapper;
mod msr;

pub(crate) use bucket::{Bucket, WeightSet};
pub use mapper::MAX_DRAWS;

use std::collections::BTreeMap;

/// No device: a place that could not be filled (`CRUSH_ITEM_NONE`).
pub const ITEM_NONE: i32 = 0x7fff_ffff;

/// The weight set that is used for pools which have none of their own (`CrushWrapper::DEFAULT_CHOOSE_ARGS`).
pub const DEFAULT_CHOOSE_ARGS: i64 = -1;

/// A description of the cluster's hierarchy, with its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrushMap {
    /// Bucket `-1 - i` at index `i`.
    buckets: Vec<Option<Box<Bucket>>>,
    /// By id; ids may be unused.
    rules: Vec<Option<Rule>>,
    /// Devices have ids below this.
    max_devices: i32,
    tunables: Tunables,
    /// Other weights or ids for some buckets, by bucket index, per weight set: a pool's id, or [`DEFAULT_CHOOSE_ARGS`].
    choose_args: BTreeMap<i64, BTreeMap<u32, WeightSet>>,
}

/// How hard and how exactly to try. Clusters carry the values of the release that made them, unless somebody changed
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tunables {
    /// Retries in the same bucket after a collision.
    pub(crate) choose_local_tries: u32,
    /// Retries in the same bucket that walk a permutation of it.
    pub(crate) choose_local_fallback_tries: u32,
    /// Retries from the top. It counts retries, not tries.
    pub(crate) choose_total_tries: u32,
    /// A `chooseleaf` tries one leaf per bucket, then another bucket.
    pub(crate) chooseleaf_descend_once: bool,
    /// How much of the attempt's number a `chooseleaf` passes down: 0 none, n shifted right by n - 1.
    pub(crate) chooseleaf_vary_r: u8,
    /// Replicas that are not affected by a change keep their place.
    pub(crate) chooseleaf_stable: bool,
    /// Descents of an MSR rule.
    pub(crate) msr_descents: u32,
    /// Retries of an MSR step after a collision.
    pub(crate) msr_collision_tries: u32,
}

impl Default for Tunables {
    /// What applies if a map says nothing: the values of the first releases (`set_tunables_legacy`).
    fn default() -> Self {
        Self {
            choose_local_tries: 2,
            choose_local_fallback_tries: 5,
            choose_total_tries: 19,
            chooseleaf_descend_once: false,
            chooseleaf_vary_r: 0,
            chooseleaf_stable: false,
            msr_descents: 100,
            msr_collision_tries: 100,
        }
    }
}

/// A rule: what `ceph osd crush rule dump` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) kind: RuleKind,
    pub(crate) steps: Vec<Step>,
}

/// How a rule's result is ordered, and which steps it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// `choose` and `chooseleaf` steps, each of which says how it orders.
    Classic,
    /// `choosemsr` steps; results move up when one is missing.
    MsrFirstn,
    /// `choosemsr` steps; each result has its place.
    MsrIndep,
}

/// A step of a rule (`crush_opcodes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Starts over with this item.
    Take(i32),
    /// Chooses items of a type below each item of the working set.
    Choose(Choose),
    /// Adds the working set to the result.
    Emit,
    /// `set_choose_tries` if positive.
    SetChooseTries(i32),
    /// `set_chooseleaf_tries` if positive.
    SetChooseleafTries(i32),
    /// Overrides [`Tunables::choose_local_tries`] if not negative.
    SetChooseLocalTries(i32),
    /// Overrides [`Tunables::choose_local_fallback_tries`] if not negative.
    SetChooseLocalFallbackTries(i32),
    /// Overrides [`Tunables::chooseleaf_vary_r`] if not negative.
    SetChooseleafVaryR(i32),
    /// Overrides [`Tunables::chooseleaf_stable`] if not negative.
    SetChooseleafStable(i32),
    /// Overrides [`Tunables::msr_descents`].
    SetMsrDescents(i32),
    /// Overrides [`Tunables::msr_collision_tries`].
    SetMsrCollisionTries(i32),
    /// `choosemsr`: so many items (0: as many as are wanted) of this type.
    ChooseMsr {
        /// How many.
        count: i32,
        /// Their type.
        kind: i32,
    },
    /// Nothing, or something this release does not know; Ceph passes over it as well.
    Other,
}

/// Arguments of `choose` and `chooseleaf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choose {
    /// How many; zero or less is relative to what is wanted in all.
    pub(crate) count: i32,
    /// Type of the items; devices are 0.
    pub(crate) kind: i32,
    /// Whether results move up when one is missing (`firstn`), or keep their places (`indep`).
    pub(crate) firstn: bool,
    /// Whether to go on to a device below each item.
    pub(crate) leaf: bool,
}

impl CrushMap {
    /// Runs rule `rule` for the input `x` and returns at most `result_max` devices. A rule that keeps places
    /// (`indep`) marks those it could not fill with [`ITEM_NONE`].
    ///
    /// `weights` are those of the OSD map, by device, in 16.16 fixed point: a device below `0x10000` is skipped with
    /// that probability. `choose_args` names the weight set, which is a pool's id; without one of that name the
    /// default one applies.
    ///
    /// The result is empty if there is no such rule, and if the map asks for more than [`MAX_DRAWS`] of work.
    #[must_use]
    pub fn map_rule(
        &self,
        rule: u32,
        x: u32,
        result_max: usize,
        weights: &[u32],
        choose_args: Option<i64>,
    ) -> Vec<i32> {
        let Some(Some(rule)) = self.rules.get(rule as usize) else { return Vec::new() };
        let sets = choose_args
            .and_then(|id| self.choose_args.get(&id).or_else(|| self.choose_args.get(&DEFAULT_CHOOSE_ARGS)));
        mapper::run(self, rule, x, result_max, weights, sets).unwrap_or_default()
    }

    /// Devices have ids below this.
    #[must_use]
    pub fn max_devices(&self) -> i32 {
        self.max_devices
    }

    /// Whether there is a rule of this id.
    #[must_use]
    pub fn has_rule(&self, rule: u32) -> bool {
        matches!(self.rules.get(rule as usize), Some(Some(_)))
    }

    /// The bucket of this id, which is negative.
    fn bucket(&self, id: i32) -> Option<&Bucket> {
        self.buckets.get(bucket_index(id)?)?.as_deref()
    }
}

/// Where the bucket of this id is; `None` for a device.
fn bucket_index(id: i32) -> Option<usize> {
    usize::try_from(-1_i64 - i64::from(id)).ok()
}

#[cfg(test)]
mod golden_tests;
