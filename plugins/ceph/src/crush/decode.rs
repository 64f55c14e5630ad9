//! The encoding of a map (`CrushWrapper::encode`). It grew for fifteen years by fields at the end, each of which may
//! be missing.

use super::bucket::Algorithm;
use super::{Bucket, Choose, CrushMap, Rule, RuleKind, Step, WeightSet, bucket_index};
use crate::encoding::{DecodeError, Decoder};
use std::collections::BTreeMap;

/// First word of a map (`CRUSH_MAGIC`).
const MAGIC: u32 = 0x0001_0000;

/// Reads one group of fields that was added at the end.
type Extension = fn(&mut CrushMap, &mut Decoder<'_>) -> Result<(), DecodeError>;

/// What was added at the end, oldest first. A map ends before one of these or after the last.
const EXTENSIONS: [Extension; 9] = [
    |map, decoder| {
        map.tunables.choose_local_tries = decoder.u32()?;
        map.tunables.choose_local_fallback_tries = decoder.u32()?;
        map.tunables.choose_total_tries = decoder.u32()?;
        Ok(())
    },
    |map, decoder| decoder.u32().map(|once| map.tunables.chooseleaf_descend_once = once != 0),
    |map, decoder| decoder.u8().map(|vary_r| map.tunables.chooseleaf_vary_r = vary_r),
    // How straws are computed, and which kinds of buckets may be made: for those who change maps.
    |_, decoder| decoder.skip(1),
    |_, decoder| decoder.skip(4),
    |map, decoder| decoder.bool().map(|stable| map.tunables.chooseleaf_stable = stable),
    |_, decoder| {
        // Device classes: class of each device, names, and the shadow hierarchy of each bucket and class, which is
        // made of ordinary buckets that rules refer to.
        decoder.pairs(Decoder::i32, Decoder::i32)?;
        skip_names(decoder)?;
        decoder.pairs(Decoder::i32, |decoder| decoder.pairs(Decoder::i32, Decoder::i32).map(drop))?;
        Ok(())
    },
    CrushMap::decode_choose_args,
    |map, decoder| {
        map.tunables.msr_descents = decoder.u32()?;
        map.tunables.msr_collision_tries = decoder.u32()?;
        Ok(())
    },
];

impl CrushMap {
    /// Reads a map, which is everything that is left in `decoder`.
    ///
    /// # Errors It is cut off, has a kind of bucket that this release does not know, or contradicts itself: a bucket
    /// in the wrong place, lists of different lengths, a bucket inside itself.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let magic = decoder.u32()?;
        if magic != MAGIC {
            return Err(decoder.error(format_args!("a CRUSH map that begins with {magic:#x}")));
        }
        // Each bucket and each rule takes at least the word that says whether it is there.
        let max_buckets = decoder.count(4)?;
        let max_rules = decoder.count(4)?;
        let max_devices = decoder.i32()?;
        let buckets =
            (0..max_buckets).map(|index| decode_bucket(decoder, index)).collect::<Result<_, _>>()?;
        let rules = (0..max_rules).map(|id| decode_rule(decoder, id)).collect::<Result<_, _>>()?;
        for _ in ["types", "names of items", "names of rules"] {
            skip_names(decoder)?;
        }
        let mut map = Self { buckets, rules, max_devices, ..Self::default() };
        for extension in EXTENSIONS {
            if decoder.is_empty() {
                break;
            }
            extension(&mut map, decoder)?;
        }
        map.check_hierarchy(decoder)?;
        Ok(map)
    }

    fn decode_choose_args(&mut self, decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
        for _ in 0..decoder.count(12)? {
            let id = decoder.i64()?;
            let mut sets = BTreeMap::new();
            for _ in 0..decoder.count(12)? {
                let index = decoder.u32()?;
                let positions = decoder.list(|decoder| decoder.list(Decoder::u32))?;
                let ids = decoder.list(Decoder::i32)?;
                let Some(bucket) = self.buckets.get(index as usize) else {
                    return Err(decoder.error(format_args!("weights for bucket {index}, which cannot be")));
                };
                // What is left over of a bucket that was removed or changed has no meaning.
                let Some(bucket) = bucket.as_deref() else { continue };
                let Algorithm::Straw2 { .. } = bucket.algorithm else { continue };
                if !ids.is_empty() && ids.len() != bucket.len() {
                    let (found, expected) = (ids.len(), bucket.len());
                    return Err(
                        decoder.error(format_args!("{found} ids for bucket {index} of {expected} items"))
                    );
                }
                sets.insert(index, WeightSet { positions, ids });
            }
            self.choose_args.insert(id, sets);
        }
        Ok(())
    }

    /// Refuses buckets that contain themselves, since a walk through them would not end.
    fn check_hierarchy(&self, decoder: &Decoder<'_>) -> Result<(), DecodeError> {
        // Buckets that nothing contains are taken away, then those that nothing else contains, until none is left.
        let mut parents = vec![0_u32; self.buckets.len()];
        for bucket in self.buckets.iter().flatten() {
            for child in children(bucket) {
                if let Some(count) = parents.get_mut(child) {
                    *count += 1;
                }
            }
        }
        let mut free: Vec<usize> = (0..parents.len()).filter(|&index| parents[index] == 0).collect();
        let mut taken = 0;
        while let Some(index) = free.pop() {
            taken += 1;
            let Some(bucket) = &self.buckets[index] else { continue };
            for child in children(bucket) {
                if let Some(count) = parents.get_mut(child) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(child);
                    }
                }
            }
        }
        if taken < self.buckets.len() {
            return Err(decoder.error("a CRUSH bucket contains itself"));
        }
        Ok(())
    }
}

/// Indices of the buckets inside a bucket.
fn children(bucket: &Bucket) -> impl Iterator<Item = usize> {
    bucket.items.iter().filter_map(|&item| bucket_index(item))
}

fn decode_bucket(decoder: &mut Decoder<'_>, index: usize) -> Result<Option<Box<Bucket>>, DecodeError> {
    if decoder.u32()? == 0 {
        return Ok(None);
    }
    let id = decoder.i32()?;
    if bucket_index(id) != Some(index) {
        return Err(decoder.error(format_args!("bucket {id} at index {index}")));
    }
    let (kind, algorithm, hash) = (decoder.u16()?, decoder.u8()?, decoder.u8()?);
    decoder.skip(4)?; // its weight, which is the sum of its items'
    let size = decoder.count(4)?;
    let items = numbers(decoder, size, Decoder::i32)?;
    // Pairs of numbers for each item.
    let pairs = |decoder: &mut Decoder<'_>| -> Result<(Vec<u32>, Vec<u32>), DecodeError> {
        Ok(numbers(decoder, size, |decoder| Ok((decoder.u32()?, decoder.u32()?)))?.into_iter().unzip())
    };
    let algorithm = match algorithm {
        1 => {
            decoder.skip(4)?; // the weight of each item, which does not matter
            Algorithm::Uniform
        }
        2 => {
            let (weights, sums) = pairs(decoder)?;
            Algorithm::List { weights, sums }
        }
        3 => {
            let nodes = decoder.u8()?;
            Algorithm::Tree { nodes: numbers(decoder, nodes.into(), Decoder::u32)? }
        }
        4 => Algorithm::Straw { straws: pairs(decoder)?.1 },
        5 => Algorithm::Straw2 { weights: numbers(decoder, size, Decoder::u32)? },
        other => return Err(decoder.error(format_args!("bucket {id} is of the unknown kind {other}"))),
    };
    Ok(Some(Box::new(Bucket { id, kind, hash, items, algorithm })))
}

/// So many numbers. The count was compared with what is left, or is below 256.
fn numbers<'a, T>(
    decoder: &mut Decoder<'a>,
    count: usize,
    mut number: impl FnMut(&mut Decoder<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    (0..count).map(|_| number(decoder)).collect()
}

fn decode_rule(decoder: &mut Decoder<'_>, id: usize) -> Result<Option<Rule>, DecodeError> {
    if decoder.u32()? == 0 {
        return Ok(None);
    }
    let length = decoder.u32()?;
    let (set, kind) = (decoder.u8()?, decoder.u8()?);
    if usize::from(set) != id {
        return Err(
            decoder.error(format_args!("rule {id} in rule set {set}, which no release since 12 makes"))
        );
    }
    decoder.skip(2)?; // sizes it is for
    let kind = match kind {
        4 => RuleKind::MsrFirstn,
        5 => RuleKind::MsrIndep,
        _ => RuleKind::Classic,
    };
    if length as usize > decoder.remaining() / 12 {
        return Err(decoder.error(format_args!("rule {id} of {length} steps")));
    }
    let steps = numbers(decoder, length as usize, decode_step)?;
    Ok(Some(Rule { kind, steps }))
}

fn decode_step(decoder: &mut Decoder<'_>) -> Result<Step, DecodeError> {
    let (operation, first, second) = (decoder.u32()?, decoder.i32()?, decoder.i32()?);
    let choose = |firstn, leaf| Step::Choose(Choose { count: first, kind: second, firstn, leaf });
    Ok(match operation {
        1 => Step::Take(first),
        2 => choose(true, false),
        3 => choose(false, false),
        4 => Step::Emit,
        6 => choose(true, true),
        7 => choose(false, true),
        8 => Step::SetChooseTries(first),
        9 => Step::SetChooseleafTries(first),
        10 => Step::SetChooseLocalTries(first),
        11 => Step::SetChooseLocalFallbackTries(first),
        12 => Step::SetChooseleafVaryR(first),
        13 => Step::SetChooseleafStable(first),
        14 => Step::SetMsrDescents(first),
        15 => Step::SetMsrCollisionTries(first),
        16 => Step::ChooseMsr { count: first, kind: second },
        _ => Step::Other,
    })
}

/// Passes over a map from numbers to names. A bug of old times wrote some of the numbers as 64 bits; names are never
/// empty, so an empty one is the upper half of such a number.
fn skip_names(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    for _ in 0..decoder.count(8)? {
        decoder.skip(4)?;
        if decoder.blob()?.is_empty() {
            decoder.blob()?;
        }
    }
    Ok(())
}
