//! Listings of the memory store: paging and folding as S3 defines them for `ListObjectsV2`.

use super::memory_store::{MemoryOptions, Stored};
use crate::ports::{ListPage, ListRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use wasmount_types::{Blame, Error, ErrorKind, Object};

/// Where an item stands in the store's own order.
fn rank(options: &MemoryOptions, item: &str) -> (u64, String) {
    if options.listing.ordered {
        return (0, item.to_owned());
    }
    let mut hasher = DefaultHasher::new();
    item.hash(&mut hasher);
    (hasher.finish(), item.to_owned())
}

/// One page.
pub(super) fn list(
    options: &MemoryOptions,
    objects: &BTreeMap<String, Stored>,
    request: &ListRequest,
) -> Result<ListPage, Error> {
    let refuse = |what: &str| {
        let message = format!("the request uses {what}, which this store has not announced");
        Err(Error::new(ErrorKind::Unsupported, Blame::Host, message))
    };
    if request.delimiter.is_some() && !options.listing.delimiter {
        return refuse("a delimiter");
    }
    if request.start_after.is_some() && (!options.listing.start_after || request.continuation.is_some()) {
        return refuse("start_after");
    }
    if request.limit == 0 {
        return refuse("a limit of nothing");
    }
    if options.empty_pages && request.continuation.is_none() {
        let begin = format!("begin {}", request.start_after.as_deref().unwrap_or_default());
        return Ok(ListPage { next: Some(begin), ..ListPage::default() });
    }
    let mut start_after = request.start_after.as_deref();
    let mut after = None;
    match request.continuation.as_deref().and_then(|token| token.split_once(' ')) {
        Some(("begin", key)) => start_after = Some(key),
        Some((hash, item)) => after = hash.parse::<u64>().ok().map(|hash| (hash, item.to_owned())),
        None => {}
    }
    let mut items = BTreeSet::new();
    let in_prefix = objects.range(request.prefix.clone()..).map(|(key, _)| key);
    for key in in_prefix.take_while(|key| key.starts_with(&request.prefix)) {
        if start_after.is_some_and(|after| key.as_str() <= after) {
            continue;
        }
        let item = match request
            .delimiter
            .as_deref()
            .and_then(|d| Some((d, key.get(request.prefix.len()..)?.find(d)?)))
        {
            Some((delimiter, at)) => key.get(..request.prefix.len() + at + delimiter.len()).unwrap_or(key),
            None => key,
        };
        items.insert(rank(options, item));
    }
    let limit = request.limit.min(options.listing.page).max(1) as usize;
    let mut rest = items.into_iter().filter(|item| after.as_ref().is_none_or(|after| item > after));
    let mut page = ListPage::default();
    let mut last = None;
    for (hash, item) in rest.by_ref().take(limit) {
        last = Some(format!("{hash} {item}"));
        match objects.get(&item) {
            // A key that ends with the delimiter is folded like any other.
            Some(stored)
                if !(request.delimiter.is_some()
                    && item.len() > request.prefix.len()
                    && item.ends_with('/')) =>
            {
                page.objects
                    .push(Object { size: stored.bytes.len() as u64, ..stored.object(&item, options) });
            }
            _ => page.prefixes.push(item),
        }
    }
    page.next = rest.next().and(last);
    Ok(page)
}
