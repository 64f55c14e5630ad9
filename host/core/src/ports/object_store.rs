//! The read half of an object store: what a provider of kind `objects` implements (`wit/objects.wit`).

use super::BoxFuture;
use bytes::{Bytes, BytesMut};
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

/// Bytes of an object, front to back. Dropping it cancels what has not arrived.
#[expect(
    clippy::len_without_is_empty,
    reason = "it is a stream: its length is what is left, and may be unknown"
)]
pub trait ObjectBody: Send {
    /// Bytes left, if known.
    fn len(&self) -> Option<u64>;

    /// Appends the next bytes to `into` and returns how many: at least one, never more than `into` had room for
    /// (`capacity() - len()`, which must not be 0), so that its memory never moves or grows; `None` at the end, with `into`
    /// as it was. Returns with what is there rather than waiting until the room is full. The transport receives straight
    /// into this memory where it can.
    ///
    /// After the last byte of a body of known length, which [`len`](Self::len) of 0 tells, nothing needs to be asked: whatever
    /// carried the bytes is free for the next body.
    ///
    /// # Errors
    /// `unavailable`, `timed-out` or `corrupt` when the stream broke: what came before is valid, `into` is as it was, and
    /// nothing follows.
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes: they are in `into`, or come next.
    fn read_into<'a>(&'a mut self, into: &'a mut BytesMut) -> BoxFuture<'a, Option<Result<usize, Error>>>;

    /// The next bytes in memory of their own, never empty; `None` at the end. For those who have none to receive into.
    ///
    /// # Errors
    /// Those of [`read_into`](Self::read_into).
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, Error>>>;
}

/// The head of an answer, and its bytes.
pub struct GetResponse {
    /// The object as it was for this response: whole size, version.
    pub object: Object,
    /// Where `content` begins in the object; 0 when the store ignored the range.
    pub offset: u64,
    /// The bytes.
    pub content: Box<dyn ObjectBody>,
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
