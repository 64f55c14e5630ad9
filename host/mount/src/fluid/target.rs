//! Where the FUSE mount goes.

use std::path::{Component, Path, PathBuf};

/// Why there is no target.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    /// Nobody named one.
    #[error("{}: targetPath is missing; set it, or give --target PATH", .0.display())]
    Missing(PathBuf),
    /// Relative, the root directory, or with `..`.
    #[error("{origin}: {} cannot be a mount point; give an absolute path without `..`", path.display())]
    Unusable {
        /// Who named it.
        origin: String,
        /// What was named.
        path: PathBuf,
    },
}

/// `--target` if it is given, `targetPath` of the file otherwise.
///
/// # Errors
/// When there is none or it makes no sense.
pub(crate) fn choose(
    arg: Option<&Path>,
    target_path: Option<&str>,
    file: &Path,
) -> Result<PathBuf, TargetError> {
    if let Some(path) = arg {
        // From the operator, who may mean something relative to where they stand.
        return check(&absolute(path), "--target".to_owned());
    }
    match target_path.filter(|path| !path.is_empty()) {
        Some(path) => check(Path::new(path), format!("{}: targetPath", file.display())),
        None => Err(TargetError::Missing(file.to_owned())),
    }
}

/// The target of `wasmount mount`.
///
/// # Errors
/// When it makes no sense.
pub(crate) fn by_hand(path: &Path) -> Result<PathBuf, TargetError> {
    check(&absolute(path), "TARGET".to_owned())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn check(path: &Path, origin: String) -> Result<PathBuf, TargetError> {
    let parts: Vec<_> = path.components().collect();
    let climbs = parts.contains(&Component::ParentDir);
    if !path.is_absolute() || climbs || parts.len() < 2 {
        return Err(TargetError::Unusable { origin, path: path.to_owned() });
    }
    Ok(parts.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let file = Path::new("/c.json");
        let choose = |arg: Option<&str>, path| choose(arg.map(Path::new), path, file);
        assert_eq!(choose(None, Some("/runtime-mnt/x/")).unwrap(), Path::new("/runtime-mnt/x"));
        assert_eq!(choose(Some("/arg"), Some("/file")).unwrap(), Path::new("/arg"));
        assert!(choose(Some("relative"), None).unwrap().is_absolute());
        assert!(choose(None, None).unwrap_err().to_string().contains("--target"));
        assert!(choose(None, Some("")).is_err());
        for bad in ["relative", "/", "/a/../../etc", "/a/.."] {
            let message = choose(None, Some(bad)).unwrap_err().to_string();
            assert!(message.starts_with("/c.json: targetPath: "), "{message}");
        }
    }
}
