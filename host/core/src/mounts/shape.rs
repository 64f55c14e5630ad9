//! What there is at one moment: which mounts, and where.

use super::config::Owner;
use super::opener::Mount;
use super::tree::{Directory, Tree};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmount_types::{Error, MountId};

/// The mounts of a table and the directories that lead to them. Exchanged as a whole.
#[derive(Default)]
pub(super) struct Shape {
    pub(super) tree: Tree,
    /// By number. A number is never used twice: whoever has that of a mount that is gone finds nothing.
    pub(super) mounts: BTreeMap<usize, Arc<Mount>>,
    /// Numbers in the order of the configuration.
    pub(super) order: Vec<usize>,
    pub(super) owner: Owner,
}

impl Shape {
    /// A directory of the table.
    ///
    /// # Errors
    /// `stale`: it is gone.
    pub(super) fn directory(&self, index: usize) -> Result<&Arc<Directory>, Error> {
        self.tree.get(index).ok_or_else(|| Error::stale("a directory that led to a mount"))
    }

    /// A mount.
    ///
    /// # Errors
    /// `stale`: it is gone.
    pub(super) fn mount(&self, number: usize) -> Result<&Arc<Mount>, Error> {
        self.mounts.get(&number).ok_or_else(|| Error::stale("a mount that was taken away or changed"))
    }

    /// The mount that is shown in a directory.
    pub(super) fn shown(&self, directory: &Directory) -> Option<&Arc<Mount>> {
        self.mounts.get(&directory.mount?)
    }

    /// A mount by its id.
    pub(super) fn find(&self, id: &MountId) -> Option<(usize, &Arc<Mount>)> {
        self.mounts.iter().find(|(_, mount)| mount.id == *id).map(|(number, mount)| (*number, mount))
    }

    /// All mounts in the order of the configuration.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Arc<Mount>> {
        self.order.iter().filter_map(|number| self.mounts.get(number))
    }
}
