//! Mounts that come and go under one table, and what the kernel is told of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use bytes::Bytes;
use harness::{cat, ctx, list, stat};
use std::any::Any;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::{MountConfig, MountState, MountTable, MountTableConfig, NextMount, Owner, Place};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::ports::{
    BoxFuture, KernelPages, NoStateLog, Provider, ProviderInfo, ProviderSource, SystemClock, TokioSpawn,
};
use wasmount_core::testing::{MemoryOptions, MemorySource, MemoryStore};
use wasmount_types::{Error, ErrorKind, Ino, MountId, Name, RequestCtx};

/// A source that knows whether it was told to end.
struct Source {
    inner: Arc<MemorySource>,
    ended: AtomicBool,
}

impl ProviderSource for Source {
    fn mount(&self) -> &MountId {
        self.inner.mount()
    }

    fn open(&self, ctx: RequestCtx) -> BoxFuture<'_, Result<(Provider, ProviderInfo), Error>> {
        self.inner.open(ctx)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

fn source(name: &str, content: &'static str) -> Arc<Source> {
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("f", content);
    Arc::new(Source { inner: MemorySource::new(MountId::new(name), store), ended: AtomicBool::new(false) })
}

fn at(source: &Arc<Source>, place: &str) -> MountConfig {
    let (id, place) = (source.mount().clone(), Place::at(place).unwrap());
    MountConfig { id, place, source: source.clone(), objects: ObjectFsConfig::default() }
}

fn new(source: &Arc<Source>, place: &str) -> NextMount {
    NextMount::New(at(source, place))
}

fn same(name: &str) -> NextMount {
    NextMount::Same(MountId::new(name))
}

fn table(mounts: Vec<MountConfig>) -> Arc<MountTable> {
    let spawn = TokioSpawn(tokio::runtime::Handle::current());
    let config = MountTableConfig { mounts, ..MountTableConfig::default() };
    MountTable::new(config, Arc::new(SystemClock), Arc::new(spawn), Arc::new(NoStateLog)).unwrap()
}

/// Remembers what it should no longer believe.
#[derive(Default)]
struct Kernel {
    names: Mutex<BTreeSet<(Ino, String)>>,
    nodes: Mutex<BTreeSet<Ino>>,
}

impl Kernel {
    /// Both, since the last time this was asked, once the table has told it.
    async fn told(&self) -> (BTreeSet<(Ino, String)>, BTreeSet<Ino>) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        (std::mem::take(&mut self.names.lock().unwrap()), std::mem::take(&mut self.nodes.lock().unwrap()))
    }
}

struct Port(Arc<Kernel>);

impl KernelPages for Port {
    fn takes_pages(&self) -> bool {
        false
    }

    fn store(&self, _: Ino, _: u64, _: Bytes, _: Option<Arc<dyn Any + Send + Sync>>) {}

    fn invalidate(&self, _: Ino) {}

    fn drop_attributes(&self, _: Ino) -> BoxFuture<'static, bool> {
        Box::pin(std::future::ready(true))
    }

    fn drop_pages(&self, ino: Ino, _: Option<Range<u64>>) -> BoxFuture<'static, bool> {
        self.0.nodes.lock().unwrap().insert(ino);
        Box::pin(std::future::ready(true))
    }

    fn drop_names(&self, names: Vec<(Ino, Name)>) -> BoxFuture<'static, ()> {
        let names = names.into_iter().map(|(ino, name)| (ino, name.to_string()));
        self.0.names.lock().unwrap().extend(names);
        Box::pin(std::future::ready(()))
    }

    fn drop_entries(&self) -> bool {
        false
    }

    fn keeps_entries(&self) -> bool {
        false
    }
}

fn names(of: &[(Ino, &str)]) -> BTreeSet<(Ino, String)> {
    of.iter().map(|(ino, name)| (*ino, (*name).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_stays_keeps_its_nodes_and_what_goes_is_stale() {
    let (a, b, c) = (source("a", "of a"), source("b", "of b"), source("c", "of c"));
    let fs = table(vec![at(&a, "/deep/a"), at(&b, "/deep/b")]);
    let kernel = Arc::new(Kernel::default());
    fs.mounted(Arc::new(Port(kernel.clone())));
    let deep = stat(&fs, "/deep").await.unwrap().attr;
    let (file_a, file_b) =
        (stat(&fs, "/deep/a/f").await.unwrap().attr.ino, stat(&fs, "/deep/b/f").await.unwrap().attr.ino);
    let (open_a, open_b) =
        (fs.open(ctx(), file_a).await.unwrap().fh, fs.open(ctx(), file_b).await.unwrap().fh);
    let directory = stat(&fs, "/deep/a").await.unwrap().attr.ino;
    let listed = fs.opendir(ctx(), directory).await.unwrap().fh;

    tokio::time::advance(Duration::from_secs(5)).await;
    fs.change(vec![new(&c, "/deep/c"), same("b")], Owner::default()).unwrap();
    assert!(a.ended.load(Ordering::SeqCst) && !b.ended.load(Ordering::SeqCst));
    assert_eq!(fs.read(ctx(), open_b, ReadRequest::pages(0, 9)).await.unwrap().bytes, "of b");
    assert_eq!(stat(&fs, "/deep/b/f").await.unwrap().attr.ino, file_b);
    assert_eq!(b.inner.attempts(), 1);
    assert_eq!(stat(&fs, "/deep/a").await.unwrap_err().kind, ErrorKind::NotFound);
    let stale = |error: Error| assert_eq!(error.kind, ErrorKind::Stale, "{error}");
    stale(fs.read(ctx(), open_a, ReadRequest::pages(0, 9)).await.unwrap_err());
    stale(fs.open(ctx(), file_a).await.unwrap_err());
    stale(fs.getattr(ctx(), file_a).await.unwrap_err());
    stale(fs.getattr(ctx(), directory).await.unwrap_err());
    let request = wasmount_core::fs::ReadDir { offset: 0, limit: 9, plus: false };
    stale(fs.readdir(ctx(), listed, request).await.unwrap_err());
    assert_eq!(list(&fs, deep.ino, 9, true).await.unwrap().into_keys().collect::<Vec<_>>(), ["b", "c"]);
    let now = fs.getattr(ctx(), deep.ino).await.unwrap().attr;
    assert!(now.mtime > deep.mtime, "its entries have changed");
    assert_eq!(cat(&fs, stat(&fs, "/deep/c/f").await.unwrap().attr.ino, 9).await.unwrap(), b"of c");
    let (told, nodes) = kernel.told().await;
    assert_eq!(told, names(&[(deep.ino, "a"), (deep.ino, "c")]));
    assert_eq!(nodes, BTreeSet::from([deep.ino, file_a]));
    fs.release(open_a);
    fs.releasedir(listed);
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_is_exchanged_has_other_nodes_of_the_same_files() {
    let (old, new_one) = (source("m", "first"), source("m", "other"));
    let fs = table(vec![at(&old, "/")]);
    let kernel = Arc::new(Kernel::default());
    fs.mounted(Arc::new(Port(kernel.clone())));
    let before = stat(&fs, "/f").await.unwrap().attr.ino;
    assert_eq!(cat(&fs, before, 9).await.unwrap(), b"first");
    fs.change(vec![new(&new_one, "/")], Owner::default()).unwrap();
    let after = stat(&fs, "/f").await.unwrap().attr.ino;
    assert_ne!(before, after, "its pages are those of the old one");
    assert_eq!(cat(&fs, after, 9).await.unwrap(), b"other");
    assert_eq!(fs.open(ctx(), before).await.unwrap_err().kind, ErrorKind::Stale);
    assert_eq!(kernel.told().await.0, names(&[(Ino::ROOT, "f")]), "what the kernel knew in the root");
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_changes_nothing() {
    let (a, b) = (source("a", "of a"), source("b", "of b"));
    let fs = table(vec![at(&a, "/a")]);
    let refused = |next| fs.change(next, Owner::default()).unwrap_err();
    assert!(refused(vec![same("a"), new(&b, "/a")]).message.contains("`a` and `b`"));
    assert!(refused(vec![same("a"), new(&a, "/b")]).message.contains("called `a`"));
    assert!(refused(vec![same("b")]).message.contains("`b`"));
    assert!(!a.ended.load(Ordering::SeqCst));
    assert_eq!(cat(&fs, stat(&fs, "/a/f").await.unwrap().attr.ino, 9).await.unwrap(), b"of a");
    assert_eq!(fs.mount_states().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_mount_that_goes_waits_no_longer() {
    let store = MemoryStore::new(MemoryOptions::default());
    let slow = MemorySource::slow(MountId::new("slow"), store, Duration::from_secs(3600));
    let slow = Arc::new(Source { inner: slow, ended: AtomicBool::new(false) });
    let fs = table(vec![at(&slow, "/slow")]);
    let begin = tokio::time::Instant::now();
    let waiting = tokio::spawn({
        let fs = fs.clone();
        async move { stat(&fs, "/slow/f").await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    fs.change(Vec::new(), Owner::default()).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind, ErrorKind::Stale);
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(slow.ended.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_mount_is_opened_again_when_it_is_told_so() {
    let a = source("a", "of a");
    let fs = table(vec![at(&a, "/")]);
    let ino = stat(&fs, "/f").await.unwrap().attr.ino;
    let open = fs.open(ctx(), ino).await.unwrap().fh;
    fs.open_again(&MountId::new("a"), "a file has changed");
    assert_eq!(fs.read(ctx(), open, ReadRequest::pages(0, 9)).await.unwrap().bytes, "of a");
    assert_eq!(a.inner.attempts(), 2);
    fs.open_again(&MountId::new("nobody"), "it is gone since");
}

#[tokio::test(start_paused = true)]
async fn what_has_changed_while_a_mount_was_being_opened_is_read_by_another_attempt() {
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("f", "of a");
    let inner = MemorySource::slow(MountId::new("a"), store, Duration::from_secs(1));
    let a = Arc::new(Source { inner, ended: AtomicBool::new(false) });
    let fs = table(vec![at(&a, "/")]);
    let states = || fs.mount_states().into_iter().map(|(_, state)| state).collect::<Vec<_>>();
    tokio::time::sleep(Duration::from_millis(500)).await;
    fs.open_again(&MountId::new("a"), "a file has changed");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (a.inner.attempts(), states()),
        (2, vec![MountState::Opening]),
        "the first one may have read the old one"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((a.inner.attempts(), states()), (2, vec![MountState::Ready]));

    // A failure of before says nothing either, and is not paused for.
    a.inner.set_failure(Some(Error::not_found("the bucket")));
    fs.open_again(&MountId::new("a"), "a file has changed");
    tokio::time::sleep(Duration::from_millis(500)).await;
    fs.open_again(&MountId::new("a"), "a file has changed");
    tokio::time::sleep(Duration::from_secs(1)).await;
    a.inner.set_failure(None);
    assert_eq!((a.inner.attempts(), states()), (4, vec![MountState::Opening]));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((a.inner.attempts(), states()), (4, vec![MountState::Ready]));
}
