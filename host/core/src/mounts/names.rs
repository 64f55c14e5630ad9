//! Looking names up, and the attributes of nodes.

use super::table::{MountTable, Target};
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
                match directory.mount {
                    Some(mount) => self.look_up_inside(ctx, mount, "", name).await,
                    None => Err(Error::not_found(name)),
                }
            }
            Target::Directory { mount, path } => self.look_up_inside(ctx, mount, &path, name).await,
            Target::File { path, .. } => {
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
        let fs = mount.ready(ctx).await?;
        let listed = self.noted(mount, &fs, fs.look_up(ctx, dir, name).await)?;
        let path = join(dir, name.as_str().unwrap_or_default());
        let ino = self.inodes.look_up(self.identity(index, &path, &listed.child)?);
        Ok(Entry { attr: self.attr(index, ino, &listed.child)?, ttl: fs.ttl_left(listed.at) })
    }

    /// Attributes from memory alone: a node of a file never changes, and directories have nothing that could.
    pub(super) fn attributes(&self, ino: Ino) -> Result<Entry, Error> {
        let (mount, child) = match self.target(ino)? {
            Target::Table(index) => return Ok(self.table_entry(self.directory(index)?)),
            Target::Directory { mount, .. } => (mount, Child::Directory),
            Target::File { mount, file, .. } => (mount, Child::File(file)),
        };
        Ok(Entry { attr: self.attr(mount, ino, &child)?, ttl: self.mount(mount)?.config.attr_ttl })
    }
}
