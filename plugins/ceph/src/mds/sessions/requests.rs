//! Requests: which rank is asked, and when again.

use super::{LEAVING, Request, RequestError, RequestId, SessionEvent, Sessions, Status, Target};
use crate::encoding::DecodeError;
use crate::mds::{Rank, Reply, RequestForward, RequestMessage, request_flags};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::rados::Level;
use crate::time::Now;
use crate::types::UTime;

/// So many requests are remembered that nobody waits for any more, so that capabilities in their answers are not lost on the client.
const ABANDONED_MAX: usize = 4096;

/// A request that was not answered yet, or not for good.
#[derive(Debug)]
pub(super) struct Pending {
    request: Request,
    /// When it was made, on the wall clock: times of what it changes.
    stamp: UTime,
    /// When it was made.
    since: u64,
    /// Which rank has it, and since when.
    sent: Option<(Rank, u64)>,
    /// A rank has named this one as responsible.
    redirect: Option<Rank>,
    /// How often it was sent, since it was last sent on.
    attempts: u32,
    forwards: u32,
    /// It was answered and may not be written.
    is_unsafe: bool,
    /// Nobody waits for it.
    abandoned: bool,
}

impl<P: Payload> Sessions<P> {
    /// Takes a request. It ends with [`SessionEvent::Reply`] or [`SessionEvent::Failed`].
    pub fn request(&mut self, request: Request, now: Now) -> RequestId {
        self.last_tid += 1;
        let tid = self.last_tid;
        let id = RequestId(tid);
        let deadline = request.deadline_ms;
        let pending = Pending {
            request,
            stamp: now.wall,
            since: now.monotonic_ms,
            sent: None,
            redirect: None,
            attempts: 0,
            forwards: 0,
            is_unsafe: false,
            abandoned: false,
        };
        self.requests.insert(tid, pending);
        self.waiting.insert(tid);
        if let Some(why) = self.refusal_now(now) {
            self.fail(tid, RequestError::Refused(why));
            return id;
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, tid));
            if now.reached(deadline) {
                let waiting = "its deadline was over when it began".to_owned();
                self.fail(tid, RequestError::TimedOut { waiting });
                return id;
            }
        }
        self.aim(tid, now);
        id
    }

    /// Nobody waits for a request any more. If it was sent, its answer still comes, because of what it may give.
    pub fn cancel(&mut self, id: RequestId) {
        self.abandon(id.0);
    }

    /// Why there will be no session, if that is known.
    fn refusal_now(&self, now: Now) -> Option<String> {
        if self.closing {
            return Some(LEAVING.to_owned());
        }
        let refused = self.refused.as_ref().filter(|(_, until)| !now.reached(*until));
        self.no_fs.as_ref().or(refused.map(|(why, _)| why)).cloned()
    }

    /// The oldest request that is still wanted, for MDSs to forget those before; the next one's number if there is none.
    pub(super) fn oldest_tid(&self) -> u64 {
        self.requests.keys().next().copied().unwrap_or(self.last_tid + 1)
    }

    /// Takes a request out.
    fn remove(&mut self, tid: u64) -> Option<Pending> {
        let pending = self.requests.remove(&tid)?;
        self.waiting.remove(&tid);
        if let Some(deadline) = pending.request.deadline_ms {
            self.deadlines.remove(&(deadline, tid));
        }
        if pending.abandoned {
            self.abandoned.retain(|other| *other != tid);
        }
        Some(pending)
    }

    fn fail(&mut self, tid: u64, error: RequestError) {
        if let Some(pending) = self.remove(tid)
            && !pending.abandoned
        {
            self.events.push_back(SessionEvent::Failed { id: RequestId(tid), error });
        }
    }

    /// Ends all requests that wait for a session.
    pub(super) fn fail_waiting(&mut self, error: &RequestError) {
        for tid in std::mem::take(&mut self.waiting) {
            self.fail(tid, error.clone());
        }
    }

    fn abandon(&mut self, tid: u64) {
        let Some(pending) = self.requests.get_mut(&tid) else { return };
        if pending.sent.is_none() {
            self.remove(tid);
            return;
        }
        if std::mem::replace(&mut pending.abandoned, true) {
            return;
        }
        if let Some(deadline) = pending.request.deadline_ms {
            self.deadlines.remove(&(deadline, tid));
        }
        self.abandoned.push_back(tid);
        if self.abandoned.len() > ABANDONED_MAX
            && let Some(oldest) = self.abandoned.front().copied()
        {
            self.remove(oldest);
        }
    }

    /// The deadline of a request has come.
    pub(super) fn timed_out(&mut self, tid: u64, now: Now) {
        let Some(pending) = self.requests.get(&tid) else { return };
        if pending.is_unsafe {
            // Whoever asked has been answered.
            return;
        }
        let name = pending.request.op.name();
        let waiting = match pending.sent {
            Some((rank, at)) => {
                let seconds = now.monotonic_ms.saturating_sub(at) / 1000;
                format!("{rank} has not answered a {name} for {seconds} s")
            }
            None => {
                let seconds = now.monotonic_ms.saturating_sub(pending.since) / 1000;
                let why = match self.status() {
                    Status::Ready => "the rank that is responsible is not available".to_owned(),
                    Status::Waiting(why) | Status::Refused(why) => why,
                };
                format!("a {name} has waited {seconds} s for an MDS: {why}")
            }
        };
        self.events.push_back(SessionEvent::Failed {
            id: RequestId(tid),
            error: RequestError::TimedOut { waiting },
        });
        self.abandon(tid);
    }

    /// Requests of a rank whose session or daemon is gone have to be sent again.
    pub(super) fn take_back(&mut self, rank: Rank) {
        let lost = !self.sessions.contains_key(&rank);
        let there: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, pending)| pending.sent.is_some_and(|(to, _)| to == rank))
            .map(|(tid, _)| *tid)
            .collect();
        for tid in there {
            let Some(pending) = self.requests.get_mut(&tid) else { continue };
            if pending.is_unsafe {
                // It is played again when the next daemon asks, if there will be one.
                if lost {
                    self.fail(tid, RequestError::Lost { rank });
                }
            } else if pending.abandoned {
                self.remove(tid);
            } else {
                pending.sent = None;
                self.waiting.insert(tid);
            }
        }
    }

    /// Tries to send what waits, and to have a session.
    pub(super) fn kick(&mut self, now: Now) {
        if self.closing {
            return;
        }
        if self.sessions.is_empty()
            && self.refused.is_none()
            && let Some(rank) = self.any_rank(now)
        {
            self.begin(rank, now);
        }
        for rank in self.wanted.clone() {
            self.begin(rank, now);
        }
        let waiting: Vec<u64> = self.waiting.iter().copied().collect();
        for tid in waiting {
            self.aim(tid, now);
        }
    }

    /// A rank that can be asked: one with a session before others, the lowest before others.
    fn any_rank(&self, now: Now) -> Option<Rank> {
        let map = self.map.as_ref()?;
        let usable = map.active().find(|rank| self.is_usable(*rank));
        let known = || map.active().find(|rank| self.sessions.contains_key(rank));
        let new = || map.active().find(|rank| self.may_open(*rank, now));
        usable.or_else(known).or_else(new)
    }

    /// The rank to ask; `None`: none can be asked now.
    fn choose(&self, pending: &Pending, now: Now) -> Option<Rank> {
        let known = |rank: Rank| self.map.as_ref().is_some_and(|map| map.ranks.contains(&rank));
        let wanted = match (pending.redirect, pending.request.target) {
            (Some(rank), _) | (None, Target::Auth(rank)) => Some(rank).filter(|rank| known(*rank)),
            // One that is stopping gives no new sessions.
            (None, Target::Any(rank)) => {
                Some(rank).filter(|rank| self.is_usable(*rank) || self.is_active(*rank))
            }
            (None, Target::Random) => None,
        };
        wanted.or_else(|| self.any_rank(now))
    }

    /// Sends a request if it can be sent, and sees to it that there will be a session if not.
    fn aim(&mut self, tid: u64, now: Now) {
        let Some(pending) = self.requests.get(&tid) else { return };
        let Some(rank) = self.choose(pending, now) else { return };
        if self.is_usable(rank) {
            self.dispatch(tid, rank, now);
        } else {
            self.begin(rank, now);
        }
    }

    fn dispatch(&mut self, tid: u64, rank: Rank, now: Now) {
        let oldest = self.oldest_tid();
        let mdsmap_epoch = self.map.as_ref().map_or(0, |map| map.epoch);
        let (Some(pending), Some(session)) = (self.requests.get_mut(&tid), self.sessions.get(&rank)) else {
            return;
        };
        self.waiting.remove(&tid);
        let request = &mut pending.request;
        let mut flags = if request.want_dentry { request_flags::WANT_DENTRY } else { 0 };
        if pending.is_unsafe {
            flags |= request_flags::REPLAY;
        }
        let message = RequestMessage {
            head_version: RequestMessage::head_version(&session.features),
            oldest_client_tid: oldest,
            mdsmap_epoch,
            flags,
            retries: pending.attempts,
            forwards: pending.forwards,
            op: request.op.clone(),
            caller: request.caller.clone(),
            owner: (u32::MAX, u32::MAX),
            ino: 0,
            // The MDS has had them with the first attempt, or they are void with their session.
            releases: std::mem::take(&mut request.releases),
            path: request.path.clone(),
            path2: request.path2.clone(),
            stamp: pending.stamp,
            alternate_name: Vec::new(),
            fscrypt_auth: Vec::new(),
            fscrypt_file: Vec::new(),
        };
        pending.attempts = pending.attempts.saturating_add(1);
        pending.sent = Some((rank, now.monotonic_ms));
        self.events.push_back(SessionEvent::Send { rank, message: message.into_message(tid) });
    }

    /// Sends again what a daemon had answered and perhaps not written, to the one that takes its rank over.
    pub(super) fn replay(&mut self, rank: Rank, now: Now) {
        let unsafe_there =
            |pending: &Pending| pending.is_unsafe && pending.sent.is_some_and(|(to, _)| to == rank);
        let tids: Vec<u64> =
            self.requests.iter().filter(|(_, pending)| unsafe_there(pending)).map(|(tid, _)| *tid).collect();
        for tid in tids {
            self.dispatch(tid, rank, now);
        }
    }

    /// An answer has come.
    pub(super) fn answered(
        &mut self,
        rank: Rank,
        message: &Message<P>,
        new: bool,
    ) -> Result<(), DecodeError> {
        let tid = message.tid;
        let Some(pending) = self.requests.get_mut(&tid) else {
            self.log(Level::Debug, format!("{rank} answers request {tid}, which is none"));
            return Ok(());
        };
        let Some((_, sent_ms)) = pending.sent.filter(|(to, _)| *to == rank) else {
            self.log(Level::Debug, format!("{rank} answers request {tid}, which it does not have"));
            return Ok(());
        };
        let reply = match Reply::decode(&message.front, new) {
            Ok(reply) => reply,
            Err(error) => {
                self.fail(tid, RequestError::Malformed(error.clone()));
                return Err(error);
            }
        };
        let again = pending.is_unsafe;
        if reply.safe {
            self.remove(tid);
        } else {
            pending.is_unsafe = true;
        }
        // The second answer says that what the first one told is written; nothing else is new in it.
        if !again {
            let (id, reply) = (RequestId(tid), Box::new(reply));
            self.events.push_back(SessionEvent::Reply { id, rank, sent_ms, reply });
        }
        Ok(())
    }

    /// A rank says that another one is responsible.
    pub(super) fn forwarded(
        &mut self,
        rank: Rank,
        message: &Message<P>,
        now: Now,
    ) -> Result<(), DecodeError> {
        let forward = RequestForward::decode(&message.front)?;
        let limit = self.config.forwards_max;
        let Some(pending) = self.requests.get_mut(&message.tid) else { return Ok(()) };
        if pending.sent.is_none_or(|(to, _)| to != rank) || pending.is_unsafe {
            return Ok(());
        }
        // Counted here too: an MDS that does not count would have it go round for ever.
        pending.forwards = pending.forwards.saturating_add(1).max(forward.forwards);
        if pending.forwards > limit {
            let forwards = pending.forwards;
            self.fail(message.tid, RequestError::Forwarded { forwards });
            return Ok(());
        }
        if pending.abandoned {
            self.remove(message.tid);
            return Ok(());
        }
        (pending.sent, pending.redirect, pending.attempts) = (None, Some(forward.rank), 0);
        self.waiting.insert(message.tid);
        self.aim(message.tid, now);
        Ok(())
    }
}
