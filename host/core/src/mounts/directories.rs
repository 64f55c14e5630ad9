//! Open directories.

use super::table::{MountTable, Target};
use super::volume::Volume;
use crate::fs::{DirEntry, Entry, ReadDir};
use crate::objects::{Child, Listed, Listing, join};
use crate::wait::bounded;
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Fh, FileKind, Ino, Name, RequestCtx};

/// `next_offset` of the first entry: an adapter may use 1 and 2 for `.` and `..`.
const FIRST_NEXT: u64 = 3;

/// An open directory. First come the table's own directories in it, then what a mount has there.
pub(super) struct OpenDirectory {
    /// Directories of the table, in order; they shadow entries of the mount.
    children: Vec<(Name, usize)>,
    mount: Option<usize>,
    /// Path inside the mount.
    path: Arc<str>,
    content: Mutex<Option<Content>>,
}

#[derive(Clone)]
struct Content {
    volume: Volume,
    listing: Arc<Listing>,
    /// It has been read from the beginning: the next time it is to be a new one (`rewinddir(3)`).
    begun: bool,
}

impl MountTable {
    pub(super) async fn open_directory(&self, ctx: RequestCtx, ino: Ino) -> Result<Fh, Error> {
        let (children, mount, path) = match self.target(ino)? {
            Target::Table(index) => {
                let directory = self.directory(index)?;
                let children =
                    directory.children.iter().map(|(name, index)| (name.clone(), *index)).collect();
                (children, directory.mount, "".into())
            }
            Target::Directory { mount, path } => (Vec::new(), Some(mount), path),
            Target::File { path, .. } | Target::Live { path, .. } => {
                return Err(Error::new(ErrorKind::NotDirectory, Blame::Caller, format!("{path} is a file")));
            }
        };
        let open = OpenDirectory { children, mount, path, content: Mutex::new(None) };
        // Where there are entries from memory they are shown first, even if the mount beside them does not work.
        if open.children.is_empty() && open.mount.is_some() {
            self.content(ctx, &open, true).await?;
        }
        Ok(self.directories.open(ino, open))
    }

    pub(super) async fn read_directory(
        &self,
        ctx: RequestCtx,
        fh: Fh,
        request: ReadDir,
    ) -> Result<Vec<DirEntry>, Error> {
        let open = self.directories.get(fh)?;
        let mut at = request.offset.saturating_sub(FIRST_NEXT - 1);
        let own = open.children.len() as u64;
        let mut entries = Vec::new();
        while at < own && entries.len() < request.limit {
            let Some((name, index)) = open.children.get(at as usize) else { break };
            entries.push(self.own_entry(name, *index, at, request.plus)?);
            at += 1;
        }
        if !entries.is_empty() || request.limit == 0 {
            return Ok(entries);
        }
        let Some(mount) = open.mount else { return Ok(entries) };
        let content = self.content(ctx, &open, at == own).await?;
        // Entries that are shadowed are skipped; a page of nothing else must not look like the end.
        while entries.is_empty() {
            let page = content.listing.entries((at - own) as usize, request.limit);
            let page = bounded(&*self.clock, ctx, "reading a directory", page).await;
            let page = self.noted(self.mount(mount)?, &content.volume, page)?;
            if page.is_empty() {
                break;
            }
            for (name, listed) in page {
                if !open.children.iter().any(|(own, _)| *own == name) {
                    entries.push(self.entry(
                        mount,
                        &content.volume,
                        &open.path,
                        name,
                        listed,
                        at,
                        request.plus,
                    )?);
                }
                at += 1;
            }
        }
        Ok(entries)
    }

    /// The listing of an open directory; a new one when it is read from its beginning a second time.
    async fn content(
        &self,
        ctx: RequestCtx,
        open: &OpenDirectory,
        beginning: bool,
    ) -> Result<Content, Error> {
        let mount = open.mount.ok_or_else(|| Error::not_found("the mount of a directory"))?;
        let first_use = |content: &mut Option<Content>| match content {
            Some(content) if !(beginning && content.begun) => {
                content.begun |= beginning;
                Some(content.clone())
            }
            _ => None,
        };
        if let Some(content) = first_use(&mut open.content.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(content);
        }
        let volume = self.mount(mount)?.ready(ctx).await?;
        let listing = volume.list(&open.path);
        let content = Content { volume, listing, begun: false };
        *open.content.lock().unwrap_or_else(PoisonError::into_inner) = Some(content.clone());
        Ok(content)
    }

    fn own_entry(&self, name: &Name, index: usize, at: u64, plus: bool) -> Result<DirEntry, Error> {
        let entry = if plus { Some(self.look_up_table(index)?) } else { None };
        let (ino, kind) = (self.directory(index)?.ino, FileKind::Directory);
        Ok(DirEntry { name: name.clone(), ino, kind, next_offset: at + FIRST_NEXT, entry })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "an entry is made of what it is, where it is and what was asked"
    )]
    fn entry(
        &self,
        mount: usize,
        volume: &Volume,
        dir: &str,
        name: Name,
        listed: Listed,
        at: u64,
        plus: bool,
    ) -> Result<DirEntry, Error> {
        // What is newer than the listing counts, so that listing a directory never brings an old version back.
        let news = volume.news(dir, &name, &listed);
        let certain = !matches!(news, Some(None));
        let listed = news.flatten().unwrap_or(listed);
        let identity = self.identity(mount, &join(dir, name.as_str().unwrap_or_default()), &listed.child)?;
        let kind = match listed.child {
            Child::Directory => FileKind::Directory,
            Child::File(_) | Child::Live(_) => FileKind::Regular,
        };
        let next_offset = at + FIRST_NEXT;
        if !plus || !certain {
            let ino = self.inodes.peek(&identity);
            return Ok(DirEntry { name, ino, kind, next_offset, entry: None });
        }
        let ino = self.inodes.look_up(identity);
        let attr = self.attr(mount, ino, &listed.child)?;
        let entry = Some(Entry { attr, ttl: volume.ttl_left(&listed) });
        Ok(DirEntry { name, ino, kind, next_offset, entry })
    }
}
