//! Images and snapshots by name.

use super::super::{all as all_of, expect, expect_error, rules};
use super::BlockBench;
use super::open::NOBODY;
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use std::collections::BTreeSet;
use wasmount_core::ports::{BlockStore, Image};
use wasmount_types::{Error, ErrorKind};

rules! {
    "list/pages": "small pages hold no more than was asked, and together each image once" => pages;
    "list/get": "`get-image` says the same about an image as the listing, and `not-found` about one that is not there" => get;
    "list/snapshots": "each snapshot is listed once, and those of an image that is not there are `not-found`" => snapshots;
}

/// All images, by pages of at most `limit`; a store that never ends is stopped after a million pages.
pub(super) async fn all(store: &dyn BlockStore, limit: u32) -> Result<Vec<Image>, Error> {
    let (mut images, mut continuation) = (Vec::new(), None);
    for _ in 0..1_000_000 {
        let page = store.list_images(within(PATIENCE), continuation, limit).await?;
        images.extend(page.images);
        continuation = page.next;
        if continuation.is_none() {
            break;
        }
    }
    Ok(images)
}

async fn pages(bench: &BlockBench) -> Result<Outcome, Error> {
    let names = |images: &[Image]| images.iter().map(|image| image.name.clone()).collect::<BTreeSet<_>>();
    let expected = names(&bench.images);
    if expected.len() != bench.images.len() {
        return Ok(Outcome::Failed("an image was listed twice".into()));
    }
    // One by one only where that is a matter of seconds.
    let limit = u32::try_from(expected.len() / 20).unwrap_or(u32::MAX).max(1);
    let images = all(&*bench.store, limit).await?;
    Ok(expect(names(&images) == expected && images.len() == expected.len(), || {
        format!("{} images in pages of {limit}, {} in pages of 1000", images.len(), expected.len())
    }))
}

async fn get(bench: &BlockBench) -> Result<Outcome, Error> {
    for image in bench.images.iter().take(super::IMAGES) {
        let found = bench.store.get_image(within(PATIENCE), image.name.clone()).await?;
        // A live image may have changed.
        let same = found == *image || (image.version.is_none() && found.version.is_none());
        if !same {
            return Ok(Outcome::Failed(format!("{found:?}, and {image:?} in the listing")));
        }
    }
    let missing = bench.store.get_image(within(PATIENCE), NOBODY.into()).await;
    Ok(expect_error(missing, &[ErrorKind::NotFound]))
}

async fn snapshots(bench: &BlockBench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().snapshots {
        return Ok(Outcome::Skipped("snapshots are not promised".into()));
    }
    let names = bench.snapshots.iter().map(|(image, snapshot)| (image, &snapshot.name));
    let versions = bench.snapshots.iter().map(|(image, snapshot)| (image, &snapshot.version));
    let (names, versions) = (names.collect::<BTreeSet<_>>(), versions.collect::<BTreeSet<_>>());
    let count = bench.snapshots.len();
    let missing = bench.store.list_snapshots(within(PATIENCE), NOBODY.into()).await;
    Ok(all_of([
        expect(names.len() == count, || "a snapshot was listed twice".into()),
        expect(versions.len() == count, || "two snapshots of an image have one version".into()),
        expect_error(missing, &[ErrorKind::NotFound]),
    ]))
}
