//! Names, attributes and what else a node has.

use super::super::{all, expect, expect_error, rules};
use super::{FileBench, list, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use wasmount_core::ports::{NodeNumber, Resolution};
use wasmount_types::{Error, ErrorKind, FileKind};

rules! {
    "node/root": "node 1 is a directory" => root;
    "node/missing": "a name that is not there is absent, and no error" => missing;
    "node/same": "a name that is looked up twice leads to the same node, also after it was forgotten" => same;
    "node/attributes": "attributes by number are those by name" => attributes;
    "node/unknown": "a number that was never given is `stale`" => unknown;
    "node/link": "the target of a symlink is as long as its size" => link;
    "node/xattrs": "each extended attribute that is listed has a value, and another one has none" => xattrs;
    "node/statistics": "no more is free than there is" => statistics;
}

/// A number that nothing has, in any numbering worth the name.
const UNKNOWN: NodeNumber = NodeNumber(0x7fff_dead_beef_0001);

async fn root(bench: &FileBench) -> Result<Outcome, Error> {
    let found = bench.store.attributes(within(PATIENCE), NodeNumber::ROOT, None).await?;
    let kind = found.attributes.kind;
    Ok(expect(kind == FileKind::Directory, || format!("the root is a {kind:?}")))
}

async fn missing(bench: &FileBench) -> Result<Outcome, Error> {
    for directory in bench.directories().take(20) {
        let found = bench.resolve(directory, &list::nobody()?).await?;
        if !matches!(found, Resolution::Absent(_)) {
            return Ok(Outcome::Failed(format!("something was found in {directory:?}")));
        }
    }
    Ok(Outcome::Passed)
}

async fn same(bench: &FileBench) -> Result<Outcome, Error> {
    for found in &bench.found {
        let Some(name) = found.path.last() else { continue };
        match bench.resolve(found.parent, name).await? {
            Resolution::Found(entry) if entry.node == found.entry.node => {}
            other => return Ok(Outcome::Failed(format!("{} is {other:?} the second time", found.shown()))),
        }
    }
    Ok(Outcome::Passed)
}

async fn attributes(bench: &FileBench) -> Result<Outcome, Error> {
    for found in &bench.found {
        let known = &found.entry.attributes;
        let now = bench.store.attributes(within(PATIENCE), found.entry.node, None).await?.attributes;
        let (is, was) = ((now.inode, now.kind, now.mode), (known.inode, known.kind, known.mode));
        if is != was {
            return Ok(Outcome::Failed(format!("{} is {is:?} by number, {was:?} by name", found.shown())));
        }
    }
    Ok(Outcome::Passed)
}

async fn unknown(bench: &FileBench) -> Result<Outcome, Error> {
    let store = &bench.store;
    let attributes = store.attributes(within(PATIENCE), UNKNOWN, None).await;
    let listed = store.open_directory(within(PATIENCE), UNKNOWN).await;
    let found = bench.resolve(UNKNOWN, &list::nobody()?).await;
    // Forgetting it is no mistake.
    store.forget(vec![(UNKNOWN, 3)]);
    let stale = [ErrorKind::Stale];
    Ok(all([expect_error(attributes, &stale), expect_error(listed, &stale), expect_error(found, &stale)]))
}

async fn link(bench: &FileBench) -> Result<Outcome, Error> {
    let mut outcome = nothing("symlink");
    for found in bench.of(FileKind::Symlink) {
        let target = bench.store.read_link(within(PATIENCE), found.entry.node).await?;
        let (length, size) = (target.len() as u64, found.entry.attributes.size);
        if length != size {
            return Ok(Outcome::Failed(format!("{}: {length} bytes, its size is {size}", found.shown())));
        }
        outcome = Outcome::Passed;
    }
    Ok(outcome)
}

async fn xattrs(bench: &FileBench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().xattrs {
        return Ok(Outcome::Skipped("the plugin does not promise extended attributes".into()));
    }
    for found in &bench.found {
        let node = found.entry.node;
        for name in bench.store.list_xattrs(within(PATIENCE), node).await? {
            bench.store.get_xattr(within(PATIENCE), node, name).await?;
        }
    }
    let nobody =
        bench.store.get_xattr(within(PATIENCE), NodeNumber::ROOT, b"user.nobody has this".into()).await;
    Ok(expect_error(nobody, &[ErrorKind::NoAttribute]))
}

async fn statistics(bench: &FileBench) -> Result<Outcome, Error> {
    for node in bench.directories().take(20) {
        let space = bench.store.statistics(within(PATIENCE), node).await?;
        let fits = space.blocks_available <= space.blocks_free.max(space.blocks)
            && space.blocks_free <= space.blocks
            && (space.inodes == 0 || space.inodes_free <= space.inodes);
        if !fits {
            return Ok(Outcome::Failed(format!("{space:?}")));
        }
    }
    Ok(Outcome::Passed)
}
