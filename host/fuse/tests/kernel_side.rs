//! The kernel's page cache filled from here, reported operations, and direct reads, through a real mount.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod memory;

use bytes::Bytes;
use memory::fixture::{Fixture, Recorder, eventually};
use memory::{BIG_SIZE, FIRST_OF_MANY, HANG, content};
use std::any::Any;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wasmount_core::ports::{KernelPages, ServedFrom};
use wasmount_types::{ErrorKind, Ino};

fn kernel(fixture: &Fixture) -> Arc<dyn KernelPages> {
    fixture.fs.kernel.lock().unwrap().clone().expect("told of the kernel when it was mounted")
}

/// Stores all bytes of a node, and waits until the kernel has them.
fn store(fixture: &Fixture, ino: u64, bytes: Bytes) {
    let held: Arc<dyn Any + Send + Sync> = Arc::new(());
    kernel(fixture).store(Ino(ino), 0, bytes, Some(held.clone()));
    eventually("the kernel took the pages", || Arc::strong_count(&held) == 1);
}

fn recorded() -> (Arc<Recorder>, Fixture) {
    let recorder = Arc::new(Recorder::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let operations = recorder.clone();
    let fixture = Fixture::with(tempfile::tempdir().unwrap(), runtime, |options| {
        options.operations = operations;
        options.store_pages = true;
    });
    (recorder, fixture)
}

#[test]
fn stored_pages_are_read_without_asking_until_they_are_invalidated() {
    let fixture = Fixture::new();
    let path = fixture.path("many/file-9000");
    let ino = fs::metadata(&path).unwrap().ino();
    assert_eq!(ino, FIRST_OF_MANY + 9000);
    store(&fixture, ino, content(ino));
    assert!(fs::read(&path).unwrap() == content(ino));
    assert_eq!(fixture.fs.reads.load(Ordering::Relaxed), 0, "no READ arrived");

    kernel(&fixture).invalidate(Ino(ino));
    // What comes after it in the queue shows when it is done; a node nobody knows is no error.
    store(&fixture, 77_777, Bytes::from_static(b"x"));
    assert!(fs::read(&path).unwrap() == content(ino));
    assert!(fixture.fs.reads.load(Ordering::Relaxed) > 0, "the pages were gone");
}

#[test]
fn an_unmount_ends_a_full_queue_that_waits_for_a_read() {
    let fixture = Fixture::new();
    let path = fixture.path("hang");
    let reader = std::thread::spawn(move || fs::read(path));
    eventually("the READ is here", || fixture.fs.reads.load(Ordering::Relaxed) > 0);
    // The kernel holds the page for the READ, so that the first message waits for its deadline.
    let held: Arc<dyn Any + Send + Sync> = Arc::new(());
    let kernel = kernel(&fixture);
    kernel.store(Ino(HANG), 0, Bytes::from_static(b"0123456789"), Some(held.clone()));
    let block = Bytes::from(vec![0; 1 << 20]);
    for n in 0..100 {
        kernel.store(Ino(FIRST_OF_MANY + n), 0, block.clone(), Some(held.clone()));
    }
    let waiting = Arc::strong_count(&held) - 1;
    assert!((1..=9).contains(&waiting), "{waiting} messages of 1 MiB wait: the queue has a bound");
    // Requests are served meanwhile.
    assert_eq!(fs::metadata(fixture.path("big")).unwrap().len(), BIG_SIZE);
    fixture.mounted.unmount().unwrap();
    let outcome = reader.join().unwrap();
    assert!(outcome.is_err() || outcome.is_ok_and(|bytes| bytes == b"0123456789"));
    fixture.wait_for_end();
    assert_eq!(Arc::strong_count(&held), 1, "nothing is held after the end");
    kernel.invalidate(Ino(HANG));
}

#[test]
fn every_answer_is_reported_once() {
    let (recorder, fixture) = recorded();
    let path = fixture.path("many/file-500");
    let ino = FIRST_OF_MANY + 500;
    let bytes = fs::read(&path).unwrap();
    assert!(bytes == content(ino));
    let releases = recorder.first("release", 1);

    // Two threads answer, so that reports may overtake each other.
    let mut lookups = recorder.first("lookup", 2);
    lookups.sort_by_key(|seen| seen.ino);
    let named: Vec<_> = lookups.iter().map(|seen| (seen.ino, seen.name.as_deref().unwrap())).collect();
    assert_eq!(named, [(1, &b"many"[..]), (3, b"file-500")]);
    // Even nodes have to wait in this file system, odd ones do not.
    assert_eq!(lookups[0].from, Some(ServedFrom::Memory));
    assert_eq!(lookups[1].from, Some(ServedFrom::Origin));
    assert!(lookups[1].latency >= Duration::from_micros(50), "{:?}", lookups[1].latency);
    assert!(lookups.iter().all(|seen| seen.pid > 0));
    let opens = recorder.first("open", 1);
    assert!(
        matches!(opens.as_slice(), [open] if open.ino == ino && !open.passthrough && open.error.is_none())
    );
    let given = || recorder.of("read").iter().map(|seen| seen.given).sum::<u64>();
    eventually("every byte is reported", || given() >= bytes.len() as u64);
    assert_eq!(given(), bytes.len() as u64);
    let reads = recorder.of("read");
    assert!(
        reads.iter().all(|seen| seen.ino == ino && seen.has_handle && u64::from(seen.size) >= seen.given)
    );
    assert!(reads.iter().all(|seen| seen.from == Some(ServedFrom::Memory)), "as the file system said");
    assert!(releases.iter().all(|seen| seen.ino == ino && seen.has_handle));

    fs::metadata(fixture.path("absent")).unwrap_err();
    let absent = recorder.first("lookup", 3).pop().unwrap();
    assert_eq!((absent.error, absent.from), (Some(ErrorKind::NotFound), Some(ServedFrom::Memory)));
    fs::read(fixture.path("hang")).unwrap_err();
    let late = recorder.first("read", reads.len() + 1).pop().unwrap();
    assert_eq!((late.error, late.from, late.given), (Some(ErrorKind::TimedOut), None, 0));
    assert!(late.latency >= Duration::from_secs(1), "{:?}", late.latency);
    fs::read_dir(fixture.path("vanishing")).unwrap().for_each(drop);
    rustix::fs::statvfs(fixture.path("big")).unwrap();
    let mut buffer = [0; 64];
    rustix::fs::getxattr(&path, "user.wasmount.error", &mut buffer).unwrap();
    rustix::fs::getxattr(&path, "security.odd", &mut buffer).unwrap_err();
    rustix::fs::listxattr(&path, &mut buffer).unwrap();
    for (op, count) in [("opendir", 1), ("releasedir", 1), ("statfs", 1), ("getxattr", 2), ("listxattr", 1)] {
        assert_eq!(recorder.first(op, count).len(), count, "{op}");
    }
    assert!(!recorder.of("readdirplus").is_empty());
    let refused =
        recorder.of("getxattr").iter().filter(|seen| seen.error == Some(ErrorKind::Unsupported)).count();
    assert_eq!(refused, 1);
}

#[test]
fn direct_files_are_asked_for_byte_by_byte() {
    let (recorder, fixture) = recorded();
    fixture.fs.direct.store(true, Ordering::Relaxed);
    let ino = FIRST_OF_MANY + 700;
    let file = File::open(fixture.path("many/file-700")).unwrap();
    for _ in 0..2 {
        let mut some = [0; 100];
        file.read_exact_at(&mut some, 50).unwrap();
        assert_eq!(some[..], content(ino)[50..150]);
    }
    let sizes: Vec<_> = recorder.first("read", 2).iter().map(|seen| seen.size).collect();
    assert_eq!(sizes, [100, 100], "as much as was asked for, each time");
}
