//! New maps.

use super::operation::Place;
use super::{Event, Objecter, Tid};
use crate::osd::MapMessage;
use crate::osdmap::OsdMap;
use crate::payload::Payload;
use crate::rados::error::RadosError;
use crate::time::Now;
use crate::types::{EntityAddr, Epoch};

/// Why maps could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::rados) enum MapError {
    /// The map is not what it should be.
    #[error("cannot read map {epoch} of the cluster: {reason}")]
    Unreadable {
        /// Its epoch.
        epoch: Epoch,
        /// What is wrong.
        reason: String,
    },
}

impl<P: Payload> Objecter<P> {
    /// Takes maps from a monitor or an OSD: every change in turn, since what changes and changes back also ends what was agreed before.
    ///
    /// # Errors
    /// A full map cannot be read. Changes that cannot be read are made good by asking for a full one.
    pub(in crate::rados) fn maps(&mut self, message: &MapMessage<'_>, now: Now) -> Result<(), MapError> {
        let last = message.last();
        let Some(map) = &self.map else {
            return match message.full.last() {
                Some(&(epoch, bytes)) => {
                    self.full(epoch, bytes, now)?;
                    self.catch_up(message, now)
                }
                // Changes of a map that is not known.
                None => {
                    self.events.push_back(Event::WantMaps { after: 0 });
                    Ok(())
                }
            };
        };
        if last > map.epoch { self.catch_up(message, now) } else { Ok(()) }
    }

    /// Goes from the map at hand to the last one in the message.
    fn catch_up(&mut self, message: &MapMessage<'_>, now: Now) -> Result<(), MapError> {
        let last = message.last();
        while let Some(map) = self.map.as_mut().filter(|map| map.epoch < last) {
            let next = map.epoch.saturating_add(1);
            if let Some(&(_, bytes)) = message.incrementals.iter().find(|&&(epoch, _)| epoch == next) {
                if map.apply(bytes).is_err() || map.epoch != next {
                    // A full map says the same; whoever sends it has read these changes.
                    self.map = None;
                    self.events.push_back(Event::WantMaps { after: 0 });
                    return Ok(());
                }
                self.changed(false, now);
            } else if let Some(&(epoch, bytes)) = message.full.iter().find(|&&(epoch, _)| epoch >= next) {
                // With a gap, what happened in between is not known: then everything is sent again.
                self.full(epoch, bytes, now)?;
            } else {
                // Changes are missing in the middle.
                self.want_maps();
                break;
            }
        }
        Ok(())
    }

    /// Replaces the map.
    fn full(&mut self, epoch: Epoch, bytes: &[u8], now: Now) -> Result<(), MapError> {
        let map = OsdMap::decode(bytes)
            .map_err(|error| MapError::Unreadable { epoch, reason: error.to_string() })?;
        if map.epoch != epoch {
            let reason = format!("it says that it is map {}", map.epoch);
            return Err(MapError::Unreadable { epoch, reason });
        }
        let gap = self.map.as_ref().is_none_or(|old| old.epoch.checked_add(1) != Some(map.epoch));
        self.map = Some(map);
        self.changed(gap, now);
        Ok(())
    }

    /// Holds everything against the map, which is new.
    fn changed(&mut self, again: bool, now: Now) {
        self.placements.clear();
        if self.is_locked_out() {
            return;
        }
        let orphans = self.end_sessions();
        let tids: Vec<Tid> = self.operations.keys().copied().collect();
        for tid in tids {
            if matches!(self.operations.get(&tid).map(|o| &o.place), Some(Place::Delayed { .. })) {
                continue;
            }
            self.aim(tid, now, again || orphans.binary_search(&tid).is_ok());
        }
        self.decide_missing_pools();
        // Requests that went elsewhere, or ended, have left room for others.
        let waiting = self.sessions.iter().filter(|(_, session)| !session.queued.is_empty());
        let waiting: Vec<i32> = waiting.map(|(&osd, _)| osd).collect();
        for osd in waiting {
            self.pump(osd, now);
        }
    }

    /// The address of this client that the map lists as locked out.
    fn listed(&self) -> Option<String> {
        let map = self.map.as_ref()?;
        let listed = self.own.iter().find(|address| map.is_blocklisted(address))?;
        Some(listed.socket.map_or_else(|| "this address".into(), |at| format!("{at}/{}", listed.nonce)))
    }

    /// Ends sessions with OSDs that are down or have moved. The result: the requests that were theirs, ascending.
    fn end_sessions(&mut self) -> Vec<Tid> {
        let Some(map) = &self.map else { return Vec::new() };
        let here = |osd: i32, address: EntityAddr| {
            map.is_up(osd) && map.addrs(osd).and_then(crate::types::AddrVec::msgr2) == Some(address)
        };
        let gone: Vec<i32> = self
            .sessions
            .iter()
            .filter(|&(&osd, session)| !here(osd, session.address))
            .map(|(&osd, _)| osd)
            .collect();
        let mut orphans = Vec::new();
        for osd in gone {
            self.events.push_back(Event::Disconnect { osd });
            let Some(session) = self.sessions.remove(&osd) else { continue };
            for tid in session.sent.into_iter().chain(session.queued) {
                if let Some(operation) = self.operations.get_mut(&tid) {
                    operation.place = Place::Nowhere;
                    orphans.push(tid);
                }
            }
        }
        orphans.sort_unstable();
        orphans
    }

    /// A monitor said which map is the newest; `None`: it did not, ask again later.
    pub(in crate::rados) fn newest(&mut self, newest: Option<Epoch>) {
        self.asked_newest = false;
        let Some(newest) = newest else { return };
        for operation in self.operations.values_mut() {
            if let Place::PoolMissing { bound, .. } = &mut operation.place {
                bound.get_or_insert(newest);
            }
        }
        if self.map.as_ref().is_some_and(|map| map.epoch < newest) {
            self.want_maps();
        }
        self.decide_missing_pools();
    }

    /// Ends requests to pools that do not exist, and asks for the newest epoch where that is not known.
    pub(super) fn decide_missing_pools(&mut self) {
        let Some(epoch) = self.map.as_ref().map(|map| map.epoch) else { return };
        let mut missing = Vec::new();
        let mut unknown = false;
        for (&tid, operation) in &self.operations {
            match operation.place {
                Place::PoolMissing { pool, bound: Some(bound) } if epoch >= bound => {
                    missing.push((tid, pool))
                }
                Place::PoolMissing { bound: None, .. } => unknown = true,
                _ => {}
            }
        }
        for (tid, pool) in missing {
            self.finish(tid, Err(RadosError::PoolNotFound { pool }));
        }
        if unknown {
            self.ask_newest();
        }
    }

    /// How the cluster knows this client.
    pub(in crate::rados) fn address(&self) -> Option<EntityAddr> {
        self.own.first().copied()
    }

    /// The cluster knows this client by this address.
    pub(in crate::rados) fn known_as(&mut self, address: EntityAddr) {
        if self.own.contains(&address) {
            return;
        }
        self.own.push(address);
        self.is_locked_out();
    }

    /// Holds the blocklist against the addresses of this client; if one is in it, all requests end.
    fn is_locked_out(&mut self) -> bool {
        let listed = self.listed();
        let before = std::mem::replace(&mut self.blocklisted, listed);
        let Some(address) = self.blocklisted.clone() else {
            // Not when an OSD has said it, who has a newer map.
            self.told_blocklisted &= before.is_none();
            return false;
        };
        self.fail_all(&RadosError::Blocklisted { address: address.clone() });
        self.locked_out(address);
        true
    }

    /// Tells once that the cluster does not serve this client.
    pub(super) fn locked_out(&mut self, address: String) {
        if !std::mem::replace(&mut self.told_blocklisted, true) {
            self.events.push_back(Event::Blocklisted { address });
        }
    }

    /// From now on the cluster knows this client by other addresses, and all its connections are made anew.
    pub(in crate::rados) fn rename(&mut self) {
        self.own.clear();
        self.blocklisted = None;
        self.told_blocklisted = false;
    }

    /// No request is sent with an older map than this from now on: a metadata server knows of a client that was locked out in that
    /// map, and OSDs that have it do not accept that client's late writes.
    pub(in crate::rados) fn set_barrier(&mut self, epoch: Epoch, now: Now) {
        if epoch <= self.barrier {
            return;
        }
        self.barrier = epoch;
        if self.map.as_ref().is_some_and(|map| map.epoch >= epoch) {
            return;
        }
        self.want_maps();
        let queued =
            self.operations.iter().filter(|(_, operation)| matches!(operation.place, Place::Queued(_)));
        let queued: Vec<Tid> = queued.map(|(&tid, _)| tid).collect();
        for tid in queued {
            self.aim(tid, now, true);
        }
    }
}
