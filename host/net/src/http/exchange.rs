//! One request, and the head of its answer.
//!
//! Runs in the task of whoever sends: no other task and no queue lies between it and the socket, because each change of
//! tasks, and of threads above all, costs more than the exchange itself.

use super::head::{Head, Malformed, take_head};
use super::outgoing::{Outgoing, Progress, Unsent};
use super::pool::Connection;
use crate::limits::NetLimits;
use crate::timer::sleep;
use futures::ready;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use wasmount_types::Error;

/// Why there is no answer.
pub(super) enum Failed {
    /// The connection broke.
    Io(io::Error),
    /// The server closed it before the head was complete.
    Closed,
    /// What came is no answer.
    Malformed(Malformed),
    /// It wants to speak another protocol.
    Upgrade(u16),
    /// The body of the request could not be produced.
    Own(Error),
}

/// What came back.
pub(super) struct Answer {
    pub(super) head: Head,
    /// All of the request has left; otherwise the connection can take no other one.
    pub(super) request_sent: bool,
}

struct Exchange<'a> {
    connection: &'a mut Connection,
    request: &'a mut Outgoing,
    /// The request was a `HEAD`.
    bodiless: bool,
    progress: &'a Progress,
    limits: &'a NetLimits,
    handle: &'a Handle,
    /// Runs while the body waits for `100 Continue`.
    patience: Option<Pin<Box<Sleep>>>,
    /// The request could not be written: what matters is whether the server has said why.
    broken: Option<io::Error>,
}

/// Sends a request and reads until the head of the answer is there.
///
/// A server may answer before it has all of the request; the rest is then not sent.
pub(super) async fn exchange(
    connection: &mut Connection,
    request: &mut Outgoing,
    bodiless: bool,
    progress: &Progress,
    limits: &NetLimits,
    handle: &Handle,
) -> Result<Answer, Failed> {
    let (patience, broken) = (None, None);
    let mut exchange = Exchange { connection, request, bodiless, progress, limits, handle, patience, broken };
    poll_fn(|cx| exchange.poll(cx)).await
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Failed>> {
        loop {
            if self.broken.is_none() && !self.request.is_sent() {
                match self.request.poll_send(cx, &mut self.connection.socket, self.progress) {
                    Poll::Ready(Err(Unsent::Own(error))) => return Poll::Ready(Err(Failed::Own(error))),
                    Poll::Ready(Err(Unsent::Io(error))) if !self.request.has_written() => {
                        return Poll::Ready(Err(Failed::Io(error)));
                    }
                    Poll::Ready(Err(Unsent::Io(error))) => self.broken = Some(error),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            if !self.request.has_written() {
                return Poll::Pending;
            }
            match self.poll_head(cx) {
                Poll::Ready(Ok(head)) if head.status == 101 => {
                    return Poll::Ready(Err(Failed::Upgrade(head.status)));
                }
                Poll::Ready(Ok(head)) if head.status < 200 => {
                    if head.status == 100 {
                        self.request.release();
                    }
                }
                Poll::Ready(Ok(head)) => {
                    let request_sent = self.request.is_sent();
                    return Poll::Ready(Ok(Answer { head, request_sent }));
                }
                Poll::Ready(Err(failed)) => {
                    return Poll::Ready(Err(self.broken.take().map_or(failed, Failed::Io)));
                }
                Poll::Pending if self.request.is_held() => {
                    // A server need not know the header (RFC 9110, section 10.1.1).
                    let (limit, handle) = (self.limits.expect_continue, self.handle);
                    ready!(
                        self.patience.get_or_insert_with(|| Box::pin(sleep(handle, limit))).as_mut().poll(cx)
                    );
                    self.request.release();
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failed>> {
        let Connection { socket, buffer, .. } = &mut *self.connection;
        // What is left from before: the head after an interim response.
        let mut worth_reading = buffer.bytes().contains(&b'\n');
        loop {
            // Only an end of a line completes a head, and one that comes byte by byte is not read again for each. The first
            // bytes show whether it is HTTP at all.
            if worth_reading
                && let Some(head) =
                    take_head(buffer.bytes_mut(), self.bodiless, self.limits).map_err(Failed::Malformed)?
            {
                return Poll::Ready(Ok(head));
            }
            if buffer.bytes().len() > self.limits.head_bytes {
                return Poll::Ready(Err(Failed::Malformed(Malformed::TooLarge)));
            }
            let before = buffer.bytes().len();
            match ready!(buffer.poll_fill(cx, socket)) {
                Ok(0) => return Poll::Ready(Err(Failed::Closed)),
                Ok(_) => {
                    worth_reading =
                        before == 0 || buffer.bytes().iter().skip(before).any(|byte| *byte == b'\n');
                }
                Err(error) => return Poll::Ready(Err(Failed::Io(error))),
            }
        }
    }
}
