//! All that a tree shows of itself, and in what two trees differ: names, types, attributes, extended attributes, bytes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// The largest extended attribute, and list of their names, that Linux knows.
const XATTR_MAX: usize = 64 << 10;

/// What to look at beside what every entry has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look<'a> {
    /// Extended attributes that are asked for by name, because no list has them.
    pub hidden_xattrs: &'a [&'a str],
    /// The name of a directory that can be listed in every directory, although no directory lists it.
    pub hidden_directory: Option<&'a str>,
    /// Fields that are not compared.
    pub without: &'a [&'a str],
    /// The same, of directories only.
    pub without_of_directories: &'a [&'a str],
    /// Directories whose entries are looked at without [`Self::hidden_xattrs`] and [`Self::hidden_directory`]: those of many.
    pub only_listed_below: &'a [&'a str],
}

/// The trees' entries by their paths.
pub type Listing = BTreeMap<PathBuf, Entry>;

/// An entry: field by field, as text for people. Two entries are the same when all their fields are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    fields: BTreeMap<String, String>,
}

impl Entry {
    fn set(&mut self, field: &str, value: impl ToString) {
        self.fields.insert(field.to_owned(), value.to_string());
    }

    /// Leaves out fields that two looks at different times need not agree on.
    #[must_use]
    pub fn without(mut self, fields: &[&str]) -> Self {
        fields.iter().for_each(|field| drop(self.fields.remove(*field)));
        self
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.field("mode").is_some_and(|mode| mode.len() == 5 && mode.starts_with('4'))
    }

    /// A field's text; that of the bytes' SHA-256 is `sha256`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Everything below `root`, and `root` itself as the empty path.
///
/// # Errors
/// When something cannot be looked at; the message names it.
pub fn listing(root: &Path, look: Look<'_>) -> Result<Listing> {
    let mut walk = Walk { root, look, found: Listing::new(), first_names: BTreeMap::new() };
    let mut todo = vec![PathBuf::new()];
    while let Some(relative) = todo.pop() {
        let is_directory = walk.entry(&relative).with_context(|| format!("{}", relative.display()))?;
        if is_directory {
            todo.extend(walk.names(&relative).with_context(|| format!("list {}", relative.display()))?);
        }
    }
    walk.link_names();
    Ok(walk.found)
}

/// One entry, with the names in it when it is a directory. `None`: there is nothing of that name.
///
/// # Errors
/// When it cannot be looked at; the message names it.
pub fn entry(root: &Path, relative: &Path) -> Result<Option<Entry>> {
    let mut walk = Walk { root, look: Look::default(), found: Listing::new(), first_names: BTreeMap::new() };
    let is_directory = match walk.entry(relative) {
        Ok(is_directory) => is_directory,
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) => return Err(error.context(relative.display().to_string())),
    };
    let Some(mut entry) = walk.found.remove(relative) else { return Ok(None) };
    if is_directory {
        let mut names = walk.names(relative).with_context(|| format!("list {}", relative.display()))?;
        names.sort();
        entry.set("names", format!("{names:?}"));
    }
    Ok(Some(entry))
}

fn is_absence(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory))
}

struct Walk<'a> {
    root: &'a Path,
    look: Look<'a>,
    found: Listing,
    /// The paths of each node that has several names, by inode number.
    first_names: BTreeMap<u64, Vec<PathBuf>>,
}

impl Walk<'_> {
    fn is_plain(&self, relative: &Path) -> bool {
        self.look
            .only_listed_below
            .iter()
            .any(|above| relative.starts_with(above) && relative != Path::new(above))
    }

    fn names(&self, relative: &Path) -> Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join(relative))? {
            names.push(relative.join(entry?.file_name()));
        }
        let Some(hidden) = self.look.hidden_directory else { return Ok(names) };
        let within_hidden = relative.iter().any(|part| part == OsStr::new(hidden));
        if !within_hidden && !self.is_plain(relative) {
            names.push(relative.join(hidden));
        }
        Ok(names)
    }

    /// Looks at one entry, and returns whether it is a directory.
    fn entry(&mut self, relative: &Path) -> Result<bool> {
        let path = self.root.join(relative);
        let metadata = std::fs::symlink_metadata(&path)?;
        let kind = metadata.file_type();
        let mut entry = Entry::default();
        entry.set("mode", format!("{:o}", metadata.mode()));
        for (field, value) in [
            ("links", metadata.nlink()),
            ("size", metadata.size()),
            ("blocks", metadata.blocks()),
            ("block size", metadata.blksize()),
            ("uid", metadata.uid().into()),
            ("gid", metadata.gid().into()),
            ("device", metadata.rdev()),
        ] {
            entry.set(field, value);
        }
        for (field, seconds, nanoseconds) in [
            ("atime", metadata.atime(), metadata.atime_nsec()),
            ("mtime", metadata.mtime(), metadata.mtime_nsec()),
            ("ctime", metadata.ctime(), metadata.ctime_nsec()),
        ] {
            entry.set(field, format!("{seconds}.{nanoseconds:09}"));
        }
        if kind.is_symlink() {
            entry.set("target", std::fs::read_link(&path)?.as_os_str().as_bytes().escape_ascii());
        }
        if kind.is_file() {
            // A file that cannot be read differs from one that can, and the others are still looked at.
            entry.set("sha256", sha256(&path).unwrap_or_else(|error| format!("error: {error}")));
            if metadata.nlink() > 1 {
                self.first_names.entry(metadata.ino()).or_default().push(relative.to_owned());
            }
        }
        self.xattrs(relative, &path, &mut entry)?;
        let entry = entry.without(self.look.without);
        let entry = if kind.is_dir() { entry.without(self.look.without_of_directories) } else { entry };
        self.found.insert(relative.to_owned(), entry);
        Ok(kind.is_dir())
    }

    fn xattrs(&self, relative: &Path, path: &Path, entry: &mut Entry) -> Result<()> {
        let mut list = vec![0; XATTR_MAX];
        let length = rustix::fs::llistxattr(path, &mut list[..]).context("list extended attributes")?;
        let listed: Vec<_> = list
            .get(..length)
            .unwrap_or_default()
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .collect();
        for name in &listed {
            let value = xattr(path, name).map_err(|error| error.to_string());
            entry.set(&format!("listed xattr {}", name.escape_ascii()), printable(value));
        }
        if !self.is_plain(relative) {
            for name in self.look.hidden_xattrs {
                let value = xattr(path, name.as_bytes()).map_err(|error| error.to_string());
                entry.set(&format!("xattr {name}"), printable(value));
            }
        }
        Ok(())
    }

    /// Names of one file are known by its inode number, which the other tree need not have: its first path stands for it.
    fn link_names(&mut self) {
        for paths in self.first_names.values_mut() {
            paths.sort();
            let Some(first) = paths.first().cloned() else { continue };
            for path in paths {
                if let Some(entry) = self.found.get_mut(path) {
                    entry.set("same file as", first.display());
                }
            }
        }
    }
}

fn printable(value: Result<Vec<u8>, String>) -> String {
    match value {
        Ok(value) => format!("\"{}\"", value.escape_ascii()),
        Err(error) => format!("error: {error}"),
    }
}

/// One extended attribute of an entry, which is not followed when it is a link.
///
/// # Errors
/// When there is none of that name.
pub fn xattr(path: &Path, name: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut value = vec![0; XATTR_MAX];
    let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// The SHA-256 of a file's bytes, as hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash, mut chunk) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Checks that two trees show the same.
///
/// # Errors
/// With the first differences, and how many there are.
pub fn ensure_same(expected: &Listing, found: &Listing) -> Result<()> {
    let differences = differences(expected, found);
    if differences.is_empty() {
        return Ok(());
    }
    let first: Vec<_> = differences.iter().take(40).map(String::as_str).collect();
    bail!("{} differences among {} entries:\n{}", differences.len(), expected.len(), first.join("\n"))
}

fn differences(expected: &Listing, found: &Listing) -> Vec<String> {
    let mut all = Vec::new();
    for (path, entry) in expected {
        let Some(other) = found.get(path) else {
            all.push(format!("{}: missing", path.display()));
            continue;
        };
        let fields: std::collections::BTreeSet<_> = entry.fields.keys().chain(other.fields.keys()).collect();
        for field in fields {
            let (right, wrong) = (entry.field(field), other.field(field));
            if right != wrong {
                all.push(format!("{}: {field} is {wrong:?} instead of {right:?}", path.display()));
            }
        }
    }
    let more = found.keys().filter(|path| !expected.contains_key(*path));
    all.extend(more.map(|path| format!("{}: is not to be there", path.display())));
    all
}

/// A path from its bytes as hexadecimal digits.
///
/// # Errors
/// When they are none.
pub fn path_of_hex(hex: &str) -> Result<PathBuf> {
    let digits: Vec<_> = hex.as_bytes().chunks(2).map(std::str::from_utf8).collect::<Result<_, _>>()?;
    let bytes = digits.iter().map(|digits| u8::from_str_radix(digits, 16)).collect::<Result<Vec<_>, _>>()?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
