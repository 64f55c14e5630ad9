//! Open files.

use super::nodes::OwnFile;
use super::opener::Mount;
use super::table::{MountTable, Target};
use super::volume::Volume;
use crate::blocks::{LiveImage, SharedImage};
use crate::files::seek_in_data;
use crate::fs::{self, Seek};
use crate::inode::FileVersion;
use crate::read::{File, FileReader, Source, Taking};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino, ObjectKey, RequestCtx};

/// Times a read of a live image begins: once more when that has become shorter under it.
const ATTEMPTS: u32 = 2;

/// An open file of a mount.
pub(super) enum Open {
    /// It was found by its path.
    Path(Box<OpenFile>),
    /// It is a node of its own.
    Node(OwnFile),
}

impl Open {
    /// Number of its mount.
    pub(super) fn mount(&self) -> usize {
        match self {
            Self::Path(open) => open.mount,
            Self::Node(open) => open.mount(),
        }
    }

    /// Its node.
    pub(super) fn ino(&self) -> Ino {
        match self {
            Self::Path(open) => open.ino,
            Self::Node(open) => open.ino(),
        }
    }

    /// Its mount is gone, and nothing of it may be held.
    pub(super) fn let_go(&self) {
        match self {
            Self::Path(open) => *lock(&open.reader) = None,
            Self::Node(open) => open.let_go(),
        }
    }
}

/// An open file, read through whichever provider the mount has at the moment.
pub(super) struct OpenFile {
    ino: Ino,
    mount: usize,
    path: Arc<str>,
    /// The version that it reads; `None`: it is live, and reads what is there.
    version: Option<FileVersion>,
    reader: Mutex<Option<Current>>,
}

/// How an open file is read at the moment.
struct Current {
    volume: Volume,
    live: Option<Arc<LiveImage>>,
    reader: Arc<FileReader>,
}

/// The bytes behind a file.
enum Bytes {
    /// One version of them.
    Version(Arc<File>),
    /// Those of a live image.
    Live(Arc<LiveImage>),
}

impl MountTable {
    pub(super) async fn open_file(&self, ctx: RequestCtx, ino: Ino) -> Result<fs::OpenFile, Error> {
        let (index, path, version) = match self.target(ino)? {
            Target::File { path, outdated: true, .. } => return Err(Error::stale(path)),
            Target::File { mount, path, file, .. } => (mount, path, Some(file)),
            Target::Live { mount, path } => (mount, path, None),
            Target::Node { mount, of } => return self.open_node(ctx, mount, of, ino).await,
            Target::Table(_) | Target::Directory { .. } => {
                return Err(Error::new(
                    ErrorKind::IsDirectory,
                    Blame::Caller,
                    "a directory cannot be read as a file",
                ));
            }
        };
        let mount = self.mount(index)?;
        let volume = mount.volume(ctx).await?;
        let open = OpenFile { ino, mount: index, path, version, reader: Mutex::new(None) };
        let opened = self.noted(&mount, &volume, self.open_bytes(ctx, &open, &volume).await);
        let (bytes, backing) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.after(&error, &open, &volume);
                return Err(error);
            }
        };
        if let (Volume::Objects(fs), Some(file)) = (&volume, &open.version) {
            self.opened_small(index, fs, &open.path, file);
        }
        let keep_cache = open.version.is_some();
        *lock(&open.reader) = Some(Current::new(volume, bytes));
        let fh = self.keep_open(ino, Open::Path(Box::new(open)));
        Ok(fs::OpenFile { fh, keep_cache, direct_io: false, backing })
    }

    /// Gives an open file its handle.
    pub(super) fn keep_open(&self, ino: Ino, open: Open) -> Fh {
        let mount = open.mount();
        let fh = self.files.open(ino, open);
        // It may have been taken away since it was asked, by somebody who did not see this file.
        if self.mount(mount).is_err()
            && let Ok(open) = self.files.get(fh)
        {
            open.let_go();
        }
        fh
    }

    /// The bytes of a file that is being opened, and the local file with exactly these bytes if the kernel may read that.
    async fn open_bytes(
        &self,
        ctx: RequestCtx,
        open: &OpenFile,
        volume: &Volume,
    ) -> Result<(Bytes, Option<Arc<OwnedFd>>), Error> {
        let (path, ino) = (&open.path, open.ino);
        match (&open.version, volume) {
            (Some(version), Volume::Objects(fs)) => {
                fs.check_current(ctx, path, version).await?;
                let file = self.file(volume, ino, path, version);
                let backing = self.reading.backing(&file).await;
                Ok((Bytes::Version(file), backing))
            }
            (Some(version), Volume::Images(fs)) => {
                fs.check_current(path, version)?;
                let file = self.file(volume, ino, path, version);
                let backing = self.reading.backing(&file).await;
                if backing.is_none() {
                    fs.image(path, version.version.as_ref()).open(ctx).await?;
                }
                Ok((Bytes::Version(file), backing))
            }
            (None, Volume::Images(fs)) => {
                let live = fs.open_live(ctx, &self.reading, ino, path).await?;
                Ok((Bytes::Live(live), None))
            }
            // The plugin was another one when the node was made.
            (None, Volume::Objects(_)) => Err(Error::stale(path)),
        }
    }

    pub(super) async fn read_file(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        wanted: fs::ReadRequest,
        taking: Taking,
    ) -> Result<fs::ReadAnswer, Error> {
        let open = self.files.get(fh)?;
        let open = match &*open {
            Open::Path(open) => open,
            Open::Node(open) => return self.read_node(ctx, open, wanted).await.map(fs::ReadAnswer::Memory),
        };
        let mount: Arc<Mount> = self.mount(open.mount)?;
        let volume = mount.volume(ctx).await?;
        let mut attempt = 1;
        let outcome = loop {
            let outcome = match self.reader(ctx, open, &volume).await {
                Ok(reader) => reader.read_any(ctx, wanted.offset, wanted.size, taking).await,
                Err(error) => Err(error),
            };
            let outcome = self.noted(&mount, &volume, outcome);
            let shorter = matches!(&outcome, Err(error) if error.kind == ErrorKind::OutOfRange);
            if !shorter || open.version.is_some() || attempt == ATTEMPTS {
                break outcome;
            }
            attempt += 1;
            *lock(&open.reader) = None;
        };
        if let Err(error) = &outcome {
            self.after(error, open, &volume);
        }
        outcome
    }

    pub(super) async fn seek_file(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        offset: u64,
        what: Seek,
    ) -> Result<u64, Error> {
        let open = self.files.get(fh)?;
        let open = match &*open {
            Open::Path(open) => open,
            Open::Node(open) => return self.seek_node(ctx, open, offset, what).await,
        };
        let mount: Arc<Mount> = self.mount(open.mount)?;
        let volume = mount.volume(ctx).await?;
        let outcome = self.seek_in(ctx, open, &volume, offset, what).await;
        let outcome = self.noted(&mount, &volume, outcome);
        if let Err(error) = &outcome {
            self.after(error, open, &volume);
        }
        outcome
    }

    async fn seek_in(
        &self,
        ctx: RequestCtx,
        open: &OpenFile,
        volume: &Volume,
        offset: u64,
        what: Seek,
    ) -> Result<u64, Error> {
        let (image, size) = match (volume, &open.version) {
            (Volume::Objects(_), version) => {
                let size = version.as_ref().map_or(0, |version| version.size);
                return seek_in_data(size, offset, what);
            }
            (Volume::Images(fs), Some(version)) => {
                (fs.image(&open.path, version.version.as_ref()), version.size)
            }
            (Volume::Images(_), None) => {
                let size = self.reader(ctx, open, volume).await?.file().size();
                (self.live(open, volume).ok_or_else(|| Error::stale(&open.path))?, size)
            }
        };
        crate::wait::bounded(&*self.clock, ctx, "looking for holes", image.seek(ctx, size, offset, what))
            .await
    }

    /// The live image that an open file reads.
    fn live(&self, open: &OpenFile, volume: &Volume) -> Option<Arc<SharedImage>> {
        let current = lock(&open.reader);
        let current = current.as_ref().filter(|current| current.volume.is(volume))?;
        current.live.as_ref().map(|live| live.image().clone())
    }

    /// One version of a file, as all its handles share it.
    pub(super) fn file(
        &self,
        volume: &Volume,
        ino: Ino,
        path: &Arc<str>,
        version: &FileVersion,
    ) -> Arc<File> {
        let image;
        let source: &Arc<dyn Source> = match volume {
            Volume::Objects(fs) => fs.content(),
            Volume::Images(fs) => {
                image = fs.image(path, version.version.as_ref()) as Arc<dyn Source>;
                &image
            }
        };
        self.reading.file(source, volume.cache(), ino, &ObjectKey::new(path.clone()), version)
    }

    /// The reader of an open file: a new one when the provider was opened again in between, and when a live image was looked at
    /// again.
    async fn reader(
        &self,
        ctx: RequestCtx,
        open: &OpenFile,
        volume: &Volume,
    ) -> Result<Arc<FileReader>, Error> {
        if let Some(reader) = current(&open.reader, volume) {
            return Ok(reader);
        }
        let bytes = match (&open.version, volume) {
            (Some(version), _) => {
                let file = self.file(volume, open.ino, &open.path, version);
                file.open_cache().await;
                Bytes::Version(file)
            }
            (None, Volume::Images(fs)) => {
                Bytes::Live(fs.open_live(ctx, &self.reading, open.ino, &open.path).await?)
            }
            (None, Volume::Objects(_)) => return Err(Error::stale(&open.path)),
        };
        if let Some(reader) = current(&open.reader, volume) {
            return Ok(reader);
        }
        let new = Current::new(volume.clone(), bytes);
        let reader = new.reader.clone();
        *lock(&open.reader) = Some(new);
        if let Err(gone) = self.mount(open.mount) {
            *lock(&open.reader) = None;
            return Err(gone);
        }
        Ok(reader)
    }

    /// A version that is gone has to be looked up again, by the kernel (which does so on `stale`) and by us.
    fn after(&self, error: &Error, open: &OpenFile, volume: &Volume) {
        if error.kind != ErrorKind::Stale {
            return;
        }
        match (volume, &open.version) {
            (Volume::Objects(fs), Some(version)) => fs.suspect(&open.path, version),
            (Volume::Objects(_), None) => {}
            (Volume::Images(fs), _) => fs.suspect(&open.path),
        }
        self.inodes.mark_outdated(open.ino);
    }
}

impl Current {
    fn new(volume: Volume, bytes: Bytes) -> Self {
        let (live, file) = match bytes {
            Bytes::Version(file) => (None, file),
            Bytes::Live(live) => {
                let file = live.file();
                (Some(live), file)
            }
        };
        Self { volume, live, reader: FileReader::new(file) }
    }
}

/// The reader of an open file, if it still reads what it should. A live image that was looked at again gets a new one.
fn current(reader: &Mutex<Option<Current>>, volume: &Volume) -> Option<Arc<FileReader>> {
    let mut reader = lock(reader);
    let current = reader.as_mut().filter(|current| current.volume.is(volume))?;
    if let Some(live) = &current.live {
        let file = live.file();
        if !Arc::ptr_eq(&file, current.reader.file()) {
            current.reader = FileReader::new(file);
        }
    }
    Some(current.reader.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
