//! The kernel's list of mounts (`/proc/self/mountinfo`, described in `proc_pid_mountinfo(5)`).
//!
//! Asking the file system itself (`stat`) is no way to find a stale mount: the answer of a dead one may come
//! from a cache, and that of a hung one never.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// Number of the mount.
    pub id: u32,
    /// Number of the mount it lies on.
    pub parent: u32,
    /// `major:minor` of the mounted file system, as it names `/sys/class/bdi/<major:minor>`.
    pub device: String,
    /// Where it is mounted, as this process sees it.
    pub mount_point: PathBuf,
    /// Type, with its subtype: `fuse.wasmount`.
    pub fs_type: String,
    /// What is mounted, as the file system named it.
    pub source: String,
}

impl MountEntry {
    /// Whether a process in user space serves it over `/dev/fuse`. `fuseblk` is not meant: that is a disk.
    pub fn is_fuse(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type.starts_with("fuse.")
    }
}

/// All mounts this process sees, in the kernel's order.
///
/// # Errors
/// When `/proc` is not there.
pub fn read() -> io::Result<Vec<MountEntry>> {
    // Bytes, not text: a mount point may have any name.
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mounts that this path leads to, lowest first.
pub(crate) fn at(path: &Path) -> io::Result<Vec<MountEntry>> {
    Ok(reachable(&read()?, path))
}

/// Mounts at exactly this path, but for those that a mount on a directory above has hidden: no path leads there.
fn reachable(all: &[MountEntry], path: &Path) -> Vec<MountEntry> {
    let here = all.iter().filter(|entry| entry.mount_point == path);
    here.filter(|entry| !is_hidden(all, entry)).cloned().collect()
}

fn is_hidden(all: &[MountEntry], entry: &MountEntry) -> bool {
    let mut current = entry;
    // No chain of parents is longer than the list.
    for _ in 0..all.len() {
        let above = |other: &MountEntry| {
            other.parent == current.parent
                && other.id != current.id
                && other.mount_point != current.mount_point
                && current.mount_point.starts_with(&other.mount_point)
        };
        if all.iter().any(above) {
            return true;
        }
        match all.iter().find(|other| other.id == current.parent && other.id != current.id) {
            Some(parent) => current = parent,
            None => return false,
        }
    }
    false
}

/// Parses the file. Lines that do not follow the format are left out.
pub fn parse(text: &[u8]) -> Vec<MountEntry> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    // ID, parent, device, root, mount point, options, any number of tags, `-`, type, source, options.
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let device = fields.next()?;
    let mount_point = fields.nth(1)?;
    fields.by_ref().find(|field| *field == b"-")?;
    let fs_type = fields.next()?;
    let source = fields.next()?;
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    Some(MountEntry {
        id,
        parent,
        device: text(device),
        mount_point: PathBuf::from(OsString::from_vec(unescape(mount_point))),
        fs_type: text(fs_type),
        source: text(source),
    })
}

/// Space, tab, newline, backslash and `#` are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    const SAMPLE: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        \n\
        23 22 0:21 / /sys rw - sysfs sysfs rw\n\
        90 22 0:55 / /runtime-mnt/thin/default/a/thin-fuse ro,nosuid,nodev shared:3 master:2 - fuse.wasmount wasmount ro,user_id=0\n\
        91 22 0:56 /sub /mnt/with\\040space\\011tab\\134back\\012nl rw - fuse.s\\043b my\\040source rw\n\
        garbage line\n\
        92 22 0:57 / /mnt/\xff\xfe rw - fuse none rw\n\
        93 22 0:58 / /disk rw - fuseblk /dev/sda1 rw\n";

    #[test]
    fn fields_and_escapes() {
        let all = parse(SAMPLE);
        assert_eq!(all.len(), 6);
        assert_eq!(all[2].device, "0:55");
        assert_eq!(all[2].mount_point, Path::new("/runtime-mnt/thin/default/a/thin-fuse"));
        assert_eq!(all[2].fs_type, "fuse.wasmount");
        assert_eq!(all[3].mount_point, Path::new("/mnt/with space\ttab\\back\nnl"));
        assert_eq!(all[3].fs_type, "fuse.s#b");
        assert_eq!(all[3].source, "my source");
        assert_eq!(all[4].mount_point.as_os_str().as_bytes(), b"/mnt/\xff\xfe");
    }

    #[test]
    fn what_is_fuse() {
        let kinds: Vec<bool> = parse(SAMPLE).iter().map(MountEntry::is_fuse).collect();
        assert_eq!(kinds, [false, false, true, true, true, false]);
    }

    #[test]
    fn what_lies_under_another_mount_is_not_there() {
        let all = parse(
            b"1 0 8:1 / / rw - ext4 d rw\n\
            2 1 0:1 / /a/t rw - fuse.x s rw\n\
            3 1 0:2 / /a rw - tmpfs t rw\n\
            4 3 0:3 / /a/t rw - fuse.y s rw\n\
            5 4 0:4 / /a/t rw - fuse.z s rw\n\
            6 2 0:5 / /a/t/sub rw - tmpfs t rw\n",
        );
        let ids =
            |path: &str| reachable(&all, Path::new(path)).iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids("/a/t"), [4, 5], "2 was there before /a was covered");
        assert_eq!(ids("/a"), [3]);
        assert_eq!(ids("/a/t/sub"), [], "on a hidden mount");
        assert_eq!(ids("/"), [1]);
    }

    #[test]
    fn escapes_that_are_none() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"\\477"), b"\\477");
        assert_eq!(unescape(b"\\"), b"\\");
    }

    #[test]
    fn this_machine() {
        assert!(read().expect("procfs").iter().any(|entry| entry.mount_point == Path::new("/")));
    }
}
