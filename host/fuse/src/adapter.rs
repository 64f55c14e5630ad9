//! The kernel's requests, one method each.
//!
//! What reads goes to the file system, by the modules below. What would change something is refused with EROFS, although a
//! read-only mount keeps the kernel from asking.

mod attributes;
mod directories;
mod files;
mod nodes;

use crate::init::Handshake;
use crate::passthrough::Backings;
use crate::piped::Reads;
use crate::readdir::Fit;
use crate::reply::errno_of_kind;
use crate::serve::{Asked, Given, Server};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use wasmount_core::fs::ReadRequest;
use wasmount_types::{Blame, ErrorKind, Ino};

/// Answers the kernel from a core file system.
pub(crate) struct Adapter {
    server: Server,
    backings: Arc<Backings>,
    handshake: Arc<Handshake>,
    reads: Arc<Reads>,
    plain: Arc<Fit>,
    plus: Arc<Fit>,
}

impl Adapter {
    pub(crate) fn new(
        server: Server,
        backings: Arc<Backings>,
        handshake: Arc<Handshake>,
        reads: Arc<Reads>,
    ) -> Self {
        // A `getdents` buffer of 32 KiB, which the kernel passes on, holds about so many entries.
        let (plain, plus) = (Arc::new(Fit::new(512)), Arc::new(Fit::new(192)));
        Self { server, backings, handshake, reads, plain, plus }
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
    fn init(&mut self, request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.handshake.init(config, request.unique().into())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.find(request, parent, name, reply);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.server.fs().forget(Ino(ino.0), count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.stat(request, ino, reply);
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.follow(request, ino, reply);
    }

    fn statfs(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.stat_space(request, ino, reply);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.open_file(request, ino, flags, reply);
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let wanted = ReadRequest { offset, size, kept: lock_owner.is_none() };
        self.read_file(request, ino, fh, wanted, reply);
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
        self.seek_file(request, ino, fh, (offset, whence), reply);
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
        self.close_file(request, ino, fh, reply);
    }

    fn fsync(&self, request: &Request, ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.nothing_to_do("fsync", request, ino, reply);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.open_directory(request, ino, reply);
    }

    fn readdir(&self, request: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.list(request, ino, fh, offset, reply);
    }

    fn readdirplus(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.list_with_attributes(request, ino, fh, offset, reply);
    }

    fn releasedir(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.close_directory(request, ino, fh, reply);
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        self.nothing_to_do("fsyncdir", request, ino, reply);
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.attribute(request, ino, name, size, reply);
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.attribute_names(request, ino, size, reply);
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
