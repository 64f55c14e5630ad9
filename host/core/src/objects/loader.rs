//! Fills a listing in the background, one page after the other.

use super::ObjectFs;
use super::listing::{Listing, Progress};
use super::names::{Segment, segment};
use crate::again::asked;
use crate::ports::{ListPage, ListRequest};
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// Pages in a row that bring nothing after which a store is taken to go in circles.
const MAX_EMPTY_PAGES: usize = 1_000;

/// Loads `listing` to its end and accounts for it.
pub(super) async fn load(fs: Arc<ObjectFs>, dir: Arc<str>, prefix: String, listing: Arc<Listing>) {
    // Whatever happens to this task, nobody waits for pages that never come.
    let guard = Unfinished(&listing);
    let outcome = pages(&fs, &prefix, &listing).await;
    std::mem::forget(guard);
    match outcome {
        Ok(()) => {
            listing.finish(Ok(()));
            fs.listings.completed(&dir, &listing);
            fs.report_hidden(&dir, &listing);
        }
        Err(error) => {
            tracing::debug!(mount = %fs.id, directory = %dir, %error, "listing failed");
            fs.listings.remove(&dir, &listing);
            listing.finish(Err(error.context(format_args!("listing /{dir}"))));
        }
    }
}

/// The error of a listing that never ends.
pub(crate) fn in_circles(what: &str) -> Error {
    let message = format!("{what} goes in circles: it never ends and brings nothing new");
    Error::new(ErrorKind::Corrupt, Blame::Plugin, message)
}

struct Unfinished<'a>(&'a Arc<Listing>);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let message = "the listing was given up because wasmount is stopping";
        self.0.finish(Err(Error::new(ErrorKind::Interrupted, Blame::Host, message)));
    }
}

async fn pages(fs: &ObjectFs, prefix: &str, listing: &Arc<Listing>) -> Result<(), Error> {
    let listing_caps = fs.caps.listing;
    let mut request = ListRequest {
        prefix: prefix.to_owned(),
        delimiter: listing_caps.delimiter.then(|| "/".to_owned()),
        start_after: None,
        continuation: None,
        limit: listing_caps.page.max(1),
    };
    let (mut empty_pages, mut again) = (0, false);
    loop {
        // Neither cached nor read by anyone.
        if Arc::strong_count(listing) == 1 {
            return Err(Error::new(ErrorKind::Interrupted, Blame::Host, "nobody waits for it any more"));
        }
        let at = fs.clock.now();
        let ctx = RequestCtx::internal(at + fs.request_timeout);
        let page = asked(&*fs.clock, ctx, "a page of a listing", || fs.store.list(ctx, request.clone()));
        let page = match page.await {
            Ok(page) => page,
            // What it was to go on from is not known there any more. Names that come twice are one.
            Err(error) if error.kind == ErrorKind::Stale && request.continuation.is_some() && !again => {
                again = true;
                (request.continuation, request.start_after) = (None, None);
                continue;
            }
            Err(error) => return Err(error),
        };
        let Progress { entries, advanced } = listing.absorb(&page, at)?;
        if entries > fs.config.directory_entries {
            let message = format!(
                "the directory has more than {} entries, the limit for one directory",
                fs.config.directory_entries
            );
            return Err(Error::new(ErrorKind::TooLarge, Blame::Host, message));
        }
        let Some(next) = page.next.clone() else { return Ok(()) };
        empty_pages = if advanced { 0 } else { empty_pages + 1 };
        if request.continuation.as_ref() == Some(&next) || empty_pages > MAX_EMPTY_PAGES {
            return Err(in_circles("the store's listing"));
        }
        match skip(fs, prefix, &page) {
            Some(after) => {
                request.start_after = Some(after);
                request.continuation = None;
            }
            None => {
                request.start_after = None;
                request.continuation = Some(next);
            }
        }
    }
}

/// Where a store that cannot fold should go on: behind the directory that the page ended in.
fn skip(fs: &ObjectFs, prefix: &str, page: &ListPage) -> Option<String> {
    let caps = fs.caps.listing;
    if caps.delimiter || !caps.ordered || !caps.start_after {
        return None;
    }
    let last = page.objects.last()?.key.as_str();
    match segment(prefix, last)? {
        // The greatest character there is: whatever sorts behind it below the same name is in that directory too.
        Segment::Directory(name) => Some(format!("{prefix}{}/\u{10ffff}", name.as_str()?)),
        _ => None,
    }
}
