//! File systems through a plugin: the SDK's example, which changes when a name in `control` is looked up.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::tree::{Tree, name};
use support::within;
use tokio::sync::Semaphore;
use wasmount_core::fs::Seek;
use wasmount_core::ports::{
    AttributesAnswer, BoxFuture, CachePolicy, FileEntry, FileEvents, Invalidation, NodeNumber, Resolution,
    Validity,
};
use wasmount_types::{Error, ErrorKind, FileKind};

const ROOT: NodeNumber = NodeNumber::ROOT;

/// Hears what is no longer true, and says that it is forgotten when it is allowed to.
struct Listener {
    heard: Mutex<Vec<Invalidation>>,
    allowed: Arc<Semaphore>,
    shrunk: Mutex<u64>,
}

impl Listener {
    fn new(allowed: usize) -> Arc<Self> {
        let allowed = Arc::new(Semaphore::new(allowed));
        Arc::new(Self { heard: Mutex::default(), allowed, shrunk: Mutex::default() })
    }

    fn heard(&self) -> Vec<Invalidation> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    /// Waits until something was heard.
    async fn hears(&self) -> Vec<Invalidation> {
        for _ in 0..1000 {
            let heard = self.heard();
            if !heard.is_empty() {
                return heard;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing was heard");
    }
}

impl FileEvents for Listener {
    fn invalidate(&self, items: Vec<Invalidation>) -> BoxFuture<'static, Result<(), Error>> {
        self.heard.lock().unwrap().extend(items);
        let allowed = self.allowed.clone();
        Box::pin(async move {
            allowed.acquire().await.unwrap().forget();
            Ok(())
        })
    }

    fn shrink(&self, nodes: u64) {
        *self.shrunk.lock().unwrap() += nodes;
    }
}

async fn lookup(tree: &Tree, parent: NodeNumber, child: &str) -> Result<FileEntry, Error> {
    match tree.store.resolve(within(10), parent, name(child)).await? {
        Resolution::Found(entry) => Ok(entry),
        Resolution::Absent(_) => Err(Error::not_found(child)),
    }
}

/// Follows a path from the root.
async fn walk(tree: &Tree, path: &str) -> FileEntry {
    let mut at = lookup(tree, ROOT, path.split('/').next().unwrap()).await.unwrap();
    for child in path.split('/').skip(1) {
        at = lookup(tree, at.node, child).await.unwrap();
    }
    at
}

/// Makes something happen.
async fn command(tree: &Tree, what: &str) -> Result<FileEntry, Error> {
    let control = walk(tree, "control").await.node;
    lookup(tree, control, what).await
}

async fn figure(tree: &Tree, what: &str) -> u64 {
    let value = tree.store.get_xattr(within(10), ROOT, what.into()).await.unwrap();
    std::str::from_utf8(&value).unwrap().parse().unwrap()
}

/// Waits until a figure is this.
async fn figure_becomes(tree: &Tree, what: &str, expected: u64) {
    for _ in 0..500 {
        if figure(tree, what).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} is {}, not {expected}", figure(tree, what).await);
}

#[tokio::test]
async fn nodes_of_every_kind_are_found_with_their_attributes() {
    let tree = Tree::open("memory_tree", &[]).await;
    for (path, kind, mode, size) in [
        ("hello.txt", FileKind::Regular, 0o644, 13),
        ("empty", FileKind::Regular, 0o644, 0),
        ("big.bin", FileKind::Regular, 0o640, 5_000_001),
        ("program", FileKind::Regular, 0o4751, 23),
        ("hard", FileKind::Directory, 0o755, 0),
        ("link", FileKind::Symlink, 0o777, 9),
        ("pipe", FileKind::Fifo, 0o600, 0),
        ("socket", FileKind::Socket, 0o600, 0),
        ("device", FileKind::CharacterDevice, 0o600, 0),
        ("deep/deeper/leaf", FileKind::Regular, 0o644, 5),
    ] {
        let entry = walk(&tree, path).await;
        let found = &entry.attributes;
        assert_eq!((found.kind, found.mode, found.size), (kind, mode, size), "{path}");
        assert_eq!(entry.validity, Validity { attributes_ms: u32::MAX, entry_ms: u32::MAX });
        let AttributesAnswer { attributes, attributes_ms } =
            tree.store.attributes(within(10), entry.node, None).await.unwrap();
        assert_eq!((&attributes, attributes_ms), (found, u32::MAX), "{path}");
    }
    assert_eq!(walk(&tree, "device").await.attributes.device, 0x103);
    assert_eq!(walk(&tree, "hello.txt").await.attributes.uid, 1000);
    let (first, second) = (walk(&tree, "hard/first").await, walk(&tree, "hard/second").await);
    assert_eq!((first.node, first.attributes.links), (second.node, 2));
    let link = walk(&tree, "dangling").await.node;
    assert_eq!(&tree.store.read_link(within(10), link).await.unwrap()[..], b"nowhere/\xff");
    let absent = tree.store.resolve(within(10), ROOT, name("nobody")).await.unwrap();
    assert_eq!(absent, Resolution::Absent(Validity::FOREVER));
    for (parent, child, kind) in [
        (first.node, "x".to_owned(), ErrorKind::NotDirectory),
        (NodeNumber(987_654), "x".to_owned(), ErrorKind::Stale),
    ] {
        let error = tree.store.resolve(within(10), parent, name(&child)).await.unwrap_err();
        assert_eq!(error.kind, kind);
    }
    let space = tree.store.statistics(within(10), ROOT).await.unwrap();
    assert_eq!((space.block_size, space.blocks_available, space.inodes_free), (4096, 500_000, 4000));
}

#[tokio::test]
async fn extended_attributes_and_holes() {
    let tree = Tree::open("memory_tree", &[]).await;
    let hello = walk(&tree, "hello.txt").await.node;
    let names = tree.store.list_xattrs(within(10), hello).await.unwrap();
    assert_eq!(names, [b"user.empty".to_vec(), b"user.note".to_vec()]);
    let value = async |name: &[u8]| tree.store.get_xattr(within(10), hello, name.into()).await;
    assert_eq!(&value(b"user.note").await.unwrap()[..], b"a\0b");
    assert_eq!(&value(b"user.empty").await.unwrap()[..], b"");
    for nobody in [&b"user.nobody"[..], b"", b"user.\0", &[b'n'; 256]] {
        assert_eq!(value(nobody).await.unwrap_err().kind, ErrorKind::NoAttribute);
    }
    let big = tree.opened("big.bin").await.handle;
    let seek = async |offset, what| tree.store.seek(within(10), big, offset, what).await.map_err(|e| e.kind);
    assert_eq!(seek(0, Seek::Hole).await, Ok(1 << 20));
    assert_eq!(seek(1 << 20, Seek::Data).await, Ok(3 << 20));
    assert_eq!(seek(4 << 20, Seek::Hole).await, Ok(5_000_001));
    assert_eq!(seek(5_000_001, Seek::Data).await, Err(ErrorKind::OutOfRange));
}

#[tokio::test]
async fn bytes_end_where_the_file_does_and_many_reads_interleave() {
    let tree = Tree::open("memory_tree", &[]).await;
    let opened = tree.opened("big.bin").await;
    assert_eq!(opened.cache, CachePolicy { keep: true, ..CachePolicy::default() });
    let byte = |at: u64| match at {
        0x10_0000..0x30_0000 => 0,
        at => (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[(at % 8) as usize],
    };
    let expected = |from: u64, to: u64| (from..to).map(byte).collect::<Vec<u8>>();
    for (offset, length, end) in [
        (0, 4096, 4096),
        ((1 << 20) - 5, 10, (1 << 20) + 5),
        ((3 << 20) - 4096, 1 << 20, (4 << 20) - 4096),
        (5_000_000, 4096, 5_000_001),
        (5_000_001, 4096, 5_000_001),
        (u64::MAX / 2, 1, u64::MAX / 2),
    ] {
        let bytes = tree.read(opened.handle, offset, length).await.unwrap();
        assert!(bytes == expected(offset, end), "{length} from {offset}: {} bytes", bytes.len());
    }
    let reads = (0..64_u64).map(|index| {
        let (tree, at) = (&tree, index * 70_001);
        async move { (at, tree.read(opened.handle, at, 8192).await.unwrap()) }
    });
    for (at, bytes) in futures::future::join_all(reads).await {
        assert!(bytes == expected(at, at + 8192), "{at}");
    }
    for length in [0, (1 << 20) + 1] {
        assert_eq!(tree.read(opened.handle, 0, length).await.unwrap_err().kind, ErrorKind::Invalid);
    }
    assert!(tree.opened("frozen").await.cache.immutable);
    let live = tree.opened("live").await;
    assert!(live.cache.bypass);
    assert_eq!(tree.read(live.handle, 0, 100).await.unwrap(), b"00000001\n");
    assert_eq!(tree.read(live.handle, 0, 100).await.unwrap(), b"00000002\n");
}

#[tokio::test]
async fn a_directory_is_listed_once_with_and_without_attributes() {
    let tree = Tree::open("memory_tree", &[]).await;
    let many = walk(&tree, "many").await.node;
    for with_attributes in [false, true] {
        let opened = tree.store.open_directory(within(10), many).await.unwrap();
        let (mut names, mut cookie) = (BTreeSet::new(), 0);
        loop {
            let page = tree.store.read_directory(within(10), opened.handle, cookie, 300, with_attributes);
            let page = page.await.unwrap();
            assert!(page.entries.len() <= 300);
            for entry in &page.entries {
                assert_eq!(entry.entry.is_some(), with_attributes);
                assert!(names.insert(entry.name.clone()), "{:?} twice", entry.name);
                cookie = entry.cookie;
            }
            if page.end {
                break;
            }
        }
        assert_eq!(names.len(), 5000);
        tree.store.release_directory(opened.handle);
        let gone = tree.store.read_directory(within(10), opened.handle, 0, 1, false).await;
        assert_eq!(gone.unwrap_err().kind, ErrorKind::Stale);
    }
    figure_becomes(&tree, "user.open", 0).await;
}

#[tokio::test]
async fn every_reference_and_handle_is_given_back() {
    let tree = Tree::open("memory_tree", &[("files", "300"), ("read-delay", "1s")]).await;
    let hello = walk(&tree, "hello.txt").await.node;
    walk(&tree, "hello.txt").await;
    assert_eq!(figure(&tree, "user.references").await, 2);
    tree.store.forget(vec![(hello, 1)]);
    tree.store.forget(vec![(hello, 1)]);
    figure_becomes(&tree, "user.references", 0).await;
    // Questions whose answers nobody waits for, dropped at all points of their way; those that were answered are given back.
    let asked = (0..300).map(async |index| {
        let limit = Duration::from_micros(index * 10);
        let found = tree.store.resolve(within(10), ROOT, name("hello.txt"));
        if let Ok(found) = tokio::time::timeout(limit, found).await {
            let Ok(Resolution::Found(entry)) = found else { panic!("it is there") };
            tree.store.forget(vec![(entry.node, 1)]);
        }
        if let Ok(file) = tokio::time::timeout(limit, tree.store.open(within(10), hello, false)).await {
            tree.store.release(file.unwrap().handle);
        }
        let opening = tree.store.open_directory(within(10), ROOT);
        if let Ok(directory) = tokio::time::timeout(limit, opening).await {
            let directory = directory.unwrap().handle;
            let page = tree.store.read_directory(within(10), directory, 0, 100, true);
            if let Ok(page) = tokio::time::timeout(limit, page).await {
                let entries = page.unwrap().entries.into_iter().filter_map(|one| one.entry);
                tree.store.forget(entries.map(|entry| (entry.node, 1)).collect());
            }
            tree.store.release_directory(directory);
        }
    });
    futures::future::join_all(asked).await;
    figure_becomes(&tree, "user.references", 0).await;
    figure_becomes(&tree, "user.open", 0).await;
    let slow = tree.opened("slow").await;
    let late = tree.store.read(support::within_ms(50), slow.handle, 0, 10).await;
    assert_eq!(late.err().unwrap().kind, ErrorKind::TimedOut);
    tree.store.release(slow.handle);
    figure_becomes(&tree, "user.open", 0).await;
}

#[tokio::test]
async fn nothing_changes_before_it_is_forgotten() {
    let tree = Tree::open("memory_tree", &[]).await;
    let listener = Listener::new(0);
    tree.store.subscribe(listener.clone());
    let counter = walk(&tree, "counter").await.node;
    let opened = tree.opened("counter").await;
    let bump = command(&tree, "bump");
    tokio::pin!(bump);
    let heard = tokio::select! {
        heard = listener.hears() => heard,
        _ = &mut bump => panic!("it changed before anybody had forgotten it"),
    };
    assert_eq!(heard, [Invalidation::Data(counter, None), Invalidation::Attributes(counter)]);
    // The instance goes on answering, with the old, and with nothing to be kept.
    for _ in 0..20 {
        assert_eq!(&tree.read(opened.handle, 0, 8).await.unwrap(), b"0000000\n");
        let answer = tree.store.attributes(within(10), counter, None).await.unwrap();
        assert_eq!((answer.attributes_ms, answer.attributes.data_version), (0, None));
        assert_eq!(walk(&tree, "counter").await.validity, Validity { attributes_ms: 0, entry_ms: 0 });
        assert_eq!(walk(&tree, "hello.txt").await.validity.entry_ms, u32::MAX);
        assert!(!tree.opened("counter").await.cache.keep);
    }
    listener.allowed.add_permits(1);
    bump.await.unwrap();
    assert_eq!(&tree.read(opened.handle, 0, 8).await.unwrap(), b"0000001\n");
    let answer = tree.store.attributes(within(10), counter, None).await.unwrap();
    assert_eq!((answer.attributes_ms, answer.attributes.data_version), (u32::MAX, Some(1)));
    command(&tree, "shrink").await.unwrap();
    assert_eq!(*listener.shrunk.lock().unwrap(), 1000);
    assert!(listener.heard().is_empty());
}

#[tokio::test]
async fn a_read_that_is_overtaken_by_a_change_gives_the_new_bytes() {
    let tree = Tree::open("memory_tree", &[("read-delay", "3s")]).await;
    let listener = Listener::new(1000);
    tree.store.subscribe(listener.clone());
    let opened = tree.opened("slow").await;
    let (read, bump) = futures::join!(tree.read(opened.handle, 0, 8), command(&tree, "bump-slow"));
    bump.unwrap();
    assert_eq!(&read.unwrap(), b"0000001\n");
}

#[tokio::test]
async fn changes_are_pushed_from_background_tasks() {
    let tree = Tree::open("memory_tree", &[("tick", "20ms")]).await;
    let listener = Listener::new(1000);
    tree.store.subscribe(listener.clone());
    for _ in 0..5 {
        let heard = listener.hears().await;
        assert!(heard.iter().any(|item| matches!(item, Invalidation::Data(..))), "{heard:?}");
    }
}

#[tokio::test]
async fn after_a_trap_everything_begins_anew_and_handles_are_stale() {
    let tree = Tree::open("memory_tree", &[]).await;
    let listener = Listener::new(1000);
    tree.store.subscribe(listener.clone());
    command(&tree, "bump").await.unwrap();
    let counter = walk(&tree, "counter").await.node;
    let (old, directory) =
        (tree.opened("counter").await, tree.store.open_directory(within(10), ROOT).await.unwrap());
    assert_eq!(&tree.read(old.handle, 0, 8).await.unwrap(), b"0000001\n");
    listener.heard();
    assert_eq!(command(&tree, "panic").await.unwrap_err().kind, ErrorKind::Other);
    // Told without anybody asking for anything.
    assert!(listener.hears().await.contains(&Invalidation::Everything));
    assert_eq!(tree.read(old.handle, 0, 8).await.unwrap_err().kind, ErrorKind::Stale);
    let page = tree.store.read_directory(within(10), directory.handle, 0, 10, false).await;
    assert_eq!(page.unwrap_err().kind, ErrorKind::Stale);
    // The node's number is what it was; a handle that is gone is no reason not to know it.
    let answer = tree.store.attributes(within(10), counter, Some(old.handle)).await.unwrap();
    assert_eq!(answer.attributes.data_version, Some(0));
    let new = tree.opened("counter").await;
    assert_ne!(new.handle, old.handle);
    assert_eq!(&tree.read(new.handle, 0, 8).await.unwrap(), b"0000000\n");
    tree.store.release(old.handle);
    assert_eq!(
        &tree.read(new.handle, 0, 8).await.unwrap(),
        b"0000000\n",
        "the old one's end is not the new one's"
    );
    // References of the instance before: the new one does not know them.
    tree.store.forget(vec![(counter, 1_000_000)]);
    figure_becomes(&tree, "user.references", 0).await;
}
