//! Mounts that fail, come late and come back.

mod harness;

use harness::{cat, ctx, list, stat, table};
use std::time::Duration;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::{Place, xattr};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{MemoryOptions, MemorySource, MemoryStore};
use wasmount_types::{Blame, Error, ErrorKind, Ino, MountId, Retry};

fn store() -> std::sync::Arc<MemoryStore> {
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("f", "content");
    store
}

#[tokio::test(start_paused = true)]
async fn one_failed_mount_leaves_the_others_alone_and_recovers() {
    let good = MemorySource::new(MountId::new("good"), store());
    let bad = MemorySource::new(MountId::new("bad"), store());
    bad.set_failure(Some(Error::new(
        ErrorKind::Unauthenticated,
        Blame::Origin,
        "the key is wrong; set `access-key`",
    )));
    let at = |source: &std::sync::Arc<MemorySource>, place| {
        (source.clone(), Place::at(place).unwrap(), ObjectFsConfig::default())
    };
    let fs = table(vec![at(&good, "/good"), at(&bad, "/deep/bad")], ReadConfig::default());

    let begin = tokio::time::Instant::now();
    assert_eq!(cat(&fs, stat(&fs, "/good/f").await.unwrap().attr.ino, 100).await.unwrap(), b"content");
    assert_eq!(list(&fs, Ino::ROOT, 10, true).await.unwrap().len(), 2);
    let directory = stat(&fs, "/deep/bad").await.unwrap().attr.ino;
    for _ in 0..100 {
        assert_eq!(stat(&fs, "/deep/bad/f").await.unwrap_err().kind, ErrorKind::Unauthenticated);
        assert_eq!(fs.opendir(ctx(), directory).await.unwrap_err().kind, ErrorKind::Unauthenticated);
    }
    assert!(begin.elapsed() < Duration::from_millis(500), "it fails at once");
    assert_eq!(bad.attempts(), 1, "a burst of accesses is no burst of attempts");
    let why = fs.getxattr(ctx(), directory, xattr::ERROR.as_bytes()).await.unwrap();
    assert_eq!(why, "mount `bad` is not available: the key is wrong; set `access-key`");

    bad.set_failure(None);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(cat(&fs, stat(&fs, "/deep/bad/f").await.unwrap().attr.ino, 100).await.unwrap(), b"content");
    let gone = fs.getxattr(ctx(), directory, xattr::ERROR.as_bytes()).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NoAttribute);
}

#[tokio::test(start_paused = true)]
async fn a_failed_mount_is_tried_again_less_and_less_often() {
    let bad = MemorySource::new(MountId::new("bad"), store());
    bad.set_failure(Some(Error::new(ErrorKind::Unavailable, Blame::Origin, "nobody answers")));
    let _fs = table(vec![(bad.clone(), Place::Root, ObjectFsConfig::default())], ReadConfig::default());
    tokio::time::sleep(Duration::from_secs(600)).await;
    let attempts = bad.attempts();
    assert!((600 / 30..=600 / 15 + 6).contains(&attempts), "{attempts} in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn the_first_access_waits_for_a_slow_mount_but_not_for_ever() {
    for (delay, arrives) in [(5, true), (3600, false)] {
        let slow = MemorySource::slow(MountId::new("slow"), store(), Duration::from_secs(delay));
        let fs = table(vec![(slow, Place::Root, ObjectFsConfig::default())], ReadConfig::default());
        let begin = tokio::time::Instant::now();
        assert!(fs.getattr(ctx(), Ino::ROOT).await.is_ok());
        assert!(fs.statfs(ctx(), Ino::ROOT).await.unwrap().blocks > 0);
        assert_eq!(begin.elapsed(), Duration::ZERO, "the root never waits");
        match stat(&fs, "/f").await {
            Ok(_) => assert!(arrives),
            Err(error) => assert!(!arrives && error.kind == ErrorKind::TimedOut, "{error}"),
        }
        assert!(begin.elapsed() <= Duration::from_secs(11));
    }
}

#[tokio::test(start_paused = true)]
async fn entries_from_memory_come_before_the_error_of_a_root_mount() {
    let bad = MemorySource::new(MountId::new("bad"), store());
    bad.set_failure(Some(Error::new(ErrorKind::Denied, Blame::Origin, "no")));
    let good = MemorySource::new(MountId::new("good"), store());
    let good = (good, Place::at("/g").unwrap(), ObjectFsConfig::default());
    let fs = table(vec![(bad, Place::Root, ObjectFsConfig::default()), good], ReadConfig::default());
    let fh = fs.opendir(ctx(), Ino::ROOT).await.unwrap().fh;
    let request = |offset| wasmount_core::fs::ReadDir { offset, limit: 10, plus: false };
    let first = fs.readdir(ctx(), fh, request(0)).await.unwrap();
    assert_eq!(first.iter().map(|entry| entry.name.to_string()).collect::<Vec<_>>(), ["g"]);
    assert_eq!(
        fs.readdir(ctx(), fh, request(first[0].next_offset)).await.unwrap_err().kind,
        ErrorKind::Denied
    );
    assert!(stat(&fs, "/g/f").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_wants_to_be_opened_again_is_and_open_files_go_on() {
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("f", vec![7_u8; 4 << 20]);
    let source = MemorySource::new(MountId::new("m"), store.clone());
    let fs = table(vec![(source.clone(), Place::Root, ObjectFsConfig::default())], ReadConfig::default());
    let ino = stat(&fs, "/f").await.unwrap().attr.ino;
    let open = fs.open(ctx(), ino).await.unwrap();
    assert_eq!(fs.read(ctx(), open.fh, ReadRequest::pages(0, 10)).await.unwrap().bytes.len(), 10);
    let fenced = Error::new(ErrorKind::Fenced, Blame::Origin, "evicted").with_retry(Retry::Reopen);
    store.set_down(Some(fenced));
    assert_eq!(
        fs.read(ctx(), open.fh, ReadRequest::pages(3 << 20, 10)).await.unwrap_err().kind,
        ErrorKind::Fenced
    );
    store.set_down(None);
    assert_eq!(fs.read(ctx(), open.fh, ReadRequest::pages(3 << 20, 10)).await.unwrap().bytes.len(), 10);
    assert_eq!(source.attempts(), 2);
    assert_eq!(stat(&fs, "/f").await.unwrap().attr.ino, ino, "the number stays");
}
