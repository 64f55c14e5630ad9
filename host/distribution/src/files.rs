//! Files that flags name.

use crate::limits::FILE;
use std::io::{Error, Read, Result};
use std::path::Path;

/// The content of a regular file of at most [`FILE`] bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE {
        return Err(Error::other(format!("it is longer than {FILE} bytes")));
    }
    Ok(bytes)
}
