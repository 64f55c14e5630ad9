//! The read half of an object store: what a provider of kind `objects` implements (`wit/objects.wit`).

use super::{Body, BoxFuture};
use wasmount_types::{ByteRange, Error, Object, ObjectKey, RequestCtx, Version};

/// How listings behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Keys come in ascending order of their UTF-8 bytes, across pages.
    pub ordered: bool,
    /// `delimiter` works.
    pub delimiter: bool,
    /// `start_after` works.
    pub start_after: bool,
    /// Largest page worth asking for; at least 1.
    pub page: u32,
    /// A finished write is visible in the next listing.
    pub consistent: bool,
}

/// How well a read can be tied to one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// Not at all.
    None,
    /// The current version or `stale`.
    Current,
    /// Old versions stay readable.
    History,
}

/// What an open object store can do; a promise that holds until it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectCapabilities {
    /// Listings.
    pub listing: Listing,
    /// Versions.
    pub pinning: Pinning,
    /// Ranged reads work; without them every read is of a whole object.
    pub ranges: bool,
    /// Longest key in bytes.
    pub max_key: u32,
}

/// A question for a page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin so.
    pub prefix: String,
    /// Fold keys that contain this after the prefix. Only with the capability.
    pub delimiter: Option<String>,
    /// Only keys after this one. Only with the capability, never together with `continuation`.
    pub start_after: Option<String>,
    /// [`ListPage::next`] of the page before, the other fields unchanged.
    pub continuation: Option<String>,
    /// At most so many objects and prefixes together; at least 1.
    pub limit: u32,
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects; may be empty although there are more pages.
    pub objects: Vec<Object>,
    /// Folded prefixes, each ending with the delimiter.
    pub prefixes: Vec<String>,
    /// Position of the next page; `None`: this was the last.
    pub next: Option<String>,
}

/// All about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The object.
    pub object: Object,
    /// User metadata, names in lower case.
    pub metadata: Vec<(String, String)>,
    /// `content-type`, if stored.
    pub content_type: Option<String>,
}

/// Answer to a conditional question about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadOutcome {
    /// It is there and not the version asked about.
    Found(ObjectInfo),
    /// It still is that version.
    Unchanged,
}

/// A question for bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRequest {
    /// Which object.
    pub key: ObjectKey,
    /// Which bytes; `None`: all.
    pub range: Option<ByteRange>,
    /// Only this version.
    pub pin: Option<Version>,
    /// Not this version.
    pub unless: Option<Version>,
}

/// The head of an answer, and its bytes.
pub struct GetResponse {
    /// The object as it was for this response: whole size, version.
    pub object: Object,
    /// Where `content` begins in the object; 0 when the store ignored the range.
    pub offset: u64,
    /// The bytes.
    pub content: Box<dyn Body>,
}

/// Answer to a question for bytes.
pub enum GetOutcome {
    /// Bytes.
    Found(GetResponse),
    /// It still is the version `unless`.
    Unchanged,
}

/// An open object store.
///
/// Every call ends by `ctx.deadline`, with `timed-out` if need be. Calls may be dropped at any time.
pub trait ObjectStore: Send + Sync + 'static {
    /// What it can do.
    fn capabilities(&self) -> ObjectCapabilities;

    /// One page of keys. A prefix under which there is nothing is an empty page.
    fn list(&self, ctx: RequestCtx, request: ListRequest) -> BoxFuture<'_, Result<ListPage, Error>>;

    /// About one object. `not-found`; `denied`, also where a store hides by it that there is nothing.
    fn head(
        &self,
        ctx: RequestCtx,
        key: ObjectKey,
        unless: Option<Version>,
    ) -> BoxFuture<'_, Result<HeadOutcome, Error>>;

    /// Bytes of one object; returns with the head of the answer.
    ///
    /// # Errors
    /// `not-found`; `stale`: the pinned version is gone; `out-of-range`: begins at or beyond the end.
    fn get(&self, ctx: RequestCtx, request: GetRequest) -> BoxFuture<'_, Result<GetOutcome, Error>>;
}
