//! File systems of their own as files: what is asked how often, what is shown, and what happens when the store does not answer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use bytes::Bytes;
use futures::future::join_all;
use harness::{ctx, files_mount, list, stat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wasmount_core::fs::ReadDir;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::{MountConfig, MountTable, MountTableConfig, Place};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::ports::{Coherence, Invalidation, NoStateLog, NodeNumber, SystemClock, TokioSpawn};
use wasmount_core::testing::{
    CacheFaults, FilesOptions, MemoryCache, MemoryFiles, MemoryNode, MemoryOptions, MemorySource,
    MemoryStore, MemoryTree,
};
use wasmount_core::{FileSystem, mounts};
use wasmount_types::{ErrorKind, FileKind, Ino, MountId, Name};

fn name(bytes: &[u8]) -> Name {
    Name::new(bytes).unwrap()
}

/// A store with these names in its root, whose nodes are numbered from 2 on.
async fn store(options: FilesOptions, nodes: &[(&[u8], FileKind, &[u8])]) -> Arc<MemoryFiles> {
    let store = MemoryFiles::new(options, 1);
    let numbers: Vec<u64> = nodes.iter().map(|_| store.fresh()).collect();
    let make = |tree: &mut MemoryTree| {
        for ((text, kind, content), number) in nodes.iter().zip(numbers) {
            let content = Bytes::copy_from_slice(content);
            tree.insert(number, MemoryNode { content, ..MemoryNode::new(*kind, 0o640) });
            tree.get_mut(&1).unwrap().children.insert(name(text), number);
        }
    };
    store.change(Vec::new(), make).await;
    store
}

fn mount(store: &Arc<MemoryFiles>) -> Arc<MountTable> {
    files_mount(store, &MemoryCache::new(CacheFaults::default()))
}

#[tokio::test(start_paused = true)]
async fn what_is_believed_is_not_asked_for_again() {
    let store = store(FilesOptions::default(), &[(b"f", FileKind::Regular, b"bytes")]).await;
    let fs = mount(&store);
    let asked = join_all((0..10).map(|_| stat(&fs, "f"))).await;
    assert!(asked.iter().all(|entry| entry.as_ref().unwrap().attr.size == 5));
    assert_eq!((store.calls("resolve"), store.calls("attributes")), (1, 0));
    let ino = asked[0].as_ref().unwrap().attr.ino;
    for _ in 0..3 {
        fs.getattr(ctx(), ino).await.unwrap();
        let fh = fs.open(ctx(), ino).await.unwrap();
        assert!(fh.keep_cache && !fh.direct_io);
        assert_eq!(fs.read(ctx(), fh.fh, ReadRequest::pages(1, 100)).await.unwrap().bytes, "ytes");
        fs.release(fh.fh);
    }
    assert_eq!((store.calls("open"), store.calls("read")), (3, 1));
    assert_eq!(stat(&fs, "g").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(stat(&fs, "g").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(store.calls("resolve"), 2, "that there is none is believed too");
    let remove = |tree: &mut MemoryTree| tree.get_mut(&1).unwrap().children.clear();
    let items = vec![Invalidation::Entry(NodeNumber(1), name(b"f")), Invalidation::Attributes(NodeNumber(1))];
    store.change(items, remove).await;
    assert_eq!(stat(&fs, "f").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_nothing_is_believed_for_a_time() {
    let options = FilesOptions { coherence: Coherence::Timed, valid_ms: 5000, ..FilesOptions::default() };
    let store = store(options, &[(b"f", FileKind::Regular, b"old")]).await;
    let fs = mount(&store);
    let entry = stat(&fs, "f").await.unwrap();
    assert_eq!((entry.ttl, entry.attr_ttl), (Duration::from_secs(5), Duration::from_secs(5)));
    let open = fs.open(ctx(), entry.attr.ino).await.unwrap();
    assert_eq!(fs.read(ctx(), open.fh, ReadRequest::pages(0, 9)).await.unwrap().bytes, "old");
    let write = |tree: &mut MemoryTree| {
        let node = tree.get_mut(&2).unwrap();
        (node.content, node.data_version, node.change) = (Bytes::from_static(b"newer"), 2, 2);
    };
    store.change(Vec::new(), write).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let entry = stat(&fs, "f").await.unwrap();
    assert_eq!((entry.attr.size, entry.ttl), (3, Duration::from_secs(2)), "what is left of it");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stat(&fs, "f").await.unwrap().attr.size, 5);
    let again = fs.open(ctx(), entry.attr.ino).await.unwrap();
    assert!(!again.keep_cache, "the kernel has pages of another version");
    assert_eq!(fs.read(ctx(), again.fh, ReadRequest::pages(0, 9)).await.unwrap().bytes, "newer");
}

#[tokio::test(start_paused = true)]
async fn all_kinds_of_nodes_under_any_name() {
    let nodes: [(&[u8], FileKind, &[u8]); 6] = [
        (b"\xff\xfe", FileKind::Regular, b"x"),
        (b"link", FileKind::Symlink, b"\xff/target"),
        (b"fifo", FileKind::Fifo, b""),
        (b"socket", FileKind::Socket, b""),
        (b"disk", FileKind::BlockDevice, b""),
        (b"tty", FileKind::CharacterDevice, b""),
    ];
    let store = store(FilesOptions::default(), &nodes).await;
    let fs = mount(&store);
    for plus in [false, true] {
        let listed = list(&fs, Ino::ROOT, 2, plus).await.unwrap();
        let kinds: BTreeMap<String, FileKind> =
            nodes.iter().map(|(name, kind, _)| (String::from_utf8_lossy(name).into_owned(), *kind)).collect();
        assert_eq!(listed, kinds);
    }
    let mut inos = Vec::new();
    for (text, kind, _) in nodes {
        let entry = fs.lookup(ctx(), Ino::ROOT, &name(text)).await.unwrap();
        assert_eq!((entry.attr.kind, entry.attr.perm), (kind, 0o640));
        inos.push(entry.attr.ino);
    }
    assert_eq!(fs.readlink(ctx(), inos[1]).await.unwrap(), &b"\xff/target"[..]);
    assert_eq!(fs.readlink(ctx(), inos[0]).await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(fs.open(ctx(), inos[2]).await.unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(fs.open(ctx(), Ino::ROOT).await.unwrap_err().kind, ErrorKind::IsDirectory);
    assert_eq!(fs.opendir(ctx(), inos[0]).await.unwrap_err().kind, ErrorKind::NotDirectory);
    assert_eq!(fs.path(inos[1]).as_deref(), Some("link"));
    assert_eq!(fs.path(inos[0]).as_deref(), Some("\u{fffd}\u{fffd}"));
    assert_eq!(fs.listxattr(ctx(), inos[0]).await.unwrap(), [b"user.colour"]);
    assert_eq!(fs.getxattr(ctx(), inos[0], b"user.colour").await.unwrap(), "blue");
    assert_eq!(fs.getxattr(ctx(), inos[0], b"user.x").await.unwrap_err().kind, ErrorKind::NoAttribute);
    let (file, root) = (fs.statfs(ctx(), inos[0]).await.unwrap(), fs.statfs(ctx(), Ino::ROOT).await.unwrap());
    assert_eq!((file.blocks, root.blocks, root.blocks_available), (1002, 1001, 500));
    for ino in inos {
        fs.forget(ino, 1);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((store.references(), store.handles()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_root_is_answered_for_at_once() {
    let options = FilesOptions { delay_us: 1 << 40, ..FilesOptions::default() };
    let fs = mount(&store(options, &[]).await);
    tokio::time::sleep(Duration::from_millis(10)).await;
    let begun = Instant::now();
    let entry = fs.getattr(ctx(), Ino::ROOT).await.unwrap();
    assert_eq!((entry.attr.kind, entry.attr_ttl), (FileKind::Directory, Duration::ZERO));
    assert!(begun.elapsed() < Duration::from_millis(1100), "one question is waited for, for a second");
    let again = Instant::now();
    fs.getattr(ctx(), Ino::ROOT).await.unwrap();
    assert_eq!(again.elapsed(), Duration::ZERO, "who comes later does not wait for it");
    fs.statfs(ctx(), Ino::ROOT).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_served_the_store_is_started_again() {
    let store = store(FilesOptions::default(), &[(b"f", FileKind::Regular, &[7; 10_000])]).await;
    let fs = mount(&store);
    let ino = stat(&fs, "f").await.unwrap().attr.ino;
    let fh = fs.open(ctx(), ino).await.unwrap().fh;
    let dir = fs.opendir(ctx(), Ino::ROOT).await.unwrap().fh;
    assert_eq!(fs.read(ctx(), fh, ReadRequest::pages(0, 10)).await.unwrap().bytes, &[7; 10][..]);
    store.restart().await;
    assert_eq!(
        fs.read(ctx(), fh, ReadRequest::pages(5000, 9999)).await.unwrap().bytes.len(),
        5000,
        "the file is opened again"
    );
    let page = fs.readdir(ctx(), dir, ReadDir { offset: 0, limit: 9, plus: false }).await.unwrap();
    assert_eq!(page.len(), 1, "and so is the directory");
    fs.release(fh);
    fs.releasedir(dir);
    fs.forget(ino, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((store.references(), store.handles()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn other_mounts_shadow_what_is_in_the_root() {
    let nodes: [(&[u8], FileKind, &[u8]); 3] = [
        (b"a", FileKind::Regular, b"1"),
        (b"m", FileKind::Regular, b"12"),
        (b"z", FileKind::Regular, b"123"),
    ];
    let files = store(FilesOptions::default(), &nodes).await;
    let objects = MemoryStore::new(MemoryOptions::default());
    objects.put("in-m", Bytes::from_static(b"x"));
    let config = |source, place| MountConfig {
        id: mounts_id(&source),
        place,
        source,
        objects: ObjectFsConfig::default(),
    };
    let config = MountTableConfig {
        mounts: vec![
            config(MemorySource::files(MountId::new("files"), files.clone(), None), Place::Root),
            config(MemorySource::new(MountId::new("objects"), objects), Place::at("/m").unwrap()),
        ],
        ..MountTableConfig::default()
    };
    let spawn = TokioSpawn(tokio::runtime::Handle::current());
    let fs = MountTable::new(config, Arc::new(SystemClock), Arc::new(spawn), Arc::new(NoStateLog)).unwrap();
    for (page, plus) in [(1, false), (1, true), (100, true)] {
        let listed = list(&fs, Ino::ROOT, page, plus).await.unwrap();
        let kinds = listed.into_iter().map(|(name, kind)| (name, kind == FileKind::Directory));
        let want = [("a", false), ("m", true), ("z", false)].map(|(name, kind)| (name.to_owned(), kind));
        assert_eq!(kinds.collect::<Vec<_>>(), want);
    }
    assert_eq!(stat(&fs, "m/in-m").await.unwrap().attr.size, 1);
    assert_eq!(stat(&fs, "z").await.unwrap().attr.size, 3);
    let states = fs.mount_states();
    assert!(states.iter().all(|(_, state)| *state == mounts::MountState::Ready), "{states:?}");
}

fn mounts_id(source: &Arc<MemorySource>) -> MountId {
    use wasmount_core::ports::ProviderSource;
    source.mount().clone()
}

/// Reads a file from start to end, and says how long that took.
async fn timed(fs: &MountTable, ino: Ino) -> (Bytes, Duration) {
    let begun = Instant::now();
    let open = fs.open(ctx(), ino).await.unwrap();
    assert!(open.keep_cache && !open.direct_io, "nobody writes it");
    let bytes = fs.read(ctx(), open.fh, ReadRequest::pages(0, 4096)).await.unwrap().bytes;
    fs.release(open.fh);
    (bytes, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn files_read_one_after_the_other_are_opened_ahead_and_what_others_change_is_seen_all_the_same() {
    let names: Vec<String> = (0..60).map(|number| format!("{number:02}")).collect();
    let nodes: Vec<_> =
        names.iter().map(|name| (name.as_bytes(), FileKind::Regular, name.as_bytes())).collect();
    let store = store(FilesOptions { delay_us: 3000, ..FilesOptions::default() }, &nodes).await;
    let fs = mount(&store);
    let mut inos = Vec::new();
    for text in &names {
        inos.push(fs.lookup(ctx(), Ino::ROOT, &name(text.as_bytes())).await.unwrap().attr.ino);
    }
    let mut waited = 0;
    for (number, ino) in inos.iter().enumerate().take(30) {
        let (bytes, took) = timed(&fs, *ino).await;
        assert_eq!(bytes, names[number]);
        waited += usize::from(!took.is_zero());
        // The reader thinks about it.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(waited <= 6, "{waited} of 30 waited");
    let ahead = store.handles();
    assert!((5..=32).contains(&ahead), "{ahead} are open");
    // Open for nobody yet, and written by somebody else.
    let write = |tree: &mut MemoryTree| {
        let node = tree.get_mut(&32).unwrap();
        (node.content, node.data_version, node.change) = (Bytes::from_static(b"new"), 2, 2);
    };
    let node = NodeNumber(32);
    store.change(vec![Invalidation::Data(node, None), Invalidation::Attributes(node)], write).await;
    assert_eq!(timed(&fs, inos[30]).await.0, "new");
    // What nobody came for is closed.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(store.handles(), 0);
    // Where nothing is read because the kernel has it, hardly anything is opened ahead.
    let before = store.calls("open");
    for _ in 0..10 {
        for ino in &inos {
            let open = fs.open(ctx(), *ino).await.unwrap();
            fs.release(open.fh);
        }
    }
    let more = store.calls("open") - before - 600;
    assert!(more <= 64, "{more} opened in vain");
}

#[tokio::test(start_paused = true)]
async fn files_read_in_any_order_are_not_opened_ahead() {
    let names: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
    let nodes: Vec<_> =
        names.iter().map(|name| (name.as_bytes(), FileKind::Regular, name.as_bytes())).collect();
    let store = store(FilesOptions::default(), &nodes).await;
    let fs = mount(&store);
    let mut inos = Vec::new();
    for text in &names {
        inos.push(fs.lookup(ctx(), Ino::ROOT, &name(text.as_bytes())).await.unwrap().attr.ino);
    }
    for step in 0..12 {
        assert_eq!(timed(&fs, inos[step * 37 % 100]).await.0, names[step * 37 % 100]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((store.calls("open"), store.handles()), (12, 0));
}
