//! Fills the listing of a mount's images, one page after the other.

use super::ImageFs;
use super::names::Spec;
use crate::objects::{Listed, Listing, in_circles};
use crate::ports::Image;
use crate::wait::bounded;
use futures::{StreamExt, stream};
use std::sync::Arc;
use std::time::Instant;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// Images asked for with one call.
const PAGE: u32 = 1000;
/// Images whose snapshots are asked for at the same time.
const PARALLEL: usize = 16;
/// Pages in a row that bring nothing after which a store is taken to go in circles.
const MAX_EMPTY_PAGES: usize = 1_000;

/// Loads `listing` to its end.
pub(super) async fn load(fs: Arc<ImageFs>, listing: Arc<Listing>) {
    // Whatever happens to this task, nobody waits for pages that never come.
    let unfinished = Unfinished(&listing);
    let outcome = pages(&fs, &listing).await;
    std::mem::forget(unfinished);
    if let Err(error) = &outcome {
        tracing::debug!(mount = %fs.id, %error, "listing images failed");
    }
    listing.finish(outcome.map_err(|error| error.context("listing images")));
}

struct Unfinished<'a>(&'a Arc<Listing>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let message = "the listing was given up because wasmount is stopping";
        self.0.finish(Err(Error::new(ErrorKind::Interrupted, Blame::Host, message)));
    }
}

async fn pages(fs: &ImageFs, listing: &Arc<Listing>) -> Result<(), Error> {
    let (mut continuation, mut hidden, mut empty_pages) = (None, 0_u64, 0);
    loop {
        // Neither cached nor read by anyone.
        if Arc::strong_count(listing) == 1 {
            return Err(Error::new(ErrorKind::Interrupted, Blame::Host, "nobody waits for it any more"));
        }
        let at = fs.clock.now();
        let ctx = RequestCtx::internal(at + fs.request_timeout);
        let page = fs.store.list_images(ctx, continuation.clone(), PAGE);
        let page = bounded(&*fs.clock, ctx, "a page of images", page).await?;
        empty_pages = if page.images.is_empty() { empty_pages + 1 } else { 0 };
        let mut found =
            stream::iter(page.images).map(|image| with_snapshots(fs, image, at)).buffered(PARALLEL);
        while let Some(files) = found.next().await {
            for (spec, listed) in files? {
                match spec.name() {
                    Some(name) => listing.push(name, listed),
                    None => hidden += 1,
                }
            }
            if listing.totals().0 > fs.config.directory_entries {
                let message = format!(
                    "the mount has more than {} images and snapshots, the limit for one directory",
                    fs.config.directory_entries
                );
                return Err(Error::new(ErrorKind::TooLarge, Blame::Host, message));
            }
        }
        let Some(next) = page.next else { break };
        if continuation.as_ref() == Some(&next) || empty_pages > MAX_EMPTY_PAGES {
            return Err(in_circles("the listing of images"));
        }
        continuation = Some(next);
    }
    if hidden > 0 {
        tracing::warn!(mount = %fs.id, hidden, "images or snapshots with names over 255 bytes are hidden");
    }
    Ok(())
}

/// An image of a page that was asked for at `at`, and its snapshots beside it.
async fn with_snapshots(fs: &ImageFs, image: Image, at: Instant) -> Result<Vec<(Spec, Listed)>, Error> {
    let mut files = vec![(Spec::image(&image.name), Listed { child: super::image_file(&image), at })];
    if !fs.caps.snapshots {
        return Ok(files);
    }
    let at = fs.clock.now();
    let ctx = RequestCtx::internal(at + fs.request_timeout);
    let snapshots = fs.store.list_snapshots(ctx, image.name.clone());
    match bounded(&*fs.clock, ctx, "snapshots of an image", snapshots).await {
        Ok(snapshots) => files.extend(snapshots.iter().map(|snapshot| {
            (
                Spec::snapshot(&image.name, &snapshot.name),
                Listed { child: super::snapshot_file(snapshot), at },
            )
        })),
        // It was removed meanwhile.
        Err(error) if error.kind == ErrorKind::NotFound => files.clear(),
        Err(error) => return Err(error.context(&image.name)),
    }
    Ok(files)
}
