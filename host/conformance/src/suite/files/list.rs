//! Listings.

use super::super::{expect, rules};
use super::{FileBench, NOBODY, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use std::collections::BTreeSet;
use wasmount_core::ports::{FileDirEntry, FileStore, NodeNumber, StoreHandle};
use wasmount_types::{Blame, Error, ErrorKind, Name};

rules! {
    "list/pages": "pages of 1, 7 and 1000 entries give the same names, each once" => pages;
    "list/go-on": "a listing goes on after any of its cookies" => go_on;
    "list/attributes": "what comes with a name is what looking it up gives" => attributes;
    "list/two-at-once": "two listings of one directory do not disturb each other" => two;
}

/// Most pages of one listing: one that has more has no end.
const PAGES: usize = 1_000_000;

pub(super) fn nobody() -> Result<Name, Error> {
    Name::new(NOBODY.as_bytes()).map_err(|_| Error::not_found(NOBODY))
}

async fn page(
    store: &dyn FileStore,
    handle: StoreHandle,
    cookie: u64,
    limit: u32,
    with_attributes: bool,
) -> Result<(Vec<FileDirEntry>, bool), Error> {
    let page = store.read_directory(within(PATIENCE), handle, cookie, limit, with_attributes).await?;
    let taken = page.entries.iter().filter_map(|one| one.entry.as_ref()).map(|entry| (entry.node, 1));
    store.forget(taken.collect());
    Ok((page.entries, page.end))
}

/// The rest of an open directory.
async fn rest(
    store: &dyn FileStore,
    handle: StoreHandle,
    mut cookie: u64,
    limit: u32,
    with_attributes: bool,
) -> Result<Vec<FileDirEntry>, Error> {
    let mut entries = Vec::new();
    for _ in 0..PAGES {
        let (more, end) = page(store, handle, cookie, limit, with_attributes).await?;
        cookie = more.last().map_or(cookie, |last| last.cookie);
        entries.extend(more);
        if end {
            return Ok(entries);
        }
    }
    Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, format!("a listing of more than {PAGES} pages")))
}

/// All entries of a directory.
async fn entries(
    store: &dyn FileStore,
    directory: NodeNumber,
    limit: u32,
    with_attributes: bool,
) -> Result<Vec<FileDirEntry>, Error> {
    let handle = store.open_directory(within(PATIENCE), directory).await?.handle;
    let entries = rest(store, handle, 0, limit, with_attributes).await;
    store.release_directory(handle);
    entries
}

/// All names of a directory, in the order of its listing.
pub(super) async fn names(
    store: &dyn FileStore,
    directory: NodeNumber,
    limit: u32,
) -> Result<Vec<Name>, Error> {
    let entries = entries(store, directory, limit, false).await?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

async fn pages(bench: &FileBench) -> Result<Outcome, Error> {
    let directory = bench.largest_directory();
    let whole = names(&*bench.store, directory, 1000).await?;
    let once: BTreeSet<_> = whole.iter().collect();
    if once.len() != whole.len() {
        return Ok(Outcome::Failed(format!(
            "{} of {} names come twice",
            whole.len() - once.len(),
            whole.len()
        )));
    }
    for limit in [1, 7] {
        let found = names(&*bench.store, directory, limit).await?;
        if found.iter().collect::<BTreeSet<_>>() != once || found.len() != whole.len() {
            let count = found.len();
            return Ok(Outcome::Failed(format!("{count} names in pages of {limit}, {} in all", whole.len())));
        }
    }
    Ok(Outcome::Passed)
}

async fn go_on(bench: &FileBench) -> Result<Outcome, Error> {
    let directory = bench.largest_directory();
    let handle = bench.store.open_directory(within(PATIENCE), directory).await?.handle;
    let whole = rest(&*bench.store, handle, 0, 1000, false).await?;
    if whole.len() < 3 {
        return Ok(nothing("directory of three names"));
    }
    let mut outcome = Outcome::Passed;
    for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let Some(from) = whole.get(at) else { continue };
        let more = rest(&*bench.store, handle, from.cookie, 100, false).await?;
        let same = whole.get(at + 1..).unwrap_or_default().iter().map(|entry| &entry.name);
        if !more.iter().map(|entry| &entry.name).eq(same) {
            outcome = Outcome::Failed(format!("other names after the cookie of entry {at}"));
        }
    }
    bench.store.release_directory(handle);
    Ok(outcome)
}

async fn attributes(bench: &FileBench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().directory_attributes {
        return Ok(Outcome::Skipped("the plugin does not promise attributes in listings".into()));
    }
    let listed = entries(&*bench.store, NodeNumber::ROOT, 100, true).await?;
    for found in bench.found.iter().filter(|found| found.parent == NodeNumber::ROOT) {
        let Some(one) = listed.iter().find(|one| found.path.last() == Some(&one.name)) else {
            return Ok(Outcome::Failed(format!("{} is not listed any more", found.shown())));
        };
        let known = &found.entry;
        let kind = one.kind.is_none_or(|kind| kind == known.attributes.kind);
        let same = one.entry.as_ref().is_none_or(|entry| {
            (entry.node, entry.attributes.kind, entry.attributes.inode)
                == (known.node, known.attributes.kind, known.attributes.inode)
        });
        if !kind || !same || one.inode != known.attributes.inode {
            return Ok(Outcome::Failed(format!(
                "{} is listed as {one:?}, and found as {known:?}",
                found.shown()
            )));
        }
    }
    Ok(Outcome::Passed)
}

async fn two(bench: &FileBench) -> Result<Outcome, Error> {
    let directory = bench.largest_directory();
    let store = &*bench.store;
    let (first, second) = (
        store.open_directory(within(PATIENCE), directory).await?.handle,
        store.open_directory(within(PATIENCE), directory).await?.handle,
    );
    let (one, _) = page(store, first, 0, 2, false).await?;
    let whole = rest(store, second, 0, 3, false).await?;
    store.release_directory(second);
    let from = one.last().map_or(0, |last| last.cookie);
    let more = rest(store, first, from, 5, false).await?;
    store.release_directory(first);
    let count = if one.is_empty() { 0 } else { one.len() + more.len() };
    Ok(expect(count == whole.len(), || format!("{count} names, {} in the other listing", whole.len())))
}
