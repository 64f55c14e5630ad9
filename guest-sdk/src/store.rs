//! The trait an author implements for an object store.

use crate::{
    Attributes, Body, ByteRange, CopyRequest, CopySource, Description, Error, GetOutcome, GetRequest,
    HeadOutcome, Info, ListPage, ListRequest, Mount, Object, Part, PutRequest, Removal, Result, SavedState,
    Upload, WriteCondition,
};
use std::future::Future;

/// A store of objects: S3, GCS, plain HTTP.
///
/// The host builds directories, attributes, caching and read-ahead on top of it. Keys never contain the mount's prefix and
/// are never empty. Calls interleave at their awaits in one thread, so `RefCell` and `Rc` are fine, but hold no `RefCell` borrow
/// over an await.
///
/// Implement the functions as `async fn`. Everything below [`get`](Self::get) has a default: the write half answers
/// `unsupported`, and is not called at all unless [`ObjectCapabilities::writing`](crate::ObjectCapabilities::writing) says so.
pub trait ObjectStore: Sized + 'static {
    /// Who this plugin is and which options it takes. Constant, and made without calling the host: no log, no clock.
    fn describe() -> Description;

    /// Opens a mount: reads the options, tries the store, and says what it can do. One instance serves one mount.
    ///
    /// # Errors
    /// Fail now, with a sentence that names the option to change, rather than at the first read. `invalid`: options;
    /// `unauthenticated`, `denied`, `not-found`; after `unavailable` and `timed-out` the host tries again.
    fn open(mount: Mount) -> impl Future<Output = Result<(Self, Info)>>;

    /// One page of keys, at most `limit` objects and prefixes together. A prefix under which there is nothing is an empty page.
    ///
    /// # Errors
    /// `stale` if the continuation is too old: the host begins again.
    fn list(&self, request: ListRequest) -> impl Future<Output = Result<ListPage>>;

    /// About one object; `Unchanged` if it still is the version `unless`.
    ///
    /// # Errors
    /// `not-found`; `denied`, also where a store hides by it that there is nothing.
    fn head(&self, key: String, unless: Option<String>) -> impl Future<Output = Result<HeadOutcome>>;

    /// Bytes of one object. Return when the head of the answer is there and pass its body on: payload then never enters
    /// the sandbox.
    ///
    /// # Errors
    /// `not-found`; `stale`: the version `pin` is gone; `out-of-range`: the range begins at or beyond the end.
    fn get(&self, request: GetRequest) -> impl Future<Output = Result<GetOutcome>>;

    /// A cheap request that proves that the store answers and the credentials hold. By default a listing of one key.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    fn check(&self) -> impl Future<Output = Result<()>> {
        async {
            let request = ListRequest {
                prefix: String::new(),
                delimiter: None,
                start_after: None,
                continuation: None,
                limit: 1,
            };
            self.list(request).await.map(drop)
        }
    }

    /// State for the instance that will replace this one, given to it as [`Mount::resume`]. By default there is none.
    ///
    /// Not called yet by the host, which opens each instance without state.
    ///
    /// # Errors
    /// What made it impossible; the host then opens the next instance without state.
    fn export_state(&self) -> impl Future<Output = Result<Option<SavedState>>> {
        async { Ok(None) }
    }

    /// Gives sessions and locks back. No call follows. By default there is nothing to give back.
    ///
    /// # Errors
    /// What is left behind.
    fn close(&self) -> impl Future<Output = Result<()>> {
        async { Ok(()) }
    }

    /// Writes a whole object and returns it with its new version.
    ///
    /// # Errors
    /// `exists`, `stale`: the condition; `no-space`, `quota-exceeded`, `too-large`, `denied`.
    fn put(&self, request: PutRequest) -> impl Future<Output = Result<Object>> {
        async { refuse("put", request) }
    }

    /// Begins an upload in parts.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn begin_upload(
        &self,
        key: String,
        attributes: Attributes,
        size_hint: Option<u64>,
    ) -> impl Future<Output = Result<Upload>> {
        async move { refuse("begin-upload", (key, attributes, size_hint)) }
    }

    /// Uploads one part; the same number again replaces it.
    ///
    /// # Errors
    /// `not-found`: the upload is gone.
    fn upload_part(&self, upload: Upload, number: u32, content: Body) -> impl Future<Output = Result<Part>> {
        async move { refuse("upload-part", (upload, number, content)) }
    }

    /// Fills one part from an existing object without moving bytes.
    ///
    /// # Errors
    /// `not-found`: the upload is gone; `stale`: the source changed.
    fn copy_part(
        &self,
        upload: Upload,
        number: u32,
        source: CopySource,
        range: ByteRange,
    ) -> impl Future<Output = Result<Part>> {
        async move { refuse("copy-part", (upload, number, source, range)) }
    }

    /// Makes the object from its parts.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    fn complete_upload(
        &self,
        upload: Upload,
        parts: Vec<Part>,
        condition: WriteCondition,
    ) -> impl Future<Output = Result<Object>> {
        async move { refuse("complete-upload", (upload, parts, condition)) }
    }

    /// Gives an upload up. One that is gone already is no error.
    ///
    /// # Errors
    /// What kept the parts from being freed.
    fn abort_upload(&self, upload: Upload) -> impl Future<Output = Result<()>> {
        async move { refuse("abort-upload", upload) }
    }

    /// Copies an object inside the store.
    ///
    /// # Errors
    /// As [`put`](Self::put); `stale`: the source changed.
    fn copy(&self, request: CopyRequest) -> impl Future<Output = Result<Object>> {
        async { refuse("copy", request) }
    }

    /// Removes objects, one result for each. One that is gone already counts as removed.
    ///
    /// # Errors
    /// The outer one is for a request that failed as a whole.
    fn remove(&self, targets: Vec<Removal>) -> impl Future<Output = Result<Vec<Result<()>>>> {
        async { refuse("remove", targets) }
    }
}

/// The answer of a read-only store; drops what it was given.
fn refuse<T, A>(what: &str, arguments: A) -> Result<T> {
    drop(arguments);
    Err(Error::unsupported(format!("this plugin cannot write: {what}")))
}
