//! A stream of bytes from a provider, of whatever kind.

use super::BoxFuture;
use bytes::{Bytes, BytesMut};
use wasmount_types::Error;

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

    /// The next bytes in memory of their own, never empty; `None` at the end. For those who have none to receive into.
    ///
    /// # Errors
    /// Those of [`read_into`](Self::read_into).
    ///
    /// # Cancellation safety
    /// Dropping the future loses no bytes.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<Bytes, Error>>>;
}
