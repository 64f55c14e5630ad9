//! Keys ↔ paths.
//!
//! A key is the path of a file, written with slashes. A key that is not such a path (`a//b`, `../x`, a segment over
//! 255 bytes) has no name in the tree: it is hidden, and counted so that somebody can say how many there are.

use wasmount_types::Name;

/// What a key, or a folded prefix, is to the directory whose listing it came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// The directory's own marker object, `dir/`.
    Marker,
    /// A file in it.
    File(Name),
    /// Something in a directory below it.
    Directory(Name),
    /// Not representable as a name.
    Hidden,
}

/// Places `key` in the directory with this key prefix; `None` when it is not below the prefix at all.
pub(super) fn segment(prefix: &str, key: &str) -> Option<Segment> {
    let rest = key.strip_prefix(prefix)?;
    let (name, below) = match rest.split_once('/') {
        Some((name, _)) => (name, true),
        None if rest.is_empty() => return Some(Segment::Marker),
        None => (rest, false),
    };
    Some(match Name::new(name.as_bytes()) {
        Err(_) => Segment::Hidden,
        Ok(name) if below => Segment::Directory(name),
        Ok(name) => Segment::File(name),
    })
}

/// Key prefix of everything in a directory: empty for the mount's root.
pub(super) fn prefix_of(dir: &str) -> String {
    if dir.is_empty() { String::new() } else { format!("{dir}/") }
}

/// Path of `name` in `dir`.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Directory and name of a path.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments() {
        let name = |n: &str| Name::new(n.as_bytes()).unwrap();
        assert_eq!(segment("", "a"), Some(Segment::File(name("a"))));
        assert_eq!(segment("", "a/b"), Some(Segment::Directory(name("a"))));
        assert_eq!(segment("a/", "a/"), Some(Segment::Marker));
        assert_eq!(segment("a/", "a/b/"), Some(Segment::Directory(name("b"))));
        assert_eq!(segment("a/", "b"), None);
        for hidden in ["/", "/a", "./a", "../a", "a\0b", &"x".repeat(256)] {
            assert_eq!(segment("", hidden), Some(Segment::Hidden), "{hidden:?}");
        }
        assert_eq!(segment("a/", "a//b"), Some(Segment::Hidden));
        assert_eq!(segment("", "..."), Some(Segment::File(name("..."))));
    }
}
