//! The directories that belong to no store: the root, and the way to each mount.

use super::Place;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, Ino, MountId, Name};

/// Index of the root in [`Tree`].
pub(super) const ROOT: usize = 0;

/// A directory of the table.
pub(super) struct Directory {
    /// Path without slashes around it; empty for the root.
    pub(super) path: Arc<str>,
    /// Directories in it.
    pub(super) children: BTreeMap<Name, usize>,
    /// The mount whose entries appear here beside the children, by index.
    pub(super) mount: Option<usize>,
    /// Its number.
    pub(super) ino: Ino,
}

/// All directories of the table; fixed for its life.
pub(super) struct Tree {
    pub(super) directories: Vec<Directory>,
}

impl Tree {
    /// Lays out the mounts.
    ///
    /// # Errors
    /// `invalid` when two mounts have the same place.
    pub(super) fn build<'a>(places: impl Iterator<Item = (&'a MountId, &'a Place)>) -> Result<Self, Error> {
        let mut tree = Self { directories: Vec::new() };
        tree.add("".into());
        let mut owners = Vec::<&MountId>::new();
        for (index, (id, place)) in places.enumerate() {
            owners.push(id);
            let at = tree.make(place)?;
            let Some(directory) = tree.directories.get_mut(at) else { continue };
            if let Some(other) = directory.mount.and_then(|other| owners.get(other)) {
                let message = format!(
                    "the mounts `{other}` and `{id}` are both to appear at {place}; give one of them another `path`"
                );
                return Err(Error::new(ErrorKind::Invalid, Blame::Caller, message));
            }
            directory.mount = Some(index);
        }
        for directory in tree.directories.iter().filter(|d| !d.children.is_empty()) {
            if let Some(outer) = directory.mount.and_then(|mount| owners.get(mount)) {
                let names = directory.children.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tracing::info!(mount = %outer, %names, "entries of these names are shadowed by other mounts");
            }
        }
        Ok(tree)
    }

    fn add(&mut self, path: Arc<str>) -> usize {
        self.directories.push(Directory { path, children: BTreeMap::new(), mount: None, ino: Ino::ROOT });
        self.directories.len() - 1
    }

    fn make(&mut self, place: &Place) -> Result<usize, Error> {
        let mut at = ROOT;
        let mut path = String::new();
        for segment in place.relative().split('/').filter(|s| !s.is_empty()) {
            let name = Name::new(segment.as_bytes()).map_err(|why| {
                Error::new(
                    ErrorKind::Invalid,
                    Blame::Caller,
                    format!("no directory can be made at {place}: {why}"),
                )
            })?;
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(segment);
            at = match self.directories.get(at).and_then(|d| d.children.get(&name)) {
                Some(child) => *child,
                None => {
                    let child = self.add(path.as_str().into());
                    if let Some(directory) = self.directories.get_mut(at) {
                        directory.children.insert(name, child);
                    }
                    child
                }
            };
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_places_and_clashes() {
        let (a, b) = (MountId::new("a"), MountId::new("b"));
        let at = |path: &str| Place::at(path).unwrap();
        let tree = Tree::build([(&a, &at("/x/y")), (&b, &Place::Root)].into_iter()).unwrap();
        let shape = tree.directories.iter().map(|d| (&*d.path, d.mount)).collect::<Vec<_>>();
        assert_eq!(shape, [("", Some(1)), ("x", None), ("x/y", Some(0))]);
        let clash = Tree::build([(&a, &at("/x")), (&b, &at("x/"))].into_iter());
        assert!(clash.err().unwrap().message.contains("`a` and `b`"));
    }
}
