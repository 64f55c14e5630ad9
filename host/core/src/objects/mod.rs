//! An object store as a tree of files.
//!
//! Directories are what keys have in common up to a slash. What is in them is learned in three ways, each cheaper per
//! name than the one before: a *probe* of one name (one LIST), the *listing* of a whole directory (one LIST per page,
//! shared by everybody who waits for it), and memory. After a few probes in one directory its listing is loaded in the
//! background, so that a walk through many small files costs a few LISTs and one GET each; where that was so in directories
//! beside it, at once, and where they are gone through in order, before anybody asks. The newest answer wins, and each holds for a time (`attr-ttl`, `negative-ttl`) counted from when the question was *sent*.
//!
//! The rules for keys that are no paths are in `SEMANTICS.md`, which a test executes.

mod ahead;
mod config;
mod content;
mod current;
mod flights;
mod known;
mod listing;
mod listings;
mod loader;
mod lookup;
mod misses;
mod names;
mod probe;

pub use config::{Consistency, ObjectFsConfig};
pub(crate) use flights::Flights;
pub(crate) use known::{Known, KnownNames};
pub(crate) use listing::Seen;
pub use listing::{Child, Listed, Listing};
pub(crate) use loader::in_circles;
pub(crate) use names::join;

use crate::context::MountContext;
use crate::ports::{CacheIdentity, Clock, ObjectCapabilities, ObjectStore, Spawn};
use crate::read::Source;
use crate::walk::Walks;
use content::ObjectContent;
use listings::Listings;
use misses::Misses;
use names::prefix_of;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmount_types::{MountId, Name};

/// Directories whose hidden objects have been logged; beyond so many nothing more is said.
const MAX_REPORTED: usize = 10_000;

/// An open object store as a tree.
pub struct ObjectFs {
    id: MountId,
    store: Arc<dyn ObjectStore>,
    content: Arc<dyn Source>,
    cache: Option<CacheIdentity>,
    caps: ObjectCapabilities,
    config: ObjectFsConfig,
    clock: Arc<dyn Clock>,
    spawn: Arc<dyn Spawn>,
    request_timeout: Duration,
    listings: Listings,
    known: KnownNames,
    misses: Misses,
    walks: Walks<Arc<str>>,
    probes: Flights<Option<Listed>>,
    reported: Mutex<HashSet<Arc<str>>>,
}

impl ObjectFs {
    /// A tree over an open store.
    pub fn new(context: MountContext, store: Arc<dyn ObjectStore>) -> Self {
        let MountContext { id, cache, config, request_timeout, clock, spawn } = context;
        Self {
            id,
            caps: store.capabilities(),
            content: Arc::new(ObjectContent(store.clone())),
            store,
            cache,
            listings: Listings::new(config.listing_entries),
            known: KnownNames::new(config.attr_ttl),
            misses: Misses::new(config.attr_ttl),
            walks: Walks::default(),
            probes: Flights::new(),
            reported: Mutex::default(),
            config,
            clock,
            spawn,
            request_timeout,
        }
    }

    /// The bytes of its files.
    pub(crate) fn content(&self) -> &Arc<dyn Source> {
        &self.content
    }

    /// Whose bytes these are in the block cache; `None`: they are not cached.
    pub fn cache(&self) -> Option<&CacheIdentity> {
        self.cache.as_ref()
    }

    /// Bytes and entries in all directories that were listed so far.
    pub fn totals(&self) -> (u64, u64) {
        self.listings.totals()
    }

    /// The content of a directory, being loaded or younger than `attr-ttl`.
    pub fn list(self: &Arc<Self>, dir: &str) -> Arc<Listing> {
        let listing = self.load(dir);
        if listing.is_wanted_first() {
            self.entered(dir);
        }
        listing
    }

    /// The listing of a directory, which nobody may want yet.
    fn load(self: &Arc<Self>, dir: &str) -> Arc<Listing> {
        let (now, prefix) = (self.clock.now(), prefix_of(dir));
        let (listing, new) = self.listings.get_or_start(dir, now, self.config.attr_ttl, || {
            Listing::new(prefix.clone(), self.caps.listing.ordered, now)
        });
        if new {
            let load = loader::load(self.clone(), dir.into(), prefix, listing.clone());
            self.spawn.spawn(Box::pin(load));
        }
        listing
    }

    /// The listing of a directory, as far as there is one, and the place of a name in it.
    pub(crate) fn place(&self, dir: &str, name: &Name) -> Option<(Arc<Listing>, usize)> {
        let listing = self.listings.get(dir)?;
        let place = listing.place(name)?;
        Some((listing, place))
    }

    /// Newer news than a listing's about one of its entries; `Some(None)`: it changed, and nobody knows to what.
    pub fn news(&self, dir: &str, name: &Name, listed: &Listed) -> Option<Option<Listed>> {
        let (known, at) = self.known.get(&join(dir, name.as_str()?))?;
        match known {
            _ if at < listed.at => None,
            known::Known::Found(child) => Some(Some(Listed { child, at })),
            known::Known::Absent | known::Known::Suspect => Some(None),
        }
    }

    /// Settings of this mount.
    pub fn config(&self) -> &ObjectFsConfig {
        &self.config
    }

    /// How much longer something holds that was asked for at `at`.
    pub fn ttl_left(&self, at: Instant) -> Duration {
        self.config.attr_ttl.saturating_sub(self.clock.now().saturating_duration_since(at))
    }

    /// Says once per directory that objects in it have no name.
    fn report_hidden(&self, dir: &Arc<str>, listing: &Listing) {
        let (_, _, hidden, pages) = listing.totals();
        self.misses.set_size(dir, pages, self.clock.now());
        if hidden == listing::Hidden::default() {
            return;
        }
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < MAX_REPORTED && reported.insert(dir.clone()) {
            tracing::warn!(
                mount = %self.id,
                directory = %format_args!("/{dir}"),
                behind_directories = hidden.behind_directories,
                no_path = hidden.no_path,
                "objects without a name are hidden: beside a directory of the same name, or with a key that is no path \
                 (empty segments, `.`, `..`, over 255 bytes)"
            );
        }
    }
}
