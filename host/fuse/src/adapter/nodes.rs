//! LOOKUP, GETATTR, READLINK, STATFS.

use super::Adapter;
use crate::reply::{self, errno_of, file_attr, kind_of_name};
use crate::serve::{Asked, Given};
use fuser::{Generation, INodeNo, ReplyAttr, ReplyData, ReplyEntry, ReplyStatfs, Request};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use wasmount_types::{Ino, Name};

impl Adapter {
    /// LOOKUP.
    pub(super) fn find(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
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
                    Ok(entry) => {
                        let attr = file_attr(&entry.attr);
                        reply.entry_with_ttls(&entry.attr_ttl, &entry.ttl, &attr, Generation(0));
                    }
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |fs, entry| fs.forget(entry.attr.ino, 1),
        );
    }

    /// GETATTR.
    pub(super) fn stat(&self, request: &Request, ino: INodeNo, reply: ReplyAttr) {
        self.server.run(
            Asked::new("getattr", ino),
            request,
            |fs, ctx| async move { fs.getattr(ctx, Ino(ino.0)).await },
            |_, result| {
                match result {
                    Ok(entry) => reply.attr(&entry.attr_ttl, &file_attr(&entry.attr)),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |_, _| {},
        );
    }

    /// READLINK.
    pub(super) fn follow(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        self.server.run(
            Asked::new("readlink", ino),
            request,
            |fs, ctx| async move { fs.readlink(ctx, Ino(ino.0)).await },
            |_, result| reply::target(result, reply),
            |_, _| {},
        );
    }

    /// STATFS.
    pub(super) fn stat_space(&self, request: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.server.run(
            Asked::new("statfs", ino),
            request,
            |fs, ctx| async move { fs.statfs(ctx, Ino(ino.0)).await },
            |_, result| {
                match result {
                    Ok(s) => reply.statfs(
                        s.blocks,
                        s.blocks_free,
                        s.blocks_available,
                        s.files,
                        s.files_free,
                        s.block_size,
                        s.name_max,
                        s.block_size,
                    ),
                    Err(error) => reply.error(errno_of(&error)),
                }
                Given::default()
            },
            |_, _| {},
        );
    }
}
