//! What the kernel is told unasked: dropped pages, attributes, names and listings. Through a real mount.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod changing;

use changing::{Changing, FIRST_DIR, LINK_TARGET, SIZE, file};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use wasmount_fuse::{MountOptions, Mounted};
use wasmount_types::Ino;

const LONG: Duration = Duration::from_secs(10);

struct Fixture {
    fs: Arc<Changing>,
    mounted: Mounted,
    runtime: Runtime,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut MountOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let fs = Changing::new(3, 20);
        let mounted = fs.mount(&dir.path().join("mnt"), &runtime, change);
        Self { fs, mounted, runtime, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mnt").join(name)
    }

    fn drop_pages(&self, ino: u64, range: Option<std::ops::Range<u64>>) -> bool {
        let dropping = self.fs.kernel().drop_pages(Ino(ino), range);
        self.runtime.block_on(async { timeout(LONG, dropping).await }).expect("nobody holds these pages")
    }

    fn drop_attributes(&self, ino: u64) -> bool {
        self.runtime.block_on(self.fs.kernel().drop_attributes(Ino(ino)))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.fs.free();
        self.mounted.unmount().unwrap();
    }
}

fn names(path: PathBuf) -> usize {
    fs::read_dir(path).unwrap().inspect(|entry| assert!(entry.is_ok())).count()
}

#[test]
fn dropped_pages_are_read_again_and_others_are_not() {
    let fixture = Fixture::new();
    let (ino, reads) = (file(0, 1), || fixture.fs.asked("read", file(0, 1)));
    let open = File::open(fixture.path("dir-0/file-1")).unwrap();
    let byte = |offset: u64| {
        let mut one = [9];
        assert_eq!(open.read_at(&mut one, offset).unwrap(), 1);
        one[0]
    };
    // The file is read ahead as a whole.
    assert_eq!((byte(0), byte(SIZE - 1)), (0, 0));
    let first = reads();
    fixture.fs.change(ino, 1);
    assert_eq!((byte(0), byte(SIZE - 1), reads()), (0, 0, first), "still in the page cache");

    assert!(fixture.drop_pages(ino, Some(0..4096)));
    assert_eq!((byte(SIZE - 1), reads()), (0, first), "this page was not dropped");
    assert_eq!(byte(0), 1);
    assert_eq!(byte(5000), 0);
    let second = reads();
    assert!(second > first);

    assert!(fixture.drop_pages(ino, None));
    assert_eq!((byte(0), byte(5000), byte(SIZE - 1)), (1, 1, 1));
    assert!(reads() > second);
    assert!(!fixture.drop_pages(12345, None), "no such node");
}

#[test]
fn dropped_attributes_are_asked_for_again() {
    let fixture = Fixture::new();
    let ino = file(0, 2);
    let open = File::open(fixture.path("dir-0/file-2")).unwrap();
    assert_eq!(open.metadata().unwrap().mtime(), 0);
    fixture.fs.change(ino, 7);
    assert_eq!(open.metadata().unwrap().mtime(), 0, "kept");
    assert!(fixture.drop_attributes(ino));
    assert_eq!(open.metadata().unwrap().mtime(), 7);
    assert_eq!(fixture.fs.asked("getattr", ino), 1);
    assert!(!fixture.drop_attributes(12345), "no such node");
}

#[test]
fn names_are_looked_up_again_in_a_new_epoch() {
    let fixture = Fixture::new();
    let kernel = fixture.fs.kernel();
    assert!(kernel.keeps_entries(), "this test wants Linux 6.16 or later");
    let path = fixture.path("dir-0/file-3");
    let asked = || [fixture.fs.asked("lookup", FIRST_DIR), fixture.fs.asked("lookup", file(0, 3))];
    fs::metadata(&path).unwrap();
    fs::metadata(&path).unwrap();
    assert_eq!(asked(), [1, 1]);
    // Somebody who is in the directory stays there, and gets along.
    let inside = File::open(fixture.path("dir-0")).unwrap();
    assert!(kernel.drop_entries());
    fs::metadata(&path).unwrap();
    assert_eq!(asked(), [2, 2]);
    fs::metadata(&path).unwrap();
    assert_eq!(asked(), [2, 2], "kept again");
    assert!(rustix::fs::statat(&inside, "file-3", rustix::fs::AtFlags::empty()).is_ok());
}

/// Why [`MountOptions::keep_names`] is an option. Should this fail with a new kernel, it need not be one any more.
#[test]
fn a_new_epoch_takes_away_what_is_mounted_inside() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    for keep in [true, false] {
        let fixture = Fixture::with(|options| options.keep_names = keep);
        let inner = fixture.path("dir-1");
        mount("inner", &inner, "tmpfs", MountFlags::empty(), None).unwrap();
        assert_eq!(names(inner.clone()), 0);
        assert_eq!((fixture.fs.kernel().keeps_entries(), fixture.fs.kernel().drop_entries()), (keep, keep));
        assert_eq!(names(inner.clone()), if keep { 20 } else { 0 });
        if !keep {
            unmount(&inner, UnmountFlags::DETACH).unwrap();
        }
    }
}

#[test]
fn a_kept_listing_goes_with_the_pages_of_its_directory_or_with_the_epoch() {
    let fixture = Fixture::new();
    let asked = || fixture.fs.asked("readdir", FIRST_DIR);
    let list = || names(fixture.path("dir-0"));
    assert_eq!((list(), list()), (20, 20));
    assert!(asked() >= 2, "not kept unless it is said");

    fixture.fs.keep_listings.store(true, Ordering::Relaxed);
    assert_eq!(list(), 20);
    let before = asked();
    assert_eq!((list(), asked()), (20, before));
    assert!(fixture.drop_pages(FIRST_DIR, None));
    assert_eq!(list(), 20);
    let after = asked();
    assert!(after > before);
    assert_eq!((list(), asked()), (20, after), "kept again");
    assert!(fixture.fs.kernel().drop_entries());
    assert_eq!(list(), 20);
    assert!(asked() > after);
}

#[test]
fn a_read_that_nobody_answers_holds_up_its_own_pages_and_nothing_else() {
    let fixture = Fixture::new();
    let (held, other) = (file(0, 4), file(0, 5));
    fixture.fs.hold([held]);
    let path = fixture.path("dir-0/file-4");
    let reader = std::thread::spawn({
        let path = path.clone();
        move || fs::read(path).unwrap()
    });
    let patience = Instant::now() + LONG;
    while fixture.fs.asked("read", held) == 0 {
        assert!(Instant::now() < patience);
        std::thread::sleep(Duration::from_millis(1));
    }
    let kernel = fixture.fs.kernel();
    let dropping = fixture.runtime.spawn(kernel.drop_pages(Ino(held), None));
    // Everything else goes on, be it about the same node.
    assert!(fixture.drop_attributes(held));
    assert_eq!(fs::read(fixture.path("dir-0/file-5")).unwrap().len() as u64, SIZE);
    assert!(fixture.drop_pages(other, None));
    if kernel.keeps_entries() {
        assert!(kernel.drop_entries());
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), SIZE);
    assert_eq!(names(fixture.path("dir-0")), 20);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!dropping.is_finished());

    fixture.fs.free();
    assert!(fixture.runtime.block_on(async { timeout(LONG, dropping).await.unwrap().unwrap() }));
    assert_eq!(reader.join().unwrap().len() as u64, SIZE);
}

#[test]
fn links_and_special_files() {
    let fixture = Fixture::new();
    let link = fixture.path("link");
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(LINK_TARGET));
    assert_eq!(fs::metadata(&link).unwrap().ino(), file(0, 1), "followed");
    assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(LINK_TARGET));
    assert_eq!(fixture.fs.asked("readlink", fs::symlink_metadata(&link).unwrap().ino()), 1, "kept");
    assert_eq!(fs::read_link(fixture.path("tool")).unwrap_err().raw_os_error(), Some(22), "EINVAL");

    let stat = |name: &str| fs::symlink_metadata(fixture.path(name)).unwrap();
    assert!(stat("fifo").file_type().is_fifo());
    assert!(stat("socket").file_type().is_socket());
    let (disk, tty) = (stat("disk"), stat("tty"));
    assert!(disk.file_type().is_block_device() && tty.file_type().is_char_device());
    let device = |rdev: u64| (rustix::fs::major(rdev), rustix::fs::minor(rdev));
    assert_eq!((device(disk.rdev()), device(tty.rdev())), ((8, 1), (4, 64)));
    assert_eq!(stat("tool").mode(), 0o104_751);
    // The same types without `stat`.
    let kinds = fs::read_dir(fixture.path("")).unwrap().map(|entry| entry.unwrap().file_type().unwrap());
    assert_eq!(kinds.filter(|kind| !kind.is_dir() && !kind.is_file()).count(), 5);
}
