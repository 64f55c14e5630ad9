//! What OSDs answer.

use super::operation::{Operation, Place};
use super::{Objecter, Tid};
use crate::encoding::DecodeError;
use crate::msgr::Message;
use crate::osd::{Backoff, BackoffKind, OutputError, Reply, flags, kind};
use crate::payload::Payload;
use crate::rados::error::{EAGAIN, RadosError};
use crate::rados::request::OpReply;
use crate::time::Now;

/// How often a request is sent from one object to another before that is taken for a circle.
const REDIRECTS_MAX: u32 = 16;
/// Pause after the second "try again" of an OSD, in milliseconds; the first has none, and each further one doubles it.
const REFUSED_FIRST_MS: u64 = 10;
/// Longest such pause.
const REFUSED_MAX_MS: u64 = 1_000;
/// Priority of an acknowledgement that requests are held back (`CEPH_MSG_PRIO_HIGHEST`). Until the OSD has taken it, it drops requests of that range
/// without a word, even if it has said in the meantime that they may come (`Session::check_backoff` and `ack_backoff` in Ceph's
/// `osd/Session.cc`). Both wait in the OSD's queue, which is sorted by priority and is no line: an acknowledgement of lesser or merely
/// other priority may be overtaken by the request that was sent after it, and that request would wait for ever.
pub(super) const PRIORITY_HIGHEST: u16 = 255;

impl<P: Payload> Objecter<P> {
    /// Takes a message from an OSD, if it is for here.
    ///
    /// # Errors
    /// The OSD breaks the protocol: its connection is not worth keeping.
    pub(in crate::rados) fn message_from(
        &mut self,
        osd: i32,
        message: Message<P>,
        now: Now,
    ) -> Result<(), DecodeError> {
        match message.kind {
            kind::OSD_OPREPLY => {
                self.reply(osd, message, now);
                Ok(())
            }
            kind::OSD_BACKOFF => self.backoff(osd, &message.front, now),
            // A newer OSD may say things that need no answer.
            _ => Ok(()),
        }
    }

    /// An answer. One to a request that is unknown by now, or to an earlier attempt of it, is nobody's.
    fn reply(&mut self, osd: i32, mut message: Message<P>, now: Now) {
        let tid = message.tid;
        let Some(session) = self.sessions.get_mut(&osd) else { return };
        session.answered();
        let Some(operation) = self.operations.get_mut(&tid) else { return };
        if operation.place.osd() != Some(osd) || operation.attempts == 0 {
            return;
        }
        let reply = match Reply::decode(message.version, message.compat, &message.front) {
            Ok(reply) => reply,
            Err(error) => {
                self.finish(tid, Err(error.into()));
                return self.pump(osd, now);
            }
        };
        if reply.attempt >= 0 && reply.attempt != operation.attempts - 1 {
            return;
        }
        if let Some(redirect) = reply.redirect {
            if operation.redirects >= REDIRECTS_MAX {
                let circle = format!("OSDs redirected the request {REDIRECTS_MAX} times");
                self.finish(tid, Err(RadosError::Unavailable(circle)));
            } else if let Some(mut operation) = self.leave(tid) {
                operation.redirects += 1;
                operation.redirect = Some(redirect);
                operation.flags |= flags::IGNORE_CACHE | flags::IGNORE_OVERLAY;
                self.enter(operation, now);
            }
        } else if reply.result == -EAGAIN {
            self.refused(tid, now);
        } else {
            let result = self.outcome(tid, &reply, message.take_payload());
            self.finish(tid, result);
        }
        self.pump(osd, now);
    }

    /// The result of a request that was done, or refused for good.
    fn outcome(&mut self, tid: Tid, reply: &Reply, data: Option<P>) -> Result<OpReply<P>, RadosError> {
        if reply.result < 0 {
            let address = self.own.first().and_then(|address| address.socket);
            let address = address.map_or_else(|| "its address".into(), |address| address.to_string());
            let error = RadosError::from_result(reply.result, &address);
            if matches!(error, RadosError::Blocklisted { .. }) {
                // The OSD has a newer map than this client.
                self.locked_out(address);
            }
            return Err(error);
        }
        let ops = self.operations.get(&tid).map_or(&[][..], |operation| &operation.request.ops);
        let results = reply.results(ops, data).map_err(|error| match error {
            OutputError::Malformed(error) => RadosError::from(error),
            // The request can be made again when others are done with what they hold.
            OutputError::Refused => RadosError::Unavailable(error.to_string()),
        })?;
        Ok(OpReply { result: reply.result, version: reply.version, results })
    }

    /// "Try again": at once the first time, then ever later, with the primary and under a new transaction id.
    fn refused(&mut self, tid: Tid, now: Now) {
        let Some(mut operation) = self.leave(tid) else { return };
        operation.refusals = operation.refusals.saturating_add(1);
        operation.flags &= !(flags::BALANCE_READS | flags::LOCALIZE_READS);
        let Some(doublings) = operation.refusals.checked_sub(2) else {
            self.enter(operation, now);
            return;
        };
        let pause = REFUSED_FIRST_MS.checked_shl(doublings.min(32)).unwrap_or(u64::MAX).min(REFUSED_MAX_MS);
        self.enter_later(operation, now.after(pause));
    }

    /// Like [`enter`](Self::enter), but it waits before it is sent.
    fn enter_later(&mut self, mut operation: Operation<P>, until: u64) {
        self.last_tid += 1;
        let tid = self.last_tid;
        operation.place = Place::Delayed { until };
        self.tids.insert(operation.id, tid);
        if let Some(deadline) = operation.request.deadline_ms {
            self.deadlines.insert((deadline, tid));
        }
        self.delayed.insert((until, tid));
        self.operations.insert(tid, operation);
    }

    /// An OSD asks to hold a range of objects back, or not any more.
    fn backoff(&mut self, osd: i32, front: &[u8], now: Now) -> Result<(), DecodeError> {
        let backoff = Backoff::decode(front)?;
        match backoff.kind {
            BackoffKind::Block => {
                let acknowledged = Backoff { kind: BackoffKind::AckBlock, ..backoff.clone() };
                if !self.block(osd, backoff) {
                    return Err(DecodeError::new("MOSDBackoff", "too many backoffs at once"));
                }
                let front = acknowledged.encode();
                let mut message = Message::new(kind::OSD_BACKOFF, Backoff::VERSION, Backoff::VERSION, front);
                message.priority = PRIORITY_HIGHEST;
                self.events.push_back(super::Event::Send { osd, message });
                // What was dropped there has left room for requests to other ranges.
                self.pump(osd, now);
            }
            BackoffKind::Unblock => self.unblock(osd, backoff.id, now),
            BackoffKind::AckBlock => {
                return Err(DecodeError::new("MOSDBackoff", "an acknowledgement from an OSD"));
            }
        }
        Ok(())
    }
}
