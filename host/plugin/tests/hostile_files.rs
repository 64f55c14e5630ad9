//! A file system that lies: what it says is found out, its limits hold, and the next call works.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use support::tree::{Tree, name};
use support::{within, within_ms};
use wasmount_core::fs::Seek;
use wasmount_core::ports::{BoxFuture, FileEvents, Invalidation, NodeNumber, Resolution, StoreHandle};
use wasmount_types::{Blame, Error, ErrorKind};

const ROOT: NodeNumber = NodeNumber::ROOT;

async fn lookup(tree: &Tree, child: &str) -> Result<NodeNumber, Error> {
    match tree.store.resolve(within(10), ROOT, name(child)).await? {
        Resolution::Found(entry) => Ok(entry.node),
        Resolution::Absent(_) => Err(Error::not_found(child)),
    }
}

#[track_caller]
fn assert_lie<T>(found: Result<T, Error>, what: &str, expected: &str) {
    let error = found.err().unwrap_or_else(|| panic!("{what} was believed"));
    assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Plugin), "{what}: {error}");
    assert!(error.message.contains(expected), "{what}: {error}");
}

async fn assert_works(tree: &Tree) {
    let opened = tree.opened("honest").await;
    assert_eq!(tree.read(opened.handle, 0, 4096).await.unwrap(), [0; 4096]);
    tree.store.release(opened.handle);
}

#[tokio::test]
async fn lies_about_nodes_are_found_out() {
    let tree = Tree::open("hostile_tree", &[("timed", "true")]).await;
    for (lie, expected) in [
        ("node-zero", "node 0"),
        ("inode-zero", "inode number 0"),
        ("mode", "the mode 100644"),
        ("size", "bytes"),
        ("time", "nanoseconds"),
        ("for-ever", "no invalidations"),
    ] {
        assert_lie(lookup(&tree, lie).await, lie, expected);
    }
    for (link, expected) in [("link-empty", "0 bytes"), ("link-nul", "NUL"), ("link-long", "4096 bytes")] {
        let node = lookup(&tree, link).await.unwrap();
        assert_lie(tree.store.read_link(within(10), node).await, link, expected);
    }
    let node = lookup(&tree, "xattr-nul").await.unwrap();
    assert_lie(tree.store.list_xattrs(within(10), node).await, "xattr-nul", "name");
    let node = lookup(&tree, "xattr-many").await.unwrap();
    assert_lie(tree.store.list_xattrs(within(10), node).await, "xattr-many", "80400 bytes");
    assert_lie(tree.store.get_xattr(within(10), node, b"user.long".into()).await, "xattr", "65537 bytes");
    assert_lie(tree.store.statistics(within(10), node).await, "statistics", "blocks of 0 bytes");
    assert_works(&tree).await;
}

#[tokio::test]
async fn lies_about_directories_are_found_out() {
    let tree = Tree::open("hostile_tree", &[]).await;
    let open = async |child: &str| {
        let node = lookup(&tree, child).await.unwrap();
        tree.store.open_directory(within(10), node).await.unwrap().handle
    };
    let list = async |handle: StoreHandle, cookie| {
        tree.store.read_directory(within(10), handle, cookie, 100, false).await
    };
    for (lie, expected) in [
        ("list-slash", "slash"),
        ("list-dots", "`..`"),
        ("list-nul", "NUL"),
        ("list-empty", "empty"),
        ("list-long", "longer than 255"),
        ("list-zero-cookie", "position 0"),
        ("list-too-many", "a page of 101 entries"),
    ] {
        assert_lie(list(open(lie).await, 0).await, lie, expected);
    }
    let stuck = open("list-same-cookie").await;
    assert_lie(list(stuck, 7).await, "list-same-cookie", "position 7");
    // More than fits into an answer: the instance is ended, and the directory with it.
    let huge = open("list-huge").await;
    assert_eq!(list(huge, 0).await.unwrap_err().kind, ErrorKind::Stale);
    // A listing without an end is an end of pages: whoever reads it may stop.
    let endless = open("list-endless").await;
    let page = list(endless, 1 << 40).await.unwrap();
    assert_eq!((page.entries.len(), page.end), (100, false));
    let honest = open("list-honest").await;
    assert!(list(honest, 1).await.unwrap().end, "an empty page ends a listing that says that it goes on");
    assert_works(&tree).await;
}

#[tokio::test]
async fn lies_about_open_files_are_found_out() {
    let tree = Tree::open("hostile_tree", &[]).await;
    let node = lookup(&tree, "policy").await.unwrap();
    assert_lie(tree.store.open(within(10), node, false).await, "policy", "must not be");
    for lie in ["long", "endless"] {
        let opened = tree.opened(lie).await;
        assert_lie(tree.read(opened.handle, 0, 4096).await, lie, "came where 4096 were asked for");
    }
    let opened = tree.opened("seek-back").await;
    assert_lie(tree.store.seek(within(10), opened.handle, 100, Seek::Data).await, "seek-back", "found at 99");
    // Two that the plugin calls the same are two here.
    let (first, second) = (tree.opened("honest").await, tree.opened("honest").await);
    assert_ne!(first.handle, second.handle);
    tree.store.release(first.handle);
    assert_eq!(tree.read(first.handle, 0, 1).await.unwrap_err().kind, ErrorKind::Stale);
    assert_eq!(tree.read(second.handle, 0, 1).await.unwrap(), [0]);
    // A directory is no file.
    let directory = tree.store.open_directory(within(10), ROOT).await.unwrap().handle;
    assert_eq!(tree.read(directory, 0, 1).await.unwrap_err().kind, ErrorKind::Stale);
    assert_works(&tree).await;
}

/// Never has done what it was asked for.
struct Stuck;

impl FileEvents for Stuck {
    fn invalidate(&self, _: Vec<Invalidation>) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(std::future::pending())
    }

    fn shrink(&self, _: u64) {}
}

#[tokio::test]
async fn notifications_have_limits() {
    let tree = Tree::open("hostile_tree", &[]).await;
    // Nobody listens: only the one that is too long is refused.
    let error = lookup(&tree, "flood").await.unwrap_err();
    assert!(error.message.contains("1 of 101 invalidations were refused"), "{error}");
    let error = lookup(&tree, "nonsense").await.unwrap_err();
    assert!(error.message.contains("Invalid"), "{error}");
    tree.store.subscribe(Arc::new(Stuck));
    let stuck = tree.store.resolve(within_ms(500), ROOT, name("flood")).await;
    assert_eq!(stuck.unwrap_err().kind, ErrorKind::TimedOut);
    assert_works(&tree).await;
}

#[tokio::test]
async fn who_traps_or_hangs_when_it_forgets_hurts_itself_alone() {
    let tree = Tree::open("hostile_tree", &[]).await;
    for misdeed in ["trap-when-forgotten", "hang-when-forgotten"] {
        let node = lookup(&tree, misdeed).await.unwrap();
        tree.store.forget(vec![(node, 1)]);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_works(&tree).await;
    }
}
