//! READs and GETATTRs under way, and how a READ comes by the right.

use super::{ASK_EVERY, Data, Underway};
use crate::files::ranges::{overlap, pages};
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::time::Instant as Moment;

/// How long a READ of a range that is just being dropped waits for that to end. If it does not, it may be waiting for this READ.
const GRACE: Duration = Duration::from_millis(1);

impl Data {
    /// Waits until a READ need not ask for the right (any more), `true`, or until it is the one to ask for all of them, `false`: then it has to see to it
    /// that [`asking_for_right`](Self::asking_for_right) is called.
    pub(in crate::files) async fn settled(&self, now: impl Fn() -> Instant) -> bool {
        self.wait(|state| {
            if state.is_settled(now()) {
                return Some(true);
            }
            let others = std::mem::replace(&mut state.asked_for, true);
            (!others).then_some(false)
        })
        .await
    }

    /// The right is being asked for, as long as this lives.
    pub(in crate::files) fn asking_for_right(&self) -> AskingForRight<'_> {
        AskingForRight(self)
    }

    /// Whether it is time to ask for the right again for the sake of speed alone; if so, it has been asked for now.
    pub(in crate::files) fn is_due(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let due = !state.is_settled(now)
            && state.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY);
        if due {
            state.asked = Some(now);
        }
        due
    }

    /// A GETATTR, until it has been answered.
    pub(in crate::files) fn asking(&self) -> Asking<'_> {
        self.lock().asking += 1;
        Asking(self)
    }

    /// The right, if it is held, for a READ of which the kernel keeps nothing: who reads what is kept here has to be awaited too before others change it.
    pub(in crate::files) fn cover(&self) -> Option<Covered<'_>> {
        let mut state = self.lock();
        state.held.as_ref()?;
        let (id, version) = (state.take_number(), state.version);
        state.underway.insert(id, Underway { asks: false, covered: Some(version) });
        Some(Covered { data: self, id })
    }

    /// Lets a READ through that fills pages, as soon as it may be answered.
    pub(in crate::files) async fn admit(&self, range: Range<u64>) -> Admission<'_> {
        let range = pages(&range);
        let mut held_back = None;
        let mut patient = false;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let dropping = {
                let mut state = self.lock();
                let dropping = state.ending.as_ref();
                let dropping = dropping.map(|dropping| dropping.iter().any(|other| overlap(other, &range)));
                if dropping.is_none() || (dropping == Some(true) && patient) {
                    let id = state.take_number();
                    state.read = true;
                    state.underway.insert(id, Underway { asks: true, covered: None });
                    return Admission { data: self, id, range, covered: None, failed: true };
                }
                if held_back.is_none() {
                    let id = state.take_number();
                    state.waiting.insert(id, range.clone());
                    held_back = Some(HeldBack { data: self, id });
                }
                dropping == Some(true)
            };
            if dropping {
                // While it is being dropped it must not count as held back: that would leave its pages out the next time.
                held_back = None;
                patient = tokio::time::timeout(GRACE, changed).await.is_err();
            } else {
                changed.await;
                patient = false;
            }
        }
    }
}

/// A READ that is being answered.
pub(in crate::files) struct Admission<'a> {
    data: &'a Data,
    id: u64,
    range: Range<u64>,
    /// The right under which it is answered.
    covered: Option<u64>,
    failed: bool,
}

impl Admission<'_> {
    /// Its bytes are read from now on, under the right if that is held.
    pub(in crate::files) fn begin(&mut self) {
        let mut state = self.data.lock();
        self.covered = state.held.is_some().then_some(state.version);
        if let Some(read) = state.underway.get_mut(&self.id) {
            (read.asks, read.covered) = (false, self.covered);
        }
    }

    /// It is answered with bytes that were read under the right it came with, or without any (`uncovered`).
    pub(in crate::files) fn answered(&mut self, uncovered: bool) {
        self.failed = false;
        if uncovered {
            self.covered = None;
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let mut state = self.data.lock();
        state.underway.remove(&self.id);
        let kept = self.covered == Some(state.version) && state.held.is_some();
        // Of a READ that failed the kernel keeps nothing.
        if !self.failed {
            state.answered = Some(Moment::now());
            if !kept {
                state.noted.add(self.range.clone());
            }
        }
        drop(state);
        self.data.changed.notify_waiters();
    }
}

/// The right is not gone as long as this lives.
pub(in crate::files) struct Covered<'a> {
    data: &'a Data,
    id: u64,
}

impl Drop for Covered<'_> {
    fn drop(&mut self) {
        self.data.lock().underway.remove(&self.id);
        self.data.changed.notify_waiters();
    }
}

/// The right is being asked for.
pub(in crate::files) struct AskingForRight<'a>(&'a Data);

impl Drop for AskingForRight<'_> {
    fn drop(&mut self) {
        self.0.lock().asked_for = false;
        self.0.changed.notify_waiters();
    }
}

/// A GETATTR.
pub(in crate::files) struct Asking<'a>(&'a Data);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.asking -= 1;
        state.told = Some(Moment::now());
        drop(state);
        self.0.changed.notify_waiters();
    }
}

/// A READ that is held back.
struct HeldBack<'a> {
    data: &'a Data,
    id: u64,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.data.lock().waiting.remove(&self.id);
    }
}
