//! Bytes from the disk cache, and for it.
//!
//! Nothing here fails a read: what the cache does not give, or not soon, comes from the storage system, and is offered again.

use super::blocks::{BLOCK, Held};
use super::content::Content;
use super::file::File;
use super::stats::add;
use crate::ports::{CACHE_PAGE, CachedFile, ServedFrom};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use tokio::time::timeout;
use wasmount_types::{Error, RequestCtx};

impl File {
    /// The bytes `from..to`, which the cache says to have, at most a block's worth, without a part. `None`: it does not have them.
    pub(super) async fn read_disk(
        &self,
        ctx: RequestCtx,
        cached: &Arc<dyn CachedFile>,
        from: u64,
        to: u64,
    ) -> Result<Option<Bytes>, Error> {
        let memory = &self.reading.memory;
        let grant = match memory.try_reserve(0, to - from) {
            Some(grant) => grant,
            None => memory.reserve(&*self.reading.clock, ctx, 0, to - from).await?,
        };
        let held = Held::new(memory.pool.clone(), Some(grant));
        let room = memory.pool.block(to - from);
        match self.ask_cache(cached, from, to, room).await {
            Some(Ok(block)) => {
                let bytes = block.freeze();
                held.anchor(&bytes);
                Ok(Some(held.show(bytes)))
            }
            Some(Err(room)) => {
                memory.pool.give_back(room);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Fills a part from the cache as far as that goes; returns how far it is filled.
    pub(super) async fn fill_from_disk(&self, content: &Content) -> u64 {
        let mut filled = content.filled();
        let Some(cached) = self.cached() else { return filled };
        while filled < content.end {
            let run = cached.run(filled, content.end);
            if run <= filled {
                break;
            }
            content.coming_from(ServedFrom::Disk);
            let (from, room) = content.lend(u64::MAX);
            let until = run.min(from + room.capacity() as u64);
            filled = match self.ask_cache(&cached, from, until, room).await {
                Some(Ok(room)) => content.restore(Some(room)),
                Some(Err(room)) => content.restore(Some(room)),
                None => content.restore(None),
            };
            if filled < until {
                break;
            }
        }
        filled
    }

    /// What the cache gives for `from..to`, with the room if it gives nothing. `None`: it did not even give the room back in time.
    async fn ask_cache(
        &self,
        cached: &Arc<dyn CachedFile>,
        from: u64,
        to: u64,
        room: BytesMut,
    ) -> Option<Result<BytesMut, BytesMut>> {
        let before = room.len() as u64;
        let outcome = match timeout(self.reading.config.disk_wait, cached.read(from, to, room)).await {
            Ok(Ok(room)) if room.len() as u64 == before + (to - from) => return Some(Ok(room)),
            Ok(Ok(mut room)) => {
                room.truncate(before as usize);
                Some(Err(room))
            }
            Ok(Err(room)) => Some(Err(room)),
            Err(_elapsed) => None,
        };
        add(&self.reading.counters.disk_errors, 1);
        outcome
    }

    /// Where the cache goes on with a whole block, between `from`, which it does not have, and `end`.
    pub(super) fn next_on_disk(&self, from: u64, end: u64) -> u64 {
        let Some(cached) = self.cached() else { return end };
        let mut at = (from / BLOCK + 1) * BLOCK;
        while at < end {
            let until = (at + BLOCK).min(end);
            if cached.run(at, until) == until {
                return at;
            }
            at += BLOCK;
        }
        end
    }

    /// Offers what has arrived between `offered` and `filled` to the cache, block by block; returns what is offered by now.
    /// What ends inside a block waits, unless it is the `last` of what will come.
    pub(super) fn offer(&self, content: &Content, offered: u64, filled: u64, last: bool) -> u64 {
        let mut at = offered.next_multiple_of(CACHE_PAGE);
        let size = self.version.size;
        let whole = if last { filled } else { filled / BLOCK * BLOCK };
        let until = if whole >= size { size } else { whole / CACHE_PAGE * CACHE_PAGE };
        if at >= until {
            return offered;
        }
        let Some(cached) = self.cached() else { return until };
        while at < until {
            let end = ((at / BLOCK + 1) * BLOCK).min(until);
            if cached.wants(at, end) {
                let (mut pieces, mut held) = (Vec::new(), None);
                for (_, slice, holder) in content.slices(at, end) {
                    pieces.push(slice);
                    held = Some(holder);
                }
                if let Some(held) = held {
                    cached.offer(at, pieces, held);
                }
            }
            at = end;
        }
        until
    }
}
