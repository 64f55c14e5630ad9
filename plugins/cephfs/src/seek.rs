//! Holes of a file: what lies under no object, or beyond the end of one.

use crate::read::{Objects, ReadError};
use futures::future::try_join_all;
use std::collections::BTreeMap;
use wasmount_ceph::cephfs::ReadPlan;
use wasmount_ceph::osd::{Op, Output, Stat};
use wasmount_ceph::rados::RadosError;
use wasmount_ceph::striper::Piece;
use wasmount_ceph_guest::objects::Rados;
use wasmount_sdk::files::SeekTarget;

/// Objects that are looked at at the same time.
const AT_ONCE: usize = 64;
/// Objects that are looked at in a call: 4 GiB of a usual file. What comes after counts as data: whoever is not sure says so.
const LOOKED_AT: usize = 1024;
/// Pieces that are walked through at a time: with small stripes, an object has many.
const PIECES: usize = 1 << 16;

/// The next data or hole at or after `offset`; the end of the file is a hole. `None`: there is none.
///
/// # Errors
/// What failed of the requests.
pub async fn next<R: Rados>(
    rados: &R,
    plan: &ReadPlan,
    offset: u64,
    target: SeekTarget,
) -> Result<Option<u64>, ReadError> {
    if offset >= plan.size {
        return Ok(None);
    }
    if plan.inline.is_some() {
        return Ok(Some(if matches!(target, SeekTarget::Data) { offset } else { plan.size }));
    }
    let objects = Objects::new(plan)?;
    let (mut at, mut looked_at) = (offset, 0);
    while at < plan.size && looked_at < LOOKED_AT {
        let (pieces, numbers) = window(&objects, at, plan.size);
        looked_at += numbers.len();
        let sizes: BTreeMap<u64, u64> =
            try_join_all(numbers.into_iter().map(|object| size(rados, plan, &objects, object)))
                .await?
                .into_iter()
                .collect();
        for piece in pieces {
            let size = sizes.get(&piece.object).copied().unwrap_or(0);
            let there = size.saturating_sub(piece.offset).min(piece.length);
            at = piece.file_offset + piece.length;
            match target {
                SeekTarget::Data if there > 0 => return Ok(Some(piece.file_offset)),
                SeekTarget::Hole if there < piece.length => return Ok(Some(piece.file_offset + there)),
                SeekTarget::Data | SeekTarget::Hole => {}
            }
        }
    }
    Ok(match target {
        SeekTarget::Data => Some(at).filter(|at| *at < plan.size),
        SeekTarget::Hole => Some(plan.size),
    })
}

/// Pieces of a file in its order, with as many objects under them as are looked at at the same time.
fn window(objects: &Objects<'_>, at: u64, size: u64) -> (Vec<Piece>, Vec<u64>) {
    let (mut pieces, mut numbers) = (Vec::new(), Vec::new());
    for piece in objects.layout().pieces(at, size - at).take(PIECES) {
        if let Err(place) = numbers.binary_search(&piece.object) {
            if numbers.len() == AT_ONCE {
                break;
            }
            numbers.insert(place, piece.object);
        }
        pieces.push(piece);
    }
    (pieces, numbers)
}

/// How long an object is; 0 if there is none. It may be longer than a truncation that it has not seen allows: then zeros count as data.
async fn size<R: Rados>(
    rados: &R,
    plan: &ReadPlan,
    objects: &Objects<'_>,
    object: u64,
) -> Result<(u64, u64), ReadError> {
    let results =
        match rados.exec(objects.place(), &objects.name(object), plan.vino.snap, vec![Op::Stat]).await {
            Ok(results) => results,
            Err(RadosError::NotFound) => return Ok((object, 0)),
            Err(error) => return Err(objects.failed(object, error)),
        };
    let stat = match results.first().map(|result| &result.output) {
        Some(Output::Bytes(bytes)) => Stat::decode(bytes),
        _ => Stat::decode(&[]),
    };
    let stat = stat.map_err(|error| objects.failed(object, error.into()))?;
    Ok((object, stat.size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, plan};
    use futures::executor::block_on;

    const K: u64 = 1 << 10;

    /// What is where, a sign for each `unit` bytes: `.` a hole, `x` data.
    fn shape(fake: &Fake, plan: &ReadPlan, unit: u64) -> String {
        let mut shape = String::new();
        let mut at = 0;
        while at < plan.size {
            let next = |target| block_on(next(fake, plan, at, target)).unwrap();
            let (data, hole) = (next(SeekTarget::Data), next(SeekTarget::Hole).unwrap());
            let (sign, end) = if data == Some(at) { ("x", hole) } else { (".", data.unwrap_or(plan.size)) };
            assert!(end > at && (sign == "x" || hole == at), "{at} {data:?} {hole}");
            shape.push_str(&sign.repeat(((end - at).div_ceil(unit)) as usize));
            at = end;
        }
        shape
    }

    #[test]
    fn missing_and_short_objects_are_holes() {
        let fake = Fake::default();
        let plan = plan(0x100, 40 * K, (4 * K, 4 * K, 1));
        fake.put(&plan, 1, &[1; 4096]);
        fake.put(&plan, 3, &[1; 1024]);
        fake.put(&plan, 9, &[1; 4096]);
        assert_eq!(shape(&fake, &plan, K), "....xxxx....x.......................xxxx");
        assert_eq!(block_on(next(&fake, &plan, 40 * K, SeekTarget::Hole)).unwrap(), None);
        assert_eq!(block_on(next(&fake, &plan, 38 * K + 7, SeekTarget::Data)).unwrap(), Some(38 * K + 7));
    }

    #[test]
    fn stripes_have_holes_of_their_unit() {
        let fake = Fake::default();
        let plan = plan(0x100, 16 * K, (4 * K, K, 2));
        fake.put(&plan, 1, &[1; 4096]);
        fake.put(&plan, 2, &[1; 2048]);
        assert_eq!(shape(&fake, &plan, K), ".x.x.x.xx.x.....");
    }

    #[test]
    fn nobody_looks_for_ever() {
        let fake = Fake::default();
        let objects = LOOKED_AT as u64 + 10;
        let plan = plan(0x100, objects * 4 * K, (4 * K, 4 * K, 1));
        let unsure = block_on(next(&fake, &plan, 0, SeekTarget::Data)).unwrap();
        assert_eq!(unsure, Some(LOOKED_AT as u64 * 4 * K), "taken for data");
        assert_eq!(fake.asked.take().len(), LOOKED_AT);
        assert_eq!(block_on(next(&fake, &plan, unsure.unwrap(), SeekTarget::Data)).unwrap(), None);
    }

    #[test]
    fn inline_bytes_have_no_holes() {
        let plan =
            ReadPlan { inline: Some(std::sync::Arc::from(&b"abc"[..])), ..plan(0x100, 3, (4 * K, 4 * K, 1)) };
        let next = |at, target| block_on(next(&Fake::default(), &plan, at, target)).unwrap();
        assert_eq!((next(1, SeekTarget::Data), next(1, SeekTarget::Hole)), (Some(1), Some(3)));
        assert_eq!(next(3, SeekTarget::Data), None);
    }
}
