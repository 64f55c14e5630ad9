//! The directories that belong to no store: the root, and the way to each mount.
//!
//! A directory has an index for as long as it exists, also when mounts come and go around it; the index of one that is gone is never used
//! again, so that whoever still has it learns that.

use super::Place;
use crate::inode::{Identity, InodeTable, NodeKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, Ino, MountId, Name, Timestamp};

/// Index of the root in [`Tree`].
pub(super) const ROOT: usize = 0;

/// A directory of the table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Directory {
    /// Path without slashes around it; empty for the root.
    pub(super) path: Arc<str>,
    /// Directories in it, by index.
    pub(super) children: BTreeMap<Name, usize>,
    /// The mount whose entries appear here beside the children, by number.
    pub(super) mount: Option<usize>,
    /// Its number.
    pub(super) ino: Ino,
    /// When its children, or what is mounted on it, changed last.
    pub(super) changed: Timestamp,
}

/// All directories of the table.
#[derive(Debug, Default)]
pub(super) struct Tree {
    directories: BTreeMap<usize, Arc<Directory>>,
}

/// A mount that is to have a place: its number, and what people call it.
pub(super) struct Tenant<'a> {
    pub(super) number: usize,
    pub(super) id: &'a MountId,
    pub(super) place: &'a Place,
}

/// One directory of a tree that is being laid out.
#[derive(Default)]
struct Draft<'a> {
    names: Vec<(Name, Arc<str>)>,
    tenant: Option<&'a Tenant<'a>>,
}

/// What it takes to turn a layout into a tree.
pub(super) struct Ground<'a> {
    /// The tree before.
    pub(super) before: &'a Tree,
    /// Index of the next new directory.
    pub(super) next: &'a mut usize,
    /// Gives directories their numbers.
    pub(super) inodes: &'a InodeTable,
    /// The time.
    pub(super) now: Timestamp,
}

impl Tree {
    /// Lays out mounts. A directory that was there before stays what it is.
    ///
    /// # Errors
    /// `invalid` when two mounts have the same place; nothing has happened then.
    pub(super) fn build(tenants: &[Tenant<'_>], ground: Ground<'_>) -> Result<Self, Error> {
        let drafts = draft(tenants)?;
        let Ground { before, next, inodes, now } = ground;
        let known: BTreeMap<Arc<str>, usize> =
            before.directories.iter().map(|(index, directory)| (directory.path.clone(), *index)).collect();
        let mut index = |path: &Arc<str>| {
            if path.is_empty() {
                return ROOT;
            }
            known.get(path).copied().unwrap_or_else(|| std::mem::replace(next, *next + 1))
        };
        let indices: BTreeMap<Arc<str>, usize> =
            drafts.keys().map(|path| (path.clone(), index(path))).collect();
        let mut directories = BTreeMap::new();
        for (path, draft) in drafts {
            let Some(index) = indices.get(&path).copied() else { continue };
            let children = draft.names.into_iter();
            let children = children.filter_map(|(name, path)| Some((name, *indices.get(&path)?))).collect();
            let mount = draft.tenant.map(|tenant| tenant.number);
            let old = before.directories.get(&index);
            let ino = match old {
                Some(old) => old.ino,
                None if index == ROOT => Ino::ROOT,
                // Counted once for the table itself, so that no forget of the kernel can make it go.
                None => inodes.look_up(identity(index, &path)),
            };
            let mut directory = Directory { path, children, mount, ino, changed: now };
            let same =
                |old: &&Arc<Directory>| old.children == directory.children && old.mount == directory.mount;
            match (old.filter(same), draft.tenant) {
                (Some(same), _) => directory.changed = same.changed,
                (None, Some(outer)) if !directory.children.is_empty() => {
                    let names = directory.children.keys().map(Name::to_string).collect::<Vec<_>>().join(", ");
                    tracing::info!(mount = %outer.id, %names, "entries of these names are shadowed by other mounts");
                }
                (None, _) => {}
            }
            directories.insert(index, Arc::new(directory));
        }
        Ok(Self { directories })
    }

    /// A directory by its index.
    pub(super) fn get(&self, index: usize) -> Option<&Arc<Directory>> {
        self.directories.get(&index)
    }

    /// The directory that shows a mount.
    pub(super) fn of_mount(&self, number: usize) -> Option<&Arc<Directory>> {
        self.directories.values().find(|directory| directory.mount == Some(number))
    }

    /// All of them, with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<Directory>)> {
        self.directories.iter().map(|(index, directory)| (*index, directory))
    }
}

/// What a directory of the table is as a node.
pub(super) fn identity(index: usize, path: &Arc<str>) -> Identity {
    Identity {
        mount: usize::MAX,
        mount_id: MountId::new(""),
        path: path.clone(),
        kind: NodeKind::Virtual(index),
    }
}

/// All directories that the places need, by path.
fn draft<'a>(tenants: &'a [Tenant<'a>]) -> Result<BTreeMap<Arc<str>, Draft<'a>>, Error> {
    let mut drafts = BTreeMap::<Arc<str>, Draft<'a>>::from([("".into(), Draft::default())]);
    for tenant in tenants {
        let mut path: Arc<str> = "".into();
        for segment in tenant.place.relative().split('/').filter(|s| !s.is_empty()) {
            let name = Name::new(segment.as_bytes()).map_err(|why| {
                let place = tenant.place;
                invalid(format!("no directory can be made at {place}: {why}"))
            })?;
            let child: Arc<str> =
                if path.is_empty() { segment.into() } else { format!("{path}/{segment}").into() };
            if !drafts.contains_key(&child) {
                drafts.entry(path).or_default().names.push((name, child.clone()));
                drafts.insert(child.clone(), Draft::default());
            }
            path = child;
        }
        let draft = drafts.entry(path).or_default();
        if let Some(other) = draft.tenant.replace(tenant) {
            let (other, id, place) = (other.id, tenant.id, tenant.place);
            return Err(invalid(format!(
                "the mounts `{other}` and `{id}` are both to appear at {place}; give one of them another `path`"
            )));
        }
    }
    Ok(drafts)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::NoStateLog;

    struct Bench {
        inodes: InodeTable,
        next: usize,
        tree: Tree,
        clock: i64,
    }

    impl Bench {
        fn new() -> Self {
            let inodes = InodeTable::new(Arc::new(NoStateLog));
            Self { inodes, next: 1, tree: Tree::default(), clock: 0 }
        }

        fn lay(&mut self, places: &[(usize, &str)]) -> Result<(), Error> {
            self.clock += 1;
            let owned: Vec<_> = places
                .iter()
                .map(|(number, place)| {
                    (*number, MountId::new(format!("m{number}")), Place::at(place).unwrap())
                })
                .collect();
            let tenants: Vec<_> =
                owned.iter().map(|(number, id, place)| Tenant { number: *number, id, place }).collect();
            self.tree = Tree::build(
                &tenants,
                Ground {
                    before: &self.tree,
                    next: &mut self.next,
                    inodes: &self.inodes,
                    now: Timestamp { seconds: self.clock, nanoseconds: 0 },
                },
            )?;
            Ok(())
        }

        fn shape(&self) -> Vec<(usize, String, Option<usize>, i64)> {
            let one = |(index, d): (usize, &Arc<Directory>)| {
                (index, d.path.to_string(), d.mount, d.changed.seconds)
            };
            self.tree.iter().map(one).collect()
        }
    }

    #[test]
    fn nested_places_and_clashes() {
        let mut bench = Bench::new();
        bench.lay(&[(0, "/x/y"), (1, "/")]).unwrap();
        let shape = [(0, String::new(), Some(1), 1), (1, "x".into(), None, 1), (2, "x/y".into(), Some(0), 1)];
        assert_eq!(bench.shape(), shape);
        let clash = bench.lay(&[(0, "/x"), (1, "x/")]).err().unwrap();
        assert!(clash.message.contains("`m0` and `m1`"));
        assert_eq!(bench.shape(), shape, "nothing has happened");
    }

    #[test]
    fn directories_stay_what_they_are_while_mounts_come_and_go() {
        let mut bench = Bench::new();
        bench.lay(&[(0, "/a/b"), (1, "/c")]).unwrap();
        let ino = |bench: &Bench, index| bench.tree.get(index).unwrap().ino;
        let (a, c) = (ino(&bench, 1), ino(&bench, 3));
        bench.lay(&[(0, "/a/b"), (2, "/a/d")]).unwrap();
        assert_eq!(ino(&bench, 1), a);
        assert!(bench.tree.get(3).is_none(), "c is gone");
        let changed = |index| bench.tree.get(index).unwrap().changed.seconds;
        assert_eq!([changed(ROOT), changed(1), changed(2), changed(4)], [2, 2, 1, 2]);
        bench.lay(&[(3, "/c")]).unwrap();
        assert_eq!(bench.shape().last().unwrap().0, 5, "an index is never used again");
        assert_ne!(ino(&bench, 5), c, "the kernel still knows the old one");
    }
}
