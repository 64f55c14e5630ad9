//! The same store as applications see it: through the core's file system, without FUSE.

use super::super::{rules, table};
use super::{FileBench, Found, SAMPLE, bytes, list, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use std::collections::BTreeSet;
use wasmount_core::FileSystem;
use wasmount_core::fs::{ReadDir, ReadRequest};
use wasmount_types::{Error, Ino, Name};

rules! {
    "tree/list": "the root shows the names of the store" => list;
    "tree/read": "files read through the file system, in odd pieces, equal those of the store" => read;
    "tree/attributes": "type, permissions, owner and size are those of the store" => attributes;
}

/// Bytes of one read: no multiple of anything.
const PIECE: u32 = 100_003;

/// Follows a path.
async fn walk(fs: &dyn FileSystem, found: &Found) -> Result<wasmount_core::fs::Entry, Error> {
    let mut at = None;
    for name in &found.path {
        let parent = at.as_ref().map_or(Ino::ROOT, |entry: &wasmount_core::fs::Entry| entry.attr.ino);
        at = Some(fs.lookup(within(PATIENCE), parent, name).await?);
    }
    at.ok_or_else(|| Error::not_found("an empty path"))
}

async fn list(bench: &FileBench) -> Result<Outcome, Error> {
    let fs = table((bench.source)(Vec::new())?)?;
    // The store opens in the background; what waits for it is the first request that needs it.
    let fh = fs.opendir(within(PATIENCE), Ino::ROOT).await?.fh;
    let (mut offset, mut names) = (0, BTreeSet::new());
    loop {
        let request = ReadDir { offset, limit: 100, plus: false };
        let entries = fs.readdir(within(PATIENCE), fh, request).await?;
        let Some(last) = entries.last() else { break };
        offset = last.next_offset;
        names.extend(entries.into_iter().map(|entry| entry.name));
    }
    fs.releasedir(fh);
    let known: BTreeSet<Name> =
        list::names(&*bench.store, wasmount_core::ports::NodeNumber::ROOT, 1000).await?.into_iter().collect();
    // The host adds names of its own.
    let missing: Vec<_> = known.difference(&names).collect();
    Ok(super::super::expect(missing.is_empty(), || format!("{missing:?} are not shown")))
}

async fn read(bench: &FileBench) -> Result<Outcome, Error> {
    let fs = table((bench.source)(Vec::new())?)?;
    let mut outcome = nothing("file with content");
    for file in bench.files().into_iter().take(8) {
        let opened = bench.store.open(within(PATIENCE), file.entry.node, false).await?;
        if opened.cache.bypass {
            bench.store.release(opened.handle);
            continue;
        }
        let expected = bytes(&*bench.store, opened.handle, 0, SAMPLE, u32::MAX).await?;
        bench.store.release(opened.handle);
        let entry = walk(&*fs, file).await?;
        let open = fs.open(within(PATIENCE), entry.attr.ino).await?;
        let mut at = 0_usize;
        while at < expected.len() {
            let piece = fs.read(within(PATIENCE), open.fh, ReadRequest::pages(at as u64, PIECE)).await?.bytes;
            let end = (at + piece.len()).min(expected.len());
            let right = !piece.is_empty() && expected.get(at..end) == piece.get(..end - at);
            if !right {
                return Ok(Outcome::Failed(format!("other bytes at {at} of {}", file.shown())));
            }
            at = end;
        }
        fs.release(open.fh);
        outcome = Outcome::Passed;
    }
    Ok(outcome)
}

async fn attributes(bench: &FileBench) -> Result<Outcome, Error> {
    let fs = table((bench.source)(Vec::new())?)?;
    for found in &bench.found {
        let (shown, known) = (walk(&*fs, found).await?.attr, &found.entry.attributes);
        let seen = (shown.kind, shown.perm, shown.uid, shown.gid, shown.nlink);
        let expected = (known.kind, known.mode, known.uid, known.gid, known.links);
        if seen != expected {
            return Ok(Outcome::Failed(format!("{} is {seen:?}, in the store {expected:?}", found.shown())));
        }
    }
    Ok(Outcome::Passed)
}
