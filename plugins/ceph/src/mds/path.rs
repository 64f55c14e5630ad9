//! Paths in requests.

use crate::encoding::{DecodeError, Decoder, Encoder};

/// A path from an inode on (`filepath`). Names need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePath {
    /// Where it begins; 0: it is not a path but a string.
    pub ino: u64,
    /// Names, with slashes between them. Empty: the inode itself.
    pub path: Vec<u8>,
}

impl FilePath {
    /// A path.
    #[must_use]
    pub fn new(ino: u64, path: impl Into<Vec<u8>>) -> Self {
        Self { ino, path: path.into() }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or of a version other than the only one there is.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let version = decoder.u8()?;
        if version != 1 {
            return Err(decoder.error(format_args!("a path of version {version}")));
        }
        Ok(Self { ino: decoder.u64()?, path: decoder.blob()?.to_vec() })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        encoder.u8(1).u64(self.ino).blob(&self.path);
    }
}
