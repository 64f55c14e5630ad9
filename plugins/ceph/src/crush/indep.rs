//! `choose` and `chooseleaf` steps whose results keep their places (`indep`): what erasure coded pools need, where
//! place i is for shard i.

use super::bucket::Algorithm;
use super::mapper::{Mapper, Met, TooMuchWork, wanted};
use super::{Bucket, Choose, ITEM_NONE};

/// A place that is still to be filled (`CRUSH_ITEM_UNDEF`).
const ITEM_UNDEF: i32 = 0x7fff_fffe;

/// The numbers that govern `indep`.
#[derive(Clone, Copy)]
pub(super) struct Indep {
    pub(super) kind: i32,
    /// How many places the step fills, which strides the attempts.
    pub(super) count: u32,
    pub(super) tries: u32,
    /// Tries for the device below an item, if one is to be found.
    pub(super) leaf_tries: Option<u32>,
}

impl<'a> Mapper<'a> {
    /// Chooses items below each item of the working set, each for its place.
    pub(super) fn step_indep(
        &mut self,
        working: &[i32],
        choose: Choose,
        settings: Indep,
        result_max: usize,
    ) -> Result<Vec<i32>, TooMuchWork> {
        let mut chosen = Vec::new();
        for root in working {
            let (Some(count), Some(root)) = (wanted(choose, result_max), self.map.bucket(*root)) else {
                continue;
            };
            let width = (count as usize).min(result_max - chosen.len());
            let mut items = vec![ITEM_UNDEF; width];
            let mut leaves = if choose.leaf { items.clone() } else { Vec::new() };
            self.fill(root, Indep { count, ..settings }, 0, 0, &mut items, &mut leaves)?;
            chosen.append(if choose.leaf { &mut leaves } else { &mut items });
        }
        Ok(chosen)
    }

    /// Fills places with items, breadth first: each place is tried once before any is tried again. `first` is the
    /// number of the first place, and `leaves` is empty if no devices are asked for.
    fn fill(
        &mut self,
        root: &'a Bucket,
        settings: Indep,
        first: usize,
        inherited: u32,
        items: &mut [i32],
        leaves: &mut [i32],
    ) -> Result<(), TooMuchWork> {
        for failures in 0..settings.tries {
            if !items.contains(&ITEM_UNDEF) {
                break;
            }
            for place in 0..items.len() {
                if items[place] == ITEM_UNDEF {
                    self.fill_place(root, settings, (first, place), inherited, failures, items, leaves)?;
                }
            }
        }
        for place in items.iter_mut().chain(leaves).filter(|place| **place == ITEM_UNDEF) {
            *place = ITEM_NONE;
        }
        Ok(())
    }

    /// One attempt for one place. `at` is the number of the first place, and which one after it.
    #[expect(
        clippy::too_many_arguments,
        reason = "the state of two nested loops; a struct would only rename it"
    )]
    fn fill_place(
        &mut self,
        root: &'a Bucket,
        settings: Indep,
        at: (usize, usize),
        inherited: u32,
        failures: u32,
        items: &mut [i32],
        leaves: &mut [i32],
    ) -> Result<(), TooMuchWork> {
        let (first, place) = at;
        let mut bucket = root;
        let (item, r) = loop {
            self.charge(bucket)?;
            if bucket.len() == 0 {
                return Ok(());
            }
            // A uniform bucket of a multiple of the count would give each place the same items again and again.
            let uniform = matches!(bucket.algorithm, Algorithm::Uniform);
            let resonates = uniform && (bucket.len() as u32).is_multiple_of(settings.count);
            let stride = settings.count.wrapping_add(resonates.into());
            let r =
                ((first + place) as u32).wrapping_add(inherited).wrapping_add(stride.wrapping_mul(failures));
            // Ceph passes the number of the first place here, not of this one.
            let met = self.draw(bucket, r, first).map(|item| (item, self.meet(item, settings.kind)));
            match met {
                Some((item, Met::Wanted)) => break (item, r),
                Some((_, Met::Inner(child))) => bucket = child,
                Some((_, Met::Useless)) | None => {
                    items[place] = ITEM_NONE;
                    if let Some(leaf) = leaves.get_mut(place) {
                        *leaf = ITEM_NONE;
                    }
                    return Ok(());
                }
            }
        };
        if items.contains(&item) {
            return Ok(());
        }
        if let (Some(tries), Some(leaf)) = (settings.leaf_tries, leaves.get_mut(place)) {
            // If the item is a device that turns out to be out, its number stays here and becomes the result when the
            // tries are used up: so does Ceph.
            *leaf = item;
            if let Some(below) = self.map.bucket(item) {
                let inner = Indep { kind: 0, tries, leaf_tries: None, ..settings };
                let mut device = [ITEM_UNDEF];
                self.fill(below, inner, first + place, r, &mut device, &mut [])?;
                *leaf = device[0];
                if *leaf == ITEM_NONE {
                    return Ok(());
                }
            }
        }
        if item < 0 || !self.is_out(item) {
            items[place] = item;
        }
        Ok(())
    }
}
