//! What an MDS says.

use super::maps::OSD_MAP;
use super::session::State;
use super::{CloseReason, SessionEvent, Sessions};
use crate::encoding::DecodeError;
use crate::mds::{
    CapsMessage, LeaseMessage, MdsState, QuotaMessage, Rank, SessionMessage, SessionOp, SnapMessage, feature,
    kind,
};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::rados::Level;
use crate::time::Now;

impl<P: Payload> Sessions<P> {
    /// Takes a message of a rank.
    ///
    /// # Errors
    /// It is malformed. A request that it answers has failed; else it is as if it had not come.
    pub fn message(&mut self, rank: Rank, message: &Message<P>, now: Now) -> Result<(), DecodeError> {
        // What a daemon has said that has lost its rank counts no more.
        let Some(session) = self.sessions.get_mut(&rank).filter(|session| session.linked) else {
            return Ok(());
        };
        // The client announces that it reads the new form; an MDS that knows it writes it.
        let new = session.features.has(feature::NEW_SNAPREALM_INFO);
        if matches!(
            message.kind,
            kind::CLIENT_CAPS | kind::CLIENT_LEASE | kind::CLIENT_SNAP | kind::CLIENT_QUOTA
        ) {
            session.seq = session.seq.wrapping_add(1);
            if session.state == State::Closing {
                // The MDS ignores a request to close that has not seen everything it has pushed.
                let seq = session.seq;
                self.say(rank, SessionMessage::new(SessionOp::RequestClose, seq));
            }
        }
        match message.kind {
            kind::CLIENT_SESSION => {
                let told = SessionMessage::decode(message.version, &message.front)?;
                self.about_session(rank, told, now);
            }
            kind::CLIENT_REPLY => self.answered(rank, message, new)?,
            kind::CLIENT_REQUEST_FORWARD => self.forwarded(rank, message, now)?,
            kind::CLIENT_CAPS => self.about_caps(rank, CapsMessage::decode(message, new)?),
            kind::CLIENT_LEASE => {
                let message = LeaseMessage::decode(&message.front)?;
                self.events.push_back(SessionEvent::Lease { rank, message });
            }
            kind::CLIENT_SNAP => {
                let message = SnapMessage::decode(&message.front, new)?;
                self.events.push_back(SessionEvent::Snap { rank, message });
            }
            kind::CLIENT_QUOTA => {
                let message = QuotaMessage::decode(&message.front)?;
                self.events.push_back(SessionEvent::Quota { rank, message });
            }
            other => self.log(Level::Debug, format!("{rank} sent a message of kind {other:#x}")),
        }
        Ok(())
    }

    fn about_caps(&mut self, rank: Rank, message: CapsMessage) {
        if message.osd_epoch_barrier > self.osd_barrier {
            self.osd_barrier = message.osd_epoch_barrier;
            self.events.push_back(SessionEvent::OsdBarrier(message.osd_epoch_barrier));
        }
        self.events.push_back(SessionEvent::Caps { rank, message: Box::new(message) });
    }

    fn about_session(&mut self, rank: Rank, message: SessionMessage, now: Now) {
        match message.op {
            SessionOp::Open => self.opened(rank, message, now),
            SessionOp::Close => self.closed(rank, &message, now),
            SessionOp::RenewCaps => self.renewed(rank, message.seq),
            SessionOp::Stale => self.stale(rank, now),
            SessionOp::RecallState => {
                // Said more often than it can be heeded, this must not bury other events.
                let max_caps = u64::from(message.max_caps);
                let last = self.events.back();
                if !matches!(last, Some(SessionEvent::Recall { rank: r, max_caps: m }) if (*r, *m) == (rank, max_caps))
                {
                    self.events.push_back(SessionEvent::Recall { rank, max_caps });
                }
            }
            SessionOp::FlushMsg => {
                self.say(rank, SessionMessage::new(SessionOp::FlushMsgAck, message.seq));
            }
            SessionOp::ForceReadOnly => self.events.push_back(SessionEvent::ReadOnly { rank }),
            SessionOp::Reject => self.rejected(rank, &message, now),
            other => self.log(Level::Debug, format!("{rank} says {other:?}, which is not for clients")),
        }
    }

    fn say(&mut self, rank: Rank, message: SessionMessage) {
        self.events.push_back(SessionEvent::Send { rank, message: message.into_message() });
    }

    fn opened(&mut self, rank: Rank, message: SessionMessage, now: Now) {
        let lifetime = self.lifetime_ms();
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        // Said once more when an MDS was upgraded: it may be able to do other things now.
        session.features.clone_from(&message.features);
        let event = match session.state {
            State::Opening { asked } => {
                session.seq = message.seq;
                session.since = now.monotonic_ms;
                // What comes now was given after the request.
                session.valid_until = asked.unwrap_or(now.monotonic_ms).saturating_add(lifetime);
                session.stale = false;
                SessionEvent::Opened { rank, seq: message.seq, features: message.features }
            }
            State::Reconnecting { told: true } => SessionEvent::Reconnected { rank },
            State::Open | State::Closing | State::Orphaned | State::Reconnecting { told: false } => return,
        };
        session.state = State::Open;
        self.wanted.remove(&rank);
        self.refused = None;
        self.events.push_back(event);
        if self.closing {
            return self.close(now);
        }
        self.renew(rank, now);
        self.open_export_targets(now);
        self.kick(now);
    }

    fn closed(&mut self, rank: Rank, message: &SessionMessage, now: Now) {
        let Some(session) = self.sessions.get(&rank) else { return };
        let (reason, why) = match session.state {
            State::Closing => (CloseReason::Bye, format!("{rank} is done with it")),
            State::Reconnecting { .. } => {
                (CloseReason::Lost, format!("{rank} does not remember it, or this client came too late"))
            }
            _ if message.flags & SessionMessage::BLOCKLISTED != 0 => {
                self.ask_for_blocklist();
                (CloseReason::Evicted, format!("{rank} says that this client is blocklisted"))
            }
            _ if self.map.as_ref().and_then(|map| map.state(rank)) == Some(MdsState::STOPPING) => {
                (CloseReason::Bye, format!("the file system is about to do without {rank}"))
            }
            _ => (CloseReason::Evicted, format!("{rank} has thrown this client out")),
        };
        self.end(rank, reason, why, now);
    }

    fn rejected(&mut self, rank: Rank, message: &SessionMessage, now: Now) {
        let Some(session) = self.sessions.get(&rank) else { return };
        if session.state == State::Closing {
            return self.end(rank, CloseReason::Bye, format!("{rank} is done with it"), now);
        }
        let error = message.metadata.get("error_string").map(|text| String::from_utf8_lossy(text));
        let error = error.unwrap_or_default();
        let blocklisted =
            message.flags & SessionMessage::BLOCKLISTED != 0 || error.contains("blocklisted (blacklisted)");
        if blocklisted {
            self.ask_for_blocklist();
            let why = format!("{rank} says that this client is blocklisted (see `ceph osd blocklist ls`)");
            return self.end(rank, CloseReason::Evicted, why, now);
        }
        // It has closed the session, and something that was said before came later.
        if error == "sessionless" {
            return self.end(rank, CloseReason::Lost, format!("{rank} does not remember it"), now);
        }
        let why = self.refusal(rank, &error);
        self.refuse(why.clone(), now);
        self.end(rank, CloseReason::Refused, why, now);
    }

    /// Whether the client has to begin anew under another identity is for the one to say who reads the map of OSDs. A client that reads no
    /// objects gets no new ones.
    fn ask_for_blocklist(&mut self) {
        self.events.push_back(SessionEvent::Subscribe { what: OSD_MAP.to_owned(), start: 0, once: true });
    }

    /// A sentence for what an MDS says when it refuses a session.
    fn refusal(&self, rank: Rank, error: &str) -> String {
        let (user, root) = (&self.config.entity_id, &self.config.root);
        let fs = self.map.as_ref().map_or("FS", |map| map.name.as_str());
        if error.contains("non-allowable root") {
            format!(
                "client.{user} may not mount {root:?}: its MDS capabilities are for other paths. Mount one of these \
                 (`ceph auth get client.{user}` shows them), or allow this one: `ceph fs authorize {fs} client.{user} {root} r`"
            )
        } else if error.contains("doesn't have caps for FS") {
            format!(
                "client.{user} may not use file system {fs:?}: its MDS capabilities are for others. Allow it: \
                 `ceph fs authorize {fs} client.{user} {root} r`"
            )
        } else if error.is_empty() {
            format!("{rank} refuses a session to client.{user} and does not say why; see the log of the MDS")
        } else {
            format!("{rank} refuses a session to client.{user}: {error}")
        }
    }

    fn renewed(&mut self, rank: Rank, seq: u64) {
        let lifetime = self.lifetime_ms();
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        if session.renewal != seq || seq == 0 {
            return;
        }
        session.valid_until = session.renewal_sent.saturating_add(lifetime);
        session.stale = false;
        self.events.push_back(SessionEvent::Renewed { rank, until_ms: session.valid_until });
    }

    fn stale(&mut self, rank: Rank, now: Now) {
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        if session.state != State::Open {
            return;
        }
        session.stale = true;
        session.valid_until = now.monotonic_ms;
        let text = format!("{rank} has missed this client for too long; capabilities are asked for again");
        self.log(Level::Warn, text);
        self.events.push_back(SessionEvent::Stale { rank, revoked: true });
        self.renew(rank, now);
    }
}
