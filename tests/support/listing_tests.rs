use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Listing, Look, differences, listing, path_of_hex};

/// A small tree; times are set, as two runs would differ in them.
fn make(root: &Path) {
    fs::create_dir_all(root.join("directory/.hidden")).unwrap();
    fs::write(root.join("directory/file"), "bytes").unwrap();
    fs::write(root.join("directory/.hidden/inside"), "inside").unwrap();
    fs::write(root.join("one"), "linked").unwrap();
    fs::hard_link(root.join("one"), root.join("two")).unwrap();
    fs::write(root.join("three"), "linked").unwrap();
    symlink("one", root.join("link")).unwrap();
}

/// What `change` makes different, but for times, which making a tree does not repeat, and sizes of directories.
fn changed(change: impl FnOnce(&Path)) -> Vec<String> {
    let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(left.path());
    make(right.path());
    change(right.path());
    let look = Look { hidden_xattrs: &["user.hidden"], ..Look::default() };
    let list = |root: &Path| -> Listing { listing(root, look).unwrap() };
    let all = differences(&list(left.path()), &list(right.path()));
    all.into_iter().filter(|line| !line.contains("time is ") && !line.contains("blocks is ")).collect()
}

#[test]
fn every_kind_of_difference_is_seen() {
    assert_eq!(changed(|_| ()), Vec::<String>::new());
    type Change = fn(&Path);
    let cases: &[(&str, Change)] = &[
        ("directory/file: missing", |root| fs::remove_file(root.join("directory/file")).unwrap()),
        ("new: is not to be there", |root| fs::write(root.join("new"), "").unwrap()),
        ("directory/file: sha256 is", |root| fs::write(root.join("directory/file"), "Bytes").unwrap()),
        ("directory/file: size is", |root| fs::write(root.join("directory/file"), "byte").unwrap()),
        ("directory/file: mode is", |root| {
            fs::set_permissions(root.join("directory/file"), fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("link: target is", |root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink("two", root.join("link")).unwrap();
        }),
        ("two: same file as is", |root| {
            fs::remove_file(root.join("two")).unwrap();
            fs::rename(root.join("three"), root.join("two")).unwrap();
            fs::hard_link(root.join("one"), root.join("three")).unwrap();
        }),
        ("one: mode is", |root| {
            fs::remove_file(root.join("one")).unwrap();
            fs::create_dir(root.join("one")).unwrap();
        }),
        ("three: links is", |root| fs::hard_link(root.join("three"), root.join("directory/three")).unwrap()),
    ];
    for (expected, change) in cases {
        let seen = changed(change);
        assert!(seen.iter().any(|line| line.starts_with(expected)), "{expected}: {seen:?}");
    }
}

#[test]
fn a_time_is_compared_to_the_nanosecond() {
    let root = tempfile::tempdir().unwrap();
    make(root.path());
    let set = |nanoseconds: u32| {
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, nanoseconds);
        fs::File::options().write(true).open(root.path().join("three")).unwrap().set_modified(time).unwrap();
        listing(root.path(), Look::default()).unwrap()
    };
    let seen = differences(&set(5), &set(6));
    assert!(seen.iter().any(|line| line.contains("mtime is Some(\"1700000000.000000006\")")), "{seen:?}");
}

#[test]
fn what_no_directory_lists_is_looked_at_but_where_there_is_much() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join(".hidden/deep")).unwrap();
    fs::create_dir_all(root.path().join("many/a")).unwrap();
    fs::create_dir_all(root.path().join("many/.hidden")).unwrap();
    let look = Look {
        hidden_directory: Some(".hidden"),
        hidden_xattrs: &["user.none"],
        only_listed_below: &["many"],
        without: &["uid"],
        without_of_directories: &["gid"],
    };
    let found = listing(root.path(), look).unwrap();
    assert!(found[Path::new("many")].field("xattr user.none").unwrap().starts_with("error"), "{found:?}");
    assert_eq!(found[Path::new("many/a")].field("xattr user.none"), None);
    assert_eq!(found[Path::new("many/a")].field("uid"), None);
    assert_eq!(found[Path::new("many/a")].field("gid"), None);
    assert!(found.contains_key(Path::new(".hidden/deep")), "{found:?}");
}

#[test]
fn paths_in_hexadecimal_digits() {
    use std::os::unix::ffi::OsStrExt;
    assert_eq!(path_of_hex("61ff2f62").unwrap().as_os_str().as_bytes(), b"a\xff/b");
    assert!(path_of_hex("6").is_ok_and(|path| path.as_os_str().as_bytes() == b"\x06"));
    assert!(path_of_hex("zz").is_err());
}
