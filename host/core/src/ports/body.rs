//! A stream of bytes from a provider, of whatever kind.

use super::BoxFuture;
use bytes::{Bytes, BytesMut};
use std::future::ready;
use wasmount_pipe::Pipe;
use wasmount_types::{Blame, Error, ErrorKind};

/// Bytes on their way from a storage system, front to back. Dropping it cancels what has not arrived.
#[expect(
    clippy::len_without_is_empty,
    reason = "it is a stream: its length is what is left, and may be unknown"
)]
pub trait Body: Send {
    /// Bytes left, if known.
    fn len(&self) -> Option<u64>;

    /// Appends the next bytes to `into` and returns how many: at least one, never more than `into` had room for
    /// (`capacity() - len()`, which must not be 0), so that its memory never moves or grows; `None` at the end, with `into`
    /// as it was. Returns with what is there rather than waiting until the room is full. The transport receives straight
    /// into this memory where it can.
    ///
    /// After the last byte of a body of known length, which [`len`](Self::len) of 0 tells, nothing needs to be asked: whatever
    /// carried the bytes is free for the next body.
    ///
    /// # Errors
    /// `unavailable`, `timed-out` or `corrupt` when the stream broke: what came before is valid, `into` is as it was, and
    /// nothing follows.
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes: they are in `into`, or come next.
    fn read_into<'a>(&'a mut self, into: &'a mut BytesMut) -> BoxFuture<'a, Option<Result<usize, Error>>>;

    /// The next bytes, between `least` and `most` of them, if they lie in one piece of memory already and nobody else has it: they need not be copied then. What they
    /// cost is the taker's from now on.
    ///
    /// # Errors
    /// Those of [`read_into`](Self::read_into).
    fn take(&mut self, _least: usize, _most: usize) -> Option<Result<Bytes, Error>> {
        None
    }

    /// Whether [`pour`](Self::pour) works for the next bytes.
    fn pours(&self) -> bool {
        false
    }

    /// Moves the next bytes, at most `most`, into `pipe` without a copy, and returns how many: 0 when the pipe is full. `None` at the
    /// end.
    ///
    /// # Errors
    /// Those of [`read_into`](Self::read_into); `unsupported` where it does not [work](Self::pours).
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes: they are in `pipe`, or come next.
    fn pour<'a>(
        &'a mut self,
        _pipe: &'a mut Pipe,
        _most: usize,
    ) -> BoxFuture<'a, Option<Result<usize, Error>>> {
        let message = "the bytes of this body cannot be moved into a pipe";
        Box::pin(ready(Some(Err(Error::new(ErrorKind::Unsupported, Blame::Host, message)))))
    }

    /// The next bytes in memory of their own, never empty; `None` at the end. For those who have none to receive into.
    ///
    /// # Errors
    /// Those of [`read_into`](Self::read_into).
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, Error>>>;
}
