//! Receiving straight into memory that is somebody else's.

use bytes::{BufMut, BytesMut};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// For every stream that can be read.
pub(crate) trait Fill: AsyncRead + Unpin {
    /// Appends what is there to `into`, at most `max` bytes and never more than it has room for; 0 is the end of the stream.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut BytesMut,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let room = into.capacity() - into.len();
        let mut limited = into.limit(max.min(room));
        // Keeps nothing from one poll to the next, so that it can be made anew each time.
        pin!(self.read_buf(&mut limited)).poll(cx)
    }
}

impl<T: AsyncRead + Unpin> Fill for T {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn memory_never_grows() {
        let mut stream: &[u8] = b"0123456789";
        let mut into = BytesMut::with_capacity(8);
        let capacity = into.capacity();
        let mut fill = |into: &mut BytesMut, max| {
            let polled = stream.poll_fill(&mut Context::from_waker(Waker::noop()), into, max);
            let Poll::Ready(Ok(count)) = polled else { panic!("memory can always be read") };
            count
        };
        assert_eq!(fill(&mut into, 3), 3);
        let rest = capacity - 3;
        assert_eq!(fill(&mut into, 100), rest.min(7));
        assert_eq!((into.capacity(), &into[..3]), (capacity, &b"012"[..]));
    }
}
