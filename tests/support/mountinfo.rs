//! What is mounted, from `/proc/self/mountinfo` (format: proc_pid_mountinfo(5)).
//!
//! Asking the kernel's table never touches the file system itself, so it answers for dead mounts as well.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Device number, `major:minor`.
    pub device: String,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Options of this mount, such as `ro,nosuid`.
    pub options: String,
    /// File system type with its subtype, such as `fuse.wasmount`.
    pub fs_type: String,
    /// What is mounted, in the file system's own words.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

/// All mounts at exactly `target`, the topmost last.
///
/// # Errors
/// When the table cannot be read.
pub fn at(target: &Path) -> Result<Vec<Entry>> {
    let table =
        std::fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    Ok(table.lines().filter_map(parse).filter(|entry| entry.target == target).collect())
}

fn parse(line: &str) -> Option<Entry> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<_> = before.split(' ').collect();
    let after: Vec<_> = after.split(' ').collect();
    Some(Entry {
        device: (*before.get(2)?).to_owned(),
        target: PathBuf::from(unescape(before.get(4)?)),
        options: (*before.get(5)?).to_owned(),
        fs_type: (*after.first()?).to_owned(),
        source: unescape(after.get(1)?),
        super_options: (*after.get(2)?).to_owned(),
    })
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal {
            bytes.push(byte);
            rest = tail.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_escapes_and_optional_fields() {
        let line =
            r"36 35 98:0 / /mnt\040a rw,noatime shared:1 master:2 - fuse.wasmount s3://b\134c rw,user_id=0";
        let entry = parse(line).unwrap();
        assert_eq!(entry.target, Path::new("/mnt a"));
        assert_eq!(entry.fs_type, "fuse.wasmount");
        assert_eq!(entry.source, r"s3://b\c");
        assert_eq!(entry.options, "rw,noatime");
        assert_eq!(entry.super_options, "rw,user_id=0");
    }
}
