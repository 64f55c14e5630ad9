//! OPENDIR, READDIR, READDIRPLUS, RELEASEDIR.

use super::Adapter;
use crate::readdir;
use crate::reply::errno_of;
use crate::serve::{Asked, Given};
use fuser::{
    FileHandle, FopenFlags, INodeNo, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyOpen, Request,
};
use wasmount_types::{Fh, Ino};

impl Adapter {
    /// OPENDIR.
    pub(super) fn open_directory(&self, request: &Request, ino: INodeNo, reply: ReplyOpen) {
        self.server.run(
            Asked::new("opendir", ino),
            request,
            |fs, ctx| async move { fs.opendir(ctx, Ino(ino.0)).await },
            |_, result| {
                match result {
                    Ok(directory) => {
                        let mut flags = FopenFlags::empty();
                        // A listing read from the kernel's cache brings no attributes: whoever lets it keep one lets it keep
                        // those too.
                        flags.set(FopenFlags::FOPEN_CACHE_DIR, directory.cache);
                        flags.set(FopenFlags::FOPEN_KEEP_CACHE, directory.keep_cache);
                        reply.opened(FileHandle(directory.fh.0), flags);
                    }
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |fs, directory| fs.releasedir(directory.fh),
        );
    }

    /// READDIR from a position.
    pub(super) fn list(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        let (fit, learn) = (self.plain.clone(), self.plain.clone());
        self.server.run(
            Asked::new("readdir", ino).on(fh),
            request,
            |fs, ctx| async move { readdir::fetch(&*fs, ctx, Ino(ino.0), Fh(fh.0), offset, &fit, false).await },
            move |_, result| {
                match result {
                    Ok(chunk) => readdir::answer(&learn, chunk, reply),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |_, _| {},
        );
    }

    /// READDIRPLUS from a position.
    pub(super) fn list_with_attributes(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let (fit, learn) = (self.plus.clone(), self.plus.clone());
        self.server.run(
            Asked::new("readdirplus", ino).on(fh),
            request,
            |fs, ctx| async move { readdir::fetch(&*fs, ctx, Ino(ino.0), Fh(fh.0), offset, &fit, true).await },
            move |fs, result| {
                match result {
                    Ok(chunk) => readdir::answer_plus(fs, &learn, chunk, reply),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            readdir::undo,
        );
    }

    /// RELEASEDIR.
    pub(super) fn close_directory(&self, request: &Request, ino: INodeNo, fh: FileHandle, reply: ReplyEmpty) {
        self.server.at_once(Asked::new("releasedir", ino).on(fh), request, |fs| {
            fs.releasedir(Fh(fh.0));
            reply.ok();
            Ok(Given::default())
        });
    }
}
