//! Reading files.

use super::data::Data;
use super::source::Opening;
use super::{FileFs, Node, OpenNode};
use crate::fs::{ReadData, Seek};
use crate::ports::ServedFrom;
use crate::wait::bounded;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// Handles tried for one request: the one that is there, and a fresh one if that turns out to be stale.
const ATTEMPTS: u32 = 2;

/// First pause before the right is asked for again that was refused; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest such pause.
const LAST_PAUSE: Duration = Duration::from_millis(20);
/// How long the right is asked for again: a store that was just told that it is lost needs a moment.
const REFUSING: Duration = Duration::from_millis(200);
/// How long an answer is waited for. A client that writes and does not let go is not waited for as long as the store does.
const ACQUIRING: Duration = Duration::from_secs(5);

impl FileFs {
    /// At most `size` bytes from `offset`, fewer only at the end of the file.
    pub(crate) async fn read(
        &self,
        ctx: RequestCtx,
        open: &OpenNode,
        offset: u64,
        size: u32,
    ) -> Result<ReadData, Error> {
        let data = self.data_of(&open.node);
        let mut attempt = 1;
        loop {
            let mut through = None;
            let outcome = bounded(self.clock(), ctx, "a read", async {
                let mut admission = data.admit(offset..offset.saturating_add(size.into()), open.direct).await;
                if !open.direct {
                    self.acquire(ctx, &open.node, data).await;
                }
                let opening = through.insert(self.ready(ctx, open, data).await?);
                admission.begin();
                let outcome = match open.reader(data) {
                    Some(reader) => reader.read(ctx, offset, size).await.map(|bytes| (bytes, false)),
                    None => self.read_through(ctx, opening, offset, size).await.map(|bytes| (bytes, true)),
                };
                outcome.map(|(bytes, uncovered)| {
                    admission.answered(uncovered);
                    bytes
                })
            })
            .await;
            self.drop_noted_later(&open.node);
            match outcome {
                Err(error) if error.kind == ErrorKind::Stale && attempt < ATTEMPTS => {
                    tracing::debug!(mount = %self.context.id, %error, "a file is opened again");
                    attempt += 1;
                    through.inspect(|opening| data.source.close(opening));
                }
                outcome => return outcome,
            }
        }
    }

    /// What a file is read through: opened again if it is not open, or if the right to keep what is read may have come back to one for whom the kernel
    /// keeps nothing.
    async fn ready(&self, ctx: RequestCtx, open: &OpenNode, data: &Data) -> Result<Arc<Opening>, Error> {
        let due = open.direct && data.is_due(self.clock().now());
        match data.source.opening() {
            Some(opening) if !due => return Ok(opening),
            Some(opening) => {
                if let Err(error) = self.begin(ctx, &open.node, data).await {
                    tracing::debug!(mount = %self.context.id, %error, "the right to keep what is read was not given");
                    return Ok(opening);
                }
            }
            None => drop(self.begin(ctx, &open.node, data).await?),
        }
        data.source.opening().ok_or_else(|| Error::stale(self.path(&open.node)))
    }

    /// Sees to it that the right to keep what is read is held, or is being lost, which is as good ([`data`](super::data) says why). Whoever writes the file has to let
    /// go of it for that, so this may take as long as he takes; if the store refuses, it ends all the same.
    async fn acquire(&self, ctx: RequestCtx, node: &Node, data: &Data) {
        let now = || self.clock().now();
        if !self.store.gives_for_a_moment() {
            // Nothing is to be had by insisting.
            if data.is_due(now())
                && let Err(error) = self.begin(ctx, node, data).await
            {
                tracing::debug!(mount = %self.context.id, %error, "the right to keep what is read was not given");
            }
            return;
        }
        let Some(_turn) = data.asks(now).await else { return };
        let asking = async {
            let mut pause = FIRST_PAUSE;
            let until = tokio::time::Instant::now() + REFUSING;
            loop {
                match self.ask_for_right(ctx, node, data).await {
                    Ok(true) => return,
                    Ok(false) if tokio::time::Instant::now() < until => {}
                    Ok(false) => break,
                    Err(error) => {
                        tracing::debug!(mount = %self.context.id, %error, "the right to keep what is read was not given");
                        break;
                    }
                }
                // It may have been given and lost again, and the store is being told so just now.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
            data.refused(now());
        };
        tokio::select! {
            biased;
            () = data.settled(now) => {}
            in_time = tokio::time::timeout(ACQUIRING, asking) => {
                if in_time.is_err() {
                    data.refused(now());
                }
            }
        }
    }

    /// Asks once. Whether it is given.
    async fn ask_for_right(&self, ctx: RequestCtx, node: &Node, data: &Data) -> Result<bool, Error> {
        if self.begin(ctx, node, data).await?.is_some() {
            return Ok(true);
        }
        // A store that lets others write has to make them pause to say how the file is at this moment, and can give the right with that.
        self.ask_attributes(ctx, node, None).await?;
        Ok(self.begin(ctx, node, data).await?.is_some())
    }

    /// Bytes straight from the store.
    async fn read_through(
        &self,
        ctx: RequestCtx,
        opening: &Opening,
        offset: u64,
        size: u32,
    ) -> Result<ReadData, Error> {
        let mut gathered = self.reading.gather(size as usize);
        while gathered.missing() > 0 {
            let length = u32::try_from(gathered.missing()).unwrap_or(u32::MAX).min(self.caps.max_read.max(1));
            let at = offset.saturating_add(gathered.len() as u64);
            let mut body = self.store.read(ctx, opening.handle, at, length).await?;
            if gathered.take(&mut *body, length as usize).await? < length as usize {
                break;
            }
        }
        Ok(ReadData { bytes: gathered.finish(), from: ServedFrom::Origin })
    }

    /// Where data or a hole is next.
    pub(crate) async fn seek(
        &self,
        ctx: RequestCtx,
        open: &OpenNode,
        offset: u64,
        what: Seek,
    ) -> Result<u64, Error> {
        let data = self.data_of(&open.node);
        let mut attempt = 1;
        loop {
            let opening = self.ready(ctx, open, data).await?;
            if !self.caps.seek {
                let size = self.known_attributes(ctx, &open.node, Some(&opening)).await?.size;
                return seek_in_data(size, offset, what);
            }
            let found = self.store.seek(ctx, opening.handle, offset, what);
            match bounded(self.clock(), ctx, "looking for holes", found).await {
                Err(error) if error.kind == ErrorKind::Stale && attempt < ATTEMPTS => {
                    attempt += 1;
                    data.source.close(&opening);
                }
                outcome => return outcome,
            }
        }
    }

    /// Sees to what the kernel was given without the right to keep it.
    pub(super) fn drop_noted_later(&self, node: &Arc<Node>) {
        let Some(fs) = self.me.upgrade() else { return };
        if node.opened_data().is_some_and(Data::begin_lag) {
            let node = node.clone();
            self.context.spawn.spawn(Box::pin(async move {
                if let Some(data) = node.opened_data() {
                    data.drop_noted(node.ino, fs.kernel()).await;
                }
            }));
        }
    }
}

/// `lseek(2)` in a file without holes but the one behind its end.
pub(crate) fn seek_in_data(size: u64, offset: u64, what: Seek) -> Result<u64, Error> {
    match what {
        _ if offset >= size => {
            let message = format!("byte {offset} is at or beyond the end");
            Err(Error::new(ErrorKind::OutOfRange, Blame::Caller, message))
        }
        Seek::Data => Ok(offset),
        Seek::Hole => Ok(size),
    }
}
