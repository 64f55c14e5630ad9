//! PEM files of the options `ca-file`, `client-cert` and `client-key`.

use std::path::PathBuf;
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
        match self {
            Self::Bytes(text) => Ok(Arc::clone(text)),
            Self::File(path) => {
                crate::secrets::read_regular_file(path, MAX_PEM_BYTES).map(Arc::new).map_err(|why| {
                    Error::new(
                        ErrorKind::Invalid,
                        Blame::Caller,
                        format!(
                            "option {option}: {}: {why}; give the path of a readable PEM file",
                            path.display()
                        ),
                    )
                })
            }
        }
    }

    /// How messages call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes(_) => "its value".to_owned(),
        }
    }
}

impl From<PathBuf> for PemSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}
