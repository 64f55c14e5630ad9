//! Open files.

use super::opener::Mount;
use super::table::{MountTable, Target};
use crate::fs;
use crate::inode::FileVersion;
use crate::objects::ObjectFs;
use crate::read::{File, FileReader};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino, ObjectKey, RequestCtx};

/// An open file: one version of it, read through whichever provider the mount has at the moment.
pub(super) struct OpenFile {
    ino: Ino,
    mount: usize,
    path: Arc<str>,
    file: FileVersion,
    reader: Mutex<Option<(Arc<ObjectFs>, Arc<FileReader>)>>,
}

impl MountTable {
    pub(super) async fn open_file(&self, ctx: RequestCtx, ino: Ino) -> Result<fs::OpenFile, Error> {
        let (index, path, file) = match self.target(ino)? {
            Target::File { path, outdated: true, .. } => return Err(Error::stale(path)),
            Target::File { mount, path, file, .. } => (mount, path, file),
            Target::Table(_) | Target::Directory { .. } => {
                return Err(Error::new(
                    ErrorKind::IsDirectory,
                    Blame::Caller,
                    "a directory cannot be read as a file",
                ));
            }
        };
        let mount = self.mount(index)?;
        let fs = mount.ready(ctx).await?;
        let current = self.noted(mount, &fs, fs.check_current(ctx, &path, &file).await);
        if let Err(error) = current {
            self.after(&error, ino, &path, &file, &fs);
            return Err(error);
        }
        let file_now = self.file(&fs, ino, &path, &file);
        let backing = self.backing(&file_now).await;
        self.opened_small(index, &fs, &path, &file);
        let open = OpenFile { ino, mount: index, path, file, reader: Mutex::new(None) };
        *lock(&open.reader) = Some((fs, FileReader::new(file_now)));
        Ok(fs::OpenFile { fh: self.files.open(ino, open), keep_cache: true, direct_io: false, backing })
    }

    pub(super) async fn read_file(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        offset: u64,
        size: u32,
    ) -> Result<fs::ReadData, Error> {
        let open = self.files.get(fh)?;
        let mount: &Mount = self.mount(open.mount)?;
        let fs = mount.ready(ctx).await?;
        let reader = self.reader(&open, &fs).await;
        let outcome = self.noted(mount, &fs, reader.read(ctx, offset, size).await);
        if let Err(error) = &outcome {
            self.after(error, open.ino, &open.path, &open.file, &fs);
        }
        outcome
    }

    /// One version of a file, as all its handles share it.
    pub(super) fn file(&self, fs: &ObjectFs, ino: Ino, path: &Arc<str>, version: &FileVersion) -> Arc<File> {
        self.reading.file(fs.store(), fs.cache(), ino, &ObjectKey::new(path.clone()), version)
    }

    /// The local file with exactly these bytes, if the disk cache has one that the kernel may read.
    async fn backing(&self, file: &File) -> Option<Arc<OwnedFd>> {
        let cached = file.open_cache().await?;
        let backing = self.reading.within_disk_wait(cached.backing()).await.flatten()?;
        self.reading.offered_backing();
        Some(backing)
    }

    /// The reader of an open file, a new one when the provider was opened again in between.
    async fn reader(&self, open: &OpenFile, fs: &Arc<ObjectFs>) -> Arc<FileReader> {
        let current = |reader: &Option<(Arc<ObjectFs>, Arc<FileReader>)>| {
            reader.as_ref().filter(|(used, _)| Arc::ptr_eq(used, fs)).map(|(_, reader)| reader.clone())
        };
        if let Some(reader) = current(&lock(&open.reader)) {
            return reader;
        }
        let file = self.file(fs, open.ino, &open.path, &open.file);
        file.open_cache().await;
        let mut reader = lock(&open.reader);
        if let Some(reader) = current(&reader) {
            return reader;
        }
        let new = FileReader::new(file);
        *reader = Some((fs.clone(), new.clone()));
        new
    }

    /// A version that is gone has to be looked up again, by the kernel (which does so on `stale`) and by us.
    fn after(&self, error: &Error, ino: Ino, path: &str, file: &FileVersion, fs: &ObjectFs) {
        if error.kind == ErrorKind::Stale {
            fs.suspect(path, file);
            self.inodes.mark_outdated(ino);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
