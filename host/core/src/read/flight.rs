//! Fetches one part, resuming when the stream breaks.

use super::config::ReadConfig;
use super::memory::{Grant, ReadMemory};
use super::part::{Content, Part};
use crate::inode::FileVersion;
use crate::ports::{Clock, GetOutcome, GetRequest, GetResponse, ObjectStore, Pinning, Spawn};
use crate::wait::{bounded, jittered};
use futures::future::{AbortHandle, Abortable};
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, ObjectKey, RequestCtx, Retry};

/// Bytes after which an attempt counts as progress, and the attempts start again.
const PROGRESS: u64 = 256 * 1024;

/// Longest pause between two attempts, whatever a store asks for.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// One version of one object, and all that is needed to fetch parts of it.
pub(super) struct Source {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) key: ObjectKey,
    pub(super) file: FileVersion,
    pub(super) config: Arc<ReadConfig>,
    pub(super) memory: Arc<ReadMemory>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawn: Arc<dyn Spawn>,
}

impl Source {
    /// Starts fetching `start..end`. Without a grant the fetch waits for memory first.
    pub(super) fn fetch(self: &Arc<Self>, start: u64, end: u64, grant: Option<Grant>) -> Arc<Part> {
        let content = Arc::new(Content::new(self.memory.clone(), start, end));
        let (abort, registration) = AbortHandle::new_pair();
        let part = Arc::new(Part::new(content.clone(), abort));
        let source = self.clone();
        let task = async move {
            if let Err(error) = source.run(&content, grant).await {
                content.fail(error.context(&source.key));
            }
        };
        self.spawn.spawn(Box::pin(async move {
            // Aborted: the last reader has gone, nobody wants to know.
            let _aborted = Abortable::new(task, registration).await;
        }));
        part
    }

    async fn run(&self, content: &Content, grant: Option<Grant>) -> Result<(), Error> {
        let ctx = RequestCtx::internal(self.clock.now() + self.config.part_timeout);
        content.granted(match grant {
            Some(grant) => grant,
            None => self.memory.reserve(&*self.clock, ctx, content.start, content.end).await?,
        });
        let mut failures = 0_u32;
        loop {
            let before = content.filled();
            let Err(error) = bounded(&*self.clock, ctx, "fetching a part", self.attempt(ctx, content)).await
            else {
                return Ok(());
            };
            if content.filled() - before >= PROGRESS {
                failures = 0;
            }
            failures += 1;
            let again = matches!(error.retry, Retry::AfterMs(_)) && error.kind != ErrorKind::Stale;
            let pause = self.pause(&error, failures);
            if !again || failures >= self.config.attempts || pause >= ctx.remaining(self.clock.now()) {
                return Err(error);
            }
            tracing::debug!(key = %self.key, at = content.filled(), %error, "resuming a read");
            tokio::time::sleep(pause).await;
        }
    }

    fn pause(&self, error: &Error, failures: u32) -> Duration {
        let own = jittered(self.config.retry_pause.saturating_mul(1 << (failures - 1).min(8)));
        match error.retry {
            Retry::AfterMs(ms) => own.max(Duration::from_millis(ms.into())).min(MAX_PAUSE),
            Retry::Never | Retry::Reopen => own,
        }
    }

    /// One GET for what is missing.
    async fn attempt(&self, ctx: RequestCtx, content: &Content) -> Result<(), Error> {
        let from = content.filled();
        let caps = self.store.capabilities();
        let whole = from == 0 && content.end == self.file.size;
        let request = GetRequest {
            key: self.key.clone(),
            range: (caps.ranges && !whole).then(|| ByteRange::new(from, content.end - from)),
            pin: self.file.version.clone().filter(|_| caps.pinning != Pinning::None),
            unless: None,
        };
        let response = match self.store.get(ctx, request).await {
            Ok(GetOutcome::Found(response)) => response,
            Ok(GetOutcome::Unchanged) => {
                return Err(corrupt("the store answered `unchanged` to a question without a condition"));
            }
            // The open file is the version it was opened as; that there is none now is the same to its reader.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::OutOfRange) => {
                return Err(Error::stale(&self.key));
            }
            Err(error) => return Err(error),
        };
        self.check(&response, from)?;
        self.receive(response, content, from).await
    }

    /// Whether the answer is about the version and the place that were asked for.
    fn check(&self, response: &GetResponse, from: u64) -> Result<(), Error> {
        let object = &response.object;
        let now =
            FileVersion { version: object.version.clone(), size: object.size, modified: object.modified };
        let same = match (&self.file.version, &now.version) {
            // An answer that does not name its version was pinned by the request.
            (Some(_), None) => now.size == self.file.size,
            _ => now.same(&self.file),
        };
        if !same {
            return Err(Error::stale(&self.key));
        }
        if now.size != self.file.size {
            return Err(corrupt(format!(
                "the same version has {} bytes now and had {} before",
                now.size, self.file.size
            )));
        }
        if response.offset > from {
            return Err(corrupt(format!(
                "asked for bytes from {from}, the answer begins at {}",
                response.offset
            )));
        }
        if let Some(length) = response.content.len()
            && response.offset.checked_add(length).is_none_or(|end| end > object.size)
        {
            return Err(corrupt(format!(
                "{length} bytes from {} on in an object of {}",
                response.offset, object.size
            )));
        }
        Ok(())
    }

    async fn receive(&self, response: GetResponse, content: &Content, from: u64) -> Result<(), Error> {
        let mut skip = from - response.offset;
        let mut body = response.content;
        let mut filled = from;
        while filled < content.end {
            let chunk = match tokio::time::timeout(self.config.stall, body.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => return Err(resumable(error)),
                Ok(None) => {
                    let message = format!("the answer ended {} bytes early", content.end - filled);
                    return Err(corrupt(message).with_retry(Retry::AfterMs(0)));
                }
                Err(_elapsed) => return Err(Error::timed_out(Blame::Origin, "waiting for more bytes")),
            };
            let skipped = skip.min(chunk.len() as u64);
            skip -= skipped;
            filled = content.append(chunk.get(skipped as usize..).unwrap_or_default());
        }
        if body.len() == Some(0) {
            // Its end has to be seen for the connection to be used again; the bytes are already with their readers.
            let _end = tokio::time::timeout(Duration::from_secs(1), body.next()).await;
        }
        Ok(())
    }
}

/// A broken stream is worth another request even if the provider, which sees one request only, says it is not.
fn resumable(error: Error) -> Error {
    match (error.kind, error.retry) {
        (ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Throttled, Retry::Never) => {
            error.with_retry(Retry::AfterMs(0))
        }
        _ => error,
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, Blame::Origin, message)
}
