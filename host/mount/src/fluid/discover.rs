//! Finding config.json.

use crate::config::raw::{RawConfig, RawError};
use std::io;
use std::path::{Path, PathBuf};

/// Where Fluid puts the file: from v1.0.1 on, and before.
pub(crate) const PLACES: [&str; 2] = ["/etc/fluid/config/config.json", "/etc/fluid/config.json"];

/// Larger files do not fit a ConfigMap.
const MAX_BYTES: u64 = 4 << 20;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoverError {
    /// Nowhere to be found.
    #[error(
        "there is no configuration: neither {} nor {} exists; outside of Fluid name the file with --config FILE, or use \
         `wasmount mount SOURCE TARGET`",
        places.0.display(), places.1.display()
    )]
    Nowhere {
        /// Where it was looked for.
        places: (PathBuf, PathBuf),
    },
    /// Not readable.
    #[error("cannot read {}: {cause}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Not understood.
    #[error("{}: {cause}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// Where and what.
        cause: RawError,
    },
}

/// Reads the named file, or the one Fluid has put in place. Returns where it was, too.
///
/// # Errors
/// Each names the file and what to do.
pub(crate) fn load(named: Option<&Path>) -> Result<(PathBuf, RawConfig), DiscoverError> {
    load_from(named, PLACES.map(Path::new))
}

fn load_from(named: Option<&Path>, places: [&Path; 2]) -> Result<(PathBuf, RawConfig), DiscoverError> {
    let file = match named {
        Some(file) => file,
        None => places
            .into_iter()
            .find(|place| place.exists())
            .ok_or_else(|| DiscoverError::Nowhere { places: (places[0].to_owned(), places[1].to_owned()) })?,
    };
    let text = read(file).map_err(|cause| DiscoverError::Read { file: file.to_owned(), cause })?;
    let config =
        RawConfig::parse(&text).map_err(|cause| DiscoverError::Content { file: file.to_owned(), cause })?;
    Ok((file.to_owned(), config))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    // A FIFO or a device would never end.
    let meta = std::fs::metadata(file)?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if meta.len() > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    std::fs::read(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn new_place_before_old_place_before_an_explanation() {
        let dir = tempfile::tempdir().unwrap();
        let (new, old) = (dir.path().join("config/config.json"), dir.path().join("config.json"));
        let find = |named| load_from(named, [&new, &old]);
        let message = find(None).unwrap_err().to_string();
        assert!(message.contains("config/config.json") && message.contains("--config"), "{message}");

        fs::write(&old, r#"{"targetPath":"/old"}"#).unwrap();
        assert_eq!(find(None).unwrap().1.target_path.as_deref(), Some("/old"));
        fs::create_dir(new.parent().unwrap()).unwrap();
        fs::write(&new, r#"{"targetPath":"/new"}"#).unwrap();
        assert_eq!(find(None).unwrap().1.target_path.as_deref(), Some("/new"));
        assert_eq!(find(Some(&old)).unwrap().0, old);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broken.json");
        fs::write(&file, "{").unwrap();
        let load = |file: &Path| load(Some(file)).unwrap_err().to_string();
        assert!(load(&file).contains("broken.json: this is not JSON (line 1"));
        assert!(load(dir.path()).contains("not a regular file"));
        assert!(load(&dir.path().join("none")).contains("none"));
    }
}
