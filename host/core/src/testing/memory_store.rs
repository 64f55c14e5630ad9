//! An object store in memory.

use super::memory_body::{MemoryBody, OpenBody};
use super::memory_list::list;
use super::random::Random;
use crate::ports::{
    BoxFuture, GetOutcome, GetRequest, GetResponse, HeadOutcome, ListPage, ListRequest, Listing,
    ObjectCapabilities, ObjectInfo, ObjectStore, Pinning,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, Object, ObjectKey, RequestCtx, Retry, Timestamp, Version};

/// What can go wrong, in percent of the requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Seed of the dice.
    pub seed: u64,
    /// Requests that fail with `unavailable`.
    pub requests: u8,
    /// Bodies that break somewhere, with an error or with a clean end that comes too early.
    pub bodies: u8,
}

/// Which store it is.
#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// What its listings can do. `page` also is the most it ever gives.
    pub listing: Listing,
    /// How reads are pinned.
    pub pinning: Pinning,
    /// Whether objects have versions.
    pub versions: bool,
    /// Whether ranges are honoured.
    pub ranges: bool,
    /// The first page of each listing is empty.
    pub empty_pages: bool,
    /// Bytes that a body gives at once.
    pub chunk: usize,
    /// How long each request takes.
    pub request_delay: Duration,
    /// How long each chunk of a body takes.
    pub chunk_delay: Duration,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for MemoryOptions {
    /// As S3 is.
    fn default() -> Self {
        Self {
            listing: Listing {
                ordered: true,
                delimiter: true,
                start_after: true,
                page: 1000,
                consistent: true,
            },
            pinning: Pinning::Current,
            versions: true,
            ranges: true,
            empty_pages: false,
            chunk: 64 * 1024,
            request_delay: Duration::ZERO,
            chunk_delay: Duration::ZERO,
            faults: Faults::default(),
        }
    }
}

/// Requests that were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Pages of listings.
    pub list: usize,
    /// Heads.
    pub head: usize,
    /// Gets.
    pub get: usize,
}

pub(super) struct Stored {
    pub(super) bytes: Bytes,
    pub(super) number: u64,
}

impl Stored {
    pub(super) fn object(&self, key: &str, options: &MemoryOptions) -> Object {
        // One second apart, so that two states of an object can be told by their time.
        let modified = Timestamp { seconds: 1_700_000_000 + self.number as i64, nanoseconds: 0 };
        Object {
            key: ObjectKey::new(key),
            size: self.bytes.len() as u64,
            version: options.versions.then(|| Version::new(format!("v{}", self.number))),
            modified: Some(modified),
        }
    }
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    history: BTreeMap<(String, String), Bytes>,
    number: u64,
    requests: Requests,
    ranges: Vec<(u64, u64)>,
    down: Option<Error>,
}

/// An object store in memory.
pub struct MemoryStore {
    options: MemoryOptions,
    state: Mutex<State>,
    dice: Mutex<Random>,
    open_bodies: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: AtomicUsize,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(options: MemoryOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            state: Mutex::default(),
            dice: Mutex::new(Random::new(options.faults.seed)),
            open_bodies: Arc::default(),
            in_flight: Arc::default(),
            most_in_flight: AtomicUsize::new(0),
        })
    }

    /// Writes an object, as somebody else would; returns its version.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) -> String {
        let mut state = self.lock();
        state.number += 1;
        let stored = Stored { bytes: bytes.into(), number: state.number };
        let version = format!("v{}", stored.number);
        state.history.insert((key.to_owned(), version.clone()), stored.bytes.clone());
        state.objects.insert(key.to_owned(), stored);
        version
    }

    /// Deletes an object, as somebody else would.
    pub fn delete(&self, key: &str) {
        self.lock().objects.remove(key);
    }

    /// Lets every request fail so, or none.
    pub fn set_down(&self, error: Option<Error>) {
        self.lock().down = error;
    }

    /// Requests since the last time this was asked.
    pub fn take_requests(&self) -> Requests {
        std::mem::take(&mut self.lock().requests)
    }

    /// First and last-but-one byte of each get since the last time this was asked.
    pub fn take_ranges(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.lock().ranges)
    }

    /// Bodies that are being read.
    pub fn open_bodies(&self) -> usize {
        self.open_bodies.load(Ordering::SeqCst)
    }

    /// The most requests that ever waited for their answer at once.
    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dice(&self) -> MutexGuard<'_, Random> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every request goes through: it is counted, takes its time, and may fail.
    async fn arrive(&self, count: impl FnOnce(&mut Requests)) -> Result<(), Error> {
        count(&mut self.lock().requests);
        let _open = OpenBody::new(&self.in_flight);
        self.most_in_flight.fetch_max(self.in_flight.load(Ordering::SeqCst), Ordering::SeqCst);
        if !self.options.request_delay.is_zero() {
            tokio::time::sleep(self.options.request_delay).await;
        }
        if let Some(error) = &self.lock().down {
            return Err(error.clone());
        }
        if self.dice().percent(self.options.faults.requests) {
            let error = Error::new(ErrorKind::Unavailable, Blame::Origin, "the store answered 503");
            return Err(error.with_retry(Retry::AfterMs(10)));
        }
        Ok(())
    }

    fn answer(&self, request: &GetRequest) -> Result<GetOutcome, Error> {
        let key = request.key.as_str();
        let (object, bytes) = {
            let state = self.lock();
            let old = match (&request.pin, self.options.pinning) {
                (Some(pin), Pinning::History) => {
                    state.history.get(&(key.to_owned(), pin.as_str().to_owned()))
                }
                _ => None,
            };
            let stored = state.objects.get(key);
            match (old, stored) {
                (Some(bytes), _) => {
                    let (size, version) = (bytes.len() as u64, request.pin.clone());
                    (Object { key: request.key.clone(), size, version, modified: None }, bytes.clone())
                }
                (None, Some(stored)) => (stored.object(key, &self.options), stored.bytes.clone()),
                (None, None) => return Err(Error::not_found(key)),
            }
        };
        if self.options.pinning != Pinning::None && request.pin.is_some() && request.pin != object.version {
            return Err(Error::stale(key));
        }
        if request.unless.is_some() && request.unless == object.version {
            return Ok(GetOutcome::Unchanged);
        }
        let (mut offset, mut end) = (0, object.size);
        if let Some(range) = request.range.filter(|_| self.options.ranges) {
            offset = range.offset;
            end = range.length.map_or(end, |length| offset.saturating_add(length).min(end));
            if offset >= object.size {
                return Err(Error::new(
                    ErrorKind::OutOfRange,
                    Blame::Caller,
                    format!("{key} ends before {offset}"),
                ));
            }
        }
        self.lock().ranges.push((offset, end));
        let rest = bytes.slice(offset as usize..end as usize);
        let mut dice = self.dice();
        let break_after =
            dice.percent(self.options.faults.bodies).then(|| dice.below(rest.len() as u64) as usize);
        let body = MemoryBody {
            rest,
            chunk: self.options.chunk,
            delay: self.options.chunk_delay,
            break_after,
            clean: dice.percent(50),
            _open: OpenBody::new(&self.open_bodies),
        };
        Ok(GetOutcome::Found(GetResponse { object, offset, content: Box::new(body) }))
    }
}

impl ObjectStore for MemoryStore {
    fn capabilities(&self) -> ObjectCapabilities {
        ObjectCapabilities {
            listing: self.options.listing,
            pinning: self.options.pinning,
            ranges: self.options.ranges,
            max_key: 1024,
        }
    }

    fn list(&self, _ctx: RequestCtx, request: ListRequest) -> BoxFuture<'_, Result<ListPage, Error>> {
        Box::pin(async move {
            self.arrive(|requests| requests.list += 1).await?;
            list(&self.options, &self.lock().objects, &request)
        })
    }

    fn head(
        &self,
        _ctx: RequestCtx,
        key: ObjectKey,
        unless: Option<Version>,
    ) -> BoxFuture<'_, Result<HeadOutcome, Error>> {
        Box::pin(async move {
            self.arrive(|requests| requests.head += 1).await?;
            let state = self.lock();
            let stored = state.objects.get(key.as_str()).ok_or_else(|| Error::not_found(&key))?;
            let object = stored.object(key.as_str(), &self.options);
            if unless.is_some() && unless == object.version {
                return Ok(HeadOutcome::Unchanged);
            }
            Ok(HeadOutcome::Found(ObjectInfo { object, metadata: Vec::new(), content_type: None }))
        })
    }

    fn get(&self, _ctx: RequestCtx, request: GetRequest) -> BoxFuture<'_, Result<GetOutcome, Error>> {
        Box::pin(async move {
            self.arrive(|requests| requests.get += 1).await?;
            self.answer(&request)
        })
    }
}
