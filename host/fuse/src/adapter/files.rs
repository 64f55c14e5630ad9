//! OPEN, READ, LSEEK, RELEASE.

use super::Adapter;
use crate::reply::{self, errno_of};
use crate::serve::{Asked, Given};
use fuser::{
    FileHandle, INodeNo, OpenAccMode, OpenFlags, ReplyData, ReplyEmpty, ReplyLseek, ReplyOpen, Request,
};
use wasmount_core::fs::{ReadRequest, Seek};
use wasmount_types::{ErrorKind, Fh, Ino};

/// `whence` of `lseek(2)`, numbers of Linux (`include/uapi/linux/fs.h`).
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

impl Adapter {
    /// OPEN.
    pub(super) fn open_file(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return self.read_only("open", request, ino, |errno| reply.error(errno));
        }
        let backings = self.backings.clone();
        self.server.run(
            Asked::new("open", ino),
            request,
            |fs, ctx| async move { fs.open(ctx, Ino(ino.0)).await },
            move |_, result| match result {
                Ok(file) => reply::opened(&backings, ino, &file, reply),
                Err(error) => {
                    reply.error(errno_of(&error));
                    Given::default()
                }
            },
            |fs, file| fs.release(file.fh),
        );
    }

    /// READ of so many bytes from an offset.
    pub(super) fn read_file(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        wanted: ReadRequest,
        reply: ReplyData,
    ) {
        let ReadRequest { offset, size, .. } = wanted;
        let (reads, unique) = (self.reads.clone(), request.unique().into());
        self.server.run(
            Asked::new("read", ino).on(fh).range(offset, size),
            request,
            move |fs, ctx| async move { reads.read(&*fs, ctx, Fh(fh.0), wanted, unique).await },
            move |_, result| match result {
                Ok(answer) => reply::bytes_read(size, &answer, reply),
                Err(error) => {
                    reply.error(errno_of(&error));
                    Given::default()
                }
            },
            |_, _| {},
        );
    }

    /// LSEEK, with offset and `whence`.
    pub(super) fn seek_file(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        (offset, whence): (i64, i32),
        reply: ReplyLseek,
    ) {
        let asked = Asked::new("lseek", ino).on(fh);
        // The kernel answers the other kinds by itself.
        let what = match whence {
            SEEK_DATA => Seek::Data,
            SEEK_HOLE => Seek::Hole,
            _ => return self.refuse(asked, request, ErrorKind::Invalid, |errno| reply.error(errno)),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return self.refuse(asked, request, ErrorKind::OutOfRange, |errno| reply.error(errno));
        };
        self.server.run(
            asked.range(offset, 0),
            request,
            move |fs, ctx| async move { fs.seek(ctx, Fh(fh.0), offset, what).await },
            move |_, result| {
                reply::sought(result, reply);
                Given::default()
            },
            |_, _| {},
        );
    }

    /// RELEASE.
    pub(super) fn close_file(&self, request: &Request, ino: INodeNo, fh: FileHandle, reply: ReplyEmpty) {
        self.server.at_once(Asked::new("release", ino).on(fh), request, |fs| {
            let passthrough = self.backings.closed(ino.0);
            fs.release(Fh(fh.0));
            reply.ok();
            Ok(Given { passthrough, ..Given::default() })
        });
    }
}
