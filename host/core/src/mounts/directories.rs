//! Open directories.

use super::table::{MountTable, Target};
use super::volume::{Opened, Volume};
use crate::files::{FileFs, OpenListing, Page};
use crate::fs::{self, DirEntry, Entry, ReadDir};
use crate::inode::StoreNode;
use crate::objects::{Child, Listed, Listing, join};
use crate::wait::bounded;
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, FileKind, Ino, Name, RequestCtx};

/// `next_offset` of the first entry: an adapter may use 1 and 2 for `.` and `..`.
const FIRST_NEXT: u64 = 3;

/// Largest position: the kernel's are signed, and an adapter may want some for itself.
const LAST_NEXT: u64 = i64::MAX as u64 - 64;

/// An open directory. First come the table's own directories in it, then what a mount has there.
pub(super) struct OpenDirectory {
    /// Directories of the table, in order; they shadow entries of the mount.
    children: Vec<(Name, usize)>,
    mount: Option<usize>,
    within: Within,
    content: Mutex<Option<Content>>,
}

/// Which directory of a mount it is.
enum Within {
    /// The one with this path; the root of a mount whatever it holds, if that is empty.
    Path(Arc<str>),
    /// A node of its own.
    Node(StoreNode, Ino),
}

#[derive(Clone)]
enum Content {
    Paths {
        volume: Volume,
        listing: Arc<Listing>,
        /// It has been read from the beginning: the next time it is to be a new one (`rewinddir(3)`).
        begun: bool,
    },
    Nodes {
        fs: Arc<FileFs>,
        open: Arc<OpenListing>,
        /// The kernel may keep what is listed, and what it has.
        kept: (bool, bool),
    },
}

impl OpenDirectory {
    /// The mount whose entries it shows.
    pub(super) fn mount(&self) -> Option<usize> {
        self.mount
    }

    /// Its mount is gone, and nothing of it may be held.
    pub(super) fn let_go(&self) {
        self.end();
        *lock(&self.content) = None;
    }

    /// The kernel makes no request on it any more.
    pub(super) fn end(&self) {
        if let Some(Content::Nodes { open, .. }) = &*lock(&self.content) {
            open.end();
        }
    }
}

impl MountTable {
    pub(super) async fn open_directory(&self, ctx: RequestCtx, ino: Ino) -> Result<fs::OpenDirectory, Error> {
        let (children, mount, within) = match self.target(ino)? {
            Target::Table(index) => {
                let directory = self.directory(index)?;
                let children =
                    directory.children.iter().map(|(name, index)| (name.clone(), *index)).collect();
                (children, directory.mount, Within::Path("".into()))
            }
            Target::Directory { mount, path } => (Vec::new(), Some(mount), Within::Path(path)),
            Target::Node { mount, of } => (Vec::new(), Some(mount), Within::Node(of, ino)),
            Target::File { path, .. } | Target::Live { path, .. } => {
                return Err(Error::new(ErrorKind::NotDirectory, Blame::Caller, format!("{path} is a file")));
            }
        };
        let open = OpenDirectory { children, mount, within, content: Mutex::new(None) };
        let (mut cache, mut keep_cache) = (false, false);
        // Where there are entries from memory they are shown first, even if the mount beside them does not work.
        if open.children.is_empty()
            && let Some(mount) = open.mount
            && let Content::Nodes { kept, .. } = self.content(ctx, &open, mount, true).await?
        {
            (cache, keep_cache) = kept;
        }
        Ok(fs::OpenDirectory { fh: self.directories.open(ino, open), cache, keep_cache })
    }

    pub(super) async fn read_directory(
        &self,
        ctx: RequestCtx,
        fh: wasmount_types::Fh,
        request: ReadDir,
    ) -> Result<Vec<DirEntry>, Error> {
        let open = self.directories.get(fh)?;
        let mut at = request.offset.saturating_sub(FIRST_NEXT - 1);
        let own = open.children.len() as u64;
        let mut entries = Vec::new();
        while at < own && entries.len() < request.limit {
            let Some((name, index)) = open.children.get(at as usize) else { break };
            // One that is gone since is left out.
            entries.extend(self.own_entry(name, *index, at, request.plus).ok());
            at += 1;
        }
        if !entries.is_empty() || request.limit == 0 {
            return Ok(entries);
        }
        let Some(mount) = open.mount else { return Ok(entries) };
        match self.content(ctx, &open, mount, at == own).await? {
            Content::Paths { volume, listing, .. } => {
                self.read_paths(ctx, &open, mount, (&volume, &listing), at, request).await
            }
            Content::Nodes { fs, open: listing, .. } => {
                let listed = self.read_nodes(ctx, &open, (&fs, &listing), at - own, request).await;
                self.noted_at(mount, &fs, listed)
            }
        }
    }

    async fn read_paths(
        &self,
        ctx: RequestCtx,
        open: &OpenDirectory,
        mount: usize,
        (volume, listing): (&Volume, &Listing),
        mut at: u64,
        request: ReadDir,
    ) -> Result<Vec<DirEntry>, Error> {
        let own = open.children.len() as u64;
        let Within::Path(path) = &open.within else { return Err(Error::stale("an open directory")) };
        let of = self.mount(mount)?;
        let mut entries = Vec::new();
        // Entries that are shadowed are skipped; a page of nothing else must not look like the end.
        while entries.is_empty() {
            let page = listing.entries((at - own) as usize, request.limit);
            let page = bounded(&*self.clock, ctx, "reading a directory", page).await;
            let page = self.noted(&of, volume, page)?;
            if page.is_empty() {
                break;
            }
            for (name, listed) in page {
                if !open.children.iter().any(|(own, _)| *own == name) {
                    entries.push(self.entry(mount, volume, path, name, listed, at, request.plus)?);
                }
                at += 1;
            }
        }
        Ok(entries)
    }

    /// Entries of a mount with nodes of its own, after `cookie`.
    async fn read_nodes(
        &self,
        ctx: RequestCtx,
        open: &OpenDirectory,
        (fs, listing): (&Arc<FileFs>, &OpenListing),
        mut cookie: u64,
        request: ReadDir,
    ) -> Result<Vec<DirEntry>, Error> {
        let first = open.children.len() as u64 + FIRST_NEXT - 1;
        let ReadDir { limit, plus, .. } = request;
        loop {
            let mut entries = fs.read_directory(ctx, listing, Page { cookie, limit, plus }).await?;
            let Some(last) = entries.last() else { return Ok(entries) };
            cookie = last.next_offset;
            entries.retain(|entry| {
                let shadowed = open.children.iter().any(|(own, _)| *own == entry.name);
                if let Some(entry) = entry.entry.filter(|_| shadowed) {
                    // It was counted as looked up, and the kernel will never hear of it.
                    self.forget_node(entry.attr.ino, 1);
                }
                !shadowed
            });
            for entry in &mut entries {
                let position = entry.next_offset.checked_add(first).filter(|at| *at <= LAST_NEXT);
                entry.next_offset = position.ok_or_else(|| {
                    let message =
                        format!("position {} is too large for one in a directory", entry.next_offset);
                    Error::new(ErrorKind::Corrupt, Blame::Plugin, message)
                })?;
            }
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// The content of an open directory. A listing by paths is a new one when it is read from its beginning a second time; one of nodes when the
    /// store was opened again.
    async fn content(
        &self,
        ctx: RequestCtx,
        open: &OpenDirectory,
        mount: usize,
        beginning: bool,
    ) -> Result<Content, Error> {
        let current = lock(&open.content).clone();
        match current {
            Some(Content::Paths { volume, listing, begun }) if !(beginning && begun) => {
                let content = Content::Paths { volume, listing, begun: begun | beginning };
                *lock(&open.content) = Some(content.clone());
                return Ok(content);
            }
            Some(Content::Nodes { fs, open: listing, kept }) => {
                let now = self.mount(mount)?.nodes(ctx).await?;
                if Arc::ptr_eq(&fs, &now) {
                    return Ok(Content::Nodes { fs, open: listing, kept });
                }
            }
            _ => {}
        }
        let content = match (self.mount(mount)?.ready(ctx).await?, &open.within) {
            (Opened::Paths(volume), Within::Path(path)) => {
                let listing = volume.list(path);
                Content::Paths { volume, listing, begun: false }
            }
            (Opened::Nodes(fs), within) => {
                let node = match within {
                    Within::Node(of, ino) => fs.node(*of, *ino)?,
                    Within::Path(path) if path.is_empty() => fs.root().clone(),
                    Within::Path(path) => return Err(Error::stale(path)),
                };
                let opened = fs.open_directory(ctx, &node).await;
                let (listing, cache, keep_cache) = self.noted_at(mount, &fs, opened)?;
                Content::Nodes { fs, open: listing, kept: (cache, keep_cache) }
            }
            (Opened::Paths(_), Within::Node(..)) => return Err(Error::stale("an open directory")),
        };
        *lock(&open.content) = Some(content.clone());
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
        let entry = Some(Entry::new(attr, volume.ttl_left(&listed)));
        Ok(DirEntry { name, ino, kind, next_offset, entry })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
