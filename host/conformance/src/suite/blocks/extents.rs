//! Holes that are known before they are read.

use super::super::{expect_error, rules};
use super::{BlockBench, bytes, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use wasmount_core::ports::ExtentKind;
use wasmount_types::{Error, ErrorKind};

rules! {
    "extents/holes-are-zeros": "what is said to be a hole reads as zeros, and extents follow one another to the end" => holes;
    "extents/beyond": "an extent beyond the size is `out-of-range`" => beyond;
}

/// Extents of one image after which the suite has seen enough, and bytes of each hole that it reads.
const ENOUGH: usize = 2_000;
const LOOK: u64 = 1 << 20;

async fn holes(bench: &BlockBench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().extents {
        return Ok(Outcome::Skipped("extents are not promised".into()));
    }
    let subjects = bench.subjects();
    if subjects.is_empty() {
        return Ok(nothing());
    }
    for subject in subjects {
        let image = bench.open(&subject).await?;
        let geometry = image.geometry();
        let (mut at, mut seen) = (0, 0);
        while at < geometry.size && seen < ENOUGH {
            let extent = image.next_extent(within(PATIENCE), at, geometry.size - at).await?;
            if extent.kind == ExtentKind::Hole {
                let length = extent.length.min(LOOK);
                let content = bytes(&*bench.store, &*image, at, length).await?;
                if content.iter().any(|byte| *byte != 0) {
                    let end = at + extent.length;
                    return Ok(Outcome::Failed(format!("{at}..{end} of {subject:?} is no hole")));
                }
            }
            let aligned = extent.length.is_multiple_of(geometry.sector.into());
            if !aligned && at + extent.length != geometry.size {
                return Ok(Outcome::Failed(format!("an extent at {at} of {} bytes", extent.length)));
            }
            at += extent.length;
            seen += 1;
        }
    }
    Ok(Outcome::Passed)
}

async fn beyond(bench: &BlockBench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().extents {
        return Ok(Outcome::Skipped("extents are not promised".into()));
    }
    let Some(subject) = bench.subjects().into_iter().next() else { return Ok(nothing()) };
    let image = bench.open(&subject).await?;
    let geometry = image.geometry();
    let end = geometry.size.next_multiple_of(geometry.sector.into());
    let extent = image.next_extent(within(PATIENCE), end, geometry.sector.into()).await;
    Ok(expect_error(extent, &[ErrorKind::OutOfRange]))
}
