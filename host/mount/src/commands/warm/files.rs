//! Finding files and reading them.

use super::progress::{Outcome, Progress};
use super::rate::Rate;
use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use wasmount_core::mounts::xattr;

/// Bytes of one read: what the kernel sends in one request at most.
const CHUNK: usize = 1 << 20;
/// Passes over a file whose bytes did not all reach the cache: it drops what it cannot write fast enough.
const PASSES: u32 = 5;
/// How long the cache may take to write the last bytes of a file without any progress.
const SETTLE: Duration = Duration::from_secs(5);

/// A regular file to be read.
pub(super) struct File {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its size in bytes.
    pub(super) size: u64,
}

/// Sends all regular files at and below `paths`, without following symbolic links; returns what could not be looked at.
pub(super) fn walk(
    paths: &[PathBuf],
    progress: &Progress,
    found: &Sender<File>,
) -> Vec<(PathBuf, anyhow::Error)> {
    let mut failed = Vec::new();
    // A stack, not recursion: trees may be deep.
    let mut open: Vec<PathBuf> = paths.iter().rev().cloned().collect();
    while let Some(path) = open.pop() {
        let listed = std::fs::symlink_metadata(&path).and_then(|meta| {
            if meta.is_file() {
                progress.found(meta.len());
                let _ended = found.blocking_send(File { path: path.clone(), size: meta.len() });
            } else if meta.is_dir() {
                let mut entries =
                    std::fs::read_dir(&path)?.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
                entries.sort_unstable_by(|a, b| b.cmp(a));
                open.extend(entries);
            }
            Ok(())
        });
        if let Err(error) = listed {
            failed.push((path, error.into()));
        }
    }
    progress.all_found();
    failed
}

impl File {
    /// Reads the file until all of it is in the cache.
    ///
    /// # Errors
    /// It is on no mount with a disk cache, cannot be read, or does not stay in the cache.
    pub(super) fn warm(&self, progress: &Progress, rate: &Rate) -> anyhow::Result<Outcome> {
        if self.size == 0 {
            return Ok(Outcome::Present);
        }
        let mut cached = cached_bytes(&self.path)?;
        progress.bytes_done(cached);
        if cached >= self.size {
            return Ok(Outcome::Present);
        }
        for _ in 0..PASSES {
            let before = cached;
            self.read(progress, rate, before)?;
            cached = self.settled()?;
            if cached >= self.size {
                return Ok(Outcome::Read);
            }
            if cached == before {
                break;
            }
        }
        bail!(
            "only {cached} of {} bytes are in the cache: it is full, or its disk is sick (see the mount's log)",
            self.size
        )
    }

    /// One pass. Bytes that were in the cache before are counted already.
    fn read(&self, progress: &Progress, rate: &Rate, mut counted: u64) -> anyhow::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::open(&self.path, flags, Mode::empty());
        let file: OwnedFd = match open(flags | OFlags::DIRECT) {
            Err(Errno::INVAL) => open(flags),
            other => other,
        }?;
        let mut buffer = vec![0; CHUNK];
        let mut at = 0;
        while at < self.size {
            rate.wait(CHUNK as u64);
            let given = match rustix::io::pread(&file, &mut *buffer, at) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            if given == 0 {
                bail!("it ends after {at} of {} bytes", self.size);
            }
            at += given as u64;
            if at > counted {
                progress.bytes_done(at - counted);
                counted = at;
            }
        }
        Ok(())
    }

    /// Bytes in the cache once it has stopped writing.
    fn settled(&self) -> anyhow::Result<u64> {
        let mut last = cached_bytes(&self.path)?;
        let mut since = Instant::now();
        while last < self.size && since.elapsed() < SETTLE {
            std::thread::sleep(Duration::from_millis(20));
            let now = cached_bytes(&self.path)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }
}

/// What the mount says of a file.
fn cached_bytes(path: &Path) -> anyhow::Result<u64> {
    let mut value = [0_u8; 32];
    match rustix::fs::getxattr(path, xattr::CACHED, &mut value[..]) {
        Ok(length) => {
            let text = value.get(..length).and_then(|text| std::str::from_utf8(text).ok());
            text.and_then(|text| text.parse().ok()).context("the mount's answer makes no sense")
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => bail!(
            "it cannot be cached: it is on no wasmount mount with --cache-dir, or its store has no versions"
        ),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_files_in_order_and_says_what_it_cannot_look_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("b/c")).unwrap();
        for (name, size) in [("a", 1), ("b/c/x", 2), ("b/y", 3)] {
            std::fs::write(dir.path().join(name), vec![0; size]).unwrap();
        }
        std::os::unix::fs::symlink("/", dir.path().join("link")).unwrap();
        let (found, mut files) = tokio::sync::mpsc::channel(10);
        let missing = dir.path().join("missing");
        let failed = walk(&[dir.path().to_owned(), missing.clone()], &Progress::new(true), &found);
        drop(found);
        let mut sizes = Vec::new();
        while let Some(file) = files.blocking_recv() {
            sizes.push(file.size);
        }
        assert_eq!(sizes, [1, 2, 3]);
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].0, missing);
    }

    #[test]
    fn other_file_systems_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x").unwrap();
        let file = File { path: file.path().to_owned(), size: 1 };
        let error = file.warm(&Progress::new(true), &Rate::new(None)).unwrap_err();
        assert!(error.to_string().contains("no wasmount mount with --cache-dir"), "{error}");
    }
}
