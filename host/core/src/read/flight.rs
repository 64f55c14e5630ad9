//! Fetches one part, from the disk cache as far as it goes and from its source, resuming when the stream breaks.

use super::blocks::Grant;
use super::content::Content;
use super::file::File;
use super::source::{Fetched, Wanted};
use super::stats::add;
use crate::again::Attempts;
use crate::ports::{Body, ServedFrom};
use crate::wait::bounded;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use wasmount_pipe::Pipe;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx, Retry};

/// Bytes for which `part_timeout` is meant.
const TIMED: u64 = 8 * 1024 * 1024;

/// Bytes after which an attempt counts as progress, and the attempts start again.
const PROGRESS: u64 = 256 * 1024;

/// How far what has arrived was passed on.
struct Passed {
    /// To the disk cache.
    disk: u64,
    /// To the kernel's page cache.
    kernel: u64,
}

impl File {
    /// Fetches all bytes of a part. Without a grant it waits for memory first.
    pub(super) async fn run(&self, content: &Content, grant: Option<Grant>) -> Result<(), Error> {
        let reading = &self.reading;
        let size = u32::try_from((content.end - content.start).div_ceil(TIMED)).unwrap_or(u32::MAX);
        let ctx = RequestCtx::internal(reading.clock.now() + reading.config.part_timeout * size.max(1));
        content.granted(match grant {
            Some(grant) => grant,
            None => reading.memory.reserve(&*reading.clock, ctx, content.start, content.end).await?,
        });
        let mut attempts = Attempts::new(reading.config.attempts, reading.config.retry_pause);
        let mut passed = Passed { disk: content.start, kernel: content.start };
        loop {
            let before = content.filled();
            let attempt = self.attempt(ctx, content, &mut passed);
            let Err(error) = bounded(&*reading.clock, ctx, "fetching a part", attempt).await else {
                break;
            };
            if content.filled() - before >= PROGRESS {
                attempts.progressed();
            }
            let Some(pause) = attempts.failed(&error, ctx.remaining(reading.clock.now())) else {
                return Err(error);
            };
            tracing::debug!(key = %self.key, at = content.filled(), %error, "resuming a read");
            add(&reading.counters.fetch_retries, 1);
            tokio::time::sleep(pause).await;
        }
        self.arrived(content, passed.kernel);
        Ok(())
    }

    /// What the disk has, then one request for each stretch that is missing.
    async fn attempt(&self, ctx: RequestCtx, content: &Content, passed: &mut Passed) -> Result<(), Error> {
        loop {
            let before = content.filled();
            let from = self.fill_from_disk(content).await;
            if from >= content.end {
                return Ok(());
            }
            if from > before {
                passed.disk = from;
            }
            let until = self.next_on_disk(from, content.end);
            self.get(ctx, content, from, until, passed).await?;
        }
    }

    /// Asks for `from..until` once. What the answer does not cover is asked for again.
    async fn get(
        &self,
        ctx: RequestCtx,
        content: &Content,
        from: u64,
        until: u64,
        passed: &mut Passed,
    ) -> Result<(), Error> {
        add(&self.reading.counters.fetches, 1);
        let wanted = Wanted { key: &self.key, version: &self.version, from, until };
        let fetched = self.source.fetch(ctx, wanted).await?;
        content.coming_from(ServedFrom::Origin);
        if !fetched.pinned {
            passed.disk = content.end;
        }
        let until = until.min(fetched.until);
        self.receive(fetched, content, from, until, passed).await
    }

    /// What the next bytes have to be like to be taken over as they are. A cache wants them aligned.
    fn adoptable(&self, content: &Content, until: u64) -> Option<(usize, usize)> {
        content.adoptable(until).filter(|_| self.cached().is_none())
    }

    async fn receive(
        &self,
        fetched: Fetched,
        content: &Content,
        from: u64,
        until: u64,
        passed: &mut Passed,
    ) -> Result<(), Error> {
        let mut skip = from.saturating_sub(fetched.offset);
        let mut body = fetched.content;
        let stall = self.reading.config.stall;
        let mut filled = from;
        while filled < until {
            let before = filled;
            if passed.disk <= filled && content.begins_block(filled) {
                self.pace(content).await;
            }
            let pipe = if skip == 0 && body.pours() { content.lend_pipe(until).await } else { None };
            let own = if skip == 0 && pipe.is_none() { self.adoptable(content, until) } else { None };
            let outcome = if let Some(taken) = own.and_then(|(least, most)| body.take(least, most)) {
                Ok(Some(taken.map(|bytes| filled = content.adopt(bytes))))
            } else if let Some((pipe, size)) = pipe {
                let poured = pour(&mut *body, content, pipe, size, stall).await;
                filled = content.filled();
                // It is not for the disk cache.
                passed.disk = filled;
                poured
            } else if skip > 0 {
                // A store without ranges begins at the beginning, one of blocks at a sector.
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
            add(&self.reading.counters.bytes_fetched, filled - before);
            match outcome {
                Ok(Some(Ok(()))) => {}
                Ok(Some(Err(error))) => return Err(resumable(error)),
                Ok(None) => {
                    let message = format!("the answer ended {} bytes early", until - filled);
                    return Err(corrupt(message).with_retry(Retry::AfterMs(0)));
                }
                Err(_elapsed) => return Err(Error::timed_out(Blame::Origin, "waiting for more bytes")),
            }
            passed.disk = self.offer(content, passed.disk, filled, filled >= until);
            passed.kernel = self.arrives(content, passed.kernel, filled);
        }
        Ok(())
    }
}

/// Moves the `size` bytes of a block into a pipe. Where they do not all come, or do not all go in, those that came go into memory: none is
/// lost.
async fn pour(
    body: &mut dyn Body,
    content: &Content,
    mut pipe: Pipe,
    size: usize,
    stall: Duration,
) -> Result<Option<Result<(), Error>>, Elapsed> {
    let (was_full, outcome) = loop {
        let left = size.saturating_sub(pipe.len());
        if left == 0 {
            content.restore_pipe(pipe);
            return Ok(Some(Ok(())));
        }
        match timeout(stall, body.pour(&mut pipe, left)).await {
            Ok(Some(Ok(0))) => break (true, Ok(Some(Ok(())))),
            Ok(Some(Ok(_some))) => {}
            Ok(Some(Err(error))) => break (false, Ok(Some(Err(error)))),
            Ok(None) => break (false, Ok(None)),
            Err(elapsed) => break (false, Err(elapsed)),
        }
    };
    if let Err(error) = content.absorb(pipe, was_full) {
        let message = format!("a pipe could not be read: {error}");
        return Ok(Some(Err(Error::new(ErrorKind::Other, Blame::Host, message))));
    }
    outcome
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
