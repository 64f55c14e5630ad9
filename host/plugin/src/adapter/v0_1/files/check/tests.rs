//! Every lie a file system can tell about its nodes is found.

use super::*;
use crate::imports::LogSink;
use crate::limits::Limits;
use wasmount_net::Redactor;
use wasmount_types::{Blame, ErrorKind};

const PROMISED: FileCapabilities = FileCapabilities {
    coherence: Coherence::Timed,
    directory_attributes: true,
    xattrs: true,
    seek: true,
    max_read: 1 << 20,
    max_name: 10,
};

fn with_checker<R>(work: impl FnOnce(&Checker<'_>) -> R) -> R {
    let limits = Limits::default();
    let log = LogSink::new("p", "m", Redactor::new(), &limits);
    work(&Checker { limits: &limits, log: &log })
}

fn attributes() -> wit::Attributes {
    let time = types::Timestamp { seconds: -1, nanoseconds: 999_999_999 };
    wit::Attributes {
        inode: 9,
        kind: wit::NodeKind::Regular,
        mode: 0o4751,
        links: 2,
        uid: 1,
        gid: 2,
        device: 0,
        size: 5,
        allocated: 4096,
        block_size: 0,
        accessed: time,
        modified: time,
        changed: time,
        created: None,
        data_version: Some(7),
    }
}

fn entry() -> wit::Entry {
    let validity = wit::Validity { attributes_ms: 1000, entry_ms: 1000 };
    wit::Entry { node: 9, generation: 0, attributes: attributes(), validity }
}

fn named(name: &[u8], cookie: u64) -> wit::DirectoryEntry {
    wit::DirectoryEntry { name: name.into(), inode: 9, kind: None, cookie, entry: None }
}

fn assert_lie<T: std::fmt::Debug>(found: Result<T, Error>, expected: &str) {
    let error = found.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Corrupt, Blame::Plugin));
    assert!(error.message.contains(expected), "{} does not say {expected:?}", error.message);
}

#[test]
fn attributes_that_no_kernel_can_be_told_are_corrupt() {
    let checked = |attributes| {
        with_checker(|checker| {
            let found = wit::Resolution::Found(wit::Entry { attributes, ..entry() });
            checker.resolution(&found, Coherence::Timed)
        })
    };
    let Resolution::Found(found) = checked(attributes()).unwrap() else { panic!("it was found") };
    assert_eq!((found.attributes.mode, found.attributes.modified.seconds), (0o4751, -1));
    let time = types::Timestamp { seconds: 0, nanoseconds: 1_000_000_000 };
    for (lie, expected) in [
        (wit::Attributes { inode: 0, ..attributes() }, "inode number 0"),
        (wit::Attributes { mode: 0o10_0644, ..attributes() }, "mode 100644"),
        (wit::Attributes { size: 1 << 63, ..attributes() }, "bytes"),
        (wit::Attributes { accessed: time, ..attributes() }, "nanoseconds"),
        (wit::Attributes { modified: time, ..attributes() }, "nanoseconds"),
        (wit::Attributes { changed: time, ..attributes() }, "nanoseconds"),
    ] {
        assert_lie(checked(lie), expected);
    }
    let nowhere = wit::Resolution::Found(wit::Entry { node: 0, ..entry() });
    assert_lie(with_checker(|checker| checker.resolution(&nowhere, Coherence::Timed)), "node 0");
}

#[test]
fn only_who_pushes_may_promise_for_ever() {
    let for_ever = [
        wit::Resolution::Absent(u32::MAX),
        wit::Resolution::Found(wit::Entry {
            validity: wit::Validity { attributes_ms: 0, entry_ms: u32::MAX },
            ..entry()
        }),
        wit::Resolution::Found(wit::Entry {
            validity: wit::Validity { attributes_ms: u32::MAX, entry_ms: 0 },
            ..entry()
        }),
    ];
    for found in for_ever {
        with_checker(|checker| checker.resolution(&found, Coherence::Pushed)).unwrap();
        assert_lie(with_checker(|checker| checker.resolution(&found, Coherence::Timed)), "no invalidations");
    }
    let answer = wit::AttributesAnswer { attributes: attributes(), attributes_ms: u32::MAX };
    let checked =
        |coherence| with_checker(|checker| checker.attributes_answer(NodeNumber(9), &answer, coherence));
    assert_eq!(checked(Coherence::Pushed).unwrap().attributes_ms, Validity::FOREVER);
    assert_lie(checked(Coherence::Timed), "no invalidations");
}

#[test]
fn a_directory_page_leads_on_or_ends() {
    let page = |entries, end, asked: Page| {
        with_checker(|checker| checker.directory_page(wit::DirectoryPage { entries, end }, asked, &PROMISED))
    };
    let asked = Page { cookie: 5, limit: 2, with_attributes: false };
    let good = page(vec![named(b"\xffa", 6), named(b"b", 3)], false, asked).unwrap();
    assert_eq!((good.entries.len(), good.entries[1].cookie, good.end), (2, 3, false));
    assert!(page(vec![], false, asked).unwrap().end, "an empty page ends the listing");
    let with_entry = wit::DirectoryEntry { entry: Some(entry()), ..named(b"a", 1) };
    let asked_for = Page { with_attributes: true, ..asked };
    assert!(page(vec![with_entry.clone()], true, asked_for).unwrap().entries[0].entry.is_some());
    for (entries, expected) in [
        (vec![named(b"a", 6), named(b"b", 7), named(b"c", 8)], "a page of 3 entries, 2 were asked for"),
        (vec![named(b"", 6)], "empty"),
        (vec![named(b"..", 6)], "`..`"),
        (vec![named(b"a/b", 6)], "slash"),
        (vec![named(b"a\0", 6)], "NUL"),
        (vec![named(&[b'a'; 256], 6)], "longer than 255"),
        (vec![named(b"elevenbytes", 6)], "longer than 10 bytes"),
        (vec![named(b"a", 0)], "position 0"),
        (vec![named(b"a", 5)], "position 5"),
        (vec![named(b"a", 6), named(b"b", 6)], "position 6"),
        (vec![with_entry], "nobody asked for"),
        (vec![wit::DirectoryEntry { inode: 0, ..named(b"a", 6) }], "inode number 0"),
    ] {
        assert_lie(page(entries, true, asked), expected);
    }
}

#[test]
fn policies_that_contradict_themselves_are_corrupt() {
    use wit::CachePolicy as Flags;
    let policy = |given, coherence| with_checker(|checker| checker.cache_policy(given, coherence));
    let kept = policy(Flags::KEEP | Flags::IMMUTABLE, Coherence::Timed).unwrap();
    assert_eq!(kept, CachePolicy { keep: true, bypass: false, immutable: true });
    policy(Flags::WRITE_BACK, Coherence::Pushed).unwrap();
    for lie in [Flags::BYPASS | Flags::IMMUTABLE, Flags::BYPASS | Flags::WRITE_BACK, Flags::WRITE_BACK] {
        assert_lie(policy(lie, Coherence::Timed), "a");
    }
    assert_lie(policy(Flags::WRITE_BACK | Flags::IMMUTABLE, Coherence::Pushed), "kept back");
}

#[test]
fn links_and_attributes_have_the_lengths_of_linux() {
    with_checker(|checker| {
        checker.target(vec![b'x'; 4095]).unwrap();
        assert_lie(checker.target(vec![]), "0 bytes");
        assert_lie(checker.target(vec![b'x'; 4096]), "4096 bytes");
        assert_lie(checker.target(b"a\0".into()), "NUL");
        checker.xattr(vec![0; 65536]).unwrap();
        assert_lie(checker.xattr(vec![0; 65537]), "65537 bytes");
        checker.xattr_names(vec![b"user.a".into(), vec![b'n'; 255]]).unwrap();
        assert_lie(checker.xattr_names(vec![vec![]]), "name");
        assert_lie(checker.xattr_names(vec![vec![b'n'; 256]]), "name");
        assert_lie(checker.xattr_names(vec![b"user.\0".into()]), "name");
        assert_lie(checker.xattr_names(vec![vec![b'n'; 255]; 257]), "65792 bytes of names");
        let empty = wit::Statistics {
            block_size: 0,
            blocks: 0,
            blocks_free: 0,
            blocks_available: 0,
            inodes: 0,
            inodes_free: 0,
        };
        assert_lie(checker.statistics(empty), "blocks of 0");
    });
}

#[test]
fn promises_have_lengths() {
    let given = capabilities::FileCapabilities {
        operations: capabilities::FileOperations::SYMLINKS | capabilities::FileOperations::SEEK_DATA,
        coherence: capabilities::Coherence::Pushed,
        writable: false,
        max_read: 4096,
        max_write: 0,
        max_name: 1000,
        max_file: 0,
    };
    with_checker(|checker| {
        let promises = checker.promises(&given).unwrap();
        assert!(promises.symlinks && promises.core.seek && !promises.core.xattrs);
        assert_eq!((promises.core.max_name, promises.core.max_read), (255, 4096));
        let none = capabilities::FileCapabilities { max_read: 0, ..given };
        assert_lie(checker.promises(&none), "length 0");
        let none = capabilities::FileCapabilities { max_name: 0, ..given };
        assert_lie(checker.promises(&none), "length 0");
    });
}
