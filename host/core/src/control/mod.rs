//! The hidden directory `.wasmount` at the root of a mount, through which a mount tells about itself.
//!
//! [`ControlFs`] wraps any [`FileSystem`]: it answers for its own nodes and handles and passes everything else on. Its numbers
//! lie below [`Identity::FIRST_NUMBER`](crate::inode::Identity::FIRST_NUMBER), where no other node is, and its handles have
//! the highest bit set. The directory is found by name and never listed, so no copy or search of a mount runs into files
//! without an end. What the storage has under that name is hidden.
//!
//! What is in the files is somebody else's business: see [`ControlFile`].

mod file;
mod handles;
mod nodes;
#[cfg(test)]
mod tests;

pub use file::{Content, ControlFile, ControlStream, TextFile};
pub use nodes::is_control;

use crate::FileSystem;
use crate::fs::{
    DirEntry, Entry, FsStats, OpenDirectory, OpenFile, ReadAnswer, ReadData, ReadDir, ReadRequest, Seek,
};
use crate::ports::{BoxFuture, KernelPages, ServedFrom};
use bytes::Bytes;
use handles::{Handles, Open, RootHandles};
use nodes::Nodes;
use std::future::ready;
use std::sync::Arc;
use std::time::SystemTime;
use wasmount_types::{Blame, Error, ErrorKind, Fh, Ino, Name, RequestCtx};

/// Name of the control directory.
pub const DIRECTORY: &str = ".wasmount";

/// A file system with a control directory at its root.
pub struct ControlFs {
    inner: Arc<dyn FileSystem>,
    nodes: Nodes,
    handles: Handles,
    roots: RootHandles,
}

impl ControlFs {
    /// Puts `files` beside the root of `inner`. Only root and the user `owner`, as which this process runs, may look at them: they show names of
    /// files and who reads them. At most 253 files; further ones are left out.
    pub fn new(inner: Arc<dyn FileSystem>, owner: u32, files: Vec<(Name, Arc<dyn ControlFile>)>) -> Self {
        let nodes = Nodes::new(files, owner, SystemTime::now().into());
        Self { inner, nodes, handles: Handles::default(), roots: RootHandles::default() }
    }

    fn open_control(&self, ctx: RequestCtx, ino: Ino) -> Result<OpenFile, Error> {
        self.nodes.admit(ctx)?;
        let (_, file) = self.nodes.file(ino)?;
        let fh = self.handles.open(|| Ok(Open::File(file.open()?)))?;
        Ok(OpenFile { fh, keep_cache: false, direct_io: true, backing: None })
    }

    async fn read_control(&self, ctx: RequestCtx, fh: Fh, offset: u64, size: u32) -> Result<ReadData, Error> {
        let open = self.handles.get(fh)?;
        let bytes = match &*open {
            Open::File(Content::Snapshot(text)) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
                let to = from.saturating_add(size as usize).min(text.len());
                text.slice(from..to)
            }
            Open::File(Content::Stream(stream)) => stream.next(ctx, size).await?,
            Open::Directory => return Err(wrong_handle(fh)),
        };
        Ok(ReadData { bytes, from: ServedFrom::Memory })
    }

    /// A page of the root, without the name that stands for the control directory.
    async fn read_root(&self, ctx: RequestCtx, fh: Fh, mut request: ReadDir) -> Result<Vec<DirEntry>, Error> {
        loop {
            let mut page = self.inner.readdir(ctx, fh, request).await?;
            let Some(hidden) = page.iter().position(|entry| entry.name.as_bytes() == DIRECTORY.as_bytes())
            else {
                return Ok(page);
            };
            let hidden = page.remove(hidden);
            if let Some(entry) = hidden.entry {
                // It was counted as looked up, and the kernel will never hear of it.
                self.inner.forget(entry.attr.ino, 1);
            }
            if !page.is_empty() {
                return Ok(page);
            }
            // An empty page would be the end of the directory.
            request.offset = hidden.next_offset;
        }
    }
}

fn wrong_handle(fh: Fh) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, format!("handle {} is of another kind", fh.0))
}

/// An answer that is there already.
fn answer<'a, T: Send + 'a>(result: Result<T, Error>) -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(ready(result))
}

impl FileSystem for ControlFs {
    fn lookup<'a>(
        &'a self,
        ctx: RequestCtx,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Entry, Error>> {
        if parent == Ino::ROOT && name.as_bytes() == DIRECTORY.as_bytes() {
            return answer(Ok(self.nodes.directory()));
        }
        if is_control(parent) {
            return answer(self.nodes.admit(ctx).and_then(|()| self.nodes.by_name(name)));
        }
        self.inner.lookup(ctx, parent, name)
    }

    fn forget(&self, ino: Ino, count: u64) {
        if !is_control(ino) {
            self.inner.forget(ino, count);
        }
    }

    fn getattr(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Entry, Error>> {
        if is_control(ino) {
            return answer(self.nodes.by_number(ino));
        }
        self.inner.getattr(ctx, ino)
    }

    fn readlink(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Bytes, Error>> {
        if is_control(ino) {
            let message = format!("nothing in {DIRECTORY} is a symbolic link");
            return answer(Err(Error::new(ErrorKind::Invalid, Blame::Caller, message)));
        }
        self.inner.readlink(ctx, ino)
    }

    fn open(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenFile, Error>> {
        if is_control(ino) {
            return answer(self.open_control(ctx, ino));
        }
        self.inner.open(ctx, ino)
    }

    fn read(&self, ctx: RequestCtx, fh: Fh, wanted: ReadRequest) -> BoxFuture<'_, Result<ReadData, Error>> {
        if Handles::owns(fh) {
            return Box::pin(self.read_control(ctx, fh, wanted.offset, wanted.size));
        }
        self.inner.read(ctx, fh, wanted)
    }

    fn read_piped(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        wanted: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadAnswer, Error>> {
        if Handles::owns(fh) {
            return Box::pin(async move { Ok(ReadAnswer::Memory(self.read(ctx, fh, wanted).await?)) });
        }
        self.inner.read_piped(ctx, fh, wanted)
    }

    fn seek(&self, ctx: RequestCtx, fh: Fh, offset: u64, what: Seek) -> BoxFuture<'_, Result<u64, Error>> {
        if Handles::owns(fh) {
            // Not `unsupported`, which is about the whole file system.
            let message = "the control files know nothing of holes";
            return answer(Err(Error::new(ErrorKind::Invalid, Blame::Caller, message)));
        }
        self.inner.seek(ctx, fh, offset, what)
    }

    fn release(&self, fh: Fh) {
        if Handles::owns(fh) {
            return self.handles.release(fh);
        }
        self.inner.release(fh);
    }

    fn opendir(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>> {
        if is_control(ino) {
            let open = || {
                let fh = self.handles.open(|| Ok(Open::Directory))?;
                Ok(OpenDirectory { fh, cache: false, keep_cache: false })
            };
            return answer(self.nodes.admit(ctx).and_then(|()| open()));
        }
        if ino != Ino::ROOT {
            return self.inner.opendir(ctx, ino);
        }
        Box::pin(async move {
            let open = self.inner.opendir(ctx, ino).await?;
            self.roots.add(open.fh);
            Ok(open)
        })
    }

    fn readdir(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>> {
        if Handles::owns(fh) {
            return answer(self.handles.get(fh).and_then(|open| match &*open {
                Open::Directory => Ok(self.nodes.list(request.offset, request.limit, request.plus)),
                Open::File(_) => Err(wrong_handle(fh)),
            }));
        }
        if self.roots.contains(fh) {
            return Box::pin(self.read_root(ctx, fh, request));
        }
        self.inner.readdir(ctx, fh, request)
    }

    fn releasedir(&self, fh: Fh) {
        if Handles::owns(fh) {
            return self.handles.release(fh);
        }
        self.roots.remove(fh);
        self.inner.releasedir(fh);
    }

    fn statfs(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<FsStats, Error>> {
        self.inner.statfs(ctx, if is_control(ino) { Ino::ROOT } else { ino })
    }

    fn getxattr<'a>(
        &'a self,
        ctx: RequestCtx,
        ino: Ino,
        name: &'a [u8],
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        if is_control(ino) {
            let message = format!("{DIRECTORY} has no extended attributes");
            return answer(Err(Error::new(ErrorKind::NoAttribute, Blame::Caller, message)));
        }
        self.inner.getxattr(ctx, ino, name)
    }

    fn listxattr(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        if is_control(ino) {
            return answer(Ok(Vec::new()));
        }
        self.inner.listxattr(ctx, ino)
    }

    fn mounted(&self, kernel: Arc<dyn KernelPages>) {
        self.inner.mounted(kernel);
    }

    fn path(&self, ino: Ino) -> Option<String> {
        if is_control(ino) { self.nodes.path(ino) } else { self.inner.path(ino) }
    }
}
