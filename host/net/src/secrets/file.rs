//! Reading small files that a stranger may have written.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use zeroize::Zeroizing;

/// Tells two states of a file apart without reading it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// Also differs when a tool has set the modification time back.
    changed: (i64, i64),
    length: u64,
}

impl Fingerprint {
    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// The content of a regular file of at most `limit` bytes. The error is the reason, without the path.
pub(crate) fn read_regular_file(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let (file, fingerprint) = open_regular_file(path)?;
    read_opened(file, fingerprint.length(), limit)?
        .ok_or_else(|| format!("the file is larger than {limit} bytes"))
}

/// Opens a file that is neither a directory nor a device nor a pipe.
pub(super) fn open_regular_file(path: &Path) -> Result<(File, Fingerprint), String> {
    // A pipe would otherwise hold the open up until somebody writes.
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file =
        File::options().read(true).custom_flags(nonblocking).open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("this is not a regular file".to_owned());
    }
    let fingerprint = Fingerprint {
        device: metadata.dev(),
        inode: metadata.ino(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        length: metadata.len(),
    };
    Ok((file, fingerprint))
}

/// Reads it to the end; `None`: there are more than `limit` bytes.
pub(super) fn read_opened(file: File, length: u64, limit: u64) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
    // The full capacity at once, and one more to see the end: a growing vector leaves copies behind in freed memory.
    let capacity = usize::try_from(length.min(limit)).unwrap_or(0) + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(limit + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok((content.len() as u64 <= limit).then_some(content))
}
