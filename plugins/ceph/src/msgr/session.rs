//! What outlives a connection: cookies, counts, and messages that the peer may not have.

use super::config::Policy;
use super::message::Message;
use crate::payload::Payload;
use std::collections::VecDeque;

/// A session with a peer.
#[derive(Debug)]
pub(super) struct Session<P> {
    pub(super) policy: Policy,
    /// This side's name for it; 0 until it has one.
    pub(super) client_cookie: u64,
    /// The peer's name for it; 0 until there is a session to continue.
    pub(super) server_cookie: u64,
    /// The client's count of connections when the current one was made.
    pub(super) global_sequence: u64,
    /// How often this session was continued.
    pub(super) connect_sequence: u64,
    /// The last message that was received.
    received: u64,
    /// The last message that was sent.
    sent: u64,
    /// Messages to be sent. Those with a number were sent before, on a connection that broke.
    queue: VecDeque<Message<P>>,
    /// Messages that were sent and that the peer may not have.
    unacknowledged: VecDeque<Message<P>>,
    /// Whether messages came in that the peer does not know we have.
    owes_ack: bool,
}

/// What is to be done with a message that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is the next one.
    Next,
    /// It came before.
    Duplicate,
    /// Others before it are missing.
    Gap {
        /// The one that should have come.
        expected: u64,
    },
}

impl<P: Payload> Session<P> {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            client_cookie: 0,
            server_cookie: 0,
            global_sequence: 0,
            connect_sequence: 0,
            received: 0,
            sent: 0,
            queue: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            owes_ack: false,
        }
    }

    /// Puts a message at the end of the queue.
    pub(super) fn enqueue(&mut self, message: Message<P>) {
        self.queue.push_back(Message { sequence: 0, ..message });
    }

    /// Messages that wait to be sent.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Forgets messages that were never sent.
    pub(super) fn discard_queued(&mut self) {
        self.queue.retain(|message| message.sequence != 0);
    }

    /// The next message to send, numbered, with the number of the last one received.
    pub(super) fn next_to_send(&mut self) -> Option<(Message<P>, u64)> {
        let mut message = self.queue.pop_front()?;
        self.sent += 1;
        message.sequence = self.sent;
        if self.policy == Policy::Lossless {
            self.unacknowledged.push_back(message.share());
        }
        self.owes_ack = false;
        Some((message, self.received))
    }

    /// The number to acknowledge, if the peer waits for it and no message carries it.
    pub(super) fn take_ack(&mut self) -> Option<u64> {
        std::mem::take(&mut self.owes_ack).then_some(self.received)
    }

    /// Notes that a message came in.
    pub(super) fn arrived(&mut self, sequence: u64) -> Place {
        if sequence <= self.received {
            return Place::Duplicate;
        }
        if sequence - self.received > 1 {
            return Place::Gap { expected: self.received + 1 };
        }
        self.received = sequence;
        self.owes_ack = self.policy == Policy::Lossless;
        Place::Next
    }

    /// The peer has everything up to this message.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        while self.unacknowledged.front().is_some_and(|message| message.sequence <= sequence) {
            self.unacknowledged.pop_front();
        }
    }

    /// The last message that was received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The connection broke. Whatever the peer may not have is to be sent again, or, in a lossy session, forgotten.
    pub(super) fn disconnected(&mut self) {
        match self.policy {
            Policy::Lossy => self.forget(),
            Policy::Lossless => {
                self.sent -= self.unacknowledged.len() as u64;
                while let Some(message) = self.unacknowledged.pop_back() {
                    self.queue.push_front(message);
                }
            }
        }
    }

    /// A connection is made.
    pub(super) fn connecting(&mut self, global_sequence: u64) {
        self.global_sequence = global_sequence;
        if self.server_cookie != 0 {
            // A peer may have raised it to anything.
            self.connect_sequence = self.connect_sequence.saturating_add(1);
        }
    }

    /// The peer continues the session after this message of ours. Returns whether that can be: it cannot have received what was never
    /// sent.
    pub(super) fn resumed(&mut self, peer_received: u64) -> bool {
        while self.queue.front().is_some_and(|m| m.sequence != 0 && m.sequence <= peer_received) {
            self.queue.pop_front();
            self.sent += 1;
        }
        peer_received <= self.sent
    }

    /// The peer does not know the session.
    pub(super) fn reset(&mut self, full: bool) {
        if full {
            self.forget();
        } else {
            self.server_cookie = 0;
            self.connect_sequence = 0;
            self.received = 0;
        }
    }

    fn forget(&mut self) {
        *self = Self { global_sequence: self.global_sequence, ..Self::new(self.policy) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(tid: u64) -> Message<Bytes> {
        Message { tid, ..Message::new(1, 1, 1, Vec::new()) }
    }

    fn sent(session: &mut Session<Bytes>) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| session.next_to_send()).map(|(m, _)| (m.tid, m.sequence)).collect()
    }

    #[test]
    fn a_lossless_session_sends_again_what_was_not_received() {
        let mut session = Session::new(Policy::Lossless);
        (1..=4).for_each(|tid| session.enqueue(message(tid)));
        assert_eq!(sent(&mut session), [(1, 1), (2, 2), (3, 3), (4, 4)]);
        session.acknowledged(1);
        session.disconnected();
        session.enqueue(message(5));
        // The peer had received 2 before the connection broke, though its acknowledgement was lost.
        assert!(session.resumed(2));
        assert_eq!(sent(&mut session), [(3, 3), (4, 4), (5, 5)]);
        session.disconnected();
        assert!(!session.resumed(6));
    }

    #[test]
    fn a_lossy_session_starts_from_the_beginning() {
        let mut session = Session::new(Policy::Lossy);
        session.enqueue(message(1));
        assert_eq!(session.arrived(1), Place::Next);
        assert_eq!(session.take_ack(), None);
        sent(&mut session);
        session.disconnected();
        session.enqueue(message(2));
        assert_eq!(sent(&mut session), [(2, 1)]);
        assert_eq!(session.arrived(1), Place::Next);
    }

    #[test]
    fn messages_have_their_place() {
        let mut session = Session::<Bytes>::new(Policy::Lossless);
        assert_eq!([1, 1, 2].map(|n| session.arrived(n)), [Place::Next, Place::Duplicate, Place::Next]);
        assert_eq!(session.arrived(4), Place::Gap { expected: 3 });
        assert_eq!((session.take_ack(), session.take_ack()), (Some(2), None));
    }

    #[test]
    fn a_reset_forgets_messages_only_if_it_is_full() {
        for (full, left) in [(false, 2), (true, 0)] {
            let mut session = Session::new(Policy::Lossless);
            session.server_cookie = 7;
            session.client_cookie = 8;
            (1..=2).for_each(|tid| session.enqueue(message(tid)));
            sent(&mut session);
            session.disconnected();
            session.reset(full);
            assert_eq!((session.queued(), session.server_cookie), (left, 0));
            assert_eq!(session.client_cookie == 8, !full);
        }
    }
}
