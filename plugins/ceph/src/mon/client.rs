//! The monitor client.

use super::hunt::{Hunt, order};
use super::requests::{Question, Requests};
use super::subscriptions::{Repeat, Subscriptions};
use super::{LinkFailure, MonAction, MonAddress, MonConfig, MonError, MonLink, MonMap, RequestId};
use crate::auth::{AuthError, Cephx};
use crate::entropy::Entropy;
use crate::msgr::Message;
use crate::payload::Payload;
use crate::time::Now;
use std::collections::VecDeque;

/// Finds a monitor and stays in touch with one.
///
/// The machine is driven by what happens to its connections and by time, and says what it wants by [`poll_action`](Self::poll_action).
/// Keeping a connection alive, and noticing that it is dead, is the connection's business.
#[derive(Debug)]
pub struct MonClient<P> {
    pub(super) config: MonConfig,
    pub(super) cephx: Cephx,
    pub(super) map: Option<MonMap>,
    pub(super) subscriptions: Subscriptions,
    /// When an old monitor has to be told again what is wanted.
    pub(super) resubscribe_at: Option<u64>,
    pub(super) requests: Requests,
    next_link: u32,
    pub(super) state: State,
    /// How patient attempts are, in tenths: grows while no monitor is found.
    patience: u64,
    /// When an attempt was last begun.
    hunted_at: Option<u64>,
    /// The global id of the last session.
    global_id: u64,
    /// A refusal in this round.
    refused: Option<AuthError>,
    /// Whether in this round a monitor did not accept the session from before.
    disowned: bool,
    pub(super) actions: VecDeque<MonAction<P>>,
}

/// What it is doing.
#[derive(Debug)]
pub(super) enum State {
    /// Not started.
    Idle,
    Hunting(Hunt),
    Session {
        link: MonLink,
        address: MonAddress,
        since: u64,
        /// When an answer must be there, if one is awaited.
        answer_due: Option<u64>,
    },
}

/// Patience at the beginning, and at the end.
pub(super) const PATIENCE: (u64, u64) = (10, 100);
/// A session that lasted so long was a good one: the search for the next begins with fresh courage.
const LASTING_MS: u64 = 10_000;

impl<P: Payload> MonClient<P> {
    /// A client that does nothing before [`start`](Self::start).
    #[must_use]
    pub fn new(config: MonConfig, cephx: Cephx) -> Self {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want(MONMAP, 0, Repeat::Always);
        Self {
            config,
            cephx,
            map: None,
            subscriptions,
            resubscribe_at: None,
            requests: Requests::default(),
            next_link: 1,
            state: State::Idle,
            patience: PATIENCE.0,
            hunted_at: None,
            global_id: 0,
            refused: None,
            disowned: false,
            actions: VecDeque::new(),
        }
    }

    /// Begins to look for a monitor.
    pub fn start(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if matches!(self.state, State::Idle) {
            self.state = State::Hunting(Hunt::resuming_at(now.monotonic_ms));
            self.hunt(now, entropy);
        }
    }

    /// Something has changed that may end a search without success: the next round begins at once.
    pub fn hurry(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.patience = PATIENCE.0;
        if let State::Hunting(hunt) = &mut self.state {
            hunt.hurry(now);
            self.hunt(now, entropy);
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<MonAction<P>> {
        self.actions.pop_front()
    }

    /// When [`on_time`](Self::on_time) is to be called.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        match &self.state {
            State::Idle => None,
            State::Hunting(hunt) => hunt.next_timer(),
            State::Session { answer_due, .. } => {
                [*answer_due, self.resubscribe_at, self.cephx.next_renewal()].into_iter().flatten().min()
            }
        }
    }

    /// The identity and the tickets.
    #[must_use]
    pub fn cephx(&self) -> &Cephx {
        &self.cephx
    }

    /// The newest map of monitors, if one has come.
    #[must_use]
    pub fn monmap(&self) -> Option<&MonMap> {
        self.map.as_ref()
    }

    /// Whether there is a session.
    #[must_use]
    pub fn has_session(&self) -> bool {
        matches!(self.state, State::Session { .. })
    }

    /// Asks the monitors to send a map (`osdmap`, `mdsmap`) from this version on; 0 is the newest. Calling it again with another version
    /// asks again. Maps come as [`MonAction::Deliver`]; the caller says by [`got`](Self::got) which it has.
    pub fn subscribe(&mut self, what: &str, start: u64, repeat: Repeat) {
        self.subscriptions.want(what, start, repeat);
        self.tell();
    }

    /// Takes a [`subscribe`](Self::subscribe) back. Monitors are not told; what they still send is delivered.
    pub fn unsubscribe(&mut self, what: &str) {
        self.subscriptions.unwant(what);
    }

    /// The caller has this version of a map, so that the next monitor need not send it.
    pub fn got(&mut self, what: &str, version: u64) {
        self.subscriptions.got(what, version);
    }

    /// Asks which is the newest version of a map. Asked of the next monitor if this one goes away.
    pub fn get_version(&mut self, what: &str, now: Now) -> RequestId {
        self.request(Question::Version(what.to_owned()), now)
    }

    /// Asks how much room there is in the cluster, or for a pool. Asked of the next monitor if this one goes away. A pool that does not
    /// exist has no answer.
    pub fn usage(&mut self, pool: Option<i64>, now: Now) -> RequestId {
        self.request(Question::Usage(pool), now)
    }

    /// Runs a command, given as JSON. Run once more by the next monitor if this one goes away before it answers.
    pub fn command(&mut self, json: &str, now: Now) -> RequestId {
        self.request(Question::Command(json.to_owned()), now)
    }

    /// Nobody waits for this any more.
    pub fn cancel(&mut self, request: RequestId) {
        self.answered(request);
    }

    /// A connection is established and authenticated.
    pub fn ready(&mut self, link: MonLink, now: Now, entropy: &mut dyn Entropy) {
        let State::Hunting(hunt) = &mut self.state else {
            self.actions.push_back(MonAction::Close(link));
            return;
        };
        let Some(found) = hunt.take(link) else {
            self.actions.push_back(MonAction::Close(link));
            return;
        };
        for other in std::mem::take(hunt).into_attempts() {
            self.actions.push_back(MonAction::Close(other.link));
        }
        self.state =
            State::Session { link, address: found.address, since: now.monotonic_ms, answer_due: None };
        self.refused = None;
        self.disowned = false;
        let global_id = self.cephx.global_id();
        let is_new = self.global_id != 0 && self.global_id != global_id;
        self.global_id = global_id;
        self.subscriptions.forget_told();
        self.requests.forget_asked();
        self.actions.push_back(MonAction::Session { is_new });
        if self.map.is_none() {
            self.expect_answer(now);
        }
        self.tell();
        self.ask(now);
        self.renew(now, entropy);
    }

    /// A connection could not be made, or has ended.
    pub fn failed(&mut self, link: MonLink, failure: LinkFailure, now: Now, entropy: &mut dyn Entropy) {
        match &mut self.state {
            State::Hunting(hunt) => {
                let Some(attempt) = hunt.take(link) else {
                    return;
                };
                match failure {
                    LinkFailure::Auth(error) => {
                        hunt.failed(attempt.address, error.to_string());
                        if error.is_permanent() {
                            self.refused = Some(error);
                        } else if matches!(error, AuthError::SessionLost { .. }) {
                            self.disowned = true;
                        }
                    }
                    LinkFailure::Broken(outcome) => hunt.failed(attempt.address, outcome),
                }
                self.hunt(now, entropy);
            }
            State::Session { link: mine, .. } if *mine == link => {
                let why = match failure {
                    LinkFailure::Auth(error) => error.to_string(),
                    LinkFailure::Broken(why) => why,
                };
                self.lose(&why, false, now, entropy);
            }
            State::Session { .. } | State::Idle => {}
        }
    }

    /// A message has come.
    pub fn received(&mut self, from: MonLink, message: Message<P>, now: Now, entropy: &mut dyn Entropy) {
        let State::Session { link, answer_due, .. } = &mut self.state else {
            return;
        };
        if *link != from {
            return;
        }
        if answer_due.is_some() {
            // It is alive; what else was asked has its time again.
            *answer_due = (!self.requests.is_empty()).then(|| now.after(self.config.answer_ms));
        }
        if let Err(error) = self.take(message, now, entropy) {
            self.lose(&format!("it sent something malformed: {error}"), true, now, entropy);
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Now, entropy: &mut dyn Entropy) {
        match &mut self.state {
            State::Idle => {}
            State::Hunting(hunt) => {
                for attempt in hunt.overdue(now) {
                    self.actions.push_back(MonAction::Close(attempt.link));
                    hunt.failed(attempt.address, "no answer".to_owned());
                }
                self.hunt(now, entropy);
            }
            State::Session { answer_due, .. } => {
                if answer_due.is_some_and(|due| now.reached(due)) {
                    self.lose("it does not answer", true, now, entropy);
                    return;
                }
                if self.resubscribe_at.is_some_and(|at| now.reached(at)) {
                    self.resubscribe_at = None;
                    self.subscriptions.forget_told();
                    self.tell();
                }
                self.renew(now, entropy);
            }
        }
    }

    /// Gives the session up and looks for another monitor.
    pub(super) fn lose(&mut self, why: &str, close: bool, now: Now, entropy: &mut dyn Entropy) {
        if let State::Session { address, since, .. } = &self.state {
            let text = format!("session with the monitor at {address} ended: {why}");
            self.actions.push_back(MonAction::Lost(text));
            if now.reached(since.saturating_add(LASTING_MS)) {
                self.patience = PATIENCE.0;
            } else {
                self.patience = more_patience(self.patience);
            }
        }
        if close {
            self.close();
        }
        self.resubscribe_at = None;
        // At once, unless the last search was just now: a monitor that accepts and hangs up must not be asked without pause.
        let earliest = self.hunted_at.map_or(0, |at| at.saturating_add(self.attempt_ms() / 10));
        self.state = State::Hunting(Hunt::resuming_at(earliest.max(now.monotonic_ms)));
        self.hunt(now, entropy);
    }

    /// How long an attempt may last at present.
    fn attempt_ms(&self) -> u64 {
        self.config.attempt_ms.saturating_mul(self.patience) / 10
    }

    /// Goes on searching: begins a round if it is time, attempts if there is room, and says so when a round has brought nothing.
    fn hunt(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let attempt_ms = self.attempt_ms();
        // A quarter more or less, so that the clients of a cluster that comes back do not all come at once.
        let spread = attempt_ms / 2;
        let pause = attempt_ms - spread / 2 + if spread == 0 { 0 } else { entropy.number() % spread };
        let State::Hunting(hunt) = &mut self.state else {
            return;
        };
        loop {
            hunt.resume(now, || order(self.map.as_ref(), &self.config.hosts.addresses, entropy));
            while let Some(address) = hunt.next(self.config.parallel) {
                let link = MonLink(self.next_link);
                self.next_link = self.next_link.wrapping_add(1);
                self.hunted_at = Some(now.monotonic_ms);
                hunt.begin(link, address.clone(), now.after(attempt_ms));
                self.actions.push_back(MonAction::Connect { link, address });
            }
            let disowned = std::mem::take(&mut self.disowned);
            let resume_at = if disowned { now.monotonic_ms } else { now.after(pause) };
            let Some(tried) = hunt.round_over(resume_at) else {
                self.disowned = disowned;
                return;
            };
            if disowned {
                // One monitor alone is not believed, it may be astray; but when none can be had otherwise, a new session must do. This
                // happens once: without a session from before there is nothing to disown.
                self.cephx.forget();
                self.refused = None;
                continue;
            }
            self.patience = more_patience(self.patience);
            let error = match self.refused.take() {
                Some(refusal) => MonError::Auth(refusal),
                None => MonError::Unreachable(tried),
            };
            self.actions.push_back(MonAction::Trouble(error));
            return;
        }
    }
}

/// Half as much again, up to the most.
fn more_patience(patience: u64) -> u64 {
    (patience * 3 / 2).min(PATIENCE.1)
}

/// The name under which the map of monitors is subscribed to.
pub(super) const MONMAP: &str = "monmap";

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
