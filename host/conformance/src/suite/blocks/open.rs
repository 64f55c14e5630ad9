//! Opening a mount, and images in it.

use super::super::{all, expect, expect_error, rules};
use super::{BlockBench, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use wasmount_types::{Error, ErrorKind};

rules! {
    "open/again": "a second instance of the same mount opens and lists the same beside the first" => again;
    "open/missing": "an image or a snapshot that is not there is `not-found`" => missing;
    "open/version": "what is opened has the version and size that the listing gave" => version;
    "open/many": "200 images are opened and closed, one after the other and side by side" => many;
}

/// A name that no image has.
pub(super) const NOBODY: &str = "no image is called so, surely";

async fn again(bench: &BlockBench) -> Result<Outcome, Error> {
    let second = super::open_store(&*(bench.source)(Vec::new())?).await?;
    let images = super::list::all(&*second, 1000).await?;
    Ok(expect(images.len() == bench.images.len(), || {
        format!("{} images in the second instance, {} in the first", images.len(), bench.images.len())
    }))
}

async fn missing(bench: &BlockBench) -> Result<Outcome, Error> {
    let open = |image: &str, snapshot: Option<&str>| {
        bench.store.open_image(within(PATIENCE), image.to_owned(), snapshot.map(str::to_owned))
    };
    let mut outcomes = vec![expect_error(open(NOBODY, None).await.map(drop), &[ErrorKind::NotFound])];
    if let Some(image) = bench.images.first()
        && bench.store.capabilities().snapshots
    {
        let opened = open(&image.name, Some(NOBODY)).await.map(drop);
        outcomes.push(expect_error(opened, &[ErrorKind::NotFound]));
    }
    Ok(all(outcomes))
}

async fn version(bench: &BlockBench) -> Result<Outcome, Error> {
    let subjects = bench.subjects();
    if subjects.is_empty() {
        return Ok(nothing());
    }
    for subject in subjects {
        let opened = bench.open(&subject).await?;
        let (geometry, version) = (opened.geometry(), opened.version().cloned());
        if version != subject.version {
            return Ok(Outcome::Failed(format!("{subject:?} was opened as version {version:?}")));
        }
        let refreshed = opened.refresh(within(PATIENCE)).await?;
        // A live image may have another size by now.
        if version.is_some() && (geometry.size != subject.size || refreshed != geometry) {
            return Ok(Outcome::Failed(format!(
                "{subject:?} has the shape {geometry:?}, then {refreshed:?}"
            )));
        }
    }
    Ok(Outcome::Passed)
}

async fn many(bench: &BlockBench) -> Result<Outcome, Error> {
    let subjects = bench.subjects();
    if subjects.is_empty() {
        return Ok(nothing());
    }
    let mut kept = Vec::new();
    for (index, subject) in subjects.iter().cycle().take(200).enumerate() {
        let opened = bench.open(subject).await?;
        if index % 4 == 0 {
            kept.push(opened);
        }
    }
    for opened in &kept {
        let length = opened.geometry().size.min(opened.geometry().sector.into());
        super::bytes(&*bench.store, &**opened, 0, length).await?;
    }
    Ok(Outcome::Passed)
}
