//! The kernel's requests, one method each.
//!
//! What reads goes to the file system. What would change something is refused with EROFS, although a read-only
//! mount keeps the kernel from asking.

use crate::readdir::{self, Fit};
use crate::reply::{errno_of, errno_of_kind, file_attr, invalid_name};
use crate::serve::Server;
use crate::session::negotiate;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation,
    INodeNo, KernelConfig, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use wasmount_types::{Error, ErrorKind, Fh, Ino, Name};

/// Answers the kernel from a core file system.
pub(crate) struct Adapter {
    server: Server,
    plain: Arc<Fit>,
    plus: Arc<Fit>,
}

impl Adapter {
    pub(crate) fn new(server: Server) -> Self {
        // A `getdents` buffer of 32 KiB holds about so many entries.
        Self { server, plain: Arc::new(Fit::new(512)), plus: Arc::new(Fit::new(192)) }
    }
}

/// EROFS.
fn read_only() -> Errno {
    errno_of_kind(ErrorKind::ReadOnly)
}

/// An attribute's value, its size, or that the caller's buffer is too small, as `getxattr(2)` wants it.
fn xattr(reply: ReplyXattr, size: u32, result: Result<impl AsRef<[u8]>, Error>) {
    match result {
        Err(error) => reply.error(errno_of(&error)),
        Ok(value) => {
            let value = value.as_ref();
            match u32::try_from(value.len()) {
                Ok(len) if size == 0 => reply.size(len),
                Ok(len) if len <= size => reply.data(value),
                _ => reply.error(Errno::ERANGE),
            }
        }
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        negotiate(config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = match Name::new(name.as_bytes()) {
            Ok(name) => name,
            Err(reason) => return reply.error(errno_of(&invalid_name(reason))),
        };
        self.server.run(
            "lookup",
            request,
            parent.0,
            |fs, ctx| async move { fs.lookup(ctx, Ino(parent.0), &name).await },
            |_, result| match result {
                Ok(entry) => reply.entry(&entry.ttl, &file_attr(&entry.attr), Generation(0)),
                Err(error) => reply.error(errno_of(&error)),
            },
            |fs, entry| fs.forget(entry.attr.ino, 1),
        );
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.server.fs().forget(Ino(ino.0), count);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.server.run(
            "getattr",
            request,
            ino.0,
            |fs, ctx| async move { fs.getattr(ctx, Ino(ino.0)).await },
            |_, result| match result {
                Ok(entry) => reply.attr(&entry.ttl, &file_attr(&entry.attr)),
                Err(error) => reply.error(errno_of(&error)),
            },
            |_, _| {},
        );
    }

    fn readlink(&self, _request: &Request, _ino: INodeNo, reply: ReplyData) {
        // No provider has symbolic links yet, so this is not one.
        reply.error(errno_of_kind(ErrorKind::Invalid));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(read_only());
        }
        self.server.run(
            "open",
            request,
            ino.0,
            |fs, ctx| async move { fs.open(ctx, Ino(ino.0)).await },
            |_, result| match result {
                Ok(file) => {
                    // Nothing is ever unsent, so `close` need not ask.
                    let mut flags = FopenFlags::FOPEN_NOFLUSH;
                    flags.set(FopenFlags::FOPEN_KEEP_CACHE, file.keep_cache);
                    reply.opened(FileHandle(file.fh.0), flags);
                }
                Err(error) => reply.error(errno_of(&error)),
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
            "read",
            request,
            ino.0,
            |fs, ctx| async move { fs.read(ctx, Fh(fh.0), offset, size).await },
            move |_, result| match result {
                // More than was asked for would be taken as a protocol fault by the kernel.
                Ok(data) => reply.data(data.bytes.get(..size as usize).unwrap_or(&data.bytes)),
                Err(error) => reply.error(errno_of(&error)),
            },
            |_, _| {},
        );
    }

    fn flush(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.server.fs().release(Fh(fh.0));
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.server.run(
            "opendir",
            request,
            ino.0,
            |fs, ctx| async move { fs.opendir(ctx, Ino(ino.0)).await },
            |_, result| match result {
                Ok(fh) => reply.opened(FileHandle(fh.0), FopenFlags::empty()),
                Err(error) => reply.error(errno_of(&error)),
            },
            |fs, fh| fs.releasedir(fh),
        );
    }

    fn readdir(&self, request: &Request, ino: INodeNo, fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let (fit, learn) = (self.plain.clone(), self.plain.clone());
        self.server.run(
            "readdir",
            request,
            ino.0,
            |fs, ctx| async move { readdir::fetch(&*fs, ctx, Ino(ino.0), Fh(fh.0), offset, &fit, false).await },
            move |_, result| match result {
                Ok(chunk) => readdir::answer(&learn, chunk, reply),
                Err(error) => reply.error(errno_of(&error)),
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
            "readdirplus",
            request,
            ino.0,
            |fs, ctx| async move { readdir::fetch(&*fs, ctx, Ino(ino.0), Fh(fh.0), offset, &fit, true).await },
            move |fs, result| match result {
                Ok(chunk) => readdir::answer_plus(fs, &learn, chunk, reply),
                Err(error) => reply.error(errno_of(&error)),
            },
            readdir::undo,
        );
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.server.fs().releasedir(Fh(fh.0));
        reply.ok();
    }

    fn fsyncdir(&self, _request: &Request, _ino: INodeNo, _fh: FileHandle, _data: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let s = self.server.fs().statfs();
        let block = s.block_size;
        reply.statfs(s.blocks, s.blocks_free, s.blocks_free, s.files, 0, block, s.name_max, block);
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        // `ls` and the kernel ask for ACLs, capabilities and labels all the time; only `user.` can exist.
        if !name.as_bytes().starts_with(b"user.") {
            return reply.error(errno_of_kind(ErrorKind::NoAttribute));
        }
        let name = name.as_bytes().to_vec();
        self.server.run(
            "getxattr",
            request,
            ino.0,
            |fs, ctx| async move { fs.getxattr(ctx, Ino(ino.0), &name).await },
            move |_, result| xattr(reply, size, result),
            |_, _| {},
        );
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        self.server.run(
            "listxattr",
            request,
            ino.0,
            |fs, ctx| async move { fs.listxattr(ctx, Ino(ino.0)).await },
            move |_, result| {
                // Each name ends with a NUL (`listxattr(2)`).
                let joined = result.map(|names| {
                    names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect::<Vec<u8>>()
                });
                xattr(reply, size, joined);
            },
            |_, _| {},
        );
    }

    fn access(&self, _request: &Request, _ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        // With `default_permissions` the kernel decides by owner and mode and never asks.
        if mask.contains(AccessFlags::W_OK) { reply.error(read_only()) } else { reply.ok() }
    }

    fn setattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
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
        reply.error(read_only());
    }

    fn mknod(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(read_only());
    }

    fn mkdir(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(read_only());
    }

    fn unlink(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(read_only());
    }

    fn rmdir(&self, _request: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(read_only());
    }

    fn symlink(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(read_only());
    }

    fn rename(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(read_only());
    }

    fn link(&self, _r: &Request, _ino: INodeNo, _newparent: INodeNo, _newname: &OsStr, reply: ReplyEntry) {
        reply.error(read_only());
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(read_only());
    }

    fn create(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(read_only());
    }

    fn setxattr(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(read_only());
    }

    fn removexattr(&self, _request: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(read_only());
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(read_only());
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(read_only());
    }
}
