//! One name, without its directory's listing: mostly a single LIST.
//!
//! `LIST prefix=dir/name delimiter=/` shows the object `dir/name` and the prefix `dir/name/` side by side, where a HEAD
//! would need a second request to learn whether there is a directory too. Only names that share a long common
//! beginning (`a`, `a!…` a hundred times) need a second request.

use super::listing::Child;
use super::loader::in_circles;
use crate::again::asked;
use crate::ports::{Clock, HeadOutcome, ListRequest, ObjectCapabilities, ObjectStore};
use wasmount_types::{Blame, Error, ErrorKind, ObjectKey, RequestCtx};

/// Entries asked for at once: enough to see past the neighbours, little enough to cost nothing.
const PAGE: u32 = 64;
/// What it is for, in errors.
const WHAT: &str = "looking up a name";
/// Empty pages in a row after which a store is taken to go in circles.
const MAX_EMPTY_PAGES: usize = 100;

/// What `path` stands for; `None`: nothing.
pub(super) async fn probe(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    caps: ObjectCapabilities,
    ctx: RequestCtx,
    path: &str,
) -> Result<Option<Child>, Error> {
    let below = format!("{path}/");
    let request = ListRequest {
        prefix: path.to_owned(),
        delimiter: caps.listing.delimiter.then(|| "/".to_owned()),
        limit: PAGE.min(caps.listing.page).max(1),
        ..ListRequest::default()
    };
    let page = match asked(clock, ctx, WHAT, || store.list(ctx, request.clone())).await {
        Ok(page) => page,
        // Credentials that may read but not list still reach files whose names they know.
        Err(error) if error.kind == ErrorKind::Denied => {
            return head(clock, store, ctx, path).await?.ok_or(error).map(Some);
        }
        Err(error) => return Err(error),
    };
    let mut exact = None;
    let mut last = "";
    let objects = page.objects.iter().map(|object| (object.key.as_str(), Some(object)));
    for (key, object) in objects.chain(page.prefixes.iter().map(|prefix| (prefix.as_str(), None))) {
        if key.starts_with(&below) {
            return Ok(Some(Child::Directory));
        }
        if !key.starts_with(path) {
            let message = format!("a listing of {path:?} answered with {key:?}, which does not begin so");
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        if key == path {
            exact = object.map(Child::file);
        }
        last = last.max(key);
    }
    if page.next.is_none() || (caps.listing.ordered && last > below.as_str()) {
        return Ok(exact);
    }
    if any_below(clock, store, ctx, below).await? {
        return Ok(Some(Child::Directory));
    }
    match exact {
        Some(file) => Ok(Some(file)),
        // Ordered, the object itself would have come before anything else.
        None if caps.listing.ordered && !last.is_empty() => Ok(None),
        None => head(clock, store, ctx, path).await,
    }
}

async fn any_below(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    ctx: RequestCtx,
    prefix: String,
) -> Result<bool, Error> {
    let mut request = ListRequest { prefix, limit: 1, ..ListRequest::default() };
    for _ in 0..MAX_EMPTY_PAGES {
        let page = asked(clock, ctx, WHAT, || store.list(ctx, request.clone())).await?;
        if !page.objects.is_empty() || !page.prefixes.is_empty() {
            return Ok(true);
        }
        if page.next.is_none() {
            return Ok(false);
        }
        request.continuation = page.next;
    }
    Err(in_circles("the store's listing"))
}

async fn head(
    clock: &dyn Clock,
    store: &dyn ObjectStore,
    ctx: RequestCtx,
    path: &str,
) -> Result<Option<Child>, Error> {
    match asked(clock, ctx, WHAT, || store.head(ctx, ObjectKey::new(path), None)).await {
        Ok(HeadOutcome::Found(info)) => Ok(Some(Child::file(&info.object))),
        Ok(HeadOutcome::Unchanged) => {
            let message = "the store answered `unchanged` to a question without a condition";
            Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message))
        }
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
