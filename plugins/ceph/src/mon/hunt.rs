//! Finding a monitor: in which order, how many at once, how patiently.

use super::{MonAddress, MonLink, MonMap, Tried};
use crate::entropy::Entropy;
use crate::time::Now;
use std::collections::VecDeque;

/// A search. It goes in rounds; each tries every known address once.
#[derive(Clone, Debug, Default)]
pub(super) struct Hunt {
    /// Not tried yet in this round.
    queue: VecDeque<MonAddress>,
    /// Connections under way.
    attempts: Vec<Attempt>,
    /// What has failed in this round.
    tried: Vec<Tried>,
    /// Between rounds: when the next one begins.
    resume_at: Option<u64>,
}

/// One connection under way.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) link: MonLink,
    pub(super) address: MonAddress,
    deadline: u64,
}

impl Hunt {
    /// A search that begins with a round at this moment.
    pub(super) fn resuming_at(moment: u64) -> Self {
        Self { resume_at: Some(moment), ..Self::default() }
    }

    /// If it waits for the next round, it does not wait any longer.
    pub(super) fn hurry(&mut self, now: Now) {
        self.resume_at = self.resume_at.map(|at| at.min(now.monotonic_ms));
    }

    /// Begins a round if it is time for one.
    pub(super) fn resume(&mut self, now: Now, addresses: impl FnOnce() -> VecDeque<MonAddress>) {
        if self.resume_at.is_some_and(|at| now.reached(at)) {
            self.resume_at = None;
            self.tried.clear();
            self.queue = addresses();
        }
    }

    /// The next address to connect to, if another attempt is allowed.
    pub(super) fn next(&mut self, parallel: usize) -> Option<MonAddress> {
        if self.attempts.len() < parallel.max(1) { self.queue.pop_front() } else { None }
    }

    /// A connection is being made.
    pub(super) fn begin(&mut self, link: MonLink, address: MonAddress, deadline: u64) {
        self.attempts.push(Attempt { link, address, deadline });
    }

    /// The attempt on this link has ended, well or not.
    pub(super) fn take(&mut self, link: MonLink) -> Option<Attempt> {
        let index = self.attempts.iter().position(|attempt| attempt.link == link)?;
        Some(self.attempts.swap_remove(index))
    }

    /// An attempt has failed.
    pub(super) fn failed(&mut self, address: MonAddress, outcome: String) {
        self.tried.push(Tried { address, outcome });
    }

    /// Attempts that have lasted too long; they are no longer under way.
    pub(super) fn overdue(&mut self, now: Now) -> Vec<Attempt> {
        self.attempts.extract_if(.., |attempt| now.reached(attempt.deadline)).collect()
    }

    /// All attempts under way.
    pub(super) fn into_attempts(self) -> Vec<Attempt> {
        self.attempts
    }

    /// If nothing is left to try in this round: what became of it. The next one begins at `resume_at`.
    pub(super) fn round_over(&mut self, resume_at: u64) -> Option<Vec<Tried>> {
        let over = self.queue.is_empty() && self.attempts.is_empty() && self.resume_at.is_none();
        over.then(|| {
            self.resume_at = Some(resume_at);
            std::mem::take(&mut self.tried)
        })
    }

    /// When something is to be done.
    pub(super) fn next_timer(&self) -> Option<u64> {
        self.attempts.iter().map(|attempt| attempt.deadline).chain(self.resume_at).min()
    }
}

/// All addresses in the order in which they are tried: those of the map by priority, among equals at random by weight, as Ceph's clients
/// do to spread over the monitors. Then the configured ones, for clients that reach the cluster through other addresses than it
/// knows itself by, and for maps that have grown old.
pub(super) fn order(
    map: Option<&MonMap>,
    configured: &[MonAddress],
    entropy: &mut dyn Entropy,
) -> VecDeque<MonAddress> {
    let mons = map.map_or(&[][..], |map| &map.mons);
    let mut known: Vec<_> =
        mons.iter().filter_map(|mon| Some((mon.priority, mon.weight, mon.address()?))).collect();
    let mut ordered = VecDeque::new();
    while let Some(priority) = known.iter().map(|&(priority, ..)| priority).min() {
        let (same, rest) = known.into_iter().partition(|&(other, ..)| other == priority);
        known = rest;
        let same: Vec<(u16, u16, MonAddress)> = same;
        ordered.extend(shuffle(
            same.into_iter().map(|(_, weight, address)| (weight, address)).collect(),
            entropy,
        ));
    }
    let configured = configured.iter().map(|address| (0, address.clone())).collect();
    for address in shuffle(configured, entropy) {
        if !ordered.iter().any(|known: &MonAddress| known.is(&address)) {
            ordered.push_back(address);
        }
    }
    ordered
}

/// Draws without putting back; one of weight 2 comes before one of weight 1 two times out of three. Those of weight 0 come last,
/// equally.
fn shuffle(mut pool: Vec<(u16, MonAddress)>, entropy: &mut dyn Entropy) -> Vec<MonAddress> {
    let mut drawn = Vec::with_capacity(pool.len());
    while !pool.is_empty() {
        let total: u64 = pool.iter().map(|&(weight, _)| u64::from(weight)).sum();
        let index = if total == 0 {
            below(entropy, pool.len() as u64) as usize
        } else {
            let mut ticket = below(entropy, total);
            let holder = pool.iter().position(|&(weight, _)| {
                let holds = ticket < u64::from(weight);
                ticket = ticket.saturating_sub(weight.into());
                holds
            });
            holder.unwrap_or(0)
        };
        drawn.push(pool.swap_remove(index).1);
    }
    drawn
}

/// A number below `limit`, which is not 0. The bias of the remainder does not matter for small limits.
fn below(entropy: &mut dyn Entropy, limit: u64) -> u64 {
    entropy.number() % limit
}
