//! Runs MSR rules (multi-step retry, Ceph 19 and later): `take`, some `choosemsr`, `emit`, as often as the rule likes.
//!
//! A `choose` step settles its items before the next step looks below them; if all that is below one of them is out,
//! its places stay empty. `choosemsr` steps belong together: a descent goes through all of them at once, and a place
//! that got no device is tried again from the top. Each step divides the places that it was given into *strides* of
//! equal length, one item for each, and items of different strides differ. After a failure a stride may use several
//! items, which is why each step remembers as many as it has places. `doc/dev/crush-msr.rst` of Ceph tells the
//! reasons; the procedure is `crush_msr_do_rule` of `crush/mapper.c`.

use super::mapper::{Mapper, TooMuchWork};
use super::{Bucket, ITEM_NONE, Rule, RuleKind, Step};
use std::ops::Range;

/// Longest chain of `choosemsr` steps. There are only so many kinds of failure domains; the limit bounds the recursion.
const MAX_STEPS: usize = 64;

/// A `choosemsr` step, its count resolved.
#[derive(Clone, Copy)]
struct Level {
    strides: usize,
    kind: i32,
}

/// What is between a `take` and its `emit`.
struct Block {
    root: i32,
    levels: Vec<Level>,
    /// Product of all strides: how many places the block fills if they are wanted.
    width: usize,
}

/// The work on one block.
struct Descents<'m, 'a> {
    mapper: &'m mut Mapper<'a>,
    levels: Vec<Level>,
    /// Per level and place: items in use. A stride's items are pushed into its places front to back.
    used: Vec<Vec<Option<i32>>>,
    collision_tries: u32,
    result_max: usize,
    /// What each place got.
    devices: Vec<(usize, i32)>,
}

/// Runs the rule. One that is not of the right form, or that contradicts itself, gives nothing.
pub(super) fn run(mapper: &mut Mapper<'_>, rule: &Rule, result_max: usize) -> Result<Vec<i32>, TooMuchWork> {
    let mut descents = mapper.map.tunables.msr_descents;
    let mut collision_tries = mapper.map.tunables.msr_collision_tries;
    let mut steps = rule.steps.as_slice();
    while let [Step::SetMsrDescents(_) | Step::SetMsrCollisionTries(_), rest @ ..] = steps {
        match steps[0] {
            Step::SetMsrDescents(n) => descents = n as u32,
            Step::SetMsrCollisionTries(n) => collision_tries = n as u32,
            _ => {}
        }
        steps = rest;
    }

    let mut places = vec![ITEM_NONE; result_max];
    let mut returned = 0;
    let mut start = 0_usize;
    while !steps.is_empty() {
        let Some((block, rest)) = parse_block(steps, result_max) else { return Ok(Vec::new()) };
        steps = rest;
        let end = start.saturating_add(block.width).min(result_max);
        let devices = if block.root >= 0 {
            if !block.levels.is_empty() {
                return Ok(Vec::new());
            }
            if start < end { vec![(start, block.root)] } else { Vec::new() }
        } else {
            let used = vec![vec![None; result_max]; block.levels.len()];
            let levels = block.levels;
            let mut work = Descents {
                mapper: &mut *mapper,
                levels,
                used,
                collision_tries,
                result_max,
                devices: Vec::new(),
            };
            work.run(block.root, block.width, start..end, descents)?;
            work.devices
        };
        for (place, device) in devices {
            let at = if rule.kind == RuleKind::MsrFirstn { returned } else { place };
            if let Some(slot) = places.get_mut(at) {
                *slot = device;
            }
            returned += 1;
        }
        start = end;
    }
    if rule.kind == RuleKind::MsrFirstn {
        places.truncate(returned);
    }
    Ok(places)
}

/// The block at the beginning of `steps`, and what follows it.
fn parse_block(steps: &[Step], result_max: usize) -> Option<(Block, &[Step])> {
    let [Step::Take(root), rest @ ..] = steps else { return None };
    let mut levels = Vec::new();
    let mut width = 1_usize;
    for (index, step) in rest.iter().enumerate() {
        match *step {
            Step::Emit => {
                return Some((Block { root: *root, levels, width }, rest.get(index + 1..)?));
            }
            Step::ChooseMsr { count, kind } if levels.len() < MAX_STEPS => {
                let strides = if count == 0 { result_max } else { usize::try_from(count).ok()? };
                width = width.checked_mul(strides)?;
                levels.push(Level { strides, kind });
            }
            _ => return None,
        }
    }
    None
}

impl Descents<'_, '_> {
    fn run(
        &mut self,
        root: i32,
        width: usize,
        places: Range<usize>,
        descents: u32,
    ) -> Result<(), TooMuchWork> {
        let map = self.mapper.map;
        let Some(root) = map.bucket(root) else { return Ok(()) };
        if self.levels.is_empty() {
            return Ok(());
        }
        for descent in 0..descents {
            if self.devices.len() >= places.len() {
                break;
            }
            self.choose(root, 0, width, places.clone(), descent)?;
        }
        Ok(())
    }

    /// One descent from `bucket` through the levels from `level` on, for places of which there would be `width` if
    /// all were wanted. Returns how many of them got a device.
    fn choose(
        &mut self,
        bucket: &Bucket,
        level: usize,
        width: usize,
        places: Range<usize>,
        descent: u32,
    ) -> Result<usize, TooMuchWork> {
        let Some(&Level { strides, kind }) = self.levels.get(level) else { return Ok(0) };
        // A map may say that nothing is to be tried, but again and again.
        self.mapper.spend(places.len() as u64 + 1)?;
        let length = width.checked_div(strides).unwrap_or(0).max(1);
        let last = level + 1 == self.levels.len();
        let mut mapped = 0;
        // Items that led to nothing still count as taken until this descent ends, so that an item going out moves as
        // little as it can.
        let mut fruitless = Vec::new();
        for (index, start) in places.clone().step_by(length).enumerate() {
            let stride = start..(start + length).min(places.end);
            if self.is_full(&stride) {
                continue;
            }
            let Some(item) = self.pick(bucket, level, kind, index, &stride, &places, descent)? else {
                continue;
            };
            if kind == 0 {
                // Nothing can follow a device.
                if length == 1 && last && !self.mapper.is_out(item) {
                    self.push(level, &stride, item);
                    self.devices.push((start, item));
                    mapped += 1;
                }
                continue;
            }
            let map = self.mapper.map;
            let (false, Some(child)) = (last, map.bucket(item)) else { continue };
            let below = self.choose(child, level + 1, length, stride.clone(), descent)?;
            let pushed = self.push(level, &stride, item);
            if pushed && below == 0 {
                fruitless.push(stride);
            } else {
                mapped += below;
            }
        }
        for stride in fruitless {
            self.pop(level, stride);
        }
        Ok(mapped)
    }

    /// An item for a stride that no other stride of this level has.
    #[expect(clippy::too_many_arguments, reason = "one step of a nested walk")]
    fn pick(
        &mut self,
        bucket: &Bucket,
        level: usize,
        kind: i32,
        index: usize,
        stride: &Range<usize>,
        places: &Range<usize>,
        descent: u32,
    ) -> Result<Option<i32>, TooMuchWork> {
        for attempt in 0..self.collision_tries {
            let Some(item) = self.descend(bucket, kind, index, descent, attempt)? else { continue };
            let taken = self.used[level]
                .get(places.clone())
                .and_then(|used| used.iter().position(|&other| other == Some(item)));
            // The first one counts: a stride may use its own item again.
            if taken.is_none_or(|at| stride.contains(&(places.start + at))) {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Goes down to an item of the type, or to a device if that comes first.
    fn descend(
        &mut self,
        bucket: &Bucket,
        kind: i32,
        index: usize,
        descent: u32,
        attempt: u32,
    ) -> Result<Option<i32>, TooMuchWork> {
        let number = descent.wrapping_mul(self.result_max as u32).wrapping_add(index as u32);
        let r = (number << 16).wrapping_add(attempt);
        let map = self.mapper.map;
        let mut bucket = bucket;
        loop {
            self.mapper.charge(bucket)?;
            let Some(item) = self.mapper.draw(bucket, r, index) else { return Ok(None) };
            if item >= 0 {
                return Ok(Some(item));
            }
            let Some(child) = map.bucket(item) else { return Ok(None) };
            if i32::from(child.kind) == kind {
                return Ok(Some(item));
            }
            bucket = child;
        }
    }

    /// Whether every place has its device.
    fn is_full(&self, stride: &Range<usize>) -> bool {
        let devices = self.used.last().and_then(|used| used.get(stride.clone()));
        devices.is_some_and(|devices| devices.iter().all(Option::is_some))
    }

    /// Remembers an item for a stride; `false` if it was already there.
    fn push(&mut self, level: usize, stride: &Range<usize>, item: i32) -> bool {
        let used = self.used[level].get_mut(stride.clone()).unwrap_or_default();
        match used.iter_mut().find(|used| used.is_none_or(|other| other == item)) {
            Some(slot @ None) => {
                *slot = Some(item);
                true
            }
            _ => false,
        }
    }

    /// Forgets the item that a stride remembered last.
    fn pop(&mut self, level: usize, stride: Range<usize>) {
        let used = self.used[level].get_mut(stride).unwrap_or_default();
        if let Some(slot) = used.iter_mut().rev().find(|slot| slot.is_some()) {
            *slot = None;
        }
    }
}
