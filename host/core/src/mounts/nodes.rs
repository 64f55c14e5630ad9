//! Mounts that have nodes of their own.

use super::files::Open;
use super::table::{MountTable, Target};
use super::volume::Opened;
use crate::files::{FileFs, Node, OpenNode, OpenedNode};
use crate::fs::{self, Entry, FsStats, ReadData, ReadRequest, Seek};
use crate::inode::StoreNode;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Ino, Name, RequestCtx};

/// A node of a mount that is open.
pub(super) struct OwnNode {
    mount: usize,
    pub(super) fs: Arc<FileFs>,
    pub(super) node: Arc<Node>,
}

/// An open file, read through whichever opening of its store there is at the moment.
pub(super) struct OwnFile {
    mount: usize,
    of: StoreNode,
    ino: Ino,
    /// The kernel keeps nothing of what it reads.
    direct: bool,
    /// `None`: its mount is gone.
    current: Mutex<Option<(Arc<FileFs>, Arc<OpenNode>)>>,
}

impl OwnFile {
    pub(super) fn mount(&self) -> usize {
        self.mount
    }

    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// Its mount is gone, and nothing of it may be held.
    pub(super) fn let_go(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl MountTable {
    /// A node by its number.
    async fn node(&self, ctx: RequestCtx, mount: usize, of: StoreNode, ino: Ino) -> Result<OwnNode, Error> {
        let fs = self.mount(mount)?.nodes(ctx).await?;
        let node = fs.node(of, ino)?;
        Ok(OwnNode { mount, fs, node })
    }

    /// The node behind a number, if it is one of a store that has nodes of its own: also a directory of the table that shows the root of one.
    pub(super) async fn own_node(&self, ctx: RequestCtx, ino: Ino) -> Result<Option<OwnNode>, Error> {
        match self.target(ino)? {
            Target::Node { mount, of } => self.node(ctx, mount, of, ino).await.map(Some),
            Target::Table(index) => {
                let Some(mount) = self.directory(index)?.mount else { return Ok(None) };
                let fs = self.mount(mount)?.open_nodes();
                Ok(fs.map(|fs| OwnNode { mount, node: fs.root().clone(), fs }))
            }
            Target::Directory { .. } | Target::File { .. } | Target::Live { .. } => Ok(None),
        }
    }

    /// Passes an error of a store on, and lets its mount know of it.
    pub(super) fn noted_of<T>(&self, of: &OwnNode, outcome: Result<T, Error>) -> Result<T, Error> {
        self.noted_at(of.mount, &of.fs, outcome)
    }

    pub(super) fn noted_at<T>(
        &self,
        mount: usize,
        fs: &Arc<FileFs>,
        outcome: Result<T, Error>,
    ) -> Result<T, Error> {
        if let Err(error) = &outcome {
            let is = |now: &Opened| matches!(now, Opened::Nodes(now) if Arc::ptr_eq(now, fs));
            self.mount(mount)?.report(error, is);
        }
        outcome
    }

    pub(super) async fn look_up_in_root(
        &self,
        ctx: RequestCtx,
        mount: usize,
        fs: &Arc<FileFs>,
        name: &Name,
    ) -> Result<Entry, Error> {
        self.noted_at(mount, fs, fs.look_up(ctx, fs.root(), name).await)
    }

    pub(super) async fn look_up_in_node(
        &self,
        ctx: RequestCtx,
        mount: usize,
        of: StoreNode,
        parent: Ino,
        name: &Name,
    ) -> Result<Entry, Error> {
        let parent = self.node(ctx, mount, of, parent).await?;
        self.noted_of(&parent, parent.fs.look_up(ctx, &parent.node, name).await)
    }

    /// Attributes of a directory of the table: those of a store's root if it is one, as far as they can be had at once.
    pub(super) async fn table_attributes(&self, index: usize) -> Result<Entry, Error> {
        let shape = self.shape();
        let directory = shape.directory(index)?;
        let fs = shape.shown(directory).and_then(|mount| mount.open_nodes());
        let entry = match fs {
            Some(fs) => fs.root_entry().await,
            None => None,
        };
        Ok(entry.unwrap_or_else(|| self.table_entry(&shape, directory)))
    }

    pub(super) async fn node_attributes(
        &self,
        ctx: RequestCtx,
        mount: usize,
        of: StoreNode,
        ino: Ino,
    ) -> Result<Entry, Error> {
        let node = self.node(ctx, mount, of, ino).await?;
        self.noted_of(&node, node.fs.attributes(ctx, &node.node).await)
    }

    pub(super) fn node_path(&self, mount: usize, of: StoreNode, ino: Ino) -> Option<String> {
        let fs = self.mount(mount).ok()?.open_nodes()?;
        let node = fs.node(of, ino).ok()?;
        Some(fs.path(&node))
    }

    pub(super) async fn read_link(&self, ctx: RequestCtx, ino: Ino) -> Result<Bytes, Error> {
        match self.own_node(ctx, ino).await? {
            Some(node) => self.noted_of(&node, node.fs.read_link(ctx, &node.node).await),
            None => {
                let message = "there are no symbolic links in such a store";
                Err(Error::new(ErrorKind::Invalid, Blame::Caller, message))
            }
        }
    }

    pub(super) async fn open_node(
        &self,
        ctx: RequestCtx,
        mount: usize,
        of: StoreNode,
        ino: Ino,
    ) -> Result<fs::OpenFile, Error> {
        let node = self.node(ctx, mount, of, ino).await?;
        let opened = self.noted_of(&node, node.fs.open(ctx, &node.node).await)?;
        let OpenedNode { open, keep_cache, backing } = opened;
        let direct = open.is_direct();
        let current = Mutex::new(Some((node.fs, Arc::new(open))));
        let fh = self.keep_open(ino, Open::Node(OwnFile { mount, of, ino, direct, current }));
        Ok(fs::OpenFile { fh, keep_cache, direct_io: direct, backing })
    }

    /// An open file in the store as it is open at the moment: opened again if that is another opening.
    async fn current(&self, ctx: RequestCtx, open: &OwnFile) -> Result<(Arc<FileFs>, Arc<OpenNode>), Error> {
        let fs = self.mount(open.mount)?.nodes(ctx).await?;
        let current = open.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(current) = current.filter(|current| Arc::ptr_eq(&current.0, &fs)) {
            return Ok(current);
        }
        let node = fs.node(open.of, open.ino)?;
        let new = (fs.clone(), Arc::new(fs.open_again(&node, open.direct)));
        *open.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
        if let Err(gone) = self.mount(open.mount) {
            open.let_go();
            return Err(gone);
        }
        Ok(new)
    }

    pub(super) async fn read_node(
        &self,
        ctx: RequestCtx,
        open: &OwnFile,
        wanted: ReadRequest,
    ) -> Result<ReadData, Error> {
        let (fs, file) = self.current(ctx, open).await?;
        self.noted_at(open.mount, &fs, fs.read(ctx, &file, wanted).await)
    }

    pub(super) async fn seek_node(
        &self,
        ctx: RequestCtx,
        open: &OwnFile,
        offset: u64,
        what: Seek,
    ) -> Result<u64, Error> {
        let (fs, file) = self.current(ctx, open).await?;
        self.noted_at(open.mount, &fs, fs.seek(ctx, &file, offset, what).await)
    }

    /// Space as a node sees it. At the root of the whole table nobody waits for long.
    pub(super) async fn statistics(&self, ctx: RequestCtx, ino: Ino) -> Result<FsStats, Error> {
        let stats = match self.target(ino) {
            Ok(Target::Node { mount, of }) => {
                let node = self.node(ctx, mount, of, ino).await?;
                return self.noted_of(&node, node.fs.statistics(ctx, &node.node).await);
            }
            Ok(Target::Table(index)) => {
                let shape = self.shape();
                let mount = shape.shown(shape.directory(index)?);
                match mount.and_then(|mount| mount.open_nodes()) {
                    Some(fs) => fs.root_statistics().await,
                    None => None,
                }
            }
            _ => None,
        };
        Ok(stats.unwrap_or_else(|| self.stats()))
    }

    /// The kernel gives look-ups back.
    pub(super) fn forget_node(&self, ino: Ino, count: u64) {
        let Some(of) = self.inodes.store_node(ino) else {
            self.inodes.forget(ino, count);
            return;
        };
        let mount = self.inodes.get(ino).and_then(|node| self.mount(node.identity.mount).ok());
        match mount.and_then(|mount| mount.open_nodes()) {
            Some(fs) => fs.forget(of, ino, count),
            None => drop(self.inodes.forget(ino, count)),
        }
    }

    pub(super) fn close_directory(&self, fh: wasmount_types::Fh) {
        if let Some(open) = self.directories.release(fh) {
            open.end();
        }
    }
}
