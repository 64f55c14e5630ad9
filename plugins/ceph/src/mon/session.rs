//! What a monitor client does while it has a session: taking messages, telling and asking.

use super::client::{MONMAP, PATIENCE, State};
use super::hunt::Hunt;
use super::messages::{self, AuthReply, Usage, VersionReply, kind};
use super::requests::Question;
use super::{MonAction, MonAddress, MonClient, MonError, MonInfo, MonMap, RequestId};
use crate::encoding::DecodeError;
use crate::entropy::Entropy;
use crate::msgr::Message;
use crate::payload::Payload;
use crate::time::Now;

impl<P: Payload> MonClient<P> {
    /// One message of the session.
    pub(super) fn take(
        &mut self,
        mut message: Message<P>,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<(), DecodeError> {
        match message.kind {
            kind::MON_MAP => {
                let map = MonMap::decode(messages::decode_mon_map(&message.front)?)?;
                self.take_map(map, now, entropy);
            }
            kind::MON_SUBSCRIBE_ACK => {
                let seconds = messages::decode_subscribe_ack(&message.front)?;
                self.resubscribe_at = Some(now.after(u64::from(seconds.max(2)) * 500));
            }
            kind::AUTH_REPLY => {
                let reply = AuthReply::decode(&message.front)?;
                match self.cephx.renewed(reply.result, reply.payload, now) {
                    Ok(()) => self.actions.push_back(MonAction::Tickets),
                    // The monitors do not honour the ticket of the session: the key itself has to be shown again.
                    Err(error) => self.lose(&format!("it gives no tickets: {error}"), true, now, entropy),
                }
            }
            kind::MON_GET_VERSION_REPLY => {
                let VersionReply { handle, newest, oldest } =
                    VersionReply::decode(message.version, &message.front)?;
                let request = RequestId(handle);
                if self.answered(request) {
                    self.actions.push_back(MonAction::Version { request, newest, oldest });
                }
            }
            kind::MON_COMMAND_ACK => {
                let (result, status) = messages::decode_command_ack(&message.front)?;
                let request = RequestId(message.tid);
                if self.answered(request) {
                    let output = message.take_payload();
                    self.actions.push_back(MonAction::CommandDone { request, result, status, output });
                }
            }
            kind::STATFS_REPLY => {
                let usage = Usage::decode(&message.front)?;
                let request = RequestId(message.tid);
                if self.answered(request) {
                    self.actions.push_back(MonAction::Usage { request, usage });
                }
            }
            // Options of the cluster for its clients: this one takes its configuration from its owner only.
            kind::CONFIG => {}
            _ => self.actions.push_back(MonAction::Deliver(message)),
        }
        Ok(())
    }

    pub(super) fn take_map(&mut self, map: MonMap, now: Now, entropy: &mut dyn Entropy) {
        if let Some(expected) = self.config.fsid
            && expected != map.fsid
        {
            let found = map.fsid;
            self.cephx.forget();
            self.close();
            self.actions.push_back(MonAction::Trouble(MonError::WrongFsid { expected, found }));
            self.state =
                State::Hunting(Hunt::resuming_at(now.after(self.config.attempt_ms * PATIENCE.1 / 10)));
            return;
        }
        self.subscriptions.got(MONMAP, map.epoch.into());
        let Some(old) = &self.map else {
            self.map = Some(map);
            self.actions.push_back(MonAction::MonMap);
            // Until now only this map was asked for.
            self.tell();
            self.ask(now);
            return;
        };
        if map.epoch <= old.epoch {
            return;
        }
        let is_in = |map: &MonMap, address: &MonAddress| {
            map.mons.iter().filter_map(MonInfo::address).any(|known| known.is(address))
        };
        let removed = match &self.state {
            // An address that was never in the map, but in the configuration, is an address by another way.
            State::Session { address, .. } => is_in(old, address) && !is_in(&map, address),
            State::Hunting(_) | State::Idle => false,
        };
        let keys_wiped = map.auth_epoch > old.auth_epoch;
        self.map = Some(map);
        self.actions.push_back(MonAction::MonMap);
        if keys_wiped {
            self.cephx.drop_service_tickets();
            self.lose("the cluster has made all tickets void", true, now, entropy);
        } else if removed {
            self.lose("it has left the cluster", true, now, entropy);
        }
    }

    pub(super) fn request(&mut self, question: Question, now: Now) -> RequestId {
        let id = self.requests.add(question);
        self.ask(now);
        id
    }

    /// Closes a question; whether it was open.
    pub(super) fn answered(&mut self, request: RequestId) -> bool {
        let open = self.requests.remove(request);
        if let State::Session { answer_due, .. } = &mut self.state
            && self.requests.is_empty()
        {
            *answer_due = None;
        }
        open
    }

    /// Whether this is known to be the right cluster, as far as that can be known.
    pub(super) fn is_verified(&self) -> bool {
        self.config.fsid.is_none() || self.map.is_some()
    }

    /// Sends what the monitor does not know yet of what is wanted.
    pub(super) fn tell(&mut self) {
        let only = if self.is_verified() { None } else { Some(MONMAP) };
        if let State::Session { link, .. } = self.state
            && let Some(message) = self.subscriptions.message(&self.config.hostname, only)
        {
            self.actions.push_back(MonAction::Send(link, message));
        }
    }

    /// Asks what has not been asked of this monitor.
    pub(super) fn ask(&mut self, now: Now) {
        let State::Session { link, .. } = self.state else {
            return;
        };
        if !self.is_verified() {
            return;
        }
        let messages = self.requests.messages(self.map.as_ref().map(|map| map.fsid));
        if !messages.is_empty() {
            self.expect_answer(now);
        }
        self.actions.extend(messages.into_iter().map(|message| MonAction::Send(link, message)));
    }

    pub(super) fn expect_answer(&mut self, now: Now) {
        if let State::Session { answer_due, .. } = &mut self.state {
            answer_due.get_or_insert(now.after(self.config.answer_ms));
        }
    }

    /// Sees to it that there are tickets.
    pub(super) fn renew(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let State::Session { link, .. } = self.state else {
            return;
        };
        if self.cephx.is_old(now) {
            // Authenticating anew is what a new connection does; the monitors recognise the client by its old ticket.
            self.lose("the session is to be authenticated anew", true, now, entropy);
        } else if let Some(payload) = self.cephx.renewal(now, entropy) {
            let epoch = self.map.as_ref().map_or(0, |map| map.epoch);
            let message = messages::auth(self.cephx.method(), &payload, epoch);
            self.actions.push_back(MonAction::Send(link, message));
            self.expect_answer(now);
        }
    }

    pub(super) fn close(&mut self) {
        if let State::Session { link, .. } = self.state {
            self.actions.push_back(MonAction::Close(link));
        }
    }
}
