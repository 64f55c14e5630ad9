//! READs that are answered with bytes which never were in our memory.
//!
//! fuser answers with memory only, so these answers are written beside it: header and bytes come together in a pipe of their own, which the
//! kernel takes as one message. What fuser then sends for the same request is refused (`ENOENT`): it has been answered.

use crate::device::Device;
use bytes::BytesMut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wasmount_core::FileSystem;
use wasmount_core::fs::{Piped, ReadAnswer, ReadData, ReadRequest};
use wasmount_core::ports::ServedFrom;
use wasmount_pipe::{Pipe, Pipes};
use wasmount_types::{Blame, Error, ErrorKind, Fh, RequestCtx};

/// Answers that are put together at once: as many as there are threads, and some.
const MESSAGES: usize = 16;

/// Answers READs, those whose bytes lie in pipes included.
pub(crate) struct Reads {
    device: Device,
    messages: Arc<Pipes>,
    /// There are no pipes for answers, or the kernel has refused one: reads go through memory.
    refused: AtomicBool,
}

/// What a READ came to.
pub(crate) enum Answer {
    /// These bytes, which are to be sent.
    Bytes(ReadData),
    /// So many bytes, which have been sent.
    Sent(usize, ServedFrom),
}

impl Reads {
    /// `size`: most bytes of an answer.
    pub(crate) fn new(device: Device, size: usize) -> Self {
        let messages = Pipes::new(MESSAGES, size);
        let refused = AtomicBool::new(messages.take().is_none());
        Self { device, messages, refused }
    }

    /// Reads, and answers the request if the bytes lie in a pipe.
    pub(crate) async fn read(
        &self,
        fs: &dyn FileSystem,
        ctx: RequestCtx,
        fh: Fh,
        wanted: ReadRequest,
        request: u64,
    ) -> Result<Answer, Error> {
        if self.refused.load(Ordering::Relaxed) {
            return fs.read(ctx, fh, wanted).await.map(Answer::Bytes);
        }
        let piped = match fs.read_piped(ctx, fh, wanted).await? {
            ReadAnswer::Memory(data) => return Ok(Answer::Bytes(data)),
            ReadAnswer::Piped(piped) => piped,
        };
        match self.messages.take() {
            Some(message) => self.send(request, piped, message),
            None => piped.into_memory().map(Answer::Bytes),
        }
    }

    fn send(&self, request: u64, mut piped: Piped, mut message: Pipe) -> Result<Answer, Error> {
        let (length, from) = (piped.pipe.len(), piped.from);
        let Err(error) = self.device.reply_piped(request, &mut message, &mut piped.pipe) else {
            return Ok(Answer::Sent(length, from));
        };
        if error.kind() == io::ErrorKind::NotFound {
            // Who asked has gone.
            return Ok(Answer::Sent(length, from));
        }
        let mut all = BytesMut::with_capacity(Device::HEADER + length);
        let read = message.read_into(&mut all).and_then(|()| piped.pipe.read_into(&mut all));
        // Where pieces are small, a pipe may have no room for a header before them.
        if error.kind() != io::ErrorKind::StorageFull && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the kernel takes no answers out of pipes; reads go through memory, and cost more");
        }
        if read.is_err() || all.len() != Device::HEADER + length {
            // The kernel has taken the bytes without taking the answer, and told the caller so.
            let message = format!("an answer out of a pipe was not taken: {error}");
            return Err(Error::new(ErrorKind::Other, Blame::Host, message));
        }
        let bytes = all.split_off(Device::HEADER).freeze();
        Ok(Answer::Bytes(ReadData { bytes, from }))
    }
}
