//! Open files.

use super::data::Data;
use super::source::{NodeSource, Opening};
use super::{FileFs, Node};
use crate::inode::FileVersion;
use crate::ports::{Coherence, FileAttributes};
use crate::read::{File, FileReader, Source};
use crate::wait::bounded;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, FileKind, ObjectKey, RequestCtx, Version};

/// An open file. Dropping it closes it.
pub(crate) struct OpenNode {
    pub(super) node: Arc<Node>,
    /// The kernel keeps nothing of what is read.
    pub(super) direct: bool,
    reader: Mutex<Option<Arc<FileReader>>>,
}

impl OpenNode {
    /// Whether the kernel keeps nothing of what is read.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    /// How it reads what may be kept, if anything may.
    pub(super) fn reader(&self, data: &Data) -> Option<Arc<FileReader>> {
        let file = data.held();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file else {
            *reader = None;
            return None;
        };
        if let Some(reader) = &*reader
            && Arc::ptr_eq(reader.file(), &file)
        {
            return Some(reader.clone());
        }
        let new = FileReader::new(file);
        *reader = Some(new.clone());
        Some(new)
    }
}

impl Drop for OpenNode {
    fn drop(&mut self) {
        *self.reader.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(data) = self.node.opened_data() {
            data.closed();
        }
    }
}

/// What may be kept of a file that was just opened.
pub(super) struct Begun {
    pub(super) file: Arc<File>,
    /// What the kernel has is of the same version.
    pub(super) same: bool,
}

/// What a file is opened at the store for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For somebody who has just opened it, or reads.
    Reader,
    /// For pages that the kernel will keep: others are asked to let go of the right.
    Pages,
    /// For whoever opens it next, who must not need to be told more than that he may go on with what there is.
    Later,
}

/// What came of asking a store for the right to keep what is read.
pub(super) enum Right {
    /// It was given.
    Held(Begun),
    /// It may have been given, and was lost before anything could be kept.
    Lost,
    /// It was not given.
    Refused,
}

impl Right {
    fn held(self) -> Option<Begun> {
        match self {
            Self::Held(begun) => Some(begun),
            Self::Lost | Self::Refused => None,
        }
    }
}

/// A file that was just opened.
pub(crate) struct OpenedNode {
    /// The open file.
    pub(crate) open: OpenNode,
    /// The kernel may go on with the pages it has.
    pub(crate) keep_cache: bool,
    /// A local file with exactly its bytes, for good.
    pub(crate) backing: Option<Arc<OwnedFd>>,
}

impl FileFs {
    /// Opens a file.
    pub(crate) async fn open(&self, ctx: RequestCtx, node: &Arc<Node>) -> Result<OpenedNode, Error> {
        match node.of.kind {
            FileKind::Regular => {}
            FileKind::Directory => {
                let message = format!("{} is a directory", self.path(node));
                return Err(Error::new(ErrorKind::IsDirectory, Blame::Caller, message));
            }
            _ => {
                let message = format!("{} has no content", self.path(node));
                return Err(Error::new(ErrorKind::Invalid, Blame::Caller, message));
            }
        }
        let mut open = self.ahead.take(node).unwrap_or_else(|| self.open_again(node, false));
        let data = self.data_of(node);
        let shared = data.held().filter(|_| data.source.opening().is_some());
        let begun = match shared.filter(|_| self.caps.coherence == Coherence::Pushed) {
            // Whoever opened it has the right, and it is for all.
            Some(file) => Some(Begun { file, same: true }),
            None => self.begin(ctx, node, data, Purpose::Reader).await?.held(),
        };
        // Nobody is asked to let go of a file because it is opened. Where it is mapped, the right is asked for with each page.
        open.direct = begun.is_none();
        if begun.as_ref().is_some_and(|begun| begun.file.size() <= self.reading.config().whole) {
            self.open_ahead(node);
        }
        let backing = match &begun {
            Some(begun) if self.is_immutable(data) => self.reading.backing(&begun.file).await,
            _ => None,
        };
        Ok(OpenedNode { open, keep_cache: begun.is_some_and(|begun| begun.same), backing })
    }

    /// Opens a file that the kernel has open already; the store is asked when it is read. `direct`: as the kernel has it open.
    pub(crate) fn open_again(&self, node: &Arc<Node>, direct: bool) -> OpenNode {
        self.data_of(node).opened();
        OpenNode { node: node.clone(), direct, reader: Mutex::default() }
    }

    pub(super) fn data_of<'a>(&self, node: &'a Node) -> &'a Data {
        node.data(|| Data::new(NodeSource::new(self.store.clone())))
    }

    fn is_immutable(&self, data: &Data) -> bool {
        data.source.opening().is_some_and(|opening| opening.cache.immutable)
    }

    /// Opens a file at the store, and takes the right to keep what is read if it is given.
    pub(super) async fn begin(
        &self,
        ctx: RequestCtx,
        node: &Node,
        data: &Data,
        purpose: Purpose,
    ) -> Result<Right, Error> {
        let version = data.version();
        let insists = purpose == Purpose::Pages && self.caps.coherence == Coherence::Pushed;
        let opened = self.store.open(ctx, node.of.number, insists);
        let opened = bounded(self.clock(), ctx, "opening a file", opened).await?;
        let opening = Opening::new(self.store.clone(), opened.handle, opened.cache);
        if !data.adopt(opening.clone()) || self.is_ending() {
            return Ok(Right::Lost);
        }
        let cache = opening.cache;
        let timed = self.caps.coherence == Coherence::Timed;
        if cache.bypass {
            return Ok(Right::Refused);
        }
        if !(cache.immutable || cache.keep || timed) {
            // So a store answers that has given the right and has begun to take it back.
            return Ok(Right::Lost);
        }
        // After the right was given: what these say is true for as long as it is held.
        let attributes = self.known_attributes(ctx, node, Some(&opening)).await?;
        let file = self.file(node, data, &opening, &attributes);
        file.open_cache().await;
        Ok(match data.hold(version, &file, purpose == Purpose::Later).await {
            Some(same) => Right::Held(Begun { file, same: same && (cache.keep || cache.immutable) }),
            None => Right::Lost,
        })
    }

    /// What is read while the right is held.
    fn file(&self, node: &Node, data: &Data, opening: &Opening, attributes: &FileAttributes) -> Arc<File> {
        /// Tells states apart that the store has no number for.
        static STATES: AtomicU64 = AtomicU64::new(0);
        let version = match (attributes.data_version, self.caps.coherence) {
            (Some(version), _) if opening.cache.immutable => Some(format!("i{version}")),
            (Some(version), _) => Some(format!("v{version}")),
            (None, Coherence::Pushed) => Some(format!("~{}", STATES.fetch_add(1, Ordering::Relaxed))),
            (None, Coherence::Timed) => None,
        };
        let version = FileVersion {
            version: version.map(Version::new),
            size: attributes.size,
            modified: Some(attributes.modified),
        };
        let identity = self.context.cache.as_ref().filter(|_| attributes.data_version.is_some());
        let key = ObjectKey::new(format!("node-{:x}-{:x}", attributes.inode, node.of.generation));
        let source: Arc<dyn Source> = data.source.clone();
        self.reading.file(&source, identity, node.ino, &key, &version)
    }
}
