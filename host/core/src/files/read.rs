//! Reading files.

use super::data::Data;
use super::source::Opening;
use super::{FileFs, Node, OpenNode};
use crate::fs::{ReadData, Seek};
use crate::ports::ServedFrom;
use crate::wait::bounded;
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, RequestCtx};

/// Handles tried for one request: the one that is there, and a fresh one if that turns out to be stale.
const ATTEMPTS: u32 = 2;

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
            let opening = self.ready(ctx, &open.node, data).await?;
            let outcome = bounded(self.clock(), ctx, "a read", async {
                let mut admission = data.admit(offset..offset.saturating_add(size.into()), open.direct).await;
                let outcome = match open.reader(data) {
                    Some(reader) => reader.read(ctx, offset, size).await.map(|bytes| (bytes, false)),
                    None => self.read_through(ctx, &opening, offset, size).await.map(|bytes| (bytes, true)),
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
                    data.source.close(&opening);
                }
                outcome => return outcome,
            }
        }
    }

    /// What a file is read through: opened again if it is not open, and if the right to keep what is read may have come back.
    async fn ready(&self, ctx: RequestCtx, node: &Node, data: &Data) -> Result<Arc<Opening>, Error> {
        let due = data.is_due(self.clock().now());
        match data.source.opening() {
            Some(opening) if !due => return Ok(opening),
            Some(opening) => {
                if let Err(error) = self.begin(ctx, node, data).await {
                    tracing::debug!(mount = %self.context.id, %error, "the right to keep what is read was not given");
                    return Ok(opening);
                }
            }
            None => drop(self.begin(ctx, node, data).await?),
        }
        data.source.opening().ok_or_else(|| Error::stale(self.path(node)))
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
            let opening = self.ready(ctx, &open.node, data).await?;
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
