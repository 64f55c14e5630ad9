//! A seeded generator of object keys: everything S3 and MinIO store and a Linux path can name.
//!
//! Left out is what MinIO itself refuses (`//`, a leading or trailing `/`, `.` and `..` segments, a key below
//! another key, segments over 255 bytes, keys over 1,024 bytes) and what no directory entry can hold (NUL).
//! MinIO keeps each object as a directory of that name, so its own limits are those of Linux file names.

use std::collections::BTreeSet;

use crate::prng::Prng;

/// Longest key that S3 accepts, in bytes.
pub const MAX_KEY: usize = 1024;
/// Longest file name on Linux, in bytes (`NAME_MAX`).
pub const MAX_SEGMENT: usize = 255;

/// One object to be made.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub len: usize,
    /// Seed of its content.
    pub seed: u64,
}

impl Object {
    /// The content, the same at every call.
    pub fn content(&self) -> Vec<u8> {
        Prng::new(self.seed).bytes(self.len)
    }
}

/// Characters that clients get wrong: in URLs, in XML, in signatures, in shells and in C strings.
const TROUBLE: &[&str] = &[
    " ",
    "%",
    "+",
    "&",
    "?",
    "#",
    "'",
    "\"",
    "<",
    ">",
    "=",
    ";",
    ":",
    "@",
    "$",
    ",",
    "!",
    "~",
    "*",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "|",
    "^",
    "`",
    "_",
    "-",
    ".",
    "%20",
    "%2F",
    "%25",
    "&amp;",
    "日本語",
    "ж",
    "é",
    "e\u{301}",
    "ß",
    "🦀",
    "žluť",
    "\u{200b}",
    "中文",
];

/// `count` objects with distinct keys. The kinds of key rotate, so that a short list has some of each.
pub fn objects(seed: u64, count: usize) -> Vec<Object> {
    let mut prng = Prng::new(seed);
    let mut used = BTreeSet::new();
    let mut objects = Vec::with_capacity(count);
    while objects.len() < count {
        let index = objects.len();
        let key = match index % 8 {
            0 => format!("{}.bin", plain(&mut prng, 12)),
            1 => troublesome(&mut prng),
            2 => format!("dir-{}/{}", index % 5, troublesome(&mut prng)),
            3 => deep(&mut prng),
            4 => format!("spaces and+plus/{} {}.txt", plain(&mut prng, 3), plain(&mut prng, 5)),
            5 => format!("percent%2Fslash/{}%", plain(&mut prng, 6)),
            6 => format!("большой каталог/{}-{}", plain(&mut prng, 4), troublesome(&mut prng)),
            _ => longest(&mut prng),
        };
        // A file's name ends in ".o" and no directory's does: no key is below another.
        let key = if key.len() + 2 <= MAX_KEY && last_segment(&key).len() + 2 <= MAX_SEGMENT {
            format!("{key}.o")
        } else {
            key
        };
        if used.insert(key.clone()) {
            objects.push(Object { key, len: length(&mut prng, index), seed: prng.next_u64() });
        }
    }
    objects
}

fn last_segment(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

/// Mostly small, some empty, some across the size of a block or of a read.
fn length(prng: &mut Prng, index: usize) -> usize {
    match index % 16 {
        3 => 0,
        5 => 4096,
        7 => 131_072 + prng.below(3) - 1,
        11 => 1_048_576 + prng.below(3) - 1,
        _ => prng.below(20_000),
    }
}

fn plain(prng: &mut Prng, len: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    (0..len).filter_map(|_| prng.pick(LETTERS)).map(|letter| char::from(*letter)).collect()
}

fn troublesome(prng: &mut Prng) -> String {
    let mut name = plain(prng, 1);
    for _ in 0..1 + prng.below(8) {
        name.push_str(prng.pick(TROUBLE).copied().unwrap_or("x"));
        let letters = prng.below(3);
        name.push_str(&plain(prng, letters));
    }
    // A trailing space or dot is legal; a name of dots alone is not, and this one begins with a letter.
    name
}

fn deep(prng: &mut Prng) -> String {
    let depth = 10 + prng.below(30);
    let mut key = String::from("deep");
    for level in 0..depth {
        key.push('/');
        // Few names per level, so that the trees share prefixes.
        key.push_str(["a", "b", "level"].get(prng.below(3)).copied().unwrap_or("a"));
        if level + 1 == depth {
            key.push_str(&plain(prng, 6));
        }
    }
    key
}

/// Exactly [`MAX_KEY`] bytes, in segments of up to [`MAX_SEGMENT`].
fn longest(prng: &mut Prng) -> String {
    let mut key = String::with_capacity(MAX_KEY);
    for segment in [MAX_SEGMENT, MAX_SEGMENT, MAX_SEGMENT, 99] {
        key.push_str(&"long-segment ".repeat(20).chars().take(segment - 1).collect::<String>());
        key.push(if prng.below(2) == 0 { 'x' } else { 'y' });
        key.push('/');
    }
    let rest = MAX_KEY - key.len();
    key.push_str(&plain(prng, rest - 2));
    key.push_str(".o");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_legal_distinct_and_repeatable() {
        let made = objects(42, 2000);
        assert_eq!(made.len(), 2000);
        let keys: BTreeSet<_> = made.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys.len(), 2000);
        for key in &keys {
            assert!(key.len() <= MAX_KEY, "{} bytes", key.len());
            for segment in key.split('/') {
                assert!(!segment.is_empty() && segment.len() <= MAX_SEGMENT, "{key}");
                assert!(segment != "." && segment != "..", "{key}");
            }
            for (at, _) in key.match_indices('/') {
                assert!(!keys.contains(&key[..at]), "{key} is below another key");
            }
        }
        assert!(keys.iter().any(|key| key.len() == MAX_KEY));
        assert!(made.iter().any(|object| object.len == 0));
        let again: Vec<_> = objects(42, 2000).into_iter().map(|object| object.key).collect();
        assert_eq!(again, made.into_iter().map(|object| object.key).collect::<Vec<_>>());
    }
}
