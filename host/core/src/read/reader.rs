//! One open file.

use super::config::ReadConfig;
use super::flight::Source;
use super::memory::{ReadMemory, Shrink};
use super::window::Window;
use crate::inode::FileVersion;
use crate::ports::{Clock, ObjectStore, Spawn};
use crate::wait::bounded;
use bytes::{Bytes, BytesMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use wasmount_types::{Error, ErrorKind, ObjectKey, RequestCtx};

/// How long a timed-out read answers for its range. When a read-ahead fails, the kernel at once asks again for the page
/// the application waits for: without this, one `read(2)` would last two deadlines.
const ECHO: Duration = Duration::from_millis(500);

/// Reads one version of one object. Dropping it cancels what it fetches ahead.
pub struct FileReader {
    source: Arc<Source>,
    state: Mutex<State>,
}

struct State {
    window: Window,
    last_read: Instant,
    timed_out: Option<TimedOut>,
}

struct TimedOut {
    at: Instant,
    offset: u64,
    end: u64,
    error: Error,
}

impl FileReader {
    /// A reader of `file`; nothing is fetched before the first read.
    pub fn new(
        store: Arc<dyn ObjectStore>,
        key: ObjectKey,
        file: FileVersion,
        config: Arc<ReadConfig>,
        memory: Arc<ReadMemory>,
        clock: Arc<dyn Clock>,
        spawn: Arc<dyn Spawn>,
    ) -> Arc<Self> {
        let state = State { window: Window::default(), last_read: clock.now(), timed_out: None };
        let source = Source { store, key, file, config, memory: memory.clone(), clock, spawn };
        let reader = Arc::new(Self { source: Arc::new(source), state: Mutex::new(state) });
        let weak: Weak<Self> = Arc::downgrade(&reader);
        memory.register(weak);
        reader
    }

    /// At most `size` bytes from `offset`, fewer only at the end of the file, in one piece.
    ///
    /// # Errors
    /// `stale` when the version is gone, `timed-out` at the deadline, else what the store said in the end.
    pub async fn read(&self, ctx: RequestCtx, offset: u64, size: u32) -> Result<Bytes, Error> {
        let end = offset.saturating_add(size.into()).min(self.source.file.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        if let Some(error) = self.echo(offset, end) {
            return Err(error);
        }
        let outcome = bounded(&*self.source.clock, ctx, "a read", self.wait(offset, end)).await;
        if let Err(error) = &outcome
            && error.kind == ErrorKind::TimedOut
        {
            let at = self.source.clock.now();
            self.lock().timed_out = Some(TimedOut { at, offset, end, error: error.clone() });
        }
        outcome
    }

    /// The error of a read of this range that has just timed out.
    fn echo(&self, offset: u64, end: u64) -> Option<Error> {
        let state = self.lock();
        let failed = state.timed_out.as_ref()?;
        let fresh = self.source.clock.now().saturating_duration_since(failed.at) < ECHO;
        (fresh && offset < failed.end && failed.offset < end).then(|| failed.error.clone())
    }

    async fn wait(&self, offset: u64, end: u64) -> Result<Bytes, Error> {
        let parts = {
            let mut state = self.lock();
            state.last_read = self.source.clock.now();
            state.window.parts(&self.source, offset, end)
        };
        let mut seam = BytesMut::new();
        for part in &parts {
            let (from, to) = (offset.max(part.start), end.min(part.end));
            let bytes = match part.read(from, to).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.lock().window.forget(part);
                    return Err(error);
                }
            };
            if bytes.len() as u64 == end - offset {
                return Ok(bytes);
            }
            if seam.is_empty() {
                seam.reserve((end - offset) as usize);
            }
            seam.extend_from_slice(&bytes);
        }
        Ok(seam.freeze())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shrink for FileReader {
    fn shrink(&self, idle_since: Instant) {
        let mut state = self.lock();
        if state.last_read <= idle_since {
            state.window.shrink();
        }
    }
}
