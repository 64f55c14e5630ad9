//! What every check works with: the plugin in its sandbox, and an origin that can be made to misbehave.

use crate::origin::Origin;
use crate::origin::objects::Objects;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_core::ports::{
    GetOutcome, GetRequest, HeadOutcome, ListPage, ListRequest, ObjectStore, Provider, ProviderSource,
};
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, Object, ObjectKey, RequestCtx, Version};

/// Longest time a call may take while nothing is wrong with the origin.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a mount of the plugin against the run's origin, with options beside (and over) those of the run.
pub(crate) type MakeSource =
    Box<dyn Fn(Vec<(String, String)>) -> Result<Arc<dyn ProviderSource>, Error> + Send + Sync>;

/// The parts of a run.
pub(crate) struct Bench {
    /// Opens the plugin against `origin`.
    pub source: MakeSource,
    /// Between the plugin and what it reads.
    pub origin: Origin,
    /// The objects behind `origin`, where the suite itself holds them; `None`: a given endpoint.
    pub scripted: Option<Arc<Objects>>,
    /// The open store that most checks use.
    pub store: Arc<dyn ObjectStore>,
    /// Every object, by a listing at the start.
    pub listed: BTreeMap<String, Object>,
}

/// A context with this much time.
pub(crate) fn within(time: Duration) -> RequestCtx {
    RequestCtx::internal(Instant::now() + time)
}

impl Bench {
    /// Opens the plugin with options beside (and over) those of the run.
    pub(crate) async fn open(&self, more: Vec<(String, String)>) -> Result<Arc<dyn ObjectStore>, Error> {
        open(&*(self.source)(more)?).await
    }

    /// A page.
    pub(crate) async fn list(&self, request: ListRequest) -> Result<ListPage, Error> {
        self.store.list(within(PATIENCE), request).await
    }

    /// All pages of a listing, in order.
    pub(crate) async fn list_all(&self, request: ListRequest) -> Result<(Vec<Object>, Vec<String>), Error> {
        list_all(&*self.store, request).await
    }

    /// About one object, unconditionally.
    pub(crate) async fn head(&self, key: &str, unless: Option<Version>) -> Result<HeadOutcome, Error> {
        self.store.head(within(PATIENCE), ObjectKey::new(key), unless).await
    }

    /// Bytes of one object.
    pub(crate) async fn read(
        &self,
        key: &str,
        range: Option<ByteRange>,
        pin: Option<Version>,
    ) -> Result<Vec<u8>, Error> {
        read(&*self.store, PATIENCE, key, range, pin).await
    }

    /// Objects with content, smallest first.
    pub(crate) fn with_content(&self) -> Vec<&Object> {
        let mut objects: Vec<_> =
            self.listed.values().filter(|o| o.size > 0 && !o.key.as_str().ends_with('/')).collect();
        objects.sort_by_key(|o| (o.size, o.key.clone()));
        objects
    }
}

/// Opens a source as an object store.
pub(crate) async fn open(source: &dyn ProviderSource) -> Result<Arc<dyn ObjectStore>, Error> {
    match source.open(within(PATIENCE)).await? {
        (Provider::Objects(store), _) => Ok(store),
        (Provider::Blocks(_) | Provider::Files(_), _) => Err(Error::new(
            ErrorKind::Corrupt,
            Blame::Host,
            "another kind of store was opened as an object store",
        )),
    }
}

/// All pages of a listing; a store that never ends a listing is stopped after a million pages.
pub(crate) async fn list_all(
    store: &dyn ObjectStore,
    mut request: ListRequest,
) -> Result<(Vec<Object>, Vec<String>), Error> {
    let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
    for _ in 0..1_000_000 {
        let page = store.list(within(PATIENCE), request.clone()).await?;
        objects.extend(page.objects);
        prefixes.extend(page.prefixes);
        match page.next {
            Some(next) => {
                request.continuation = Some(next);
                request.start_after = None;
            }
            None => break,
        }
    }
    Ok((objects, prefixes))
}

/// Reads from where the store begins, so that a store that ignores ranges is read rightly too.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    patience: Duration,
    key: &str,
    range: Option<ByteRange>,
    pin: Option<Version>,
) -> Result<Vec<u8>, Error> {
    let request = GetRequest { key: ObjectKey::new(key), range, pin, unless: None };
    let mut found = match store.get(within(patience), request).await? {
        GetOutcome::Found(found) => found,
        GetOutcome::Unchanged => return Err(Error::not_found("an answer to an unconditional get")),
    };
    let wanted = range.map_or(0, |r| r.offset);
    let (mut skip, mut bytes) = (wanted.saturating_sub(found.offset), Vec::new());
    while let Some(piece) = found.content.next().await {
        let piece = piece?;
        let from = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
        skip -= from as u64;
        bytes.extend_from_slice(&piece[from..]);
    }
    if let Some(length) = range.and_then(|r| r.length) {
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    }
    Ok(bytes)
}
