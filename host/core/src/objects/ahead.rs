//! Directories that are listed before anybody asks, because those before them in the same directory just were.
//!
//! Who goes through a tree, file by file or name by name, waits for one listing per directory. When he goes through the
//! directories in the order of the one above them, the next few are listed while he is in one of them.

use super::ObjectFs;
use super::listing::Child;
use super::names::{join, split};
use crate::walk::Reach;
use std::sync::Arc;
use wasmount_types::Name;

/// A listing may be long: not many, and only after two in order.
const REACH: Reach = Reach { sure: 2, most: 4 };

impl ObjectFs {
    /// Somebody wants to know for the first time what is in a directory whose listing is loaded: lists what comes next.
    pub(super) fn entered(self: &Arc<Self>, dir: &str) {
        // What is learned holds for no time: nobody could use it.
        if self.config.attr_ttl.is_zero() || dir.is_empty() {
            return;
        }
        let (above, name) = split(dir);
        let Ok(name) = Name::new(name.as_bytes()) else { return };
        let Some((listing, place)) = self.place(above, &name) else { return };
        let places = self.walks.opened(above.into(), place, REACH);
        if self.misses.has_large_directories(above) {
            return;
        }
        for (name, child) in listing.settled(places) {
            if child == Child::Directory
                && let Some(name) = name.as_str()
            {
                self.load(&join(above, name));
            }
        }
    }
}
