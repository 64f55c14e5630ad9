//! Blocks that come in pipes.

use super::{Content, PATIENCE, Piece, block_end};
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until};
use wasmount_pipe::{Offer, Pipe};

impl Content {
    /// An empty pipe for the next bytes, if these begin a block that may stay in the kernel; and how many they are.
    ///
    /// While nobody waits for bytes of this part it leaves half of the pipes to others and waits a little for one. What has not been
    /// received yet costs nothing, and a reader as fast as the server gets to it sooner than memory would be filled.
    pub(crate) async fn lend_pipe(&self, limit: u64) -> Option<(Pipe, usize)> {
        let pipes = self.pipes.as_ref()?;
        let at = self.filled();
        let end = block_end(self.start, at, self.end);
        if !self.begins_block(at) || at >= end || end > limit {
            return None;
        }
        let size = (end - at) as usize;
        let mut until = None;
        loop {
            let mut returned = pin!(pipes.returned());
            // From now on, not only once it is awaited.
            returned.as_mut().enable();
            match self.first_awaited() {
                // Somebody wants some of its bytes as soon as they are there.
                Some(first) if first < end => return None,
                Some(_) => return pipes.take().map(|pipe| (pipe, size)),
                None => {}
            }
            match pipes.take_spare() {
                Offer::Pipe(pipe) => {
                    if until.is_some() {
                        pipes.tell_waited(true);
                    }
                    return Some((pipe, size));
                }
                Offer::Never => return None,
                Offer::Later => {}
            }
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            tokio::select! {
                () = returned => {}
                () = self.wanted.notified() => {}
                () = sleep_until(until) => {
                    pipes.tell_waited(false);
                    return None;
                }
            }
        }
    }

    /// Takes what a lent pipe has of its block, into memory.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn absorb(&self, mut pipe: Pipe, was_full: bool) -> io::Result<()> {
        if let Some(pipes) = self.pipes.as_ref().filter(|_| was_full) {
            pipes.tell(false);
        }
        let (_, mut room) = self.lend(self.end);
        let read = pipe.read_into(&mut room);
        self.restore(Some(room));
        read
    }

    /// Takes a pipe with all bytes of its block; returns how far it is filled.
    pub(crate) fn restore_pipe(&self, pipe: Pipe) -> u64 {
        let mut state = self.lock();
        let at = state.filled();
        let held = self.hold_block(&mut state, at);
        state.tail_at = at + pipe.len() as u64;
        state.pieces.push(Piece::pipe(at, pipe, held));
        self.piped.store(true, Ordering::Relaxed);
        self.woken(state)
    }

    /// Whether blocks of it have come in pipes.
    pub(crate) fn is_piped(&self) -> bool {
        self.piped.load(Ordering::Relaxed)
    }

    /// Whether some of `from..to` is with somebody else.
    pub(crate) fn is_given_away(&self, from: u64, to: u64) -> bool {
        self.is_piped()
            && self.lock().pieces.iter().any(|piece| piece.is_gone() && piece.at < to && from < piece.end())
    }

    /// The end of the first bytes that somebody waits for.
    fn first_awaited(&self) -> Option<u64> {
        self.lock().waiters.iter().map(|(end, _)| *end).min()
    }
}
