//! Files that the kernel reads by itself, through a real mount. Needs root, `/dev/fuse` and Linux 6.9.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod memory;

use memory::fixture::{Fixture, Recorder, Rng, eventually};
use memory::{BIG, BIG_SIZE, FIRST_OF_MANY, byte, content};
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmount_fuse::{NoPassthrough, Passthrough};

/// A mapping, the one thing here that Rust cannot check.
#[allow(unsafe_code, reason = "mmap(2) is unsafe to call")]
mod mapped {
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    use std::fs::File;

    /// The bytes of a file as a mapping shows them.
    pub(crate) fn bytes(file: &File, length: usize) -> Vec<u8> {
        // SAFETY: a new private read-only mapping at an address of the kernel's choice, copied while it is there and
        // unmapped once. Nobody writes to the file in these tests.
        unsafe {
            let at = mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, file, 0).unwrap();
            let bytes = std::slice::from_raw_parts(at.cast::<u8>(), length).to_vec();
            munmap(at, length).unwrap();
            bytes
        }
    }
}

/// A tmpfs of its own: it can be unmounted only when nobody has a file of it open, the kernel included.
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Self {
        let path = dir.join("scratch");
        fs::create_dir(&path).unwrap();
        rustix::mount::mount("scratch", &path, "tmpfs", MountFlags::empty(), None).unwrap();
        Self(path)
    }

    /// A file with these bytes and no name.
    fn file(&self, bytes: &[u8]) -> Arc<OwnedFd> {
        let path = self.0.join("file");
        let mut file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        fs::remove_file(&path).unwrap();
        Arc::new(file.into())
    }

    fn unmount(&self) -> rustix::io::Result<()> {
        rustix::mount::unmount(&self.0, UnmountFlags::empty())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn read_all(path: &Path) -> std::io::Result<Vec<u8>> {
    fs::read(path)
}

fn reads(fixture: &Fixture) -> u64 {
    fixture.fs.reads.load(Ordering::Relaxed)
}

/// Until the RELEASE of everything has arrived.
fn all_closed(fixture: &Fixture) {
    eventually("all files closed", || fixture.fs.open.load(Ordering::SeqCst) == 0);
}

#[test]
fn the_kernel_reads_the_local_file_and_then_the_ordinary_way_again() {
    let fixture = Fixture::new();
    let scratch = Scratch::new(fixture.dir.path());
    let big = fixture.path("big");
    let local = scratch.file(&content(BIG));
    fixture.fs.backings.lock().unwrap().insert(BIG, local);
    assert_eq!(fixture.mounted.passthrough(), Passthrough::On);

    let mut file = File::open(&big).unwrap();
    let mut all = Vec::new();
    file.read_to_end(&mut all).unwrap();
    assert!(all == content(BIG));
    assert!(mapped::bytes(&file, BIG_SIZE as usize) == all, "by mmap too");
    // Core has no file for it any more: the open one goes on, and so do opens beside it.
    fixture.fs.backings.lock().unwrap().clear();
    let beside = File::open(&big).unwrap();
    drop(file);
    let mut some = vec![0; 5000];
    beside.read_exact_at(&mut some, 12_345).unwrap();
    assert_eq!(some, all[12_345..17_345]);
    assert_eq!(reads(&fixture), 0, "no READ arrived");
    assert_eq!(fs::metadata(&big).unwrap().len(), BIG_SIZE);
    drop(beside);
    all_closed(&fixture);

    assert!(read_all(&big).unwrap() == all, "the ordinary way");
    assert!(reads(&fixture) > 0);
    all_closed(&fixture);
    let held = File::open(&big).unwrap();
    fixture.fs.backings.lock().unwrap().insert(BIG, scratch.file(&all));
    assert!(read_all(&big).unwrap() == all, "ordinary because of the open beside it");
    let before = reads(&fixture);
    drop(held);
    all_closed(&fixture);
    fs::write("/proc/sys/vm/drop_caches", "1").unwrap();
    assert!(read_all(&big).unwrap() == all, "and by passthrough again");
    assert_eq!(reads(&fixture), before);
}

#[test]
fn any_mixture_of_opens_reads_the_right_bytes() {
    const NODES: u64 = 12;
    let seed = Rng::seed();
    let recorder = Arc::new(Recorder::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fixture = Fixture::with(tempfile::tempdir().unwrap(), runtime, |options| {
        options.operations = recorder.clone();
        options.threads = 4;
    });
    let scratch = Scratch::new(fixture.dir.path());
    let local = |n: u64| scratch.file(&content(FIRST_OF_MANY + n));
    let locals: Vec<_> = (0..NODES).map(local).collect();
    let opened = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (fixture, locals, opened) = (&fixture, &locals, &opened);
            scope.spawn(move || {
                let mut rng = Rng::new(seed ^ worker << 32);
                let mut held: Vec<(u64, File)> = Vec::new();
                for step in 0..1500 {
                    let n = rng.below(NODES);
                    let ino = FIRST_OF_MANY + n;
                    match rng.below(8) {
                        // Core's mind changes at any time.
                        0 => drop(fixture.fs.backings.lock().unwrap().remove(&ino)),
                        1 | 2 => {
                            fixture.fs.backings.lock().unwrap().insert(ino, locals[n as usize].clone());
                        }
                        3 => fixture.fs.open_waits.store(rng.below(2), Ordering::Relaxed),
                        4 if !held.is_empty() => {
                            drop(held.swap_remove(rng.below(held.len() as u64) as usize))
                        }
                        5 if held.len() < 8 => {
                            opened.fetch_add(1, Ordering::Relaxed);
                            let file = File::open(fixture.path(&format!("many/file-{n}")));
                            held.push((ino, file.unwrap_or_else(|e| panic!("seed {seed} step {step}: {e}"))));
                        }
                        6 if !held.is_empty() => {
                            let (ino, file) = &held[rng.below(held.len() as u64) as usize];
                            let at = rng.below(900);
                            let mut some = [0; 100];
                            file.read_exact_at(&mut some, at)
                                .unwrap_or_else(|e| panic!("seed {seed} step {step}: {e}"));
                            let right = some.iter().zip(at..).all(|(b, offset)| *b == byte(*ino, offset));
                            assert!(right, "wrong bytes; seed {seed} step {step}");
                        }
                        _ => {
                            opened.fetch_add(1, Ordering::Relaxed);
                            let all = read_all(&fixture.path(&format!("many/file-{n}")))
                                .unwrap_or_else(|e| panic!("seed {seed} step {step}: {e}"));
                            assert!(all == content(ino), "wrong bytes; seed {seed} step {step}");
                        }
                    }
                }
            });
        }
    });
    all_closed(&fixture);
    let done = opened.load(Ordering::Relaxed);
    let (opens, releases) = (recorder.first("open", done), recorder.first("release", done));
    let by_kernel = opens.iter().filter(|open| open.passthrough).count();
    assert!(
        by_kernel > 100 && opens.len() - by_kernel > 100,
        "{by_kernel} of {} opens; seed {seed}",
        opens.len()
    );
    assert!(opens.iter().all(|open| open.error.is_none()), "seed {seed}");
    assert_eq!((opens.len(), releases.len()), (done, done));
    assert_eq!(releases.iter().filter(|release| release.passthrough).count(), by_kernel);
    fixture.fs.backings.lock().unwrap().clear();
    drop(locals);
    eventually("the kernel holds no local file any more", || scratch.unmount().is_ok());
}

#[test]
fn ten_thousand_opens_leave_nothing_behind() {
    let fixture = Fixture::new();
    let scratch = Scratch::new(fixture.dir.path());
    for n in 0..100 {
        let ino = FIRST_OF_MANY + n;
        fixture.fs.backings.lock().unwrap().insert(ino, scratch.file(&content(ino)));
    }
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let fixture = &fixture;
            scope.spawn(move || {
                for round in 0..2500_u64 {
                    let n = (round * 7 + worker) % 100;
                    let mut first = [0];
                    let file = File::open(fixture.path(&format!("many/file-{n}"))).unwrap();
                    file.read_exact_at(&mut first, 0).unwrap();
                    assert_eq!(first[0], byte(FIRST_OF_MANY + n, 0));
                }
            });
        }
    });
    assert_eq!(reads(&fixture), 0);
    all_closed(&fixture);
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(descriptors < 1000, "{descriptors} descriptors are open");
    assert!(scratch.unmount().is_err(), "core still has the files open");
    fixture.fs.backings.lock().unwrap().clear();
    // The kernel closes files a little later than it says so.
    eventually("neither kernel nor adapter holds a file any more", || scratch.unmount().is_ok());
}

#[test]
fn files_open_by_passthrough_survive_the_unmount() {
    let fixture = Fixture::new();
    let scratch = Scratch::new(fixture.dir.path());
    fixture.fs.backings.lock().unwrap().insert(BIG, scratch.file(&content(BIG)));
    let mut file = File::open(fixture.path("big")).unwrap();
    fixture.mounted.unmount().unwrap();
    let mut all = Vec::new();
    file.read_to_end(&mut all).unwrap();
    assert!(all == content(BIG));
    drop(file);
    fixture.wait_for_end();
}

#[test]
fn switched_off_it_is_never_tried() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = Fixture::with(tempfile::tempdir().unwrap(), runtime, |options| options.passthrough = false);
    let scratch = Scratch::new(fixture.dir.path());
    fixture.fs.backings.lock().unwrap().insert(BIG, scratch.file(b"not the bytes of the file"));
    assert_eq!(fixture.mounted.passthrough(), Passthrough::Off(NoPassthrough::Disabled));
    assert!(read_all(&fixture.path("big")).unwrap() == content(BIG));
}

#[test]
fn without_the_privilege_reads_come_here() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(|| {
            let mut sets = rustix::thread::capabilities(None).unwrap();
            sets.effective -= rustix::thread::CapabilitySet::SYS_ADMIN;
            rustix::thread::set_capabilities(None, sets).unwrap();
        })
        .build()
        .unwrap();
    let fixture = Fixture::with(tempfile::tempdir().unwrap(), runtime, |_| {});
    let scratch = Scratch::new(fixture.dir.path());
    fixture.fs.backings.lock().unwrap().insert(BIG, scratch.file(&content(BIG)));
    fixture.fs.open_waits.store(100, Ordering::Relaxed);
    assert!(read_all(&fixture.path("big")).unwrap() == content(BIG));
    assert!(reads(&fixture) > 0);
    let off = fixture.mounted.passthrough();
    assert_eq!(off, Passthrough::Off(NoPassthrough::Privilege));
    assert!(NoPassthrough::Privilege.to_string().contains("CAP_SYS_ADMIN"));
}

#[test]
fn a_local_file_on_too_many_overlays_is_not_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (lower, other, first, second) = (made("lower"), made("other"), made("first"), made("second"));
    fs::write(lower.join("file"), content(BIG)).unwrap();
    let overlay = |below: &Path, at: &Path| {
        let data = format!("lowerdir={}:{}", other.display(), below.display());
        let data = std::ffi::CString::new(data).unwrap();
        rustix::mount::mount("overlay", at, "overlay", MountFlags::RDONLY, Some(data.as_c_str())).unwrap();
    };
    overlay(&lower, &first);
    overlay(&first, &second);
    let fixture = Fixture::new();
    let big = fixture.path("big");
    let open = |dir: &Path| Arc::new(OwnedFd::from(File::open(dir.join("file")).unwrap()));
    fixture.fs.backings.lock().unwrap().insert(BIG, open(&first));
    assert!(read_all(&big).unwrap() == content(BIG));
    assert_eq!((reads(&fixture), fixture.mounted.passthrough()), (0, Passthrough::On), "one overlay is fine");
    all_closed(&fixture);
    fixture.fs.backings.lock().unwrap().insert(BIG, open(&second));
    let right = read_all(&big).unwrap() == content(BIG);
    let off = fixture.mounted.passthrough();
    fixture.fs.backings.lock().unwrap().clear();
    all_closed(&fixture);
    for at in [&second, &first] {
        rustix::mount::unmount(at, UnmountFlags::DETACH).unwrap();
    }
    assert!(right && reads(&fixture) > 0);
    assert_eq!(off, Passthrough::Off(NoPassthrough::Stacked));
}
