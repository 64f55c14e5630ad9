//! Directories for what wasmount keeps.
//!
//! The state directory holds compiled plugins (`aot/`). Losing it costs a compilation at the next start and nothing else, so a
//! default that cannot be used (a read-only root file system) is replaced by a private directory under `$TMPDIR`; one
//! that the operator named must work.

use anyhow::{Context, bail};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// State directory unless `--state-dir` says otherwise.
const STATE: &str = "/var/lib/wasmount";

/// The state directory, existing and writable.
///
/// # Errors
/// When the operator's cannot be used, or nothing can.
pub(crate) fn state(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(dir) = named {
        usable(dir).with_context(|| format!("--state-dir {}: cannot be used", dir.display()))?;
        return Ok(dir.to_owned());
    }
    let Err(error) = usable(Path::new(STATE)) else { return Ok(STATE.into()) };
    let dir = std::env::temp_dir().join(format!("wasmount-{}", rustix::process::geteuid().as_raw()));
    private(&dir).with_context(|| format!("neither {STATE} ({error}) nor {} can be used", dir.display()))?;
    tracing::info!(
        %error, instead = %dir.display(),
        "{STATE} cannot be used; what is kept elsewhere may be lost at a restart, and plugins are compiled again then \
         (set --state-dir)"
    );
    Ok(dir)
}

/// Checks that the operator's cache directory will do.
///
/// # Errors
/// When it will not.
pub(crate) fn check_cache(named: Option<&Path>) -> anyhow::Result<()> {
    match named {
        Some(dir) => usable(dir).with_context(|| format!("--cache-dir {}: cannot be used", dir.display())),
        None => Ok(()),
    }
}

fn usable(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Asking for permission (`access`) says yes on a read-only file system; trying is the only proof.
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, b"")?;
    std::fs::remove_file(&probe)
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
        assert_eq!(state(Some(&state_dir)).unwrap(), state_dir);
        assert!(check_cache(Some(&state_dir)).is_ok());
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = format!("{:#}", state(Some(&file)).unwrap_err());
        assert!(message.contains("--state-dir") && message.contains("file"), "{message}");
        assert!(check_cache(Some(&file)).is_err());
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
