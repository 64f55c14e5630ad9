//! The kernel's requests, one method each.
//!
//! What reads goes to the file system. What would change something is refused with EROFS, although a read-only
//! mount keeps the kernel from asking.

use crate::init::{Init, negotiate};
use crate::passthrough::Backings;
use crate::readdir::{self, Fit};
use crate::reply::{self, errno_of, errno_of_kind, file_attr, kind_of_name};
use crate::serve::{Asked, Given, Server};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use wasmount_core::fs::Seek;
use wasmount_types::{Blame, ErrorKind, Fh, Ino, Name};

/// `whence` of `lseek(2)`, numbers of Linux (`include/uapi/linux/fs.h`).
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Answers the kernel from a core file system.
pub(crate) struct Adapter {
    server: Server,
    backings: Arc<Backings>,
    init: Init,
    plain: Arc<Fit>,
    plus: Arc<Fit>,
}

impl Adapter {
    pub(crate) fn new(server: Server, backings: Arc<Backings>, init: Init) -> Self {
        // A `getdents` buffer of 32 KiB holds about so many entries.
        Self { server, backings, init, plain: Arc::new(Fit::new(512)), plus: Arc::new(Fit::new(192)) }
    }

    /// Answers something that this file system does not do.
    fn refuse(&self, asked: Asked, request: &Request, kind: ErrorKind, answer: impl FnOnce(Errno)) {
        self.server.at_once(asked, request, |_| {
            answer(errno_of_kind(kind));
            Err((kind, Blame::Caller))
        });
    }

    /// Answers something that would change something.
    fn read_only(&self, op: &'static str, request: &Request, node: INodeNo, answer: impl FnOnce(Errno)) {
        self.refuse(Asked::new(op, node), request, ErrorKind::ReadOnly, answer);
    }

    /// Answers something there is nothing to do for.
    fn nothing_to_do(&self, op: &'static str, request: &Request, node: INodeNo, reply: ReplyEmpty) {
        self.server.at_once(Asked::new(op, node), request, |_| {
            reply.ok();
            Ok(Given::default())
        });
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.backings.negotiated(negotiate(config, &self.init));
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let asked = Asked::new("lookup", parent);
        let name = match Name::new(name.as_bytes()) {
            Ok(name) => name,
            Err(reason) => {
                return self.refuse(asked, request, kind_of_name(&reason), |errno| reply.error(errno));
            }
        };
        self.server.run(
            asked.named(name.clone()),
            request,
            |fs, ctx| async move { fs.lookup(ctx, Ino(parent.0), &name).await },
            |_, result| {
                match result {
                    Ok(entry) => reply.entry(&entry.ttl, &file_attr(&entry.attr), Generation(0)),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |fs, entry| fs.forget(entry.attr.ino, 1),
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.server.fs().forget(Ino(ino.0), count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.server.run(
            Asked::new("getattr", ino),
            request,
            |fs, ctx| async move { fs.getattr(ctx, Ino(ino.0)).await },
            |_, result| {
                match result {
                    Ok(entry) => reply.attr(&entry.ttl, &file_attr(&entry.attr)),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |_, _| {},
        );
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        // No provider has symbolic links yet, so this is not one.
        self.refuse(Asked::new("readlink", ino), request, ErrorKind::Invalid, |errno| reply.error(errno));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
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

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.server.run(
            Asked::new("read", ino).on(fh).range(offset, size),
            request,
            |fs, ctx| async move { fs.read(ctx, Fh(fh.0), offset, size).await },
            move |_, result| match result {
                Ok(data) => reply::bytes_read(size, &data, reply),
                Err(error) => {
                    reply.error(errno_of(&error));
                    Given::default()
                }
            },
            |_, _| {},
        );
    }

    fn lseek(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
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

    fn flush(&self, request: &Request, ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        self.nothing_to_do("flush", request, ino, reply);
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.server.at_once(Asked::new("release", ino).on(fh), request, |fs| {
            let passthrough = self.backings.closed(ino.0);
            fs.release(Fh(fh.0));
            reply.ok();
            Ok(Given { passthrough, ..Given::default() })
        });
    }

    fn fsync(&self, request: &Request, ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.nothing_to_do("fsync", request, ino, reply);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.server.run(
            Asked::new("opendir", ino),
            request,
            |fs, ctx| async move { fs.opendir(ctx, Ino(ino.0)).await },
            |_, result| {
                match result {
                    Ok(fh) => reply.opened(FileHandle(fh.0), FopenFlags::empty()),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |fs, fh| fs.releasedir(fh),
        );
    }

    fn readdir(&self, request: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
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

    fn readdirplus(
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

    fn releasedir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.server.at_once(Asked::new("releasedir", ino).on(fh), request, |fs| {
            fs.releasedir(Fh(fh.0));
            reply.ok();
            Ok(Given::default())
        });
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.nothing_to_do("fsyncdir", request, ino, reply);
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.server.at_once(Asked::new("statfs", ino), request, |fs| {
            let s = fs.statfs();
            let block = s.block_size;
            reply.statfs(s.blocks, s.blocks_free, s.blocks_free, s.files, 0, block, s.name_max, block);
            Ok(Given::default())
        });
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let asked = Asked::new("getxattr", ino);
        // ACLs, capabilities and labels cannot exist here. `ls -l` asks for them file by file, until it is told that
        // the file system does not have any; that a file has none would not stop it.
        if !name.as_bytes().starts_with(b"user.") {
            return self.refuse(asked, request, ErrorKind::Unsupported, |errno| reply.error(errno));
        }
        let name = name.as_bytes().to_vec();
        self.server.run(
            asked,
            request,
            |fs, ctx| async move { fs.getxattr(ctx, Ino(ino.0), &name).await },
            move |_, result| reply::xattr(reply, size, result),
            |_, _| {},
        );
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.server.run(
            Asked::new("listxattr", ino),
            request,
            |fs, ctx| async move { fs.listxattr(ctx, Ino(ino.0)).await },
            move |_, result| {
                // Each name ends with a NUL (`listxattr(2)`).
                let joined = result.map(|names| {
                    names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect::<Vec<u8>>()
                });
                reply::xattr(reply, size, joined)
            },
            |_, _| {},
        );
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        // With `default_permissions` the kernel decides by owner and mode and never asks.
        if mask.contains(AccessFlags::W_OK) {
            self.read_only("access", request, ino, |errno| reply.error(errno));
        } else {
            self.nothing_to_do("access", request, ino, reply);
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.read_only("setattr", request, ino, |errno| reply.error(errno));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        self.read_only("mknod", request, parent, |errno| reply.error(errno));
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        self.read_only("mkdir", request, parent, |errno| reply.error(errno));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        self.read_only("unlink", request, parent, |errno| reply.error(errno));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        self.read_only("rmdir", request, parent, |errno| reply.error(errno));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, _name: &OsStr, _target: &Path, reply: ReplyEntry) {
        self.read_only("symlink", request, parent, |errno| reply.error(errno));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.read_only("rename", request, parent, |errno| reply.error(errno));
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        _newparent: INodeNo,
        _newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.read_only("link", request, ino, |errno| reply.error(errno));
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.read_only("write", request, ino, |errno| reply.error(errno));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        self.read_only("create", request, parent, |errno| reply.error(errno));
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.read_only("setxattr", request, ino, |errno| reply.error(errno));
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        self.read_only("removexattr", request, ino, |errno| reply.error(errno));
    }

    fn fallocate(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        self.read_only("fallocate", request, ino, |errno| reply.error(errno));
    }

    fn copy_file_range(
        &self,
        request: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        self.read_only("copy_file_range", request, ino_in, |errno| reply.error(errno));
    }
}
