//! Reading files.

use super::data::Data;
use super::directory::ATTEMPTS;
use super::open::{Purpose, Right};
use super::source::Opening;
use super::{FileFs, Node, OpenNode};
use crate::fs::{ReadData, ReadRequest, Seek};
use crate::ports::ServedFrom;
use crate::wait::bounded;
use std::sync::Arc;
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// How long the right is waited for. A client that writes and does not let go is not waited for as long as the store does.
const ACQUIRING: Duration = Duration::from_secs(15);

/// Time after which it is asked for again when it was lost as soon as it was given.
const LOST: Duration = Duration::from_millis(1);

/// How often in a row it may be lost without being taken back: a store that answers so neither gives it nor says that it does not.
const IN_VAIN: u32 = 100;

/// Time between two attempts to ask a store for it that fails.
const PACE: Duration = Duration::from_millis(50);

/// A page of the kernel.
const PAGE: u64 = 4096;

/// Whether a failure may be over a moment later.
fn passes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Stale | ErrorKind::Unavailable | ErrorKind::Interrupted | ErrorKind::Throttled)
}

impl FileFs {
    /// Bytes; fewer than wanted only at the end of the file.
    pub(crate) async fn read(
        &self,
        ctx: RequestCtx,
        open: &OpenNode,
        wanted: ReadRequest,
    ) -> Result<ReadData, Error> {
        let data = self.data_of(&open.node);
        let ReadRequest { offset, size, kept } = wanted;
        let kept = kept || !open.direct;
        let mut attempt = 1;
        loop {
            let mut through = None;
            let outcome = bounded(self.clock(), ctx, "a read", async {
                let mut admission = None;
                if kept {
                    admission = Some(data.admit(offset..offset.saturating_add(size.into())).await);
                    self.acquire(&open.node, data).await;
                }
                let opening = through.insert(self.ready(ctx, open, data, kept).await?);
                let mut covered = None;
                let reader = match &mut admission {
                    Some(admission) => {
                        admission.begin();
                        open.reader(data)
                    }
                    None => covered.insert(data.cover()).as_ref().and_then(|_| open.reader(data)),
                };
                let outcome = match reader {
                    Some(reader) => reader.read(ctx, offset, size).await.map(|bytes| (bytes, false)),
                    None => self.read_through(ctx, opening, offset, size).await.map(|bytes| (bytes, true)),
                };
                outcome.map(|(bytes, uncovered)| {
                    if let Some(admission) = &mut admission {
                        admission.answered(uncovered);
                    }
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
    async fn ready(
        &self,
        ctx: RequestCtx,
        open: &OpenNode,
        data: &Data,
        kept: bool,
    ) -> Result<Arc<Opening>, Error> {
        let due = !kept && data.is_due(self.clock().now());
        match data.source.opening() {
            Some(opening) if !due => return Ok(opening),
            Some(opening) => {
                if let Err(error) = self.begin(ctx, &open.node, data, Purpose::Reader).await {
                    tracing::debug!(mount = %self.context.id, %error, "the right to keep what is read was not given");
                    return Ok(opening);
                }
            }
            None => drop(self.begin(ctx, &open.node, data, Purpose::Reader).await?),
        }
        data.source.opening().ok_or_else(|| Error::stale(self.path(&open.node)))
    }

    /// Sees to it that the right to keep what is read is held, or is being lost, which is as good ([`data`](super::data) says why). Whoever writes the file has to let
    /// go of it for that, so this may take as long as he takes; if the store refuses, it ends all the same.
    async fn acquire(&self, node: &Arc<Node>, data: &Data) {
        let now = || self.clock().now();
        let settled = async {
            while !data.settled(now).await {
                // Not a part of any READ: it goes on for the others when one is given up.
                let (Some(fs), node) = (self.me.upgrade(), node.clone()) else { return };
                self.context.spawn.spawn(Box::pin(async move { fs.ask_for_right(&node).await }));
            }
        };
        if tokio::time::timeout(ACQUIRING, settled).await.is_err() {
            data.refused(now());
        }
    }

    /// Asks for the right until it is given or refused.
    async fn ask_for_right(&self, node: &Node) {
        let data = self.data_of(node);
        let _asking = data.asking_for_right();
        let until = self.clock().now() + ACQUIRING;
        let ctx = RequestCtx::internal(self.clock().now() + self.context.request_timeout);
        let mut version = data.version();
        let mut in_vain = 0;
        let reason = loop {
            if !data.is_open() {
                // Whoever wanted it has gone.
                return;
            }
            match self.begin(ctx, node, data, Purpose::Pages).await {
                Ok(Right::Held(_)) => return,
                Ok(Right::Lost) if self.clock().now() < until && in_vain < IN_VAIN => {
                    tokio::time::sleep(LOST).await;
                    let now = data.version();
                    in_vain = if now == std::mem::replace(&mut version, now) { in_vain + 1 } else { 0 };
                }
                Ok(Right::Lost) => break "it was lost each time".to_owned(),
                Ok(Right::Refused) => break "the store does not give it".to_owned(),
                Err(error) if passes(error.kind) && self.clock().now() < until => {
                    tracing::debug!(mount = %self.context.id, %error, "the right to keep what is read is asked for again");
                    tokio::time::sleep(PACE).await;
                }
                Err(error) => break error.to_string(),
            }
        };
        tracing::debug!(mount = %self.context.id, node = node.ino.0, reason, "no right to keep what is read");
        data.refused(self.clock().now());
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
            let at = offset.saturating_add(gathered.len() as u64);
            let length = piece(at, gathered.missing(), self.caps.max_read.max(1));
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
            let opening = self.ready(ctx, open, data, !open.direct).await?;
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

/// Bytes to ask a store for that gives at most `most` at a time. Whole pages, if they fit: others may write in between, and nobody is to see a page half old and half new.
fn piece(at: u64, missing: usize, most: u32) -> u32 {
    let missing = u32::try_from(missing).unwrap_or(u32::MAX);
    if missing <= most {
        return missing;
    }
    let beyond = u32::try_from(at.saturating_add(most.into()) % PAGE).unwrap_or(0);
    if beyond < most { most - beyond } else { most }
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

#[cfg(test)]
mod tests {
    use super::piece;

    #[test]
    fn pieces_end_where_pages_do() {
        assert_eq!((piece(0, 100, 4096), piece(4096, 12_288, 10_000)), (100, 8192));
        assert_eq!((piece(100, 9000, 8192), piece(8192, 808, 8192)), (8092, 808));
        assert_eq!((piece(100, 9000, 50), piece(4090, 9000, 10)), (50, 6));
    }
}
