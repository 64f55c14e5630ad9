//! Pipes that are used again.

use super::{Ends, Pipe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Pipes of one size, a limited number of them: each takes two descriptors.
#[derive(Debug)]
pub struct Pipes {
    size: usize,
    most: usize,
    returned: Notify,
    state: Mutex<State>,
}

/// What there is for somebody who can wait.
#[derive(Debug)]
pub enum Offer {
    /// An empty pipe.
    Pipe(Pipe),
    /// Others have too many.
    Later,
    /// None: the system has none, they are too small, or waiting was in vain lately.
    Never,
}

#[derive(Debug)]
struct State {
    idle: Vec<Ends>,
    /// How many may still be made.
    left: usize,
    /// Since they were too small, or could not be made, nobody gets one.
    small: Pause,
    /// Since somebody has waited for one in vain, nobody waits.
    vain: Pause,
}

/// Pipes that are kept for the next use: all pipes of a user on a machine share a quota.
const IDLE: usize = 8;

/// Pauses after what did not work, in pipes asked for: the first one, and the longest.
const PAUSES: (u32, u32) = (4, 1024);

/// So often something is not tried; longer each time it does not work.
#[derive(Debug)]
struct Pause {
    left: u32,
    next: u32,
}

impl Pause {
    fn new() -> Self {
        Self { left: 0, next: PAUSES.0 }
    }

    fn tell(&mut self, worked: bool) {
        if worked {
            self.next = PAUSES.0;
        } else {
            self.left = self.next;
            self.next = (self.next * 2).min(PAUSES.1);
        }
    }

    /// Whether it is not tried this time.
    fn holds(&mut self) -> bool {
        let holds = self.left > 0;
        self.left = self.left.saturating_sub(1);
        holds
    }
}

impl Pipes {
    /// At most `most` pipes, each with room for `size` bytes in pages of their own.
    pub fn new(most: usize, size: usize) -> Arc<Self> {
        let state = State { idle: Vec::new(), left: most, small: Pause::new(), vain: Pause::new() };
        Arc::new(Self { size, most, returned: Notify::new(), state: Mutex::new(state) })
    }

    /// An empty pipe, if one is left. Where they were too small lately, or the system had none, they are tried now and then.
    pub fn take(self: &Arc<Self>) -> Option<Pipe> {
        match self.offer(0) {
            Offer::Pipe(pipe) => Some(pipe),
            Offer::Later | Offer::Never => None,
        }
    }

    /// As [`take`](Self::take), if more than half of the pipes are not in use.
    pub fn take_spare(self: &Arc<Self>) -> Offer {
        match self.offer(self.most / 2) {
            Offer::Later if self.lock().vain.holds() => Offer::Never,
            offer => offer,
        }
    }

    /// Ends when a pipe has come back. One of those who wait is woken for each pipe.
    pub fn returned(&self) -> Notified<'_> {
        self.returned.notified()
    }

    fn offer(self: &Arc<Self>, keep: usize) -> Offer {
        let mut state = self.lock();
        if state.small.holds() {
            return Offer::Never;
        }
        if state.left + state.idle.len() <= keep {
            return Offer::Later;
        }
        let ends = match state.idle.pop() {
            Some(ends) => ends,
            None => match Ends::new(self.size) {
                Ok(ends) => {
                    state.left -= 1;
                    ends
                }
                Err(_) => {
                    state.small.tell(false);
                    return Offer::Never;
                }
            },
        };
        Offer::Pipe(Pipe { ends: Some(ends), length: 0, pool: Arc::downgrade(self) })
    }

    /// Tells whether a pipe had room for what was wanted. Where packets are short it has not, each time.
    pub fn tell(&self, had_room: bool) {
        self.lock().small.tell(had_room);
    }

    /// Tells whether it was worth while to wait for a pipe. Where the reader is slow it is not.
    pub fn tell_waited(&self, worked: bool) {
        self.lock().vain.tell(worked);
    }

    /// Takes a pipe back, or takes note that one is closed.
    pub(crate) fn back(&self, ends: Option<Ends>) {
        let mut state = self.lock();
        let surplus = match ends {
            Some(ends) if state.idle.len() < IDLE => {
                state.idle.push(ends);
                None
            }
            surplus => {
                state.left += 1;
                surplus
            }
        };
        drop(state);
        self.returned.notify_one();
        drop(surplus);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
