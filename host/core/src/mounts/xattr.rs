//! Extended attributes: what cannot be said with an errno.

use super::opener::State;
use super::table::{MountTable, Target};
use super::volume::Opened;
use crate::read::File;
use bytes::Bytes;
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, Ino, RequestCtx};

/// On the directory of a failed mount: why it failed, and what to do.
pub const ERROR: &str = "user.wasmount.error";
/// On a file: the key of its object, or the name that its image or snapshot has here.
pub const KEY: &str = "user.wasmount.key";
/// On a file: its version as the store names it.
pub const VERSION: &str = "user.wasmount.version";
/// On a file of a mount with a disk cache: how many of its bytes are in it, in decimal.
pub const CACHED: &str = "user.wasmount.cached";

impl MountTable {
    pub(super) async fn attribute(&self, ctx: RequestCtx, ino: Ino, name: &[u8]) -> Result<Bytes, Error> {
        if let Some(node) = self.own_node(ctx, ino).await? {
            return self.noted_of(&node, node.fs.xattr(ctx, &node.node, name).await);
        }
        if name == CACHED.as_bytes()
            && let Some(bytes) = self.cached_bytes(ino).await?
        {
            return Ok(bytes.to_string().into());
        }
        let found = self.attributes_of(ino)?.into_iter().find(|(own, _)| own.as_bytes() == name);
        found.map(|(_, value)| value.into()).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            Error::new(ErrorKind::NoAttribute, Blame::Caller, format!("there is no attribute {name}"))
        })
    }

    pub(super) async fn attribute_names(&self, ctx: RequestCtx, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        if let Some(node) = self.own_node(ctx, ino).await? {
            return self.noted_of(&node, node.fs.xattrs(ctx, &node.node).await);
        }
        let cached = self.cacheable(ino)?.map(|_| CACHED);
        let names = self.attributes_of(ino)?.into_iter().map(|(name, _)| name).chain(cached);
        Ok(names.map(|name| name.as_bytes().to_vec()).collect())
    }

    /// Bytes of a file in the disk cache; `None` for what is not cached.
    async fn cached_bytes(&self, ino: Ino) -> Result<Option<u64>, Error> {
        let Some(file) = self.cacheable(ino)? else { return Ok(None) };
        Ok(Some(file.open_cache().await.map_or(0, |cached| cached.cached_bytes())))
    }

    /// A file that has a place in the disk cache.
    fn cacheable(&self, ino: Ino) -> Result<Option<Arc<File>>, Error> {
        let Target::File { mount, path, file, .. } = self.target(ino)? else { return Ok(None) };
        let State::Ready(Opened::Paths(volume)) = self.mount(mount)?.state() else { return Ok(None) };
        Ok(volume.cache().is_some().then(|| self.file(&volume, ino, &path, &file)))
    }

    fn attributes_of(&self, ino: Ino) -> Result<Vec<(&'static str, String)>, Error> {
        Ok(match self.target(ino)? {
            Target::Table(index) => {
                match self.directory(index)?.mount.map(|mount| self.mount(mount)).transpose()? {
                    Some(mount) => match mount.state() {
                        State::Failed(error) => vec![(ERROR, error.to_string())],
                        State::Opening | State::Ready(_) | State::Ended => Vec::new(),
                    },
                    None => Vec::new(),
                }
            }
            Target::Directory { .. } | Target::Node { .. } => Vec::new(),
            Target::Live { path, .. } => vec![(KEY, path.to_string())],
            Target::File { path, file, .. } => {
                let version = file.version.map(|version| (VERSION, version.as_str().to_owned()));
                [(KEY, path.to_string())].into_iter().chain(version).collect()
            }
        })
    }
}
