//! The checks of file systems. Nobody but the storage system itself can play one, so they run against a real one and only read.

mod list;
mod node;
mod open;
mod read;
mod tree;

use super::RuleFor;
use crate::bench::{MakeSource, PATIENCE, within};
use crate::report::{Outcome, Report};
use std::collections::VecDeque;
use std::sync::Arc;
use wasmount_core::ports::{
    FileEntry, FileStore, NodeNumber, Provider, ProviderSource, Resolution, StoreHandle,
};
use wasmount_types::{Blame, Error, ErrorKind, FileKind, Name};

type Rule = RuleFor<FileBench>;

/// Nodes that the suite looks into, of all that there may be.
const NODES: usize = 500;

/// Bytes at the beginning of a file that the suite reads.
const SAMPLE: u64 = 8 << 20;

/// A name that nothing has.
const NOBODY: &str = "nothing is called so, surely";

/// The parts of a run.
pub(crate) struct FileBench {
    /// Opens the plugin.
    source: MakeSource,
    /// The open store that most checks use.
    store: Arc<dyn FileStore>,
    /// What was found at the start, parents before their children.
    found: Vec<Found>,
}

/// Something that has a name.
#[derive(Clone, Debug)]
struct Found {
    /// Names from the root on.
    path: Vec<Name>,
    parent: NodeNumber,
    entry: FileEntry,
}

impl Found {
    fn kind(&self) -> FileKind {
        self.entry.attributes.kind
    }

    /// For people.
    fn shown(&self) -> String {
        self.path.iter().map(|name| format!("/{name}")).collect()
    }
}

impl FileBench {
    /// Opens the plugin and looks around.
    ///
    /// # Errors
    /// When the plugin does not open, list or look up.
    pub(crate) async fn new(source: MakeSource) -> Result<Self, Error> {
        let store =
            open_store(&*source(Vec::new())?).await.map_err(|e| e.context("the plugin does not open"))?;
        let found = walk(&*store).await.map_err(|e| e.context("the tree cannot be walked"))?;
        Ok(Self { source, store, found })
    }

    /// What was found of one kind.
    fn of(&self, kind: FileKind) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| found.kind() == kind)
    }

    /// Directories with their paths, the root first.
    fn directories(&self) -> impl Iterator<Item = NodeNumber> {
        std::iter::once(NodeNumber::ROOT).chain(self.of(FileKind::Directory).map(|found| found.entry.node))
    }

    /// The directory with the most names that were found.
    fn largest_directory(&self) -> NodeNumber {
        let names = |node: &NodeNumber| self.found.iter().filter(|found| found.parent == *node).count();
        self.directories().max_by_key(names).unwrap_or(NodeNumber::ROOT)
    }

    /// Files with content, the largest first.
    fn files(&self) -> Vec<&Found> {
        let mut files: Vec<_> =
            self.of(FileKind::Regular).filter(|found| found.entry.attributes.size > 0).collect();
        files.sort_by_key(|found| std::cmp::Reverse(found.entry.attributes.size));
        files
    }

    async fn resolve(&self, parent: NodeNumber, name: &Name) -> Result<Resolution, Error> {
        let found = self.store.resolve(within(PATIENCE), parent, name.clone()).await?;
        if let Resolution::Found(entry) = &found {
            // The suite keeps nothing.
            self.store.forget(vec![(entry.node, 1)]);
        }
        Ok(found)
    }
}

/// Opens a source as a file system.
async fn open_store(source: &dyn ProviderSource) -> Result<Arc<dyn FileStore>, Error> {
    match source.open(within(PATIENCE)).await? {
        (Provider::Files(store), _) => Ok(store),
        (Provider::Objects(_) | Provider::Blocks(_), _) => {
            let text = "another kind of store was opened as a file system";
            Err(Error::new(ErrorKind::Corrupt, Blame::Host, text))
        }
    }
}

/// The first nodes of the tree, breadth first.
async fn walk(store: &dyn FileStore) -> Result<Vec<Found>, Error> {
    let (mut found, mut queue) = (Vec::<Found>::new(), VecDeque::from([(NodeNumber::ROOT, Vec::new())]));
    while let Some((directory, path)) = queue.pop_front() {
        for name in list::names(store, directory, 1000).await?.into_iter().take(NODES) {
            if found.len() >= NODES {
                return Ok(found);
            }
            let Resolution::Found(entry) = store.resolve(within(PATIENCE), directory, name.clone()).await?
            else {
                return Err(Error::not_found(format!("{name:?}, which has just been listed")));
            };
            let mut path: Vec<Name> = path.clone();
            path.push(name);
            if entry.attributes.kind == FileKind::Directory {
                queue.push_back((entry.node, path.clone()));
            }
            found.push(Found { path, parent: directory, entry });
        }
    }
    Ok(found)
}

/// Bytes of an open file from `offset` on: at most `length`, in reads of at most `piece`.
async fn bytes(
    store: &dyn FileStore,
    handle: StoreHandle,
    offset: u64,
    length: u64,
    piece: u32,
) -> Result<Vec<u8>, Error> {
    let piece = u64::from(piece.min(store.capabilities().max_read));
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let now = piece.min(length - bytes.len() as u64);
        let at = offset + bytes.len() as u64;
        let before = bytes.len();
        let length = u32::try_from(now).unwrap_or(u32::MAX);
        let mut body = store.read(within(PATIENCE), handle, at, length).await?;
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part?);
        }
        if ((bytes.len() - before) as u64) < now {
            break;
        }
    }
    Ok(bytes)
}

/// Runs all checks, one after the other.
pub(crate) async fn run(bench: &FileBench) -> Report {
    let mut report = Report::default();
    for area in [open::RULES, list::RULES, node::RULES, read::RULES, tree::RULES] {
        for rule in area {
            report.checks.push(super::timed(rule, bench).await);
        }
    }
    report
}

/// For checks that need something that is not there.
fn nothing(what: &str) -> Outcome {
    Outcome::Skipped(format!("the mount has no {what}; make one"))
}
