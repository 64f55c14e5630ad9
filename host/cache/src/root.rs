//! The cache's directory: made, checked, and made again when somebody has removed it.

use crate::config::CacheError;
use crate::format::EntryHash;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_core::ports::CacheIdentity;

/// What this version of the program keeps its files under. Directories of other versions are left alone.
const LAYOUT: &str = "v1";
const DIR_MODE: Mode = Mode::RWXU;
/// Of every file that is made.
pub(crate) const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The directory `DIR/v1`, held open: everything below is reached from it, so replacing a directory above it changes nothing.
pub(crate) struct Root {
    dir: PathBuf,
    top: Mutex<Arc<OwnedFd>>,
}

impl Root {
    /// Makes and checks the directory.
    pub(crate) fn open(dir: &Path) -> Result<Self, CacheError> {
        let top = open_top(dir)?;
        Ok(Self { dir: dir.to_owned(), top: Mutex::new(Arc::new(top)) })
    }

    /// Checks the directory of a cache that is there.
    pub(crate) fn open_existing(dir: &Path) -> Result<Self, CacheError> {
        match std::fs::metadata(dir.join(LAYOUT)) {
            Ok(_) => Self::open(dir),
            Err(source) => Err(CacheError::Io { path: dir.to_owned(), action: "find a cache in it", source }),
        }
    }

    /// The path as configured.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// `DIR/v1`.
    pub(crate) fn top(&self) -> Arc<OwnedFd> {
        self.top.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the directory again if it is not where it was, or is read-only no more.
    pub(crate) fn heal(&self) -> Result<(), CacheError> {
        let held = rustix::fs::fstat(self.top().as_ref());
        let now = rustix::fs::stat(self.dir.join(LAYOUT));
        let same = matches!((&held, &now), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino));
        if !same {
            let top = open_top(&self.dir)?;
            *self.top.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(top);
        }
        Ok(())
    }

    /// Makes the directories that an entry needs.
    pub(crate) fn make_dirs(&self, identity: &CacheIdentity, hash: EntryHash) -> Result<(), Errno> {
        let top = self.top();
        make(&top, identity.as_str())?;
        make(&top, &shard_dir(identity.as_str(), hash.0[0]))
    }
}

/// `IDENTITY/xx`.
pub(crate) fn shard_dir(identity: &str, shard: u8) -> String {
    format!("{identity}/{shard:02x}")
}

/// `IDENTITY/xx/HASH.`, to which `data` or `meta` is added.
pub(crate) fn entry_path(identity: &str, hash: EntryHash, kind: &str) -> String {
    format!("{identity}/{:02x}/{hash}.{kind}", hash.0[0])
}

fn make(top: &OwnedFd, path: &str) -> Result<(), Errno> {
    match rustix::fs::mkdirat(top, path, DIR_MODE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

fn open_top(dir: &Path) -> Result<OwnedFd, CacheError> {
    let failed = |path: PathBuf, action: &'static str| {
        move |source: std::io::Error| CacheError::Io { path, action, source }
    };
    match std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
        .create(dir)
    {
        Ok(()) => {}
        Err(error) => return Err(failed(dir.to_owned(), "make it")(error)),
    }
    let open = |path: &Path| {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| failed(path.to_owned(), "open it")(e.into()))
    };
    let outer = open(dir)?;
    check(&outer, dir, 0o022)?;
    let path = dir.join(LAYOUT);
    make(&outer, LAYOUT).map_err(|e| failed(path.clone(), "make it")(e.into()))?;
    // A link in its place would lead elsewhere.
    let top = rustix::fs::openat(
        &outer,
        LAYOUT,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| failed(path.clone(), "open it")(e.into()))?;
    check(&top, &path, 0o077)?;
    Ok(top)
}

/// Refuses what another user could have changed, or, with the bits of `forbidden`, may.
fn check(fd: &OwnedFd, path: &Path, forbidden: u32) -> Result<(), CacheError> {
    let stat = rustix::fs::fstat(fd).map_err(|e| CacheError::Io {
        path: path.to_owned(),
        action: "look at it",
        source: e.into(),
    })?;
    let us = rustix::process::geteuid().as_raw();
    let unsafe_because = |reason: String, remedy: &str| {
        Err(CacheError::Unsafe { path: path.to_owned(), reason, remedy: remedy.to_owned() })
    };
    if stat.st_uid != us {
        return unsafe_because(
            format!("it belongs to user {} and this is user {us}", stat.st_uid),
            "name a directory below it, which will be made",
        );
    }
    match stat.st_mode & forbidden {
        0 => Ok(()),
        _ => unsafe_because(
            format!("others may use it (mode {:o})", stat.st_mode & 0o7777),
            "take the permission away with chmod go-w (go-rwx for v1), or name a directory below it, which will be made",
        ),
    }
}

/// Names in a directory below the top; none if it is not there.
pub(crate) fn list(top: &OwnedFd, path: &str) -> Result<Vec<(String, FileType)>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(top, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Names of the identities that have a directory.
pub(crate) fn identities(top: &OwnedFd) -> Result<Vec<String>, Errno> {
    let names = list(top, ".")?.into_iter().filter(|(name, _)| CacheIdentity::new(name).is_ok());
    Ok(names
        .filter(|(name, kind)| {
            *kind == FileType::Directory
                || (*kind == FileType::Unknown
                    && rustix::fs::statat(top, name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
                        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        })
        .map(|(name, _)| name)
        .collect())
}
