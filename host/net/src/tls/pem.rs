//! PEM files of the options `ca-file`, `client-cert` and `client-key`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Largest PEM file: the system's bundle of all public roots has about 220 KiB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Where PEM text comes from. Has no `Debug`: it may be a private key.
#[derive(Clone)]
pub enum PemSource {
    /// A file; read when the mount is opened.
    File(PathBuf),
    /// The same for a file that must not lie outside a directory, whatever links say.
    Below {
        /// The file.
        path: PathBuf,
        /// The directory.
        root: PathBuf,
    },
    /// The text itself, for example out of a Secret.
    Bytes(Arc<Zeroizing<Vec<u8>>>),
}

impl PemSource {
    /// PEM text that was read elsewhere.
    pub fn from_bytes(text: impl Into<Vec<u8>>) -> Self {
        Self::Bytes(Arc::new(Zeroizing::new(text.into())))
    }

    /// The text.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: the file cannot be read or is too large; the message names `option` and the file.
    pub(super) fn read(&self, option: &str) -> Result<Arc<Zeroizing<Vec<u8>>>> {
        let (path, text) = match self {
            Self::Bytes(text) => return Ok(Arc::clone(text)),
            Self::File(path) => (path, crate::secrets::read_regular_file(path, MAX_PEM_BYTES)),
            Self::Below { path, root } => (path, read_below(path, root)),
        };
        text.map(Arc::new).map_err(|why| {
            let text =
                format!("option {option}: {}: {why}; give the path of a readable PEM file", path.display());
            Error::new(ErrorKind::Invalid, Blame::Caller, text)
        })
    }

    /// How messages call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Below { path, .. } => path.display().to_string(),
            Self::Bytes(_) => "its value".to_owned(),
        }
    }
}

/// The content of a file, if that is what it says: below a directory.
fn read_below(path: &Path, root: &Path) -> std::result::Result<Zeroizing<Vec<u8>>, String> {
    let resolve = |path: &Path| path.canonicalize().map_err(|error| error.to_string());
    let real = resolve(path)?;
    if !real.starts_with(resolve(root)?) {
        return Err(format!("this leads out of the secrets directory {}", root.display()));
    }
    crate::secrets::read_regular_file(&real, MAX_PEM_BYTES)
}

impl From<PathBuf> for PemSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_does_not_lead_out_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("secrets"), dir.path().join("outside"));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(&outside, "text").unwrap();
        std::fs::write(root.join("real"), "text").unwrap();
        std::os::unix::fs::symlink("real", root.join("inside")).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let read =
            |name: &str| PemSource::Below { path: root.join(name), root: root.clone() }.read("ca-file");
        for name in ["real", "inside"] {
            assert_eq!(***read(name).unwrap(), *b"text", "{name}");
        }
        for (name, words) in [("link", "leads out"), ("../outside", "leads out"), ("none", "No such file")] {
            let message = read(name).unwrap_err().message;
            assert!(message.contains(words) && message.contains("ca-file"), "{message}");
        }
        assert!(PemSource::File(root.join("link")).read("ca-file").is_ok(), "the operator's");
    }
}
