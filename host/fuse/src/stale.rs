//! Cleaning a mount point before mounting.
//!
//! When a FUSE container dies, its mount stays at the target and answers every access with ENOTCONN. Mounting
//! over it would stack mounts, and `mkdir` on it says EEXIST, so it is detached first, whatever FUSE program made
//! it. So is a mount of wasmount's own that still answers: its process is one that this one replaces, and ends when
//! it sees itself unmounted. Everything else that works (a disk, a tmpfs, a live mount of another FUSE program) is
//! somebody's data: it is never touched.

use crate::attach;
use crate::mountinfo::{self, MountEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// More mounts than this on one spot are a fault that detaching does not cure.
const MAX_STACK: usize = 1000;

/// A mount that does not say within this time that it is dead counts as alive.
const PROBE: Duration = Duration::from_secs(3);

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
    /// A FUSE mount of another program is there and works.
    #[error(
        "{} is the mount point of another program, which is alive (type {fs_type}, {source_name}); unmount it, or choose \
         another target",
        target.display()
    )]
    Alive {
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

/// Detaches what is stale at `target` (an absolute path without symbolic links); returns what it was. `own_source` is
/// what mounts of wasmount have as their source.
///
/// # Errors
/// When anything else is mounted there, or the kernel refuses.
pub fn detach_all(target: &Path, own_source: &str) -> Result<Vec<MountEntry>, StaleError> {
    let mut detached = Vec::new();
    let mut refused = None;
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
        if entry.source != own_source && !is_dead(target) {
            return Err(StaleError::Alive {
                target: target.to_owned(),
                fs_type: entry.fs_type,
                source_name: entry.source,
            });
        }
        match attach::detach(target) {
            Ok(()) => detached.push(entry),
            // Perhaps gone in the meantime: the next look at the list decides.
            Err(rustix::io::Errno::INVAL) if refused.as_ref() != Some(&entry) => refused = Some(entry),
            Err(errno) => return Err(fail(errno.into())),
        }
    }
}

/// Whether the process behind the FUSE mount at `target` is gone. `statfs` always asks it, and a dead connection
/// answers at once; one that hangs is left waiting on a thread of its own.
pub(crate) fn is_dead(target: &Path) -> bool {
    let (tell, answer) = mpsc::sync_channel(1);
    let target = target.to_owned();
    let probe = std::thread::Builder::new().name("stale-probe".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = tell.send(rustix::fs::statfs(&target).err());
    });
    let errno = probe.ok().and_then(|_| answer.recv_timeout(PROBE).ok()).flatten();
    matches!(errno, Some(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED))
}
