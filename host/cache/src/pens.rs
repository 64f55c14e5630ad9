//! The files that are open for writing: few, and closed when there is a pause.

use crate::entry::{Disk, Pen};
use crate::format::EntryHash;
use std::collections::VecDeque;

/// Files that are written alternately stay open, this many.
const PENS: usize = 16;

/// The last ones used, the latest first.
#[derive(Default)]
pub(crate) struct Pens(VecDeque<(EntryHash, Pen)>);

impl Pens {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn put(&mut self, hash: EntryHash, pen: Pen) {
        self.0.retain(|(of, _)| *of != hash);
        self.0.truncate(PENS - 1);
        self.0.push_front((hash, pen));
    }

    /// The one for an entry, if it is open. One for an entry of the same name that was removed is closed.
    pub(crate) fn take(&mut self, hash: EntryHash, disk: &Disk) -> Option<Pen> {
        let at = self.0.iter().position(|(of, _)| *of == hash)?;
        self.0.remove(at).map(|(_, pen)| pen).filter(|pen| pen.is_of(disk))
    }
}
