//! Fetches one part, from the disk cache as far as it goes and from the store, resuming when the stream breaks.

use super::blocks::Grant;
use super::content::Content;
use super::file::File;
use super::stats::add;
use crate::inode::FileVersion;
use crate::ports::{GetOutcome, GetRequest, GetResponse, Pinning, ServedFrom};
use crate::wait::{bounded, jittered};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::timeout;
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, RequestCtx, Retry};

/// Bytes after which an attempt counts as progress, and the attempts start again.
const PROGRESS: u64 = 256 * 1024;

/// Longest pause between two attempts, whatever a store asks for.
const MAX_PAUSE: Duration = Duration::from_secs(20);

impl File {
    /// Fetches all bytes of a part. Without a grant it waits for memory first.
    pub(super) async fn run(&self, content: &Content, grant: Option<Grant>) -> Result<(), Error> {
        let reading = &self.reading;
        let ctx = RequestCtx::internal(reading.clock.now() + reading.config.part_timeout);
        content.granted(match grant {
            Some(grant) => grant,
            None => reading.memory.reserve(&*reading.clock, ctx, content.start, content.end).await?,
        });
        let mut failures = 0_u32;
        let mut offered = content.start;
        loop {
            let before = content.filled();
            let attempt = self.attempt(ctx, content, &mut offered);
            let Err(error) = bounded(&*reading.clock, ctx, "fetching a part", attempt).await else {
                break;
            };
            if content.filled() - before >= PROGRESS {
                failures = 0;
            }
            failures += 1;
            let again = matches!(error.retry, Retry::AfterMs(_)) && error.kind != ErrorKind::Stale;
            let pause = self.pause(&error, failures);
            if !again || failures >= reading.config.attempts || pause >= ctx.remaining(reading.clock.now()) {
                return Err(error);
            }
            tracing::debug!(key = %self.key, at = content.filled(), %error, "resuming a read");
            add(&reading.counters.fetch_retries, 1);
            tokio::time::sleep(pause).await;
        }
        self.arrived(content);
        Ok(())
    }

    fn pause(&self, error: &Error, failures: u32) -> Duration {
        let own = jittered(self.reading.config.retry_pause.saturating_mul(1 << (failures - 1).min(8)));
        match error.retry {
            Retry::AfterMs(ms) => own.max(Duration::from_millis(ms.into())).min(MAX_PAUSE),
            Retry::Never | Retry::Reopen => own,
        }
    }

    /// What the disk has, then one GET for each stretch that is missing.
    async fn attempt(&self, ctx: RequestCtx, content: &Content, offered: &mut u64) -> Result<(), Error> {
        loop {
            let before = content.filled();
            let from = self.fill_from_disk(content).await;
            if from >= content.end {
                return Ok(());
            }
            if from > before {
                *offered = from;
            }
            let until = self.next_on_disk(from, content.end);
            self.get(ctx, content, from, until, offered).await?;
        }
    }

    /// One GET for `from..until`.
    async fn get(
        &self,
        ctx: RequestCtx,
        content: &Content,
        from: u64,
        until: u64,
        offered: &mut u64,
    ) -> Result<(), Error> {
        let caps = self.store.capabilities();
        let whole = from == 0 && until == self.version.size;
        let pinned = self.version.version.clone().filter(|_| caps.pinning != Pinning::None);
        let request = GetRequest {
            key: self.key.clone(),
            range: (caps.ranges && !whole).then(|| ByteRange::new(from, until - from)),
            pin: pinned.clone(),
            unless: None,
        };
        add(&self.reading.counters.fetches, 1);
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
        content.coming_from(ServedFrom::Origin);
        if pinned.is_none() && response.object.version.is_none() {
            // Nothing ties these bytes to the version: good enough for this reader, not for those of the next days.
            *offered = content.end;
        }
        self.receive(response, content, from, until, offered).await
    }

    /// Whether the answer is about the version and the place that were asked for.
    fn check(&self, response: &GetResponse, from: u64) -> Result<(), Error> {
        let object = &response.object;
        let now =
            FileVersion { version: object.version.clone(), size: object.size, modified: object.modified };
        let same = match (&self.version.version, &now.version) {
            // An answer that does not name its version was pinned by the request.
            (Some(_), None) => now.size == self.version.size,
            _ => now.same(&self.version),
        };
        if !same {
            return Err(Error::stale(&self.key));
        }
        if now.size != self.version.size {
            return Err(corrupt(format!(
                "the same version has {} bytes now and had {} before",
                now.size, self.version.size
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

    async fn receive(
        &self,
        response: GetResponse,
        content: &Content,
        from: u64,
        until: u64,
        offered: &mut u64,
    ) -> Result<(), Error> {
        let mut skip = from - response.offset;
        let mut body = response.content;
        let stall = self.reading.config.stall;
        let mut filled = from;
        while filled < until {
            let before = filled;
            let outcome = if skip > 0 {
                // A store without ranges begins at the beginning.
                timeout(stall, body.next()).await.map(|next| {
                    next.map(|chunk| {
                        chunk
                            .map(|chunk| filled = content.append(&skipped(&chunk, &mut skip, until - filled)))
                    })
                })
            } else {
                let (_, mut room) = content.lend(until);
                let next = timeout(stall, body.read_into(&mut room)).await;
                filled = content.restore(Some(room));
                next.map(|next| next.map(|received| received.map(|_bytes| ())))
            };
            match outcome {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => return Err(resumable(error)),
                Ok(None) => {
                    let message = format!("the answer ended {} bytes early", until - filled);
                    return Err(corrupt(message).with_retry(Retry::AfterMs(0)));
                }
                Err(_elapsed) => return Err(Error::timed_out(Blame::Origin, "waiting for more bytes")),
            }
            add(&self.reading.counters.bytes_fetched, filled - before);
            *offered = self.offer(content, *offered, filled, filled >= until);
        }
        Ok(())
    }
}

/// What is left of a chunk after the bytes that are still to be skipped, at most so much.
fn skipped(chunk: &Bytes, skip: &mut u64, most: u64) -> Bytes {
    let now = (*skip).min(chunk.len() as u64);
    *skip -= now;
    let end = (chunk.len() as u64).min(now.saturating_add(most));
    chunk.slice(now as usize..end as usize)
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
