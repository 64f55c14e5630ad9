//! CRC-32C of what a connection brings, made while it arrives.
//!
//! Protocols such as Ceph's have every payload checked once all of it is there. By then a large one has left the processor's cache, and reading it again takes
//! twice as long as the sum itself. Whoever has had one buffer of a connection checked will have the next one checked as well: from then on the sum is made
//! piece by piece, of bytes that were copied a moment ago.

use super::crc::crc32c;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What such sums are started from (see `buffer.crc32c` in the contract).
const START: u32 = u32::MAX;

/// Whether the buffers of a connection are checked.
#[derive(Clone, Default)]
pub(crate) struct Checking(Arc<AtomicBool>);

impl Checking {
    /// For the next buffer.
    pub(crate) fn begin(&self) -> Arriving {
        Arriving { register: self.0.load(Ordering::Relaxed).then_some(START), of: self.clone() }
    }
}

/// The sum of a buffer that arrives, if anybody is expected to ask for it.
pub(crate) struct Arriving {
    register: Option<u32>,
    of: Checking,
}

impl Arriving {
    /// The next bytes of it.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.register = self.register.map(|register| crc32c(register, bytes));
    }

    /// All of it is there.
    pub(crate) fn arrived(self) -> Checked {
        Checked { register: self.register, of: self.of }
    }
}

/// What is known of a buffer that came from a connection, as long as it is all of it.
#[derive(Clone)]
pub(crate) struct Checked {
    register: Option<u32>,
    of: Checking,
}

impl Checked {
    /// The register after all bytes, started from `start`, if it is known; and from now on it will be, for what follows.
    pub(crate) fn asked(&self, start: u32) -> Option<u32> {
        self.of.0.store(true, Ordering::Relaxed);
        self.register.filter(|_| start == START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_made_once_somebody_has_asked() {
        let checking = Checking::default();
        let arrive = |pieces: &[&[u8]]| {
            let mut arriving = checking.begin();
            pieces.iter().for_each(|piece| arriving.add(piece));
            arriving.arrived()
        };
        let first = arrive(&[b"1234", b"56789"]);
        assert_eq!(first.asked(START), None, "nobody was expected to");
        let second = arrive(&[b"1234", b"", b"56789"]);
        assert_eq!(second.asked(START), Some(!0xe306_9283));
        assert_eq!(second.asked(0), None, "that is another sum");
        assert_eq!(arrive(&[]).asked(START), Some(START));
        assert_eq!(first.asked(START), None, "it is not known afterwards");
    }
}
