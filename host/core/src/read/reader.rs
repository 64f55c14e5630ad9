//! One open file.

use super::content::{Failure, Taking};
use super::file::File;
use super::memory::{Counted, Shrink};
use super::piece::Shown;
use super::stats::{Counters, Gauge};
use super::stream::Found;
use super::window::Window;
use crate::fs::{Piped, ReadAnswer, ReadData};
use crate::ports::ServedFrom;
use crate::wait::bounded;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// How long a timed-out read answers for its range. When a read-ahead fails, the kernel at once asks again for the page
/// the application waits for: without this, one `read(2)` would last two deadlines.
const ECHO: Duration = Duration::from_millis(500);

/// How often a read begins anew because who fetched for it has gone, or the cache did not have what it said.
const ATTEMPTS: u32 = 8;

/// Reads one version of one object through one handle. Dropping it cancels what it fetches ahead.
pub(crate) struct FileReader {
    file: Arc<File>,
    state: Mutex<State>,
    _open: Gauge<Arc<Counters>>,
}

struct State {
    window: Window,
    last_read: Instant,
    timed_out: Option<TimedOut>,
    /// The second in which it was counted as active.
    seen: Counted,
}

struct TimedOut {
    at: Instant,
    offset: u64,
    end: u64,
    error: Error,
}

impl FileReader {
    /// A reader of `file`; nothing is fetched before the first read.
    pub(crate) fn new(file: Arc<File>) -> Arc<Self> {
        let last_read = file.reading.clock.now();
        let state = State { window: Window::default(), last_read, timed_out: None, seen: Counted::default() };
        file.opened();
        let open = Gauge::new(file.reading.counters.clone(), |counters| &counters.open_files);
        let reader = Arc::new(Self { file, state: Mutex::new(state), _open: open });
        let weak: Weak<Self> = Arc::downgrade(&reader);
        reader.file.reading.memory.register(weak);
        reader
    }

    /// What it reads.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// At most `size` bytes from `offset`, fewer only at the end of the file, in one piece of memory.
    ///
    /// # Errors
    /// `stale` when the version is gone, `timed-out` at the deadline, else what the store said in the end.
    pub(crate) async fn read(&self, ctx: RequestCtx, offset: u64, size: u32) -> Result<ReadData, Error> {
        self.read_any(ctx, offset, size, Taking::Memory).await?.into_memory()
    }

    /// The same, wherever the bytes may be.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub(crate) async fn read_any(
        &self,
        ctx: RequestCtx,
        offset: u64,
        size: u32,
        taking: Taking,
    ) -> Result<ReadAnswer, Error> {
        let end = offset.saturating_add(size.into()).min(self.file.version.size);
        if offset >= end {
            return Ok(in_memory(Bytes::new(), ServedFrom::Memory));
        }
        if let Some(error) = self.echo(offset, end) {
            return Err(error);
        }
        let reading = &self.file.reading;
        reading.asked_for();
        let outcome = bounded(&*reading.clock, ctx, "a read", self.wait(ctx, offset, end, taking)).await;
        match &outcome {
            Ok(answer) => {
                let (length, from) = answer.source();
                reading.counters.given(from, length as u64);
            }
            Err(error) if error.kind == ErrorKind::TimedOut => {
                let at = reading.clock.now();
                self.lock().timed_out = Some(TimedOut { at, offset, end, error: error.clone() });
            }
            Err(_) => {}
        }
        outcome
    }

    /// The error of a read of this range that has just timed out.
    fn echo(&self, offset: u64, end: u64) -> Option<Error> {
        let state = self.lock();
        let failed = state.timed_out.as_ref()?;
        let fresh = self.file.reading.clock.now().saturating_duration_since(failed.at) < ECHO;
        (fresh && offset < failed.end && failed.offset < end).then(|| failed.error.clone())
    }

    async fn wait(
        &self,
        ctx: RequestCtx,
        offset: u64,
        end: u64,
        taking: Taking,
    ) -> Result<ReadAnswer, Error> {
        for _ in 0..ATTEMPTS {
            let found = {
                let mut state = self.lock();
                let state = &mut *state;
                let memory = &self.file.reading.memory;
                state.last_read = self.file.reading.clock.now();
                let share = memory.share(state.last_read, &mut state.seen);
                state.window.find(&self.file, offset, end, share, taking)
            };
            match found {
                Found::Disk(cached) => {
                    if let Some(bytes) = self.file.read_disk(ctx, &cached, offset, end).await? {
                        return Ok(in_memory(bytes, ServedFrom::Disk));
                    }
                }
                Found::Parts(parts, drive) => {
                    let mut driven = ServedFrom::Memory;
                    if let Some(drive) = drive {
                        drive.await;
                        driven = parts.first().map_or(driven, |part| part.source());
                    }
                    match self.collect(parts, offset, end, taking).await {
                        Ok((Shown::Memory(bytes), from)) => return Ok(in_memory(bytes, later(from, driven))),
                        Ok((Shown::Pipe(pipe, held), from)) => {
                            return Ok(ReadAnswer::Piped(Piped::new(pipe, later(from, driven), held)));
                        }
                        Err(Failure::Failed(error)) => return Err(error),
                        Err(Failure::Abandoned) => {}
                    }
                }
            }
        }
        Err(Error::new(ErrorKind::Interrupted, Blame::Host, "the read was given up too often; read again"))
    }

    /// The bytes `offset..end` out of parts that hold them, in order.
    async fn collect(
        &self,
        parts: Vec<Arc<super::part::Part>>,
        offset: u64,
        end: u64,
        taking: Taking,
    ) -> Result<(Shown, ServedFrom), Failure> {
        let mut source = ServedFrom::Memory;
        let mut seam = None;
        let mut at = offset;
        // A pipe holds all of the answer, or is no answer.
        let taking = match parts.as_slice() {
            [part] if part.start <= offset && end <= part.end => taking,
            _ => Taking::Memory,
        };
        // One by one: what has been copied needs no longer be kept.
        for part in parts {
            // Of parts that their owner alone knows, some may have been replaced.
            if part.end <= at {
                continue;
            }
            if part.start > at {
                break;
            }
            let (shown, from) = part.read(at, end.min(part.end), taking).await?;
            source = later(source, from);
            let bytes = match shown {
                Shown::Memory(bytes) if (bytes.len() as u64) < end - offset => bytes,
                whole => return Ok((whole, source)),
            };
            at += bytes.len() as u64;
            let seam = seam.get_or_insert_with(|| self.file.reading.memory.seam(end - offset));
            seam.bytes.extend_from_slice(&bytes);
            if at == end {
                return Ok((Shown::Memory(seam.finish()), source));
            }
        }
        Err(Failure::Abandoned)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_memory(bytes: Bytes, from: ServedFrom) -> ReadAnswer {
    ReadAnswer::Memory(ReadData { bytes, from })
}

/// The one of two sources that took longer.
fn later(a: ServedFrom, b: ServedFrom) -> ServedFrom {
    match (a, b) {
        (ServedFrom::Origin, _) | (_, ServedFrom::Origin) => ServedFrom::Origin,
        (ServedFrom::Disk, _) | (_, ServedFrom::Disk) => ServedFrom::Disk,
        (ServedFrom::Memory, ServedFrom::Memory) => ServedFrom::Memory,
    }
}

impl Shrink for FileReader {
    fn shrink(&self, idle_since: Instant) -> u64 {
        // One that is being read at this moment is not idle.
        let Ok(mut state) = self.state.try_lock() else { return 0 };
        if state.last_read <= idle_since { state.window.shrink() } else { 0 }
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.window.close(&self.file);
        self.file.reading.memory.left(state.seen);
        self.file.closed();
    }
}
