//! Block images as files: names, live images and snapshots, holes; and random operations against a plain reference.
//!
//! `WASMOUNT_MODEL_CASES` sets the number of cases, `WASMOUNT_SEED` the seed of the first.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{cat, ctx, images, list, stat};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::fs::{OpenFile, Seek};
use wasmount_core::mounts::MountTable;
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::testing::{CacheFaults, MemoryBlocks, MemoryCache, MemoryKernel, Random};
use wasmount_types::{ErrorKind, FileKind, Ino};

const MIB: usize = 1 << 20;
/// What `MemoryBlocks` tells holes in.
const CHUNK: u64 = 64 * 1024;

fn cache() -> Arc<MemoryCache> {
    MemoryCache::new(CacheFaults::default())
}

fn mount(store: &Arc<MemoryBlocks>) -> Arc<MountTable> {
    images(store, &cache(), ObjectFsConfig::default())
}

/// An image `disk` of 3 MiB and a bit, with bytes at its beginning and end and a hole between, and a snapshot of it.
fn disk() -> Arc<MemoryBlocks> {
    let store = MemoryBlocks::new(1 << 20, true);
    store.resize("disk", 3 * MIB + 700);
    store.write("disk", 0, &Random::new(1).bytes(MIB));
    store.write("disk", 3 * MIB - 100, &Random::new(2).bytes(800));
    store.snapshot("disk", "s1");
    store
}

#[tokio::test(start_paused = true)]
async fn images_and_snapshots_are_files_beside_each_other() {
    let store = disk();
    for name in ["a/b", "plain", "..", "x%y", "n@m"] {
        store.resize(name, 512);
    }
    store.snapshot("plain", "mon@day");
    let fs = mount(&store);
    let names = list(&fs, Ino::ROOT, 3, true).await.unwrap();
    let expected =
        ["%2E%2E", "a%2Fb", "disk", "disk@s1", "n@m", "plain", "plain@mon%40day", "x%25y"].map(str::to_owned);
    assert_eq!(names.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(names.values().all(|kind| *kind == FileKind::Regular));
    for name in &expected {
        let entry = stat(&fs, name).await.unwrap();
        assert_eq!((entry.attr.perm, entry.attr.kind), (0o444, FileKind::Regular), "{name}");
    }
    for (name, kind) in [
        ("nobody", ErrorKind::NotFound),
        ("disk@nobody", ErrorKind::NotFound),
        ("nobody@s1", ErrorKind::NotFound),
        ("a%2fb", ErrorKind::NotFound),
        ("disk/x", ErrorKind::NotDirectory),
    ] {
        assert_eq!(stat(&fs, name).await.unwrap_err().kind, kind, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_looked_up_without_a_listing() {
    let store = disk();
    let fs = mount(&store);
    assert_eq!(stat(&fs, "disk").await.unwrap().attr.size, 3 * MIB as u64 + 700);
    assert_eq!(stat(&fs, "disk@s1").await.unwrap().attr.size, 3 * MIB as u64 + 700);
    assert_eq!(store.requests(), (0, 0), "and without opening anything");
}

#[tokio::test(start_paused = true)]
async fn every_byte_reads_right_whatever_the_pieces() {
    let store = disk();
    let fs = mount(&store);
    for path in ["disk", "disk@s1"] {
        let ino = stat(&fs, path).await.unwrap().attr.ino;
        for size in [131_072, 1_000_003, 4096] {
            assert!(
                cat(&fs, ino, size).await.unwrap() == store.content("disk", None).unwrap(),
                "{path} by {size}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_from_start_to_end_is_asked_for_in_whole_pieces() {
    let store = MemoryBlocks::new(16 << 20, true);
    store.resize("disk", 64 * MIB);
    store.write("disk", 0, &Random::new(3).bytes(64 * MIB));
    store.snapshot("disk", "s1");
    let fs = mount(&store);
    let ino = stat(&fs, "disk@s1").await.unwrap().attr.ino;
    assert!(cat(&fs, ino, MIB as u32).await.unwrap() == store.content("disk", None).unwrap());
    // The first 4 MiB in three, and then each 4 MiB in one, although the store would give 16 at once: it gives nothing before it has all.
    let (_, reads) = store.requests();
    assert!((16..=18).contains(&reads), "{reads} requests for 16 pieces");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_keeps_its_pages_and_a_live_image_does_not() {
    let store = disk();
    let before = store.content("disk", None).unwrap();
    let (cache, kernel) = (cache(), Arc::new(MemoryKernel::default()));
    let fs = images(&store, &cache, ObjectFsConfig::default());
    fs.mounted(kernel);
    let (live, snapshot) =
        (stat(&fs, "disk").await.unwrap().attr.ino, stat(&fs, "disk@s1").await.unwrap().attr.ino);
    let opened = [fs.open(ctx(), live).await.unwrap(), fs.open(ctx(), snapshot).await.unwrap()];
    assert_eq!(
        opened.each_ref().map(|file| (file.keep_cache, file.direct_io)),
        [(false, false), (true, false)]
    );
    assert!(cat(&fs, live, 131_072).await.unwrap() == before);
    assert!(cat(&fs, snapshot, 131_072).await.unwrap() == before);
    store.write("disk", 5000, b"another client was here");
    let after = store.content("disk", None).unwrap();
    assert!(cat(&fs, live, 131_072).await.unwrap() == after, "nothing of the live image was kept");
    // Who had it open sees what the newest open sees.
    assert_eq!(
        fs.read(ctx(), opened[0].fh, ReadRequest::pages(4990, 60)).await.unwrap().bytes[..],
        after[4990..5050]
    );
    let (_, reads) = store.requests();
    assert!(cat(&fs, snapshot, 131_072).await.unwrap() == before, "the snapshot is what it was");
    assert_eq!(store.requests().1, reads, "from memory or disk alone");
}

/// 4 KiB at places that have nothing to do with each other.
async fn scattered(
    fs: &MountTable,
    fh: wasmount_types::Fh,
    random: &mut Random,
    size: usize,
    content: &[u8],
) {
    for _ in 0..200 {
        let at = random.below(size as u64 / 4096) as usize * 4096;
        let read = fs.read(ctx(), fh, ReadRequest::pages(at as u64, 4096)).await.unwrap();
        assert_eq!(read.bytes[..], content[at..at + 4096]);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_live_image_that_keeps_being_hit_is_given_to_the_kernel_for_as_long_as_nobody_opens_it_again() {
    const SIZE: usize = 16 * MIB;
    let store = MemoryBlocks::new(1 << 20, true);
    store.resize("disk", SIZE);
    let mut random = Random::new(5);
    store.write("disk", 0, &random.bytes(SIZE));
    let kernel = Arc::new(MemoryKernel::default());
    let fs = mount(&store);
    fs.mounted(kernel.clone());
    let ino = stat(&fs, "disk").await.unwrap().attr.ino;
    let before = store.content("disk", None).unwrap();
    let first = fs.open(ctx(), ino).await.unwrap();
    scattered(&fs, first.fh, &mut random, SIZE, &before).await;
    let stored = kernel.take();
    let bytes: usize = stored.iter().map(|(.., bytes)| bytes.len()).sum();
    assert!(bytes > SIZE / 2, "{bytes} of {SIZE} bytes");
    assert!(stored.iter().all(|(node, at, bytes)| {
        let at = *at as usize;
        *node == ino && before[at..at + bytes.len()] == bytes[..]
    }));
    // Others change it: what the first open learned is of no use to the second, and never comes to the kernel any more.
    store.write("disk", 0, &random.bytes(SIZE));
    let after = store.content("disk", None).unwrap();
    let second = fs.open(ctx(), ino).await.unwrap();
    scattered(&fs, first.fh, &mut random, SIZE, &after).await;
    scattered(&fs, second.fh, &mut random, SIZE, &after).await;
    let stored = kernel.take();
    assert!(!stored.is_empty());
    for (_, at, bytes) in stored {
        assert_eq!(bytes[..], after[at as usize..at as usize + bytes.len()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_live_image_is_one_node_whose_size_is_that_of_the_newest_open() {
    let store = disk();
    let fs = mount(&store);
    let first = stat(&fs, "disk").await.unwrap();
    let old = fs.open(ctx(), first.attr.ino).await.unwrap();
    store.resize("disk", 5 * MIB);
    store.write("disk", 4 * MIB, b"new");
    assert_eq!(
        fs.read(ctx(), old.fh, ReadRequest::pages(4 * MIB as u64, 3)).await.unwrap().bytes.len(),
        0,
        "not looked at again"
    );
    let new = fs.open(ctx(), first.attr.ino).await.unwrap();
    let second = stat(&fs, "disk").await.unwrap();
    assert_eq!((second.attr.ino, second.attr.size), (first.attr.ino, 5 * MIB as u64));
    for fh in [old.fh, new.fh] {
        assert_eq!(
            &fs.read(ctx(), fh, ReadRequest::pages(4 * MIB as u64, 3)).await.unwrap().bytes[..],
            b"new"
        );
    }
    // Shorter under a reader: its reads end at the new end, and no byte beyond it comes from anywhere.
    store.resize("disk", MIB);
    let read = fs.read(ctx(), new.fh, ReadRequest::pages(MIB as u64 - 10, 100)).await.unwrap();
    assert_eq!(read.bytes.len(), 10);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(fs.getattr(ctx(), first.attr.ino).await.unwrap().attr.size, MIB as u64);
    store.remove("disk");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(fs.getattr(ctx(), first.attr.ino).await.unwrap_err().kind, ErrorKind::Stale);
    assert_eq!(fs.open(ctx(), first.attr.ino).await.unwrap_err().kind, ErrorKind::Stale);
    assert_eq!(stat(&fs, "disk").await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_taken_again_under_its_name_is_another_file() {
    let store = disk();
    let fs = mount(&store);
    let first = stat(&fs, "disk@s1").await.unwrap().attr.ino;
    let open = fs.open(ctx(), first).await.unwrap();
    store.write("disk", 0, b"changed");
    store.snapshot("disk", "s1");
    store.restart();
    let beyond = 2 * MIB as u64;
    assert_eq!(
        fs.read(ctx(), open.fh, ReadRequest::pages(beyond, 10)).await.unwrap_err().kind,
        ErrorKind::Stale,
        "never a mixture"
    );
    let second = stat(&fs, "disk@s1").await.unwrap().attr.ino;
    assert_ne!(first, second);
    assert_eq!(&cat(&fs, second, 131_072).await.unwrap()[..7], b"changed");
}

#[tokio::test(start_paused = true)]
async fn an_image_is_opened_once_closed_when_idle_and_opened_again() {
    let store = disk();
    let fs = mount(&store);
    let ino = stat(&fs, "disk@s1").await.unwrap().attr.ino;
    let mut files = Vec::new();
    for _ in 0..10 {
        files.push(fs.open(ctx(), ino).await.unwrap());
    }
    fs.read(ctx(), files[0].fh, ReadRequest::pages(0, 10)).await.unwrap();
    assert_eq!((store.open_handles(), store.requests().0), (1, 1));
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert_eq!(store.open_handles(), 0);
    store.restart();
    fs.read(ctx(), files[5].fh, ReadRequest::pages(2 * MIB as u64, 10)).await.unwrap();
    assert_eq!((store.open_handles(), store.requests().0), (1, 2));
    store.restart();
    fs.read(ctx(), files[9].fh, ReadRequest::pages(3 * MIB as u64, 10)).await.unwrap();
    assert_eq!((store.open_handles(), store.requests().0), (1, 3), "the plugin was started again");
}

#[tokio::test(start_paused = true)]
async fn holes_are_found_without_reading() {
    let store = disk();
    let fs = mount(&store);
    let size = 3 * MIB as u64 + 700;
    for path in ["disk", "disk@s1"] {
        let open = fs.open(ctx(), stat(&fs, path).await.unwrap().attr.ino).await.unwrap();
        let tail = (3 * MIB as u64 - 100) / CHUNK * CHUNK;
        for (offset, what, expected) in [
            (0, Seek::Data, Some(0)),
            (0, Seek::Hole, Some(MIB as u64)),
            (12_345, Seek::Hole, Some(MIB as u64)),
            (MIB as u64, Seek::Hole, Some(MIB as u64)),
            (MIB as u64 + 777, Seek::Hole, Some(MIB as u64 + 777)),
            (MIB as u64, Seek::Data, Some(tail)),
            (MIB as u64 + 777, Seek::Data, Some(tail)),
            (size - 1, Seek::Data, Some(size - 1)),
            (size - 1, Seek::Hole, Some(size)),
            (size, Seek::Data, None),
            (size, Seek::Hole, None),
            (u64::MAX, Seek::Data, None),
        ] {
            let found = fs.seek(ctx(), open.fh, offset, what).await;
            match expected {
                Some(expected) => assert_eq!(found, Ok(expected), "{what:?} from {offset}"),
                None => assert_eq!(found.unwrap_err().kind, ErrorKind::OutOfRange, "{what:?} from {offset}"),
            }
        }
    }
    assert_eq!(store.requests().1, 0);
    // A hole up to the end is no data.
    store.resize("empty", 10 * MIB);
    let open = fs.open(ctx(), stat(&fs, "empty").await.unwrap().attr.ino).await.unwrap();
    assert_eq!(fs.seek(ctx(), open.fh, 5, Seek::Data).await.unwrap_err().kind, ErrorKind::OutOfRange);
    assert_eq!(fs.seek(ctx(), open.fh, 5, Seek::Hole).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn without_extents_everything_is_data() {
    let store = MemoryBlocks::new(1 << 20, false);
    store.resize("disk", MIB);
    let fs = mount(&store);
    let open = fs.open(ctx(), stat(&fs, "disk").await.unwrap().attr.ino).await.unwrap();
    assert_eq!(fs.seek(ctx(), open.fh, 5, Seek::Data).await, Ok(5));
    assert_eq!(fs.seek(ctx(), open.fh, 5, Seek::Hole).await, Ok(MIB as u64));
}

/// A file that the model has open.
struct Open {
    path: String,
    ino: Ino,
    file: OpenFile,
}

/// All that an image held since the last open of its file, oldest first: what a reader may see of it.
type History = BTreeMap<String, Vec<Vec<u8>>>;

/// What the model knows.
struct Model {
    store: Arc<MemoryBlocks>,
    fs: Arc<MountTable>,
    random: Random,
    history: History,
    open: Vec<Open>,
}

const IMAGES: [&str; 3] = ["a", "b", "c/d"];
const SNAPSHOTS: [&str; 2] = ["s", "t"];

impl Model {
    fn image(&mut self) -> &'static str {
        IMAGES[self.random.below(3) as usize]
    }

    /// An image changed: its readers may see this state from now on.
    fn changed(&mut self, image: &str) {
        if let Some(content) = self.store.content(image, None) {
            self.history.entry(image.to_owned()).or_default().push(content);
        }
    }

    async fn step(&mut self) {
        match self.random.below(20) {
            0..4 => {
                let image = self.image();
                let Some(size) = self.store.content(image, None).map(|content| content.len()) else { return };
                let at = self.random.below(size as u64) as usize;
                let length = (self.random.below(200_000) as usize).min(size - at);
                let bytes = self.random.bytes(length);
                self.store.write(image, at, &bytes);
                self.changed(image);
            }
            4 => {
                let (image, size) = (self.image(), 1 + self.random.below(2 * MIB as u64) as usize);
                self.store.resize(image, size);
                self.changed(image);
            }
            5 | 6 => {
                let (image, which) = (self.image(), self.random.below(2) as usize);
                self.store.snapshot(image, SNAPSHOTS[which]);
            }
            7 => {
                let (image, which) = (self.image(), self.random.below(2) as usize);
                self.store.remove_snapshot(image, SNAPSHOTS[which]);
            }
            8 => self.store.restart(),
            9 => tokio::time::sleep(Duration::from_secs(self.random.below(100))).await,
            10..14 => self.open().await,
            14 if !self.open.is_empty() => {
                let index = self.random.below(self.open.len() as u64) as usize;
                let open = self.open.swap_remove(index);
                self.fs.release(open.file.fh);
                self.fs.forget(open.ino, 1);
            }
            15 => drop(list(&self.fs, Ino::ROOT, 3, self.random.percent(50)).await.unwrap()),
            _ if !self.open.is_empty() => {
                let index = self.random.below(self.open.len() as u64) as usize;
                self.read(index).await;
            }
            _ => {}
        }
    }

    async fn open(&mut self) {
        let (image, which) = (self.image(), self.random.below(3) as usize);
        let shown = image.replace('/', "%2F");
        let path =
            SNAPSHOTS.get(which).map_or_else(|| shown.clone(), |snapshot| format!("{shown}@{snapshot}"));
        let Ok(entry) = stat(&self.fs, &path).await else { return };
        match self.fs.open(ctx(), entry.attr.ino).await {
            Ok(file) => {
                if file.keep_cache {
                    self.snapshot_opened(&path, image, which, entry.attr.ino, file);
                } else {
                    // Nothing older than this is seen by anybody any more.
                    let now = self.store.content(image, None).unwrap();
                    self.history.insert(image.to_owned(), vec![now]);
                    self.open.push(Open { path: image.to_owned(), ino: entry.attr.ino, file });
                }
            }
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Stale, "{path}");
                self.fs.forget(entry.attr.ino, 1);
            }
        }
    }

    /// What a snapshot holds when it is opened is what it holds for good, under a path of its own in the history.
    fn snapshot_opened(&mut self, path: &str, image: &str, which: usize, ino: Ino, file: OpenFile) {
        let unique = format!("{path} {}", ino.0);
        if !self.history.contains_key(&unique) {
            let Some(content) = self.store.content(image, Some(SNAPSHOTS[which])) else { return };
            self.history.insert(unique.clone(), vec![content]);
        }
        self.open.push(Open { path: unique, ino, file });
    }

    async fn read(&mut self, index: usize) {
        let (fh, path) = (self.open[index].file.fh, self.open[index].path.clone());
        let states = self.history.get(&path).cloned().unwrap_or_default();
        let longest = states.iter().map(Vec::len).max().unwrap_or(0) as u64;
        let (offset, size) = (self.random.below(longest + 10), 1 + self.random.below(300_000) as u32);
        match self.fs.read(ctx(), fh, ReadRequest::pages(offset, size)).await {
            Ok(data) => {
                for (index, byte) in data.bytes.iter().enumerate() {
                    let at = offset as usize + index;
                    let held = states.iter().any(|state| state.get(at) == Some(byte));
                    assert!(held, "{path}: byte {at} was never so since the last open");
                }
                let end = offset + data.bytes.len() as u64;
                let full = data.bytes.len() == size as usize;
                assert!(
                    full || states.iter().any(|state| end.max(state.len() as u64) == end),
                    "{path} is cut at {end}"
                );
            }
            // A snapshot that is gone.
            Err(error) => {
                assert_eq!((error.kind, path.contains('@')), (ErrorKind::Stale, true), "{path}: {error}")
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn random_operations_show_no_byte_that_was_not_there() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (cases, first) = (number("WASMOUNT_MODEL_CASES").unwrap_or(40), number("WASMOUNT_SEED").unwrap_or(1));
    for seed in first..first + cases {
        let store = MemoryBlocks::new(256 * 1024, true);
        let fs = mount(&store);
        let mut model =
            Model { store, fs, random: Random::new(seed), history: History::new(), open: Vec::new() };
        for image in IMAGES {
            model.store.resize(image, MIB + 77);
        }
        for _ in 0..300 {
            model.step().await;
        }
    }
}
