//! Where nodes are, for people to read.

use super::{FileFs, Node};
use std::sync::Arc;

/// Directories above a node that are looked at: a tree that is being moved around might lead in a circle.
const DEEPEST: usize = 4096;

impl FileFs {
    /// A path that a node had when its name was last looked up, below the root of the store.
    pub(crate) fn path(&self, node: &Node) -> String {
        let mut names = Vec::new();
        let mut place = node.lock().place.clone();
        while let Some((parent, name)) = place.take().filter(|_| names.len() < DEEPEST) {
            names.push(name.to_string());
            let Some(parent) = parent.upgrade() else {
                // Nobody knows any more where that directory is.
                names.push("…".to_owned());
                break;
            };
            if !Arc::ptr_eq(&parent, self.root()) {
                place = parent.lock().place.clone();
            }
        }
        names.reverse();
        names.join("/")
    }
}
