//! Open files.

use super::opener::Mount;
use super::table::{MountTable, Target};
use crate::fs;
use crate::inode::FileVersion;
use crate::objects::ObjectFs;
use crate::ports::ServedFrom;
use crate::read::FileReader;
use std::sync::{Arc, Mutex, PoisonError};
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
        let open = OpenFile { ino, mount: index, path, file, reader: Mutex::new(None) };
        Ok(fs::OpenFile { fh: self.files.open(ino, open), keep_cache: true, direct_io: false, backing: None })
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
        let reader = self.reader(&open, &fs);
        let outcome = self.noted(mount, &fs, reader.read(ctx, offset, size).await);
        if let Err(error) = &outcome {
            self.after(error, open.ino, &open.path, &open.file, &fs);
        }
        outcome.map(|bytes| fs::ReadData { bytes, from: ServedFrom::Origin })
    }

    /// The reader of an open file, a new one when the provider was opened again in between.
    fn reader(&self, open: &OpenFile, fs: &Arc<ObjectFs>) -> Arc<FileReader> {
        let mut reader = open.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((used, reader)) = &*reader
            && Arc::ptr_eq(used, fs)
        {
            return reader.clone();
        }
        let new = FileReader::new(
            fs.store().clone(),
            ObjectKey::new(open.path.clone()),
            open.file.clone(),
            self.read.clone(),
            self.memory.clone(),
            self.clock.clone(),
            self.spawn.clone(),
        );
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
