//! Small files that will be opened next, because those before them in the same directory just were.
//!
//! A program that reads a directory file by file waits for one request per file. When it goes through the files in the order
//! of the listing, the next few are fetched while it reads. It never runs far: at most a handful of files beyond the reader,
//! and never more than twice as many as were opened in the end. Several programs reading in parallel have enough requests
//! under way without this.

use super::table::MountTable;
use super::volume::Volume;
use crate::inode::FileVersion;
use crate::objects::{Child, ObjectFs, join};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wasmount_types::Name;

/// Directories whose readers are remembered.
const DIRECTORIES: usize = 256;
/// Files opened in order before the next ones are fetched.
const SURE: usize = 4;
/// Files that may be left out, or opened in another order, within a run: several readers share the work.
const SLACK: usize = 16;

/// Who goes through which directory.
#[derive(Default)]
pub(super) struct Siblings {
    runs: Mutex<HashMap<(usize, Arc<str>), Run>>,
}

/// Files of one directory that were opened in order, by their places in its listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    /// Place of the furthest one.
    stands: usize,
    length: usize,
    /// Place after the last one that was fetched ahead.
    ahead: usize,
    fetched: usize,
    used: usize,
}

impl Run {
    /// Takes note of an open and says which places to fetch, if any.
    fn opened(&mut self, place: usize, most: usize) -> std::ops::Range<usize> {
        if self.length > 0 && place < self.ahead && place + SLACK >= self.stands {
            self.used += 1;
        }
        let behind = place <= self.stands && place + SLACK >= self.stands;
        if place > self.stands && place <= self.stands + SLACK {
            self.stands = place;
            self.length += 1;
        } else if !(self.length > 0 && behind) {
            *self = Self { stands: place, length: 1, ..Self::default() };
        }
        let from = self.ahead.max(self.stands + 1);
        let to = self.stands + 1 + most;
        if self.length < SURE || self.fetched > 2 * self.used + most {
            return 0..0;
        }
        self.fetched += to.saturating_sub(from);
        self.ahead = self.ahead.max(to);
        from..to
    }
}

impl MountTable {
    /// A file of the directory was opened: fetches what will be opened next.
    pub(super) fn opened_small(&self, mount: usize, fs: &Arc<ObjectFs>, path: &str, file: &FileVersion) {
        let config = self.reading.config();
        let busy = self.reading.in_flight() >= config.siblings as u64;
        if busy || file.size > config.whole {
            return;
        }
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Ok(name) = Name::new(name.as_bytes()) else { return };
        let Some((listing, place)) = fs.place(dir, &name) else { return };
        let places = {
            let mut runs = self.siblings.runs.lock().unwrap_or_else(PoisonError::into_inner);
            if runs.len() >= DIRECTORIES {
                // Whoever is still going through one of them is sure again after a few files.
                runs.clear();
            }
            runs.entry((mount, dir.into())).or_default().opened(place, config.siblings)
        };
        for (name, child) in listing.settled(places) {
            if let Child::File(version) = &child
                && version.size <= config.whole
                && version.size > 0
            {
                let path: Arc<str> = join(dir, name.as_str().unwrap_or_default()).into();
                let Ok(identity) = self.identity(mount, &path, &child) else { continue };
                self.file(&Volume::Objects(fs.clone()), self.inodes.peek(&identity), &path, version)
                    .fetch_ahead();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_fetched_ahead_of_and_never_far() {
        let mut run = Run::default();
        let mut fetched = Vec::new();
        for place in 10..30 {
            let places = run.opened(place, 8);
            assert!(places.is_empty() || (places.start > place && places.end <= place + 9));
            fetched.extend(places);
        }
        assert_eq!(fetched, (14..38).collect::<Vec<_>>());
    }

    #[test]
    fn other_orders_fetch_nothing_and_unused_ones_end_it() {
        let mut run = Run::default();
        assert!([50, 7, 90, 3, 200, 100].iter().all(|place| run.opened(*place, 8).is_empty()));
        let mut run = Run::default();
        // Every tenth file only.
        let fetched = (0..100).map(|step| run.opened(step * 10, 8).len()).sum::<usize>();
        assert!(fetched <= 16, "{fetched}");
    }
}
