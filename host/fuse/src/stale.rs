//! Cleaning a mount point before mounting.
//!
//! When a FUSE container dies, its mount stays at the target and answers every access with ENOTCONN. Mounting
//! over it would stack mounts, and `mkdir` on it says EEXIST, so whatever FUSE mounts are at the target are
//! detached first. Mounts of other types are somebody's disk or tmpfs: they are never touched.

use crate::mountinfo::{self, MountEntry};
use rustix::mount::{UnmountFlags, unmount};
use std::io;
use std::path::{Path, PathBuf};

/// More mounts than this on one spot are a fault that detaching does not cure.
const MAX_STACK: usize = 1000;

/// Why a mount point could not be cleaned.
#[derive(Debug, thiserror::Error)]
pub enum StaleError {
    /// Something that is not FUSE is mounted there.
    #[error(
        "{} is already a mount point of type {fs_type} ({source_name}); unmount it, or mount on a directory below it",
        target.display()
    )]
    NotFuse {
        /// The mount point.
        target: PathBuf,
        /// Type of the mount that is in the way.
        fs_type: String,
        /// What is mounted.
        source_name: String,
    },
    /// Detaching failed or had no effect.
    #[error("cannot detach the old {fs_type} mount at {}: {cause}; it takes CAP_SYS_ADMIN", target.display())]
    Detach {
        /// The mount point.
        target: PathBuf,
        /// Type of the mount that stays.
        fs_type: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The list of mounts is not readable.
    #[error("cannot read /proc/self/mountinfo: {0}; is /proc mounted?")]
    MountInfo(io::Error),
}

/// Detaches every FUSE mount at `target` (an absolute path without symbolic links); returns what they were.
///
/// # Errors
/// When anything else is mounted there, or the kernel refuses.
pub fn detach_all(target: &Path) -> Result<Vec<MountEntry>, StaleError> {
    let mut detached = Vec::new();
    loop {
        let here = mountinfo::at(target).map_err(StaleError::MountInfo)?;
        if let Some(other) = here.iter().find(|entry| !entry.is_fuse()) {
            return Err(StaleError::NotFuse {
                target: target.to_owned(),
                fs_type: other.fs_type.clone(),
                source_name: other.source.clone(),
            });
        }
        let Some(entry) = here.into_iter().next_back() else { return Ok(detached) };
        let fail =
            |cause| StaleError::Detach { target: target.to_owned(), fs_type: entry.fs_type.clone(), cause };
        if detached.len() >= MAX_STACK {
            return Err(fail(io::Error::other("mounts keep appearing there")));
        }
        match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Gone in the meantime: the next look at the list decides.
            Ok(()) | Err(rustix::io::Errno::INVAL) => detached.push(entry),
            Err(errno) => return Err(fail(errno.into())),
        }
    }
}
