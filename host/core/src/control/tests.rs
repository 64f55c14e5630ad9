#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use super::*;
use crate::fs::ReadRequest;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wasmount_types::{Attr, FileKind, Timestamp};

const OWNER: u32 = 1000;

fn ctx(uid: u32) -> RequestCtx {
    RequestCtx { deadline: Instant::now() + Duration::from_secs(60), uid, gid: 0, pid: 7 }
}

fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

/// A file system that writes down what it is asked. Its root holds `names`, each numbered from 1000.
struct Inner {
    names: Vec<&'static str>,
    calls: Mutex<Vec<String>>,
    lookups: Mutex<i64>,
}

impl Inner {
    fn new(names: &[&'static str]) -> Arc<Self> {
        Arc::new(Self { names: names.to_vec(), calls: Mutex::default(), lookups: Mutex::default() })
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn entry(ino: Ino) -> Entry {
        let mtime = Timestamp::default();
        let kind = FileKind::Regular;
        Entry::new(Attr::plain(ino, kind, 0o644, (1, 1), 5, mtime), Duration::from_secs(1))
    }
}

impl FileSystem for Inner {
    fn lookup<'a>(
        &'a self,
        _ctx: RequestCtx,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Entry, Error>> {
        self.note(format!("lookup {} {name}", parent.0));
        *self.lookups.lock().unwrap() += 1;
        answer(Ok(Self::entry(Ino(1000))))
    }
    fn forget(&self, ino: Ino, count: u64) {
        self.note(format!("forget {} {count}", ino.0));
        *self.lookups.lock().unwrap() -= i64::try_from(count).unwrap();
    }
    fn getattr(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Entry, Error>> {
        self.note(format!("getattr {}", ino.0));
        answer(Ok(Self::entry(ino)))
    }
    fn open(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenFile, Error>> {
        self.note(format!("open {}", ino.0));
        answer(Ok(OpenFile { fh: Fh(4), keep_cache: true, direct_io: false, backing: None }))
    }
    fn read(
        &self,
        _ctx: RequestCtx,
        fh: Fh,
        ReadRequest { offset, size, .. }: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadData, Error>> {
        self.note(format!("read {} {offset} {size}", fh.0));
        answer(Ok(ReadData { bytes: Bytes::from_static(b"inner"), from: ServedFrom::Origin }))
    }
    fn release(&self, fh: Fh) {
        self.note(format!("release {}", fh.0));
    }
    fn opendir(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>> {
        self.note(format!("opendir {}", ino.0));
        answer(Ok(OpenDirectory { fh: Fh(3), cache: true, keep_cache: true }))
    }
    fn readdir(
        &self,
        _ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>> {
        self.note(format!("readdir {}", fh.0));
        let names = self.names.iter().enumerate().skip(usize::try_from(request.offset).unwrap());
        let page = names.take(request.limit).map(|(index, text)| {
            let ino = Ino(1000 + index as u64);
            let entry = request.plus.then(|| Self::entry(ino));
            *self.lookups.lock().unwrap() += i64::from(request.plus);
            let next_offset = index as u64 + 1;
            DirEntry { name: name(text), ino, kind: FileKind::Regular, next_offset, entry }
        });
        answer(Ok(page.collect()))
    }
    fn releasedir(&self, fh: Fh) {
        self.note(format!("releasedir {}", fh.0));
    }
    fn readlink(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Bytes, Error>> {
        self.note(format!("readlink {}", ino.0));
        answer(Ok(Bytes::from_static(b"target")))
    }
    fn statfs(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<FsStats, Error>> {
        self.note(format!("statfs {}", ino.0));
        let (blocks_free, blocks_available, files_free) = (3, 3, 0);
        answer(Ok(FsStats {
            block_size: 1,
            blocks: 2,
            blocks_free,
            blocks_available,
            files: 4,
            files_free,
            name_max: 5,
        }))
    }
    fn getxattr<'a>(
        &'a self,
        _ctx: RequestCtx,
        ino: Ino,
        name: &'a [u8],
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        self.note(format!("getxattr {} {}", ino.0, String::from_utf8_lossy(name)));
        answer(Ok(Bytes::from_static(b"v")))
    }
    fn listxattr(&self, _ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        self.note(format!("listxattr {}", ino.0));
        answer(Ok(vec![b"n".to_vec()]))
    }
    fn mounted(&self, _kernel: Arc<dyn KernelPages>) {
        self.note("mounted".into());
    }
    fn path(&self, ino: Ino) -> Option<String> {
        self.note(format!("path {}", ino.0));
        Some("p".into())
    }
}

/// Counts up, and notes when it is closed.
struct Counting {
    next: AtomicU64,
    closed: Arc<AtomicBool>,
}

impl ControlStream for Counting {
    fn next(&self, _ctx: RequestCtx, size: u32) -> BoxFuture<'_, Result<Bytes, Error>> {
        let mut line = format!("{}\n", self.next.fetch_add(1, Ordering::SeqCst));
        line.truncate(size as usize);
        answer(Ok(line.into()))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

struct Stream(Arc<AtomicBool>);

impl ControlFile for Stream {
    fn open(&self) -> Result<Content, Error> {
        Ok(Content::Stream(Box::new(Counting { next: AtomicU64::new(0), closed: self.0.clone() })))
    }
}

/// `text` says how often it was opened; `stream` counts.
fn control(inner: Arc<Inner>) -> (ControlFs, Arc<AtomicBool>) {
    let closed = Arc::new(AtomicBool::new(false));
    let opened = AtomicU64::new(0);
    let text = TextFile(move || format!("opened {} times", opened.fetch_add(1, Ordering::SeqCst) + 1));
    let files: Vec<(Name, Arc<dyn ControlFile>)> =
        vec![(name("text"), Arc::new(text)), (name("stream"), Arc::new(Stream(closed.clone())))];
    (ControlFs::new(inner, OWNER, files), closed)
}

async fn find(fs: &ControlFs, uid: u32, file: &str) -> Result<Entry, Error> {
    let directory = fs.lookup(ctx(uid), Ino::ROOT, &name(DIRECTORY)).await?;
    fs.lookup(ctx(uid), directory.attr.ino, &name(file)).await
}

async fn list(fs: &ControlFs, ino: Ino, limit: usize, plus: bool) -> Vec<DirEntry> {
    let fh = fs.opendir(ctx(0), ino).await.unwrap().fh;
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let page = fs.readdir(ctx(0), fh, ReadDir { offset, limit, plus }).await.unwrap();
        let Some(last) = page.last() else { break };
        offset = last.next_offset;
        all.extend(page);
    }
    fs.releasedir(fh);
    all
}

#[tokio::test]
async fn the_directory_is_found_and_never_listed() {
    for names in
        [&[".wasmount"][..], &["a", ".wasmount", "b"], &[".wasmount", "a"], &["a", ".wasmount"], &["a"]]
    {
        let inner = Inner::new(names);
        let (fs, _) = control(inner.clone());
        assert_eq!(
            fs.lookup(ctx(0), Ino::ROOT, &name(DIRECTORY)).await.unwrap().attr.kind,
            FileKind::Directory
        );
        for (limit, plus) in [(1, false), (1, true), (2, true), (100, false), (100, true)] {
            let listed = list(&fs, Ino::ROOT, limit, plus).await;
            let seen: Vec<_> = listed.iter().map(|entry| entry.name.to_string()).collect();
            let want: Vec<_> = names.iter().filter(|n| **n != DIRECTORY).map(ToString::to_string).collect();
            assert_eq!(seen, want, "{limit} {plus}");
            for entry in listed.iter().filter_map(|entry| entry.entry) {
                fs.forget(entry.attr.ino, 1);
            }
            assert_eq!(*inner.lookups.lock().unwrap(), 0, "the hidden entry was given back");
        }
    }
}

#[tokio::test]
async fn the_name_is_special_at_the_root_only() {
    let inner = Inner::new(&[DIRECTORY]);
    let (fs, _) = control(inner.clone());
    let below = fs.lookup(ctx(0), Ino(1234), &name(DIRECTORY)).await.unwrap();
    assert_eq!(below.attr.ino, Ino(1000));
    assert_eq!(list(&fs, Ino(1234), 10, false).await.len(), 1);
}

#[tokio::test]
async fn numbers_and_modes() {
    let (fs, _) = control(Inner::new(&[]));
    let directory = fs.lookup(ctx(0), Ino::ROOT, &name(DIRECTORY)).await.unwrap();
    assert_eq!((directory.attr.perm, directory.attr.uid), (0o500, OWNER));
    let mut numbers = BTreeSet::from([directory.attr.ino]);
    for limit in [1, 10] {
        let listed = list(&fs, directory.attr.ino, limit, true).await;
        assert_eq!(listed.iter().map(|e| e.name.to_string()).collect::<Vec<_>>(), ["text", "stream"]);
        for entry in listed {
            let found = find(&fs, 0, &entry.name.to_string()).await.unwrap();
            assert_eq!(entry.entry, Some(found));
            assert_eq!(fs.getattr(ctx(0), entry.ino).await.unwrap(), found);
            assert_eq!((found.attr.perm, found.attr.kind), (0o400, FileKind::Regular));
            assert_eq!(fs.path(entry.ino), Some(format!(".wasmount/{}", entry.name)));
            numbers.insert(entry.ino);
        }
    }
    assert_eq!(numbers.len(), 3);
    assert!(numbers.iter().all(|ino| is_control(*ino)));
    assert!(!is_control(Ino::ROOT) && !is_control(Ino(crate::inode::Identity::FIRST_NUMBER)));
    assert_eq!(find(&fs, 0, "nothing").await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(fs.getattr(ctx(0), Ino(255)).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn only_root_and_the_owner_may_look() {
    let (fs, _) = control(Inner::new(&[]));
    let directory = fs.lookup(ctx(5), Ino::ROOT, &name(DIRECTORY)).await.unwrap().attr.ino;
    let file = find(&fs, OWNER, "text").await.unwrap().attr.ino;
    assert_eq!(find(&fs, 5, "text").await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(fs.opendir(ctx(5), directory).await.unwrap_err().kind, ErrorKind::Denied);
    assert_eq!(fs.open(ctx(5), file).await.unwrap_err().kind, ErrorKind::Denied);
    for uid in [0, OWNER] {
        assert!(fs.opendir(ctx(uid), directory).await.is_ok());
        assert!(fs.open(ctx(uid), file).await.is_ok());
    }
}

#[tokio::test]
async fn a_text_is_as_it_was_at_the_open() {
    let (fs, _) = control(Inner::new(&[]));
    let ino = find(&fs, 0, "text").await.unwrap().attr.ino;
    let first = fs.open(ctx(0), ino).await.unwrap();
    let second = fs.open(ctx(0), ino).await.unwrap();
    assert!(first.direct_io && !first.keep_cache && first.backing.is_none());
    for (open, want) in [(&first, "opened 1 times"), (&second, "opened 2 times"), (&first, "opened 1 times")]
    {
        let mut text = Vec::new();
        loop {
            let data = fs.read(ctx(0), open.fh, ReadRequest::direct(text.len() as u64, 5)).await.unwrap();
            if data.bytes.is_empty() {
                break;
            }
            text.extend_from_slice(&data.bytes);
        }
        assert_eq!(String::from_utf8(text).unwrap(), want);
    }
    assert!(
        fs.read(ctx(0), first.fh, ReadRequest::direct(u64::MAX, u32::MAX)).await.unwrap().bytes.is_empty()
    );
    fs.release(first.fh);
    assert_eq!(
        fs.read(ctx(0), first.fh, ReadRequest::direct(0, 5)).await.unwrap_err().kind,
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn a_stream_goes_on_whatever_the_offset_and_ends_at_the_close() {
    let (fs, closed) = control(Inner::new(&[]));
    let ino = find(&fs, 0, "stream").await.unwrap().attr.ino;
    let open = fs.open(ctx(0), ino).await.unwrap();
    for (offset, want) in [(0, "0\n"), (0, "1\n"), (999, "2\n")] {
        assert_eq!(fs.read(ctx(0), open.fh, ReadRequest::direct(offset, 4096)).await.unwrap().bytes, want);
    }
    assert!(!closed.load(Ordering::SeqCst));
    fs.release(open.fh);
    assert!(closed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn handles_are_limited_and_of_one_kind() {
    let (fs, _) = control(Inner::new(&[]));
    let directory = fs.lookup(ctx(0), Ino::ROOT, &name(DIRECTORY)).await.unwrap().attr.ino;
    let file = find(&fs, 0, "text").await.unwrap().attr.ino;
    assert_eq!(fs.open(ctx(0), directory).await.unwrap_err().kind, ErrorKind::IsDirectory);
    let dir = fs.opendir(ctx(0), directory).await.unwrap().fh;
    assert_eq!(fs.read(ctx(0), dir, ReadRequest::direct(0, 1)).await.unwrap_err().kind, ErrorKind::Invalid);
    let mut open = Vec::new();
    let refused = loop {
        match fs.open(ctx(0), file).await {
            Ok(file) => open.push(file.fh),
            Err(error) => break error,
        }
        assert!(open.len() < 10_000);
    };
    assert_eq!(refused.kind, ErrorKind::Busy);
    let request = ReadDir { offset: 0, limit: 1, plus: false };
    assert_eq!(fs.readdir(ctx(0), open[0], request).await.unwrap_err().kind, ErrorKind::Invalid);
    open.into_iter().for_each(|fh| fs.release(fh));
    assert!(fs.open(ctx(0), file).await.is_ok());
}

#[tokio::test]
async fn everything_else_is_passed_on_unchanged() {
    let inner = Inner::new(&["a"]);
    let (fs, _) = control(inner.clone());
    fs.lookup(ctx(9), Ino::ROOT, &name("x")).await.unwrap();
    fs.forget(Ino(1000), 3);
    fs.getattr(ctx(9), Ino::ROOT).await.unwrap();
    let open = fs.open(ctx(9), Ino(256)).await.unwrap();
    assert!(open.keep_cache && !open.direct_io);
    let data = fs.read(ctx(9), open.fh, ReadRequest::direct(10, 20)).await.unwrap();
    assert_eq!(data.from, ServedFrom::Origin);
    fs.release(open.fh);
    assert!(fs.opendir(ctx(9), Ino(777)).await.unwrap().keep_cache);
    fs.readdir(ctx(9), Fh(3), ReadDir { offset: 0, limit: 1, plus: false }).await.unwrap();
    fs.releasedir(Fh(3));
    fs.readlink(ctx(9), Ino(300)).await.unwrap();
    assert_eq!(fs.statfs(ctx(9), Ino(300)).await.unwrap().name_max, 5);
    fs.getxattr(ctx(9), Ino(300), b"user.x").await.unwrap();
    fs.listxattr(ctx(9), Ino(300)).await.unwrap();
    fs.mounted(Arc::new(NoPages));
    assert_eq!(fs.path(Ino(300)).as_deref(), Some("p"));
    let want = [
        "lookup 1 x",
        "forget 1000 3",
        "getattr 1",
        "open 256",
        "read 4 10 20",
        "release 4",
        "opendir 777",
        "readdir 3",
        "releasedir 3",
        "readlink 300",
        "statfs 300",
        "getxattr 300 user.x",
        "listxattr 300",
        "mounted",
        "path 300",
    ];
    assert_eq!(inner.taken(), want);

    let file = find(&fs, 0, "text").await.unwrap().attr.ino;
    fs.getattr(ctx(0), file).await.unwrap();
    fs.forget(file, 1);
    assert_eq!(fs.getxattr(ctx(0), file, b"user.x").await.unwrap_err().kind, ErrorKind::NoAttribute);
    assert!(fs.listxattr(ctx(0), file).await.unwrap().is_empty());
    assert!(inner.taken().is_empty(), "what is ours reaches nobody else");
}

struct NoPages;

impl KernelPages for NoPages {
    fn takes_pages(&self) -> bool {
        false
    }
    fn drop_attributes(&self, _ino: Ino) -> BoxFuture<'static, bool> {
        Box::pin(ready(false))
    }
    fn drop_pages(&self, _ino: Ino, _range: Option<std::ops::Range<u64>>) -> BoxFuture<'static, bool> {
        Box::pin(ready(false))
    }
    fn drop_entries(&self) -> bool {
        false
    }
    fn keeps_entries(&self) -> bool {
        false
    }

    fn store(&self, _: Ino, _: u64, _: Bytes, _: Option<Arc<dyn std::any::Any + Send + Sync>>) {}
    fn invalidate(&self, _: Ino) {}
}
