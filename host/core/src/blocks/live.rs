//! A live image that is open: bytes that others may change at any time.
//!
//! Bytes that were read are good for those who had the file open when they were: each open begins anew, with the size of that moment, and
//! all who have the file open go on with what the newest open sees. The kernel drops its pages at each open too, so that what one
//! reads is what the image held when the file was opened, or later. Between two opens an image that keeps being hit may be put
//! into the kernel's page cache like any other file; what is on its way there is withdrawn at the next open.

use super::image::SharedImage;
use crate::inode::FileVersion;
use crate::read::{File, Reading, Source};
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::{Ino, ObjectKey};

/// A live image that somebody has open.
pub(crate) struct LiveImage {
    image: Arc<SharedImage>,
    reading: Arc<Reading>,
    ino: Ino,
    key: ObjectKey,
    file: Mutex<Arc<File>>,
}

impl LiveImage {
    /// The image as it is now, `size` bytes long.
    pub(super) fn new(
        image: Arc<SharedImage>,
        reading: Arc<Reading>,
        ino: Ino,
        path: &Arc<str>,
        size: u64,
    ) -> Self {
        let key = ObjectKey::new(path.clone());
        let file = Mutex::new(begin(&reading, &image, ino, &key, size));
        Self { image, reading, ino, key, file }
    }

    /// Forgets what was read so far: it is `size` bytes long now, and any of them may have changed.
    pub(super) fn begin_anew(&self, size: u64) {
        let file = begin(&self.reading, &self.image, self.ino, &self.key, size);
        let before = std::mem::replace(&mut *self.file.lock().unwrap_or_else(PoisonError::into_inner), file);
        // What it is still fetching must not come after what is fetched from now on.
        before.revoke();
    }

    /// What its readers read from.
    pub(crate) fn file(&self) -> Arc<File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The image itself.
    pub(crate) fn image(&self) -> &Arc<SharedImage> {
        &self.image
    }

    /// Its size, as far as those who have it open are concerned.
    pub(crate) fn size(&self) -> u64 {
        self.file().size()
    }
}

fn begin(
    reading: &Arc<Reading>,
    image: &Arc<SharedImage>,
    ino: Ino,
    key: &ObjectKey,
    size: u64,
) -> Arc<File> {
    let source: Arc<dyn Source> = image.clone();
    reading.live_file(&source, ino, key, &FileVersion { version: None, size, modified: None })
}
