//! Which maps the monitors are asked to send.

use super::messages;
use crate::msgr::Message;
use crate::payload::Payload;
use std::collections::BTreeMap;

/// How long a map is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Until one version has come.
    Once,
    /// On and on: each newer version is sent as it appears.
    Always,
}

/// What is wanted, by the name of the map. It outlives sessions: a new monitor is told all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Subscriptions {
    wanted: BTreeMap<String, Wanted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// First version wanted; for most maps 0 means the newest.
    start: u64,
    repeat: Repeat,
    /// The monitor of the present session has been told.
    told: bool,
}

impl Subscriptions {
    /// Asks for a map from this version on. A lasting wish stays one.
    pub(super) fn want(&mut self, what: &str, start: u64, repeat: Repeat) {
        let always = self.wanted.get(what).is_some_and(|wanted| wanted.repeat == Repeat::Always);
        let repeat = if always { Repeat::Always } else { repeat };
        let wanted = Wanted { start, repeat, told: false };
        // Also when nothing has changed: the monitor counts on from what it sent, and what it sent may have been lost on us.
        self.wanted.insert(what.to_owned(), wanted);
    }

    /// A version has come. What was wanted once is no longer.
    pub(super) fn got(&mut self, what: &str, version: u64) {
        let Some(wanted) = self.wanted.get_mut(what) else {
            return;
        };
        if version >= wanted.start {
            match wanted.repeat {
                Repeat::Once => drop(self.wanted.remove(what)),
                Repeat::Always => wanted.start = version.saturating_add(1),
            }
        }
    }

    /// Nobody wants this map any more.
    pub(super) fn unwant(&mut self, what: &str) {
        self.wanted.remove(what);
    }

    /// The message for what the monitor does not know yet; `None` if it knows all. With `only`, nothing but that map is asked for.
    pub(super) fn message<P: Payload>(&mut self, hostname: &str, only: Option<&str>) -> Option<Message<P>> {
        let mut news = Vec::new();
        for (what, wanted) in &mut self.wanted {
            if !wanted.told && only.is_none_or(|only| only == what) {
                wanted.told = true;
                news.push((what.as_str(), wanted.start, wanted.repeat == Repeat::Once));
            }
        }
        (!news.is_empty()).then(|| messages::subscribe(news.into_iter(), hostname))
    }

    /// The next monitor knows nothing; or this one is to be told once more.
    pub(super) fn forget_told(&mut self) {
        for wanted in self.wanted.values_mut() {
            wanted.told = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn asked(subscriptions: &mut Subscriptions) -> Option<Vec<u8>> {
        subscriptions.message::<Bytes>("h", None).map(|message| message.front)
    }

    #[test]
    fn a_monitor_is_told_once_and_the_next_one_again() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(asked(&mut subscriptions), None);
        subscriptions.want("osdmap", 0, Repeat::Once);
        let front = asked(&mut subscriptions).unwrap();
        assert_eq!(front, b"\x01\0\0\0\x06\0\0\0osdmap\0\0\0\0\0\0\0\0\x01\x01\0\0\0h");
        assert_eq!(asked(&mut subscriptions), None);
        subscriptions.forget_told();
        assert_eq!(asked(&mut subscriptions).unwrap(), front);
        subscriptions.got("osdmap", 7);
        subscriptions.forget_told();
        assert_eq!(asked(&mut subscriptions), None);
    }

    #[test]
    fn what_has_come_is_not_asked_for_again() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.want("monmap", 0, Repeat::Always);
        subscriptions.want("monmap", 3, Repeat::Once);
        subscriptions.got("monmap", 2);
        subscriptions.got("monmap", 5);
        let front = asked(&mut subscriptions).unwrap();
        assert_eq!(front[14..23], [6, 0, 0, 0, 0, 0, 0, 0, 0], "from 6, for ever");
        subscriptions.unwant("monmap");
        subscriptions.forget_told();
        assert_eq!(asked(&mut subscriptions), None);
    }
}
