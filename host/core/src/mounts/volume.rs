//! What a mount holds once its provider is open, whatever kind that is.

use crate::blocks::ImageFs;
use crate::files::FileFs;
use crate::objects::{Listed, Listing, ObjectFs};
use crate::ports::CacheIdentity;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Error, Name, RequestCtx};

/// An open provider.
#[derive(Clone)]
pub(super) enum Opened {
    /// What is in it is found by paths.
    Paths(Volume),
    /// It has nodes of its own.
    Nodes(Arc<FileFs>),
}

impl Opened {
    /// Bytes and entries that were seen so far.
    pub(super) fn totals(&self) -> (u64, u64) {
        match self {
            Self::Paths(volume) => volume.totals(),
            Self::Nodes(fs) => fs.totals(),
        }
    }
}

/// An open provider as files that are found by paths.
#[derive(Clone)]
pub(super) enum Volume {
    /// Objects.
    Objects(Arc<ObjectFs>),
    /// Block images.
    Images(Arc<ImageFs>),
}

impl Volume {
    /// Whether both are the same opening of the same provider.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Objects(a), Self::Objects(b)) => Arc::ptr_eq(a, b),
            (Self::Images(a), Self::Images(b)) => Arc::ptr_eq(a, b),
            (Self::Objects(_), Self::Images(_)) | (Self::Images(_), Self::Objects(_)) => false,
        }
    }

    /// What `name` in `dir` stands for.
    pub(super) async fn look_up(&self, ctx: RequestCtx, dir: &str, name: &Name) -> Result<Listed, Error> {
        match self {
            Self::Objects(fs) => fs.look_up(ctx, dir, name).await,
            Self::Images(fs) => fs.look_up(ctx, name).await,
        }
    }

    /// The content of a directory.
    pub(super) fn list(&self, dir: &str) -> Arc<Listing> {
        match self {
            Self::Objects(fs) => fs.list(dir),
            // Images are in no directories.
            Self::Images(fs) => fs.list(),
        }
    }

    /// Newer news than a listing's about one of its entries; `Some(None)`: it changed, and nobody knows to what.
    pub(super) fn news(&self, dir: &str, name: &Name, listed: &Listed) -> Option<Option<Listed>> {
        match self {
            Self::Objects(fs) => fs.news(dir, name, listed),
            Self::Images(fs) => fs.news(name, listed),
        }
    }

    /// How much longer something holds: for the kernel.
    pub(super) fn ttl_left(&self, listed: &Listed) -> Duration {
        match self {
            Self::Objects(fs) => fs.ttl_left(listed.at),
            Self::Images(fs) => fs.ttl_left(listed),
        }
    }

    /// Whose bytes these are in the block cache; `None`: they are not cached.
    pub(super) fn cache(&self) -> Option<&CacheIdentity> {
        match self {
            Self::Objects(fs) => fs.cache(),
            Self::Images(fs) => fs.cache(),
        }
    }

    /// Bytes and entries that were listed so far.
    pub(super) fn totals(&self) -> (u64, u64) {
        match self {
            Self::Objects(fs) => fs.totals(),
            Self::Images(fs) => fs.totals(),
        }
    }
}
