//! Directories for what wasmount keeps.
//!
//! The state directory holds plugins that were fetched (`plugins/`) and compiled code (`aot/`). Losing it costs a compilation at the next
//! start, and a download if plugins are named by reference; so a default that cannot be used (a read-only root file system) is replaced by a
//! private directory under `$TMPDIR`, and that by none; one that the operator named must work. With a disk cache the default is beside it: in a
//! container that directory is there after a restart, and `/var/lib` is not.

use anyhow::{Context, bail};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// State directory unless `--state-dir` says otherwise.
const STATE: &str = "/var/lib/wasmount";

/// What the state directory may be.
pub(crate) fn candidates(named: Option<&Path>, cache: Option<&Path>) -> Vec<PathBuf> {
    match named {
        Some(dir) => vec![dir.to_owned()],
        None => {
            let beside = cache.map(|cache| cache.join("state"));
            beside.into_iter().chain([PathBuf::from(STATE), temporary(&std::env::temp_dir())]).collect()
        }
    }
}

/// The state directory, existing and writable; `None` where no default can be used. `named` is that of `--state-dir`, `cache` that of
/// `--cache-dir`.
///
/// # Errors
/// When the operator's cannot be used.
pub(crate) fn state(named: Option<&Path>, cache: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    // Asked for several times, and what is said about it is said once.
    static DEFAULT: OnceLock<Option<PathBuf>> = OnceLock::new();
    if let Some(dir) = named {
        usable(dir).with_context(|| format!("--state-dir {}: cannot be used", dir.display()))?;
        return Ok(Some(dir.to_owned()));
    }
    if let Some(dir) = cache.map(|cache| cache.join("state")).filter(|dir| usable(dir).is_ok()) {
        return Ok(Some(dir));
    }
    Ok(DEFAULT.get_or_init(|| default_state(Path::new(STATE), &std::env::temp_dir())).clone())
}

fn default_state(usual: &Path, temporary: &Path) -> Option<PathBuf> {
    let Err(error) = usable(usual) else { return Some(usual.to_owned()) };
    let usual = usual.display();
    let dir = self::temporary(temporary);
    if let Err(second) = private(&dir) {
        tracing::warn!(
            %error, instead = %dir.display(), instead_error = format!("{second:#}"),
            "{usual} cannot be used; plugins are compiled again at each start (set --state-dir)"
        );
        return None;
    }
    tracing::info!(
        %error, instead = %dir.display(),
        "{usual} cannot be used; what is kept elsewhere may be lost at a restart, and plugins are compiled again then \
         (set --state-dir)"
    );
    Some(dir)
}

/// That of this user where everybody may write.
fn temporary(dir: &Path) -> PathBuf {
    dir.join(format!("wasmount-{}", rustix::process::geteuid().as_raw()))
}

fn usable(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Asking for permission (`access`) says yes on a read-only file system; trying is the only proof. The name is random: others may
    // try the same directory at the same moment, from containers in which every process has the id 1.
    tempfile::Builder::new().prefix(".probe-").tempfile_in(dir)?.close()
}

/// A directory under a place where everybody may write: it must be ours alone.
fn private(dir: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let meta = std::fs::symlink_metadata(dir)?;
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        bail!("it exists and is not a directory of this user alone");
    }
    usable(dir)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn named_directories_are_made_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state_dir = dir.path().join("a/b");
        assert_eq!(state(Some(&state_dir), None).unwrap(), Some(state_dir.clone()));
        assert_eq!(state(Some(&state_dir), Some(dir.path())).unwrap(), Some(state_dir.clone()));
        assert_eq!(state(None, Some(dir.path())).unwrap(), Some(dir.path().join("state")));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = format!("{:#}", state(Some(&file), None).unwrap_err());
        assert!(message.contains("--state-dir") && message.contains("file"), "{message}");
    }

    #[test]
    fn defaults_that_cannot_be_used_are_replaced_or_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let (usual, file) = (dir.path().join("lib"), dir.path().join("file"));
        std::fs::write(&file, "").unwrap();
        assert_eq!(default_state(&usual, dir.path()), Some(usual));
        let temporary = default_state(&file, dir.path()).unwrap();
        assert_eq!(std::fs::metadata(&temporary).unwrap().mode() & 0o777, 0o700);
        assert_eq!(default_state(&file, &file), None);
    }

    #[test]
    fn many_may_try_one_directory_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..100).try_for_each(|_| usable(dir.path())))).collect();
            for one in all {
                one.join().unwrap().unwrap();
            }
        });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn directories_of_others_are_not_private() {
        let dir = tempfile::tempdir().unwrap();
        let mine = dir.path().join("mine");
        private(&mine).unwrap();
        private(&mine).unwrap();
        std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private(&mine).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(private(&link).is_err());
    }
}
