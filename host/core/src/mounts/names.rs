//! Looking names up, and the attributes of nodes.

use super::table::{MountTable, Target};
use super::volume::Opened;
use crate::fs::Entry;
use crate::objects::{Child, join};
use wasmount_types::{Blame, Error, ErrorKind, Ino, Name, RequestCtx};

impl MountTable {
    pub(super) async fn look_up(&self, ctx: RequestCtx, parent: Ino, name: &Name) -> Result<Entry, Error> {
        match self.target(parent)? {
            Target::Table(index) => {
                let directory = self.directory(index)?;
                if let Some(child) = directory.children.get(name) {
                    return self.look_up_table(*child);
                }
                let Some(index) = directory.mount else { return Err(Error::not_found(name)) };
                match self.mount(index)?.ready(ctx).await? {
                    Opened::Paths(_) => self.look_up_inside(ctx, index, "", name).await,
                    Opened::Nodes(fs) => self.look_up_in_root(ctx, index, &fs, name).await,
                }
            }
            Target::Directory { mount, path } => self.look_up_inside(ctx, mount, &path, name).await,
            Target::Node { mount, of } => self.look_up_in_node(ctx, mount, of, parent, name).await,
            Target::File { path, .. } | Target::Live { path, .. } => {
                Err(Error::new(ErrorKind::NotDirectory, Blame::Caller, format!("{path} is a file")))
            }
        }
    }

    async fn look_up_inside(
        &self,
        ctx: RequestCtx,
        index: usize,
        dir: &str,
        name: &Name,
    ) -> Result<Entry, Error> {
        let mount = self.mount(index)?;
        let volume = mount.volume(ctx).await?;
        let listed = self.noted(&mount, &volume, volume.look_up(ctx, dir, name).await)?;
        let path = join(dir, name.as_str().unwrap_or_default());
        let ino = self.inodes.look_up(self.identity(index, &path, &listed.child)?);
        Ok(Entry::new(self.attr(index, ino, &listed.child)?, volume.ttl_left(&listed)))
    }

    /// Attributes, from memory alone but for a live image: a node of a version never changes, and directories have nothing that
    /// could.
    pub(super) async fn attributes(&self, ctx: RequestCtx, ino: Ino) -> Result<Entry, Error> {
        let (mount, child) = match self.target(ino)? {
            Target::Table(index) => return self.table_attributes(index).await,
            Target::Node { mount, of } => return self.node_attributes(ctx, mount, of, ino).await,
            Target::Directory { mount, .. } => (mount, Child::Directory),
            Target::File { mount, file, .. } => (mount, Child::File(file)),
            Target::Live { mount, path } => return self.live_attributes(ctx, ino, mount, &path).await,
        };
        Ok(Entry::new(self.attr(mount, ino, &child)?, self.mount(mount)?.config.attr_ttl))
    }

    /// Attributes of a live image, by the name that led to it.
    async fn live_attributes(
        &self,
        ctx: RequestCtx,
        ino: Ino,
        index: usize,
        path: &str,
    ) -> Result<Entry, Error> {
        let mount = self.mount(index)?;
        let volume = mount.volume(ctx).await?;
        let stale = || Error::stale(path);
        let name = Name::new(path.as_bytes()).map_err(|_| stale())?;
        match self.noted(&mount, &volume, volume.look_up(ctx, "", &name).await) {
            Ok(listed) if matches!(listed.child, Child::Live(_)) => {
                Ok(Entry::new(self.attr(index, ino, &listed.child)?, volume.ttl_left(&listed)))
            }
            Ok(_) => Err(stale()),
            Err(error) if error.kind == ErrorKind::NotFound => Err(stale()),
            Err(error) => Err(error),
        }
    }
}
