//! Listing directories.

use super::listing::{ListingHandle, OpenListing};
use super::{Asked, FileFs, Node};
use crate::fs::{DirEntry, Entry};
use crate::ports::{DirectoryPage, FileDirEntry};
use crate::wait::bounded;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, FileKind, Name, RequestCtx};

/// Handles tried for one request: the one that is there, and fresh ones as long as these turn out to be stale, as what serves a store may
/// be started again more than once in a short time.
pub(super) const ATTEMPTS: u32 = 4;

/// A question for a page of a directory.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// Where to go on; 0: at the beginning.
    pub(crate) cookie: u64,
    /// At most so many entries.
    pub(crate) limit: usize,
    /// With attributes, each of which counts as a look-up.
    pub(crate) plus: bool,
}

impl FileFs {
    /// Opens a directory. Whether the kernel may keep what it lists, and whether it may go on keeping what it has.
    pub(crate) async fn open_directory(
        &self,
        ctx: RequestCtx,
        node: &Arc<Node>,
    ) -> Result<(Arc<OpenListing>, bool, bool), Error> {
        if node.of.kind != FileKind::Directory {
            let message = format!("{} is no directory", self.path(node));
            return Err(Error::new(ErrorKind::NotDirectory, Blame::Caller, message));
        }
        let listings = node.listings();
        let version = listings.version();
        let handle = self.open_listing(ctx, node).await?;
        let cache = handle.cache;
        let allowed = (cache.keep || cache.immutable) && !cache.bypass && !self.is_ending();
        let open = OpenListing::new(node.clone(), version, handle);
        let (cache, keep_cache) = listings.opened(&open, allowed);
        Ok((open, cache, keep_cache))
    }

    async fn open_listing(&self, ctx: RequestCtx, node: &Node) -> Result<Arc<ListingHandle>, Error> {
        let opened = self.store.open_directory(ctx, node.of.number);
        let opened = bounded(self.clock(), ctx, "opening a directory", opened).await?;
        Ok(ListingHandle::new(self.store.clone(), opened.handle, opened.cache))
    }

    /// Entries of an open directory, with their cookies as positions; empty at the end.
    pub(crate) async fn read_directory(
        &self,
        ctx: RequestCtx,
        open: &OpenListing,
        page: Page,
    ) -> Result<Vec<DirEntry>, Error> {
        let mut answering = open.begin();
        let asked = self.ask();
        let mut listed = self.page(ctx, open, page).await?;
        if listed.entries.is_empty() && !listed.end {
            let message = "a page of a directory without entries that is not the last";
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        listed.entries.truncate(page.limit);
        let mut unknown = self.find_kinds(ctx, &open.node, &listed.entries, page.plus).await?;
        answering.coming();
        let (mut entries, mut names) = (Vec::with_capacity(listed.entries.len()), false);
        for listed in listed.entries {
            match self.listed(&open.node, listed, page.plus, asked, &mut unknown) {
                Ok(Some(entry)) => {
                    names |= entry.entry.is_some_and(|entry| !entry.ttl.is_zero());
                    entries.push(entry);
                }
                Ok(None) => {}
                Err(error) => {
                    let found = unknown.into_values().filter(|_| page.plus).map(|entry| entry.attr.ino);
                    let given = entries.into_iter().filter_map(|entry: DirEntry| Some(entry.entry?.attr.ino));
                    found.chain(given).for_each(|ino| self.undo(ino));
                    return Err(error);
                }
            }
        }
        answering.answered(self.clock().now(), names);
        Ok(entries)
    }

    async fn page(&self, ctx: RequestCtx, open: &OpenListing, page: Page) -> Result<DirectoryPage, Error> {
        let limit = u32::try_from(page.limit).unwrap_or(u32::MAX);
        let plus = page.plus && self.caps.directory_attributes;
        let mut attempt = 1;
        loop {
            let handle = open.handle();
            let listed = self.store.read_directory(ctx, handle.handle, page.cookie, limit, plus);
            match bounded(self.clock(), ctx, "reading a directory", listed).await {
                Err(error) if error.kind == ErrorKind::Stale && attempt < ATTEMPTS => {
                    attempt += 1;
                    open.reopened(self.open_listing(ctx, &open.node).await?);
                }
                outcome => return outcome,
            }
        }
    }

    /// Looks up what the directory does not say the kind of; with `plus` that counts as a look-up. The kernel is not to believe such a name for any time:
    /// what was said of it may be taken back before the answer is complete.
    async fn find_kinds(
        &self,
        ctx: RequestCtx,
        parent: &Arc<Node>,
        listed: &[FileDirEntry],
        plus: bool,
    ) -> Result<HashMap<Name, Entry>, Error> {
        let mut found = HashMap::new();
        for entry in listed.iter().filter(|entry| entry.kind.is_none() && entry.entry.is_none()) {
            match self.look_up(ctx, parent, &entry.name).await {
                Ok(entry_found) => {
                    if !plus {
                        self.undo(entry_found.attr.ino);
                    }
                    found.insert(entry.name.clone(), Entry { ttl: Duration::ZERO, ..entry_found });
                }
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => {
                    found.into_values().filter(|_| plus).for_each(|entry: Entry| self.undo(entry.attr.ino));
                    return Err(error);
                }
            }
        }
        Ok(found)
    }

    /// One entry for the kernel; `None`: it is gone by now.
    fn listed(
        &self,
        parent: &Arc<Node>,
        listed: FileDirEntry,
        plus: bool,
        asked: Asked,
        unknown: &mut HashMap<Name, Entry>,
    ) -> Result<Option<DirEntry>, Error> {
        let FileDirEntry { name, inode, kind, cookie, entry } = listed;
        let next_offset = cookie;
        if cookie == 0 {
            let message = format!("{name} is at position 0 of its directory, which is its beginning");
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        }
        if let Some(said) = entry
            && let Some(node) = self.absorb(&said, asked, plus)?
        {
            self.placed(parent, &name, &node);
            node.lock().listed = self.listed.fetch_add(1, Ordering::Relaxed);
            self.keep_name(parent, &name, Some(&node), said.validity.entry_ms, asked);
            let (ino, kind) = (node.ino, node.of.kind);
            let entry = if plus {
                Some(self.entry(&node, &said.attributes, self.name_ttl(parent, &name, &node)))
            } else {
                self.entry(&node, &said.attributes, Duration::ZERO);
                None
            };
            return Ok(Some(DirEntry { name, ino, kind, next_offset, entry }));
        }
        if let Some(kind) = kind {
            let ino = self.listed_number(inode, kind);
            return Ok(Some(DirEntry { name, ino, kind, next_offset, entry: None }));
        }
        let Some(entry) = unknown.remove(&name) else { return Ok(None) };
        let (ino, kind) = (entry.attr.ino, entry.attr.kind);
        Ok(Some(DirEntry { name, ino, kind, next_offset, entry: plus.then_some(entry) }))
    }

    /// Takes back a look-up that the kernel is not told of.
    fn undo(&self, ino: wasmount_types::Ino) {
        if let Some(of) = self.inodes.store_node(ino) {
            self.forget(of, ino, 1);
        }
    }
}
