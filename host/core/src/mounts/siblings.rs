//! Small files that will be opened next, because those before them in the same directory just were.
//!
//! A program that reads a directory file by file waits for one request per file. When it goes through the files in the order
//! of the listing, the next few are fetched while it reads.

use super::table::MountTable;
use super::volume::Volume;
use crate::inode::FileVersion;
use crate::objects::{Child, ObjectFs, join};
use std::sync::Arc;
use wasmount_types::Name;

impl MountTable {
    /// A file of the directory was opened: fetches what will be opened next.
    pub(super) fn opened_small(&self, mount: usize, fs: &Arc<ObjectFs>, path: &str, file: &FileVersion) {
        let config = self.reading.config();
        if file.size > config.whole || !self.reading.is_expecting() {
            return;
        }
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Ok(name) = Name::new(name.as_bytes()) else { return };
        let Some((listing, place)) = fs.place(dir, &name) else { return };
        let places = self.walks.opened((mount, dir.into()), place, config.reach());
        let files = listing.settled(places).into_iter().filter_map(|(name, child)| match &child {
            Child::File(version) => Some(((name, version.clone(), child.clone()), version.size)),
            _ => None,
        });
        for (name, version, child) in self.reading.worth_fetching(files) {
            let path: Arc<str> = join(dir, name.as_str().unwrap_or_default()).into();
            let Ok(identity) = self.identity(mount, &path, &child) else { continue };
            self.file(&Volume::Objects(fs.clone()), self.inodes.peek(&identity), &path, &version)
                .fetch_ahead();
        }
    }
}
