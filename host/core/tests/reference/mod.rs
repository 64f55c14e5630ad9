//! What the tree should be, computed the plain way: by looking at every key each time.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use wasmount_types::{FileKind, Name};

/// One state of the store.
#[derive(Clone, Default)]
pub(crate) struct Tree(BTreeMap<String, Vec<u8>>);

impl Tree {
    pub(crate) fn put(&mut self, key: &str, bytes: Vec<u8>) {
        self.0.insert(key.to_owned(), bytes);
    }

    pub(crate) fn delete(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(crate) fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.0.keys().any(|key| key.starts_with(&format!("{path}/")))
    }

    /// Bytes of a file; a directory of the same name hides it.
    pub(crate) fn file(&self, path: &str) -> Option<&Vec<u8>> {
        self.0.get(path).filter(|_| !self.is_directory(path))
    }

    pub(crate) fn children(&self, path: &str) -> BTreeMap<String, FileKind> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let mut children = BTreeMap::new();
        for rest in self.0.keys().filter_map(|key| key.strip_prefix(&prefix)).filter(|rest| !rest.is_empty())
        {
            let name = rest.split('/').next().unwrap_or_default();
            if Name::new(name.as_bytes()).is_ok() {
                let directory = self.is_directory(&format!("{prefix}{name}"));
                let kind = if directory { FileKind::Directory } else { FileKind::Regular };
                children.insert(name.to_owned(), kind);
            }
        }
        children
    }
}

/// All states, each with the moment it began.
pub(crate) struct History(Vec<(Instant, Tree)>);

impl History {
    pub(crate) fn new() -> Self {
        Self(vec![(Instant::now(), Tree::default())])
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Tree)) {
        let mut tree = self.0.last().map(|(_, tree)| tree.clone()).unwrap_or_default();
        change(&mut tree);
        self.0.push((Instant::now(), tree));
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Tree> {
        self.0.iter().map(|(_, tree)| tree)
    }

    /// The states that held at some moment after `since` less `ttl`.
    pub(crate) fn since(&self, since: Instant, ttl: Duration) -> impl Iterator<Item = &Tree> {
        let ends = self.0.iter().skip(1).map(|(begin, _)| Some(*begin)).chain([None]);
        let states = self.0.iter().zip(ends);
        states.filter(move |(_, end)| end.is_none_or(|end| end + ttl >= since)).map(|((_, tree), _)| tree)
    }
}
