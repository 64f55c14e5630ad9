//! The kernel's read-ahead for one mount.
//!
//! FUSE negotiates at most the kernel's own default (128 KiB) at INIT. More has to be written to the mount's
//! backing device info, `/sys/class/bdi/<major:minor>/read_ahead_kb`, which makes sequential READs as large as
//! INIT's `max_pages` allows (1 MiB): eight times fewer round trips.

use std::io;
use std::path::PathBuf;

/// Sets the read-ahead of the mounted file system with this `major:minor`.
///
/// # Errors
/// Where `/sys` is read-only or not mounted, as in an unprivileged container. Reads then are smaller but correct.
pub fn set_read_ahead(device: &str, kib: u32) -> io::Result<()> {
    let path: PathBuf = ["/sys/class/bdi", device, "read_ahead_kb"].iter().collect();
    std::fs::write(path, kib.to_string())
}
