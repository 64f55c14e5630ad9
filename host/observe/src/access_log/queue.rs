//! Lines that wait for one reader.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Most memory that waiting lines may use, in bytes: about 10,000 of them.
pub(super) const MAX_BYTES: usize = 2 << 20;

/// What a line uses beside its text.
const OVERHEAD: usize = 64;

/// Something that waits.
enum Waiting {
    Line(Bytes),
    /// So many lines are missing here.
    Lost(u64),
}

#[derive(Default)]
struct State {
    /// Rest of a line of which the reader has had the beginning.
    begun: Bytes,
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// Lines that wait for one reader.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Notify,
}

impl Queue {
    /// Appends a line, or notes that it is lost: false.
    pub(super) fn push(&self, line: Bytes) -> bool {
        let cost = line.len() + OVERHEAD;
        let mut state = self.lock();
        let fits = state.bytes + cost <= MAX_BYTES;
        if fits {
            state.bytes += cost;
            state.waiting.push_back(Waiting::Line(line));
        } else if let Some(Waiting::Lost(count)) = state.waiting.back_mut() {
            *count += 1;
        } else {
            state.waiting.push_back(Waiting::Lost(1));
        }
        drop(state);
        self.filled.notify_one();
        fits
    }

    /// Waits until there is something to take. For one waiter at a time; others may wait longer than they have to.
    pub(super) async fn filled(&self) {
        loop {
            let filled = self.filled.notified();
            if !self.lock().is_empty() {
                return;
            }
            filled.await;
        }
    }

    /// Takes at most `size` bytes: whole lines as long as they fit, the beginning of one if not even the first does. Empty only
    /// if there is nothing, or `size` is 0.
    pub(super) fn take(&self, size: usize) -> Bytes {
        let mut state = self.lock();
        let mut out = BytesMut::new();
        loop {
            let next = match std::mem::take(&mut state.begun) {
                begun if !begun.is_empty() => begun,
                _ => match state.pop() {
                    Some(line) => line,
                    None => return out.freeze(),
                },
            };
            if out.len() + next.len() <= size {
                out.extend_from_slice(&next);
                continue;
            }
            state.begun = if out.is_empty() { next.slice(size..) } else { next.clone() };
            if out.is_empty() {
                out.extend_from_slice(&next[..size]);
            }
            return out.freeze();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.begun.is_empty() && self.waiting.is_empty()
    }

    fn pop(&mut self) -> Option<Bytes> {
        Some(match self.waiting.pop_front()? {
            Waiting::Line(line) => {
                self.bytes -= line.len() + OVERHEAD;
                line
            }
            Waiting::Lost(count) => Bytes::from(format!("# lost {count} lines\n")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_whole_lines_and_splits_only_what_cannot_fit() {
        let queue = Queue::default();
        for line in ["one\n", "two\n", "a long line\n", "x\n"] {
            assert!(queue.push(Bytes::from_static(line.as_bytes())));
        }
        let taken: Vec<_> = std::iter::repeat_with(|| queue.take(9)).take(5).collect();
        assert_eq!(taken, ["one\ntwo\n", "a long li", "ne\nx\n", "", ""]);
        assert_eq!(queue.lock().bytes, 0);
    }

    #[test]
    fn what_is_lost_is_counted_where_it_is_missing() {
        let queue = Queue::default();
        let mut kept = 0;
        while queue.push(Bytes::from(format!("{kept}\n"))) {
            kept += 1;
        }
        for _ in 1..7 {
            assert!(!queue.push(Bytes::from_static(b"x\n")));
        }
        // Room for some, then none again: the second gap is another one.
        assert_eq!(queue.take(4), "0\n1\n");
        assert!(queue.push(Bytes::from_static(b"a\n")));
        while queue.push(Bytes::from_static(b"b\n")) {}
        let mut rest = Vec::new();
        loop {
            let bytes = queue.take(1000);
            if bytes.is_empty() {
                break;
            }
            rest.extend_from_slice(&bytes);
        }
        let rest = String::from_utf8(rest).unwrap();
        let lines: Vec<_> =
            rest.lines().skip_while(|line| *line != format!("{}", kept - 1)).skip(1).collect();
        assert_eq!(lines.first(), Some(&"# lost 7 lines"));
        assert_eq!(lines.get(1), Some(&"a"));
        assert_eq!(lines.last(), Some(&"# lost 1 lines"));
    }
}
