//! What is due, and what a request that is overdue was waiting for.

use super::operation::Place;
use super::session::Session;
use super::{Objecter, TICK_MS, Tid};
use crate::payload::Payload;
use crate::rados::error::RadosError;
use crate::rados::request::OpId;
use crate::time::Now;
use std::collections::BTreeSet;

impl<P: Payload> Objecter<P> {
    /// When [`on_time`](Self::on_time) wants to be called.
    pub(in crate::rados) fn next_timer(&self) -> Option<u64> {
        let first = |set: &BTreeSet<(u64, Tid)>| set.first().map(|&(at, _)| at);
        let reconnect = self.sessions.values().filter_map(Session::retry_at).min();
        [first(&self.deadlines), first(&self.delayed), reconnect, self.next_tick].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(in crate::rados) fn on_time(&mut self, now: Now) {
        while let Some(&(at, tid)) = self.deadlines.first().filter(|(at, _)| now.reached(*at)) {
            let waiting = self.waiting_for(tid, now);
            let osd = self.operations.get(&tid).and_then(|operation| operation.place.osd());
            self.finish(tid, Err(RadosError::TimedOut { waiting }));
            self.deadlines.remove(&(at, tid));
            if let Some(osd) = osd {
                self.pump(osd, now);
            }
        }
        while let Some(&(at, tid)) = self.delayed.first().filter(|(at, _)| now.reached(*at)) {
            self.delayed.remove(&(at, tid));
            self.aim(tid, now, true);
        }
        let due: Vec<i32> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.retry_at().is_some_and(|at| now.reached(at)))
            .map(|(&osd, _)| osd)
            .collect();
        for osd in due {
            self.connect(osd);
        }
        if self.next_tick.is_some_and(|at| now.reached(at)) {
            self.next_tick = Some(now.after(TICK_MS));
            if self.operations.values().any(|operation| operation.is_laggy(now)) {
                self.want_maps();
            }
            self.decide_missing_pools();
        }
    }

    /// What a request waits for; `None`: it has ended.
    pub(in crate::rados) fn waits_for(&self, op: OpId, now: Now) -> Option<String> {
        self.tids.get(&op).map(|tid| self.waiting_for(*tid, now))
    }

    /// What a request waits for, in words.
    pub(super) fn waiting_for(&self, tid: Tid, now: Now) -> String {
        let Some(operation) = self.operations.get(&tid) else { return String::new() };
        let pg = operation.target.as_ref().map(|target| target.pg);
        match &operation.place {
            Place::Nowhere if self.map.is_none() => {
                self.trouble.clone().unwrap_or_else(|| "no monitor has sent a map of the cluster yet".into())
            }
            Place::Nowhere => match pg {
                Some(pg) => format!("no OSD is up for placement group {pg}"),
                None => "its place is not known yet".into(),
            },
            Place::PoolMissing { pool, .. } => format!("whether pool {pool} exists is not known yet"),
            Place::NoAddress(osd) => {
                format!("osd.{osd} has no msgr2 address (set ms_bind_msgr2 = true there, and restart it)")
            }
            Place::Paused(pause) => pause.sentence(),
            Place::Delayed { .. } => {
                format!("the OSD says \"try again\" each time ({} times)", operation.refusals)
            }
            Place::Queued(osd) => match self.sessions.get(osd) {
                Some(session) => session.holds_up(operation),
                None => format!("osd.{osd} is not connected"),
            },
            Place::Sent { osd, since } => {
                let place = self
                    .sessions
                    .get(osd)
                    .map_or_else(String::new, |session| format!(" at {}", session.place()));
                let seconds = now.monotonic_ms.saturating_sub(*since) / 1000;
                let (attempts, epoch) = (operation.attempts, self.map.as_ref().map_or(0, |map| map.epoch));
                let pg = pg.map_or_else(String::new, |pg| pg.to_string());
                format!(
                    "osd.{osd}{place} did not answer for {seconds} s (placement group {pg}, attempt {attempts}, map {epoch})"
                )
            }
        }
    }
}
