//! Pipes that are used again.

use super::{Ends, Pipe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pipes of one size, a limited number of them: each takes two descriptors.
#[derive(Debug)]
pub struct Pipes {
    size: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    idle: Vec<Ends>,
    /// How many may still be made.
    left: usize,
    /// How often nobody gets one.
    pause: u32,
    /// How long the next such pause is.
    next_pause: u32,
}

/// Pauses after a pipe that was too small, in pipes asked for: the first one, and the longest.
const PAUSES: (u32, u32) = (4, 1024);

impl Pipes {
    /// At most `most` pipes, each with room for `size` bytes in pages of their own.
    pub fn new(most: usize, size: usize) -> Arc<Self> {
        Arc::new(Self {
            size,
            state: Mutex::new(State { idle: Vec::new(), left: most, pause: 0, next_pause: PAUSES.0 }),
        })
    }

    /// An empty pipe, if one is left and the system has one. Where it has none, none are asked for any more; where they were too small
    /// lately, they are tried now and then.
    pub fn take(self: &Arc<Self>) -> Option<Pipe> {
        let mut state = self.lock();
        if state.pause > 0 {
            state.pause -= 1;
            return None;
        }
        let ends = match state.idle.pop() {
            Some(ends) => ends,
            None => {
                state.left = state.left.checked_sub(1)?;
                match Ends::new(self.size) {
                    Ok(ends) => ends,
                    Err(_) => {
                        state.left = 0;
                        return None;
                    }
                }
            }
        };
        Some(Pipe { ends: Some(ends), length: 0, pool: Arc::downgrade(self) })
    }

    /// Tells whether a pipe had room for what was wanted. Where packets are short it has not, each time.
    pub fn tell(&self, had_room: bool) {
        let mut state = self.lock();
        if had_room {
            state.next_pause = PAUSES.0;
        } else {
            state.pause = state.next_pause;
            state.next_pause = (state.next_pause * 2).min(PAUSES.1);
        }
    }

    /// Takes a pipe back, or takes note that one is closed.
    pub(crate) fn back(&self, ends: Option<Ends>) {
        let mut state = self.lock();
        match ends {
            Some(ends) => state.idle.push(ends),
            None => state.left += 1,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
