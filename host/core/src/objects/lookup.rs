//! What a name stands for.

use super::ObjectFs;
use super::known::Known;
use super::listing::{Listed, Listing, Seen};
use super::misses::PAGES;
use super::names::join;
use super::probe::probe;
use crate::wait::bounded;
use std::sync::Arc;
use std::time::Instant;
use wasmount_types::{Error, Name, RequestCtx};

impl ObjectFs {
    /// What `name` in `dir` stands for, and when the store was asked.
    ///
    /// # Errors
    /// `not-found`, or what the store says.
    pub async fn look_up(self: &Arc<Self>, ctx: RequestCtx, dir: &str, name: &Name) -> Result<Listed, Error> {
        // Keys are text: a name that is not cannot be one.
        let Some(text) = name.as_str() else { return Err(Error::not_found(name)) };
        let path = join(dir, text);
        if path.len() > self.caps.max_key as usize {
            return Err(Error::not_found(path));
        }
        let outcome = match self.remembered(dir, name, &path) {
            Some(outcome) => outcome,
            None => bounded(&*self.clock, ctx, "looking up a name", self.ask(dir, name, &path)).await?,
        };
        outcome.ok_or_else(|| Error::not_found(path))
    }

    /// The newest answer in memory, if it still holds; `Some(None)`: there is nothing.
    pub(super) fn remembered(self: &Arc<Self>, dir: &str, name: &Name, path: &str) -> Option<Option<Listed>> {
        let listing = self.listings.get(dir);
        if listing.as_ref().is_some_and(|listing| listing.is_wanted_first()) {
            self.entered(dir);
        }
        let from_listing = match listing.map(|listing| listing.peek(name)) {
            Some(Seen::Found(listed)) => Some((Known::Found(listed.child), listed.at)),
            Some(Seen::Absent(at)) => Some((Known::Absent, at)),
            _ => None,
        };
        let newest = [from_listing, self.known.get(path)].into_iter().flatten().max_by_key(|(_, at)| *at);
        let (known, at) = newest?;
        let age = self.clock.now().saturating_duration_since(at);
        match known {
            Known::Found(child) if age < self.config.attr_ttl => Some(Some(Listed { child, at })),
            Known::Absent if age < self.config.negative_ttl => Some(None),
            _ => None,
        }
    }

    async fn ask(self: &Arc<Self>, dir: &str, name: &Name, path: &str) -> Result<Option<Listed>, Error> {
        let now = self.clock.now();
        let wanted = self.misses.count(dir, now);
        // Asked since this look-up began, or young enough anyway.
        let holds = |at: Instant, ttl| at >= now || self.clock.now().saturating_duration_since(at) < ttl;
        let suspect = |since: Instant| match self.known.get(path) {
            Some((Known::Suspect, at)) => at >= since,
            _ => false,
        };
        let listing = match self.listings.get(dir) {
            Some(listing) if listing.is_loading() => Some(listing),
            // It is there and did not know, or its answer is too old: only asking for the name itself helps.
            Some(listing) if listing.is_complete() && self.usable(&listing, now) => None,
            _ if wanted => Some(self.list(dir)),
            _ => None,
        };
        if let Some(listing) = listing.filter(|l| self.usable(l, now))
            && !suspect(listing.started)
        {
            match listing.wait_for(name, PAGES).await {
                Seen::Found(listed) if holds(listed.at, self.config.attr_ttl) => return Ok(Some(listed)),
                Seen::Absent(at) if holds(at, self.config.negative_ttl) => return Ok(None),
                // Too large to wait for, too long under way, or failed: the name alone may still be had.
                _ => {}
            }
        }
        let fs = self.clone();
        let key = path.to_owned();
        let listed = self.probes.join(&*self.spawn, path, move || async move {
            let at = fs.clock.now();
            let ctx = RequestCtx::internal(at + fs.request_timeout);
            let child = probe(&*fs.clock, &*fs.store, fs.caps, ctx, &key).await?;
            fs.known.set(&key, child.clone().map_or(Known::Absent, Known::Found), at);
            Ok(child.map(|child| Listed { child, at }))
        });
        listed.await
    }

    /// Whether an answer from this listing would be young enough.
    fn usable(&self, listing: &Listing, now: Instant) -> bool {
        now.saturating_duration_since(listing.started) < self.config.attr_ttl
    }
}
