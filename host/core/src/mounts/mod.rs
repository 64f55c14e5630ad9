//! The mount table: all mounts of a Dataset in one file system.
//!
//! `tree` holds the directories that belong to no store, `opener` the state of each mount, `volume` what is in it, `shape` all of that at one
//! moment, `change` exchanges it, `table` says what a node number leads to; `names`, `directories`, `files` and `xattr` are the operations on it, `nodes` leads to mounts that have nodes of their own,
//! `siblings` expects what comes next, and [`FileSystem`] is implemented here in terms of them.

mod change;
mod config;
mod directories;
mod files;
mod layout;
mod names;
mod nodes;
mod opener;
mod shape;
mod siblings;
mod state;
mod table;
mod tree;
mod volume;
pub mod xattr;

pub use config::{MountConfig, MountTableConfig, NextMount, Owner};
pub use layout::{Layout, Place};
pub use state::MountState;
pub use table::MountTable;

use crate::fs::{
    DirEntry, Entry, FileSystem, FsStats, OpenDirectory, OpenFile, ReadAnswer, ReadData, ReadDir,
    ReadRequest, Seek,
};

use crate::ports::{BoxFuture, KernelPages};
use crate::read::Taking;
use bytes::Bytes;
use std::sync::Arc;
use wasmount_types::{Error, Fh, Ino, Name, RequestCtx};

impl FileSystem for MountTable {
    fn lookup<'a>(
        &'a self,
        ctx: RequestCtx,
        parent: Ino,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Entry, Error>> {
        Box::pin(self.look_up(ctx, parent, name))
    }

    fn forget(&self, ino: Ino, count: u64) {
        self.forget_node(ino, count);
    }

    fn getattr(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Entry, Error>> {
        Box::pin(self.attributes(ctx, ino))
    }

    fn readlink(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(self.read_link(ctx, ino))
    }

    fn open(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenFile, Error>> {
        Box::pin(self.open_file(ctx, ino))
    }

    fn read(&self, ctx: RequestCtx, fh: Fh, wanted: ReadRequest) -> BoxFuture<'_, Result<ReadData, Error>> {
        Box::pin(async move { self.read_file(ctx, fh, wanted, Taking::Memory).await?.into_memory() })
    }

    fn read_piped(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        wanted: ReadRequest,
    ) -> BoxFuture<'_, Result<ReadAnswer, Error>> {
        // What the kernel does not keep others may ask for soon, and it would be gone.
        let taking = if wanted.kept { Taking::Any } else { Taking::Memory };
        Box::pin(self.read_file(ctx, fh, wanted, taking))
    }

    fn seek(&self, ctx: RequestCtx, fh: Fh, offset: u64, what: Seek) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(self.seek_file(ctx, fh, offset, what))
    }

    fn release(&self, fh: Fh) {
        self.files.release(fh);
    }

    fn opendir(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<OpenDirectory, Error>> {
        Box::pin(self.open_directory(ctx, ino))
    }

    fn readdir(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> BoxFuture<'_, Result<Vec<DirEntry>, Error>> {
        Box::pin(self.read_directory(ctx, fh, request))
    }

    fn releasedir(&self, fh: Fh) {
        self.close_directory(fh);
    }

    fn statfs(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<FsStats, Error>> {
        Box::pin(self.statistics(ctx, ino))
    }

    fn getxattr<'a>(
        &'a self,
        ctx: RequestCtx,
        ino: Ino,
        name: &'a [u8],
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(self.attribute(ctx, ino, name))
    }

    fn listxattr(&self, ctx: RequestCtx, ino: Ino) -> BoxFuture<'_, Result<Vec<Vec<u8>>, Error>> {
        Box::pin(self.attribute_names(ctx, ino))
    }

    fn mounted(&self, kernel: Arc<dyn KernelPages>) {
        self.reading.mounted(kernel);
    }

    fn path(&self, ino: Ino) -> Option<String> {
        self.path_of(ino)
    }
}
