//! Maps: which file system it is, and which daemon has which rank.

use super::session::State;
use super::{CloseReason, RequestError, SessionEvent, Sessions};
use crate::encoding::DecodeError;
use crate::mds::{FileSystemId, FsMapUser, Gid, MdsMapMessage, MdsState, Rank, kind};
use crate::msgr::Message;
use crate::payload::Payload;
use crate::rados::Level;
use crate::time::Now;

/// The name under which the map of file systems is subscribed to.
pub(super) const FS_MAP: &str = "fsmap.user";

/// The name under which the map of OSDs is subscribed to.
pub(super) const OSD_MAP: &str = "osdmap";

/// The name under which the map of one file system is subscribed to.
fn mds_map_name(fs: FileSystemId) -> String {
    format!("mdsmap.{}", fs.0)
}

impl<P: Payload> Sessions<P> {
    /// Takes a message of a monitor; gives whether it was one for sessions.
    ///
    /// # Errors
    /// It was, and it is malformed.
    pub fn delivered(&mut self, message: &Message<P>, now: Now) -> Result<bool, DecodeError> {
        match message.kind {
            kind::FS_MAP_USER => self.fs_map(&message.front, now)?,
            kind::MDS_MAP => self.mds_map(&message.front, now)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes the front of a `MFSMapUser`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn fs_map(&mut self, front: &[u8], now: Now) -> Result<(), DecodeError> {
        let map = FsMapUser::decode(front)?;
        if self.fs_epoch.is_some_and(|known| map.epoch <= known) {
            return Ok(());
        }
        self.fs_epoch = Some(map.epoch);
        self.events.push_back(SessionEvent::Got { what: FS_MAP.to_owned(), epoch: map.epoch.into() });
        match self.choose_fs(&map) {
            Ok(fs) => {
                self.no_fs = None;
                self.use_fs(fs, now);
            }
            Err(why) => {
                self.no_fs = Some(why.clone());
                self.fail_waiting(&RequestError::Refused(why));
            }
        }
        Ok(())
    }

    /// The file system that is meant, or a sentence for why it is none.
    fn choose_fs(&self, map: &FsMapUser) -> Result<FileSystemId, String> {
        let user = &self.config.entity_id;
        let known = match map.file_systems.len() {
            0 => format!(
                "the cluster shows none to client.{user} (see `ceph fs ls` and `ceph auth get client.{user}`)"
            ),
            _ => format!("client.{user} can see: {}", map.names()),
        };
        match (&self.config.fs_name, map.default) {
            (Some(name), _) => {
                map.named(name).ok_or_else(|| format!("there is no file system named {name:?}; {known}"))
            }
            (None, Some(fs)) if map.file_systems.contains_key(&fs) => Ok(fs),
            (None, _) => match map.file_systems.keys().next() {
                Some(only) if map.file_systems.len() == 1 => Ok(*only),
                Some(_) => {
                    Err(format!("no file system is the default one: name one by the option `fs`; {known}"))
                }
                None => Err(format!("there is no file system: {known}")),
            },
        }
    }

    fn use_fs(&mut self, fs: FileSystemId, now: Now) {
        if self.fs == Some(fs) {
            return;
        }
        if let Some(old) = self.fs.replace(fs) {
            self.events.push_back(SessionEvent::Unsubscribe { what: mds_map_name(old) });
            self.map = None;
            self.end_all(CloseReason::Lost, "the file system was replaced by another one of its name", now);
        }
        self.events.push_back(SessionEvent::Subscribe { what: mds_map_name(fs), start: 0, once: false });
    }

    /// Takes the front of a `MMDSMap`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn mds_map(&mut self, front: &[u8], now: Now) -> Result<(), DecodeError> {
        let map = MdsMapMessage::decode(front)?.map;
        if let Some(known) = self.map.as_ref().filter(|known| map.epoch <= known.epoch) {
            let text = format!("a map of MDSs of epoch {} is ignored: {} is known", map.epoch, known.epoch);
            self.log(Level::Debug, text);
            return Ok(());
        }
        if let Some(fs) = self.fs {
            self.events.push_back(SessionEvent::Got { what: mds_map_name(fs), epoch: map.epoch.into() });
        }
        let lacking = map.required_client_features.missing_in(&self.features);
        let before = self.map.replace(map);
        self.pauses.retain(|rank, _| self.map.as_ref().is_some_and(|map| map.ranks.contains(rank)));
        self.forget_replaced(before.as_ref());
        let ranks: Vec<Rank> = self.sessions.keys().copied().collect();
        for rank in ranks {
            self.follow(rank, now);
        }
        if !lacking.is_empty() {
            self.refuse(
                format!(
                    "the file system is only for clients with features that this one lacks: {lacking} \
                     (see `ceph fs required_client_features`)"
                ),
                now,
            );
        }
        self.open_export_targets(now);
        self.kick(now);
        Ok(())
    }

    /// Brings a session in line with the new map.
    fn follow(&mut self, rank: Rank, now: Now) {
        let (Some(map), Some(session)) = (&self.map, self.sessions.get_mut(&rank)) else { return };
        let daemon = map.daemon(rank).map(|daemon| (daemon.gid, daemon.state));
        match daemon {
            None if !map.ranks.contains(&rank) => {
                let why = format!("the file system does without {rank} now");
                self.end(rank, CloseReason::Bye, why, now);
            }
            None => self.orphan(rank, now),
            Some((gid, state)) if gid != session.gid => self.succeeded(rank, gid, state, now),
            Some((_, state)) if session.state == State::Orphaned => self.take_up(rank, state, now),
            // The MDS waits no longer for what the client has not told it yet.
            Some((_, state))
                if session.state == (State::Reconnecting { told: false }) && state > MdsState::RECONNECT =>
            {
                self.missed(rank, now);
            }
            Some(_) => {}
        }
    }

    /// The daemon of a rank is gone, and there is no other yet.
    fn orphan(&mut self, rank: Rank, now: Now) {
        self.unlink(rank);
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        match session.state {
            State::Open | State::Reconnecting { .. } | State::Orphaned => {
                if session.state != State::Orphaned {
                    session.state = State::Orphaned;
                    self.log(Level::Info, format!("{rank} is down; its successor will ask for the session"));
                }
                self.take_back(rank);
            }
            State::Opening { .. } | State::Closing => {
                self.end(rank, CloseReason::Bye, format!("{rank} is down"), now);
            }
        }
    }

    /// Another daemon has the rank.
    fn succeeded(&mut self, rank: Rank, gid: Gid, state: MdsState, now: Now) {
        self.orphan(rank, now);
        let Some(session) = self.sessions.get_mut(&rank) else { return };
        session.gid = gid;
        self.take_up(rank, state, now);
    }

    /// The daemon of an orphaned session is in this state.
    fn take_up(&mut self, rank: Rank, state: MdsState, now: Now) {
        if state == MdsState::RECONNECT {
            let Some(session) = self.sessions.get_mut(&rank) else { return };
            session.state = State::Reconnecting { told: false };
            self.link(rank);
        } else if state > MdsState::RECONNECT {
            self.missed(rank, now);
        }
    }

    fn missed(&mut self, rank: Rank, now: Now) {
        let why = format!(
            "another daemon has taken {rank} over, and this client did not tell it in time what it held"
        );
        self.end(rank, CloseReason::Lost, why, now);
    }

    /// Opens sessions with the ranks to which others may hand what this client holds: they can only tell it about that if there is one.
    pub(super) fn open_export_targets(&mut self, now: Now) {
        let Some(map) = &self.map else { return };
        let open = self.sessions.iter().filter(|(_, session)| session.state == State::Open);
        let daemons = open.filter_map(|(rank, _)| map.daemon(*rank));
        let targets: Vec<Rank> = daemons.flat_map(|daemon| daemon.export_targets.iter().copied()).collect();
        for target in targets {
            self.begin(target, now);
        }
    }
}
