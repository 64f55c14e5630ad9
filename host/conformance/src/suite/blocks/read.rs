//! Bytes of images.

use super::super::{all, expect_error, rules};
use super::{BlockBench, SAMPLE, Subject, bytes, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use futures::future::try_join_all;
use std::sync::Arc;
use wasmount_core::ports::ImageHandle;
use wasmount_types::{Error, ErrorKind};

rules! {
    "read/edges": "first and last sector, and reads over the boundaries of `optimal`, are parts of what one large read gives" => edges;
    "read/beyond": "a read that begins or ends beyond the size is `out-of-range`" => beyond;
    "read/unchanging": "what has a version reads the same through another handle, in other pieces" => unchanging;
    "read/many-at-once": "64 reads at once give the right bytes each" => many;
    "read/closed": "a handle reads on while others of the same image are closed" => closed;
}

/// What is checked for the right bytes: what cannot change; else a live image, which nobody should be writing to.
fn steady(bench: &BlockBench) -> Option<Subject> {
    bench.subjects().into_iter().next()
}

/// The first bytes of an image, and where they end.
async fn front(bench: &BlockBench, image: &dyn ImageHandle) -> Result<Vec<u8>, Error> {
    bytes(&*bench.store, image, 0, sample(image)).await
}

/// A length that ends at a sector or with the image.
fn sample(image: &dyn ImageHandle) -> u64 {
    image.geometry().size.min(SAMPLE)
}

fn slice(bytes: &[u8], from: u64, length: u64) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)
}

async fn edges(bench: &BlockBench) -> Result<Outcome, Error> {
    let Some(subject) = steady(bench) else { return Ok(nothing()) };
    let image = bench.open(&subject).await?;
    let geometry = image.geometry();
    let (sector, optimal) = (u64::from(geometry.sector), u64::from(geometry.optimal));
    let content = front(bench, &*image).await?;
    let length = content.len() as u64;
    let mut ranges = vec![(0, sector.min(length))];
    ranges.extend((1..4).map(|n| (n * optimal - sector, 2 * sector)));
    ranges.extend((0..8).map(|n| (n * length / 8 / sector * sector, 5 * sector)));
    for (from, count) in ranges.into_iter().filter(|(from, count)| from + count <= length) {
        let part = bytes(&*bench.store, &*image, from, count).await?;
        if slice(&content, from, count) != Some(&part[..]) {
            return Ok(Outcome::Failed(format!("other bytes at {from}..{} of {subject:?}", from + count)));
        }
    }
    let last = (geometry.size - 1) / sector * sector;
    let tail = bytes(&*bench.store, &*image, last, geometry.size - last).await?;
    let again = bytes(&*bench.store, &*image, last, geometry.size - last).await?;
    if tail != again {
        return Ok(Outcome::Failed(format!("the last sector of {subject:?} reads differently twice")));
    }
    Ok(Outcome::Passed)
}

async fn beyond(bench: &BlockBench) -> Result<Outcome, Error> {
    let Some(subject) = steady(bench) else { return Ok(nothing()) };
    let image = bench.open(&subject).await?;
    let geometry = image.geometry();
    let end = geometry.size.next_multiple_of(geometry.sector.into());
    let at_end = image.read(within(PATIENCE), end, geometry.sector).await.map(drop);
    let over =
        image.read(within(PATIENCE), end - u64::from(geometry.sector), 2 * geometry.sector).await.map(drop);
    let far = image.read(within(PATIENCE), 1 << 62, geometry.sector).await.map(drop);
    Ok(all([at_end, over, far].map(|read| expect_error(read, &[ErrorKind::OutOfRange]))))
}

async fn unchanging(bench: &BlockBench) -> Result<Outcome, Error> {
    let Some(subject) = steady(bench).filter(|subject| subject.version.is_some()) else {
        return Ok(Outcome::Skipped("nothing here has a version; make a snapshot of an image".into()));
    };
    let (first, second) = (bench.open(&subject).await?, bench.open(&subject).await?);
    let content = front(bench, &*first).await?;
    let piece = 3 * u64::from(second.geometry().optimal) / 4 / 4096 * 4096;
    let mut at = 0;
    while at < content.len() as u64 {
        let count = piece.max(4096).min(content.len() as u64 - at);
        if slice(&content, at, count) != Some(&bytes(&*bench.store, &*second, at, count).await?[..]) {
            return Ok(Outcome::Failed(format!("other bytes at {at}..{} of {subject:?}", at + count)));
        }
        at += count;
    }
    Ok(Outcome::Passed)
}

async fn many(bench: &BlockBench) -> Result<Outcome, Error> {
    let Some(subject) = steady(bench) else { return Ok(nothing()) };
    let image: Arc<dyn ImageHandle> = bench.open(&subject).await?;
    let content = front(bench, &*image).await?;
    let sector = u64::from(image.geometry().sector);
    let one = |index: u64| {
        let (image, length) = (&image, content.len() as u64);
        let from = index * length / 64 / sector * sector;
        let count = (8 * sector).min(length - from);
        async move { Ok::<_, Error>((from, count, bytes(&*bench.store, &**image, from, count).await?)) }
    };
    for (from, count, part) in try_join_all((0..64).map(one)).await? {
        if slice(&content, from, count) != Some(&part[..]) {
            return Ok(Outcome::Failed(format!("other bytes at {from}..{} of {subject:?}", from + count)));
        }
    }
    Ok(Outcome::Passed)
}

async fn closed(bench: &BlockBench) -> Result<Outcome, Error> {
    let Some(subject) = steady(bench) else { return Ok(nothing()) };
    let image = bench.open(&subject).await?;
    let before = front(bench, &*image).await?;
    for _ in 0..8 {
        drop(bench.open(&subject).await?);
    }
    let after = front(bench, &*image).await?;
    Ok(super::super::expect(before == after, || format!("other bytes of {subject:?}")))
}
