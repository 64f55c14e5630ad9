//! Other mounts than before, under the same FUSE mount.
//!
//! The shape of the table is exchanged at once. A mount that stays keeps everything: its provider, its nodes, its open files. One that is taken away ends:
//! who waits for it is answered `stale`, and so is everybody who still has a file of it open; its provider is told to end, whoever
//! holds it. Then the kernel is told what it should no longer believe. That may take a while, as it waits for look-ups that are under way, and nobody
//! here waits for it: until then a name that is gone leads to a node that is `stale`, whereupon the kernel asks again.

use super::config::{NextMount, Owner};
use super::files::Open;
use super::opener::{Mount, Surroundings};
use super::shape::Shape;
use super::table::MountTable;
use super::tree::{Directory, Ground, ROOT, Tenant, Tree};
use super::{MountConfig, Place};
use crate::ports::KernelPages;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use wasmount_types::{Blame, Error, ErrorKind, Ino, MountId, Name};

/// What the next mount and the next directory will be called.
pub(super) struct Numbers {
    mount: usize,
    directory: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { mount: 0, directory: ROOT + 1 }
    }
}

/// What the kernel believes and should not.
struct Disbelief {
    /// Names in directories of the table, and in roots of mounts.
    names: Vec<(Ino, Name)>,
    /// Names in the root of a store that numbers its nodes itself: which ones, only the kernel knows.
    all_names: bool,
    /// Nodes whose pages and attributes are those of mounts that are gone, or that changed.
    nodes: BTreeSet<Ino>,
}

impl MountTable {
    /// Exchanges the mounts: from now on there are these, in this order. Returns at once; new ones are opened in the background.
    ///
    /// # Errors
    /// `invalid`: two have the same place or the same id, or one is to stay that is not there. Nothing has happened then.
    pub fn change(&self, next: Vec<NextMount>, owner: Owner) -> Result<(), Error> {
        // One at a time. Nothing else takes this lock.
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shape();
        let (shape, new) = self.lay_out(&before, next, owner, &mut numbers)?;
        let after = Arc::new(shape);
        *self.shape.write().unwrap_or_else(PoisonError::into_inner) = after.clone();
        new.iter().for_each(Mount::start);

        let gone: BTreeMap<usize, Arc<Mount>> = before
            .mounts
            .iter()
            .filter(|(number, _)| !after.mounts.contains_key(number))
            .map(|(number, mount)| (*number, mount.clone()))
            .collect();
        let is_gone = |mount: usize| gone.contains_key(&mount);
        let open = self.let_go(is_gone);
        // After what is open has let go of it, so that a provider that is told to end is in nobody's way.
        gone.values().for_each(|mount| mount.end());
        for (index, directory) in before.tree.iter() {
            if after.tree.get(index).is_none() {
                self.inodes.forget(directory.ino, 1);
            }
        }
        if let Some(kernel) = self.reading.kernel().cloned() {
            let disbelief = self.disbelief(&before, &after, is_gone, open);
            self.spawn.spawn(Box::pin(disbelief.tell(kernel)));
        }
        Ok(())
    }

    /// Opens a mount again: what its provider read when it was opened is no longer true. Files that are open are read through the new opening.
    pub fn open_again(&self, id: &MountId, why: &str) {
        if let Some((_, mount)) = self.shape().find(id) {
            mount.open_again(why);
        }
    }

    /// The shape after a change, and the mounts of it that have to be started.
    fn lay_out(
        &self,
        before: &Shape,
        next: Vec<NextMount>,
        owner: Owner,
        numbers: &mut Numbers,
    ) -> Result<(Shape, Vec<Arc<Mount>>), Error> {
        let mut ids = BTreeSet::new();
        let (mut stay, mut new, mut order) =
            (BTreeMap::new(), BTreeMap::<usize, MountConfig>::new(), Vec::new());
        let mut free = numbers.mount;
        for mount in next {
            let id = match &mount {
                NextMount::Same(id) => id.clone(),
                NextMount::New(config) => config.id.clone(),
            };
            if !ids.insert(id.clone()) {
                return Err(invalid(format!("two mounts are called `{id}`; give one of them another name")));
            }
            let number = match mount {
                NextMount::Same(id) => {
                    let found = before.find(&id);
                    let (number, mount) =
                        found.ok_or_else(|| invalid(format!("there is no mount `{id}` that could stay")))?;
                    stay.insert(number, mount.clone());
                    number
                }
                NextMount::New(config) => {
                    new.insert(free, config);
                    free += 1;
                    free - 1
                }
            };
            order.push(number);
        }
        let tenants = order.iter().filter_map(|number| {
            let (id, place): (&MountId, &Place) = match (stay.get(number), new.get(number)) {
                (Some(mount), _) => (&mount.id, &mount.place),
                (None, Some(config)) => (&config.id, &config.place),
                (None, None) => return None,
            };
            Some(Tenant { number: *number, id, place })
        });
        let ground = Ground {
            before: &before.tree,
            next: &mut numbers.directory,
            inodes: &self.inodes,
            now: self.clock.wall().into(),
        };
        let tree = Tree::build(&tenants.collect::<Vec<_>>(), ground)?;
        numbers.mount = free;
        let mut mounts = stay;
        let mut started = Vec::new();
        for (number, config) in new {
            let root = tree.of_mount(number).map_or(Ino::ROOT, |directory| directory.ino);
            let surroundings = Surroundings {
                request_timeout: self.request_timeout,
                clock: self.clock.clone(),
                spawn: self.spawn.clone(),
                reading: self.reading.clone(),
                inodes: self.inodes.clone(),
            };
            let mount = Arc::new(Mount::new(config, number, root, surroundings));
            started.push(mount.clone());
            mounts.insert(number, mount);
        }
        Ok((Shape { tree, mounts, order, owner }, started))
    }

    /// Makes open files and directories of mounts let go of them. Returns the nodes that are open.
    fn let_go(&self, is_gone: impl Fn(usize) -> bool) -> BTreeSet<Ino> {
        let mut nodes = BTreeSet::new();
        for open in self.files.all() {
            if is_gone(open.mount()) {
                nodes.insert(open.ino());
                Open::let_go(&open);
            }
        }
        for open in self.directories.all() {
            if open.mount().is_some_and(&is_gone) {
                open.let_go();
            }
        }
        nodes
    }

    fn disbelief(
        &self,
        before: &Shape,
        after: &Shape,
        is_gone: impl Fn(usize) -> bool,
        mut nodes: BTreeSet<Ino>,
    ) -> Disbelief {
        let (mut names, mut all_names) = (Vec::new(), false);
        for (index, old) in before.tree.iter() {
            // What is in a directory that is gone goes with it.
            let Some(new) = after.tree.get(index) else { continue };
            let both: BTreeSet<&Name> = old.children.keys().chain(new.children.keys()).collect();
            let changed = both.into_iter().filter(|name| old.children.get(*name) != new.children.get(*name));
            names.extend(changed.map(|name| (old.ino, name.clone())));
            if **old != **new {
                nodes.insert(old.ino);
            }
            if let Some(number) = old.mount.filter(|number| is_gone(*number)) {
                names.extend(self.names_inside(old, number));
                all_names |= before.mounts.get(&number).is_some_and(|mount| mount.has_nodes());
            }
        }
        Disbelief { names, all_names, nodes }
    }

    /// Names that the kernel may know in the root of a mount.
    fn names_inside(&self, directory: &Directory, mount: usize) -> Vec<(Ino, Name)> {
        let paths = self.inodes.paths(mount).into_iter().filter(|path| !path.contains('/'));
        paths.filter_map(|path| Some((directory.ino, Name::new(path.as_bytes()).ok()?))).collect()
    }
}

impl Disbelief {
    async fn tell(self, kernel: Arc<dyn KernelPages>) {
        let Self { names, all_names, nodes } = self;
        if all_names {
            // A kernel that cannot be told has been given no names of such a store for longer than nothing changes.
            kernel.drop_entries();
        }
        kernel.drop_names(names).await;
        for ino in nodes {
            kernel.drop_pages(ino, None).await;
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, message)
}
