//! Executes `SEMANTICS.md`: every row of its tables is a promise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use harness::{ctx, errno_name, images, list, stat, table};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmount_core::errno::errno;
use wasmount_core::mounts::{Place, xattr};
use wasmount_core::objects::{Consistency, ObjectFsConfig};
use wasmount_core::ports::{Listing, Pinning};
use wasmount_core::read::ReadConfig;
use wasmount_core::testing::{
    CacheFaults, MemoryBlocks, MemoryCache, MemoryOptions, MemorySource, MemoryStore,
};
use wasmount_core::{FileSystem, mounts::MountTable};
use wasmount_types::{Blame, Error, ErrorKind, FileKind, Ino, MountId, Name};

/// Rows of all tables with this header.
fn rows(header: &[&str]) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../SEMANTICS.md")).unwrap();
    let cells = |line: &str| {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let mut rows = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if !line.starts_with('|') {
            inside = false;
        } else if inside {
            rows.push(cells(line));
        } else if cells(line) == header {
            inside = true;
        }
    }
    rows.retain(|row| !row[0].starts_with("---"));
    assert!(!rows.is_empty(), "no table with the header {header:?}");
    rows
}

/// The texts between backticks, with `{x*3}` written out.
fn quoted(cell: &str) -> Vec<String> {
    let texts = cell.split('`').skip(1).step_by(2);
    texts
        .map(|text| {
            match text.split_once('{').and_then(|(front, rest)| Some((front, rest.split_once('}')?))) {
                Some((front, (repeat, back))) => {
                    let (what, times) = repeat.split_once('*').unwrap();
                    format!("{front}{}{back}", what.repeat(times.parse().unwrap()))
                }
                None => text.to_owned(),
            }
        })
        .collect()
}

/// Every kind of store that a provider may announce.
fn variants() -> Vec<MemoryOptions> {
    let mut variants = Vec::new();
    for (ordered, delimiter, start_after) in [
        (true, true, true),
        (false, true, false),
        (true, false, true),
        (true, false, false),
        (false, false, false),
    ] {
        for page in [1, 2, 3, 1000] {
            for (empty_pages, pinning) in [(false, Pinning::Current), (true, Pinning::None)] {
                let listing = Listing { ordered, delimiter, start_after, page, consistent: true };
                let versions = pinning != Pinning::None;
                let options =
                    MemoryOptions { listing, pinning, versions, empty_pages, ..MemoryOptions::default() };
                variants.push(options);
            }
        }
    }
    variants
}

async fn check(fs: &MountTable, row: &[String], plus: bool) {
    let path = &quoted(&row[1])[0];
    let found = stat(fs, path).await;
    let is = match &found {
        Ok(entry) if entry.attr.kind == FileKind::Directory => "directory",
        Ok(_) => "file",
        Err(error) => errno_name(errno(error.kind)),
    };
    assert_eq!(is, row[2], "{row:?}");
    if row[3].is_empty() {
        return;
    }
    let listed = list(fs, found.unwrap().attr.ino, 2, plus).await.unwrap();
    let mut expected = quoted(&row[3]);
    expected.sort();
    assert_eq!(listed.keys().cloned().collect::<Vec<_>>(), expected, "{row:?}");
    // What `ls` shows is what `stat` finds, whichever comes first.
    for (name, kind) in listed {
        let entry = stat(fs, &format!("{path}/{name}")).await.unwrap();
        assert_eq!(entry.attr.kind, kind, "{name} of {row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_images() {
    for row in rows(&["in the store", "file"]) {
        let (names, file) = (quoted(&row[0]), quoted(&row[1]).remove(0));
        let store = MemoryBlocks::new(1 << 20, true);
        match (row[0].starts_with("snapshot"), names.as_slice()) {
            (true, [snapshot, image]) => {
                store.resize(image, 512);
                store.snapshot(image, snapshot);
            }
            (false, [image]) => store.resize(image, 512),
            _ => panic!("{row:?}"),
        }
        let fs = images(&store, &MemoryCache::new(CacheFaults::default()), ObjectFsConfig::default());
        let listed = list(&fs, Ino::ROOT, 10, true).await.unwrap();
        assert!(listed.contains_key(&file), "{row:?}: {listed:?}");
        let attr = stat(&fs, &file).await.unwrap().attr;
        assert_eq!((attr.kind, attr.perm, attr.size), (FileKind::Regular, 0o444, 512), "{row:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn names() {
    for row in rows(&["objects in the store", "path", "is", "`ls` shows"]) {
        for options in variants() {
            for plus in [false, true] {
                let store = MemoryStore::new(options);
                for key in quoted(&row[0]) {
                    store.put(&key, key.clone());
                }
                let fs = harness::mount(&store, ObjectFsConfig::default(), ReadConfig::default());
                check(&fs, &row, plus).await;
                // Again, now from memory.
                check(&fs, &row, plus).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_no_text_is_not_there() {
    let store = MemoryStore::new(MemoryOptions::default());
    let fs = harness::mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    let name = Name::new(b"\xb9\xfe").unwrap();
    assert_eq!(fs.lookup(ctx(), Ino::ROOT, &name).await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn attributes() {
    let store = MemoryStore::new(MemoryOptions::default());
    store.put("d/f", "1234567");
    let fs = harness::mount(&store, ObjectFsConfig::default(), ReadConfig::default());
    for row in rows(&["of", "attribute", "value"]) {
        let attr = stat(&fs, if row[0] == "file" { "/d/f" } else { "/d" }).await.unwrap().attr;
        let value = match row[1].as_str() {
            "mode" => format!("{:04o}", attr.perm),
            "nlink" => attr.nlink.to_string(),
            "size" => attr.size.to_string(),
            other => panic!("no attribute {other}"),
        };
        assert_eq!(value, row[2], "{row:?}");
    }
    let ino = stat(&fs, "/d/f").await.unwrap().attr.ino;
    assert_eq!(fs.getxattr(ctx(), ino, b"user.wasmount.key").await.unwrap(), "d/f");
    assert_eq!(fs.getxattr(ctx(), ino, b"user.wasmount.version").await.unwrap(), "v1");
    assert_eq!(fs.listxattr(ctx(), ino).await.unwrap(), [xattr::KEY.as_bytes(), xattr::VERSION.as_bytes()]);
    let stats = fs.statfs(ctx(), Ino::ROOT).await.unwrap();
    assert!(stats.blocks > 0 && stats.blocks_free > 0 && stats.files > 0);
}

#[test]
fn defaults() {
    let config = ObjectFsConfig::default();
    for row in rows(&["option", "default", "holds for"]) {
        let value = match quoted(&row[0])[0].as_str() {
            "attr-ttl" => format!("{} s", config.attr_ttl.as_secs()),
            "negative-ttl" => format!("{} s", config.negative_ttl.as_secs()),
            "consistency" => if config.consistency == Consistency::Ttl { "ttl" } else { "open" }.to_owned(),
            other => panic!("no option {other}"),
        };
        assert_eq!(value, row[1], "{row:?}");
    }
}

fn kinds() -> BTreeMap<&'static str, ErrorKind> {
    use ErrorKind::*;
    BTreeMap::from([
        ("not-found", NotFound),
        ("exists", Exists),
        ("not-directory", NotDirectory),
        ("is-directory", IsDirectory),
        ("not-empty", NotEmpty),
        ("denied", Denied),
        ("unauthenticated", Unauthenticated),
        ("read-only", ReadOnly),
        ("stale", Stale),
        ("no-space", NoSpace),
        ("quota-exceeded", QuotaExceeded),
        ("too-large", TooLarge),
        ("name-too-long", NameTooLong),
        ("out-of-range", OutOfRange),
        ("invalid", Invalid),
        ("unsupported", Unsupported),
        ("busy", Busy),
        ("would-block", WouldBlock),
        ("interrupted", Interrupted),
        ("timed-out", TimedOut),
        ("unavailable", Unavailable),
        ("throttled", Throttled),
        ("corrupt", Corrupt),
        ("fenced", Fenced),
        ("no-attribute", NoAttribute),
        ("cross-device", CrossDevice),
        ("too-many-links", TooManyLinks),
        ("other", Other),
    ])
}

#[test]
fn errnos() {
    let rows = rows(&["kind of error", "errno"]);
    let kinds = kinds();
    for row in &rows {
        assert_eq!(errno_name(errno(kinds[row[0].as_str()])), row[1], "{row:?}");
    }
    let documented = rows.iter().map(|row| row[0].as_str()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(documented, kinds.keys().copied().collect(), "every kind is in the table once");
    assert_eq!(documented.len(), rows.len());
}

#[tokio::test(start_paused = true)]
async fn a_mount_that_cannot_be_opened() {
    for row in rows(&["opening fails with", "errno inside"]) {
        let source = MemorySource::new(MountId::new("bad"), MemoryStore::new(MemoryOptions::default()));
        source.set_failure(Some(Error::new(
            kinds()[row[0].as_str()],
            Blame::Origin,
            "no such luck; try another",
        )));
        let fs = table(
            vec![(source, Place::at("/bad").unwrap(), ObjectFsConfig::default())],
            ReadConfig::default(),
        );
        let directory = stat(&fs, "/bad").await.unwrap();
        let inside = stat(&fs, "/bad/file").await.unwrap_err();
        assert_eq!(errno_name(errno(inside.kind)), row[1], "{row:?}");
        let listing = list(&fs, directory.attr.ino, 10, true).await.unwrap_err();
        assert_eq!(errno_name(errno(listing.kind)), row[1], "{row:?}");
        let why = fs.getxattr(ctx(), directory.attr.ino, xattr::ERROR.as_bytes()).await.unwrap();
        assert_eq!(why, "mount `bad` is not available: no such luck; try another");
    }
}

#[tokio::test(start_paused = true)]
async fn several_mounts() {
    for row in rows(&["mounts at", "path", "is", "`ls` shows"]) {
        let mount = |place: &String| {
            let store = MemoryStore::new(MemoryOptions::default());
            let name = place.rsplit('/').next().filter(|n| !n.is_empty()).unwrap_or("root");
            store.put(&format!("in-{name}"), "x");
            let source: Arc<MemorySource> = MemorySource::new(MountId::new(place.as_str()), store);
            (source, Place::at(place).unwrap(), ObjectFsConfig::default())
        };
        let fs = table(quoted(&row[0]).iter().map(mount).collect(), ReadConfig::default());
        check(&fs, &row, true).await;
    }
}
