//! The same store as applications see it: through the core's file system, without FUSE.

use super::{expect, no_objects, rules, table};
use crate::bench::{Bench, PATIENCE, within};
use crate::origin::Fault;
use crate::report::Outcome;
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmount_core::FileSystem;
use wasmount_core::fs::ReadDir;
use wasmount_core::fs::ReadRequest;
use wasmount_core::mounts::MountTable;
use wasmount_types::{Error, Fh, FileKind, Ino, Name, ObjectKey};

rules! {
    "tree/walk": "a walk over the directories finds exactly the keys of the listing that can be file names" => walk;
    "tree/read": "files read through the file system, in odd pieces, equal the objects" => read;
    "tree/read-over-cuts": "a file reads right although its content is cut off twice on the way" => read_over_cuts;
}

/// A file system over a fresh instance of the plugin.
struct Tree(Arc<MountTable>);

impl Tree {
    async fn new(bench: &Bench) -> Result<Self, Error> {
        Ok(Self(table((bench.source)(Vec::new())?)?))
    }

    /// Sizes and numbers of all files by path; an explicit stack, since trees may be deep.
    async fn files(&self) -> Result<BTreeMap<String, (u64, Ino)>, Error> {
        let (mut files, mut stack) = (BTreeMap::new(), vec![(Ino::ROOT, String::new())]);
        while let Some((dir, path)) = stack.pop() {
            let fh = self.0.opendir(within(PATIENCE), dir).await?.fh;
            let mut offset = 0;
            loop {
                let request = ReadDir { offset, limit: 100, plus: false };
                let entries = self.0.readdir(within(PATIENCE), fh, request).await?;
                let Some(last) = entries.last() else { break };
                offset = last.next_offset;
                for entry in entries {
                    let found = self.0.lookup(within(PATIENCE), dir, &entry.name).await?;
                    let path = format!("{path}{}", entry.name);
                    match found.attr.kind {
                        FileKind::Directory => stack.push((found.attr.ino, format!("{path}/"))),
                        _ => {
                            files.insert(path, (found.attr.size, found.attr.ino));
                        }
                    }
                }
            }
            self.0.releasedir(fh);
        }
        Ok(files)
    }

    async fn read_all(&self, ino: Ino, size: u64, piece: u32) -> Result<Vec<u8>, Error> {
        let fh: Fh = self.0.open(within(PATIENCE), ino).await?.fh;
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let part =
                self.0.read(within(PATIENCE), fh, ReadRequest::pages(bytes.len() as u64, piece)).await?.bytes;
            if part.is_empty() {
                break;
            }
            bytes.extend_from_slice(&part);
        }
        self.0.release(fh);
        Ok(bytes)
    }
}

/// Whether the rules of the file system show this key as a file (`SEMANTICS.md`).
fn representable(key: &str, all: &BTreeMap<String, wasmount_types::Object>) -> bool {
    let below = format!("{key}/");
    let shadowed = all.range(below.clone()..).next().is_some_and(|(next, _)| next.starts_with(&below));
    !shadowed && key.split('/').all(|segment| Name::new(segment.as_bytes()).is_ok())
}

async fn walk(bench: &Bench) -> Result<Outcome, Error> {
    let tree = Tree::new(bench).await?;
    let seen: BTreeMap<_, _> =
        tree.files().await?.into_iter().map(|(path, (size, _))| (path, size)).collect();
    let expected: BTreeMap<_, _> = bench
        .listed
        .iter()
        .filter(|(key, _)| representable(key, &bench.listed))
        .map(|(key, object)| (key.clone(), object.size))
        .collect();
    let odd = expected
        .iter()
        .find(|(k, v)| seen.get(*k) != Some(v))
        .or_else(|| seen.iter().find(|(k, _)| !expected.contains_key(*k)));
    Ok(expect(odd.is_none() && seen.len() == expected.len(), || {
        format!("{} files for {} keys; for example {odd:?}", seen.len(), expected.len())
    }))
}

async fn read(bench: &Bench) -> Result<Outcome, Error> {
    let tree = Tree::new(bench).await?;
    let files = tree.files().await?;
    let sample: Vec<_> =
        files.iter().filter(|(_, (size, _))| (1..=4 << 20).contains(size)).take(12).collect();
    if sample.is_empty() {
        return Ok(no_objects());
    }
    for (path, (size, ino)) in sample {
        let expected = bench.read(path, None, None).await?;
        let seen = tree.read_all(*ino, *size, 10_007).await?;
        if seen != expected {
            return Ok(Outcome::Failed(format!(
                "{path:?} differs: {} bytes, {} expected",
                seen.len(),
                expected.len()
            )));
        }
    }
    Ok(Outcome::Passed)
}

async fn read_over_cuts(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = bench.with_content().into_iter().find(|o| o.size >= 64 << 10 && o.size <= 8 << 20)
    else {
        return Ok(Outcome::Skipped("needs an object of 64 KiB to 8 MiB".into()));
    };
    let expected = bench.read(object.key.as_str(), None, None).await?;
    let tree = Tree::new(bench).await?;
    let Some((size, ino)) = tree.files().await?.get(ObjectKey::as_str(&object.key)).copied() else {
        return Ok(Outcome::Skipped("that object is no file".into()));
    };
    bench.origin.faults().next_reads(2, Fault::CutBody(20_000));
    let seen = tree.read_all(ino, size, 128 << 10).await?;
    Ok(expect(seen == expected, || {
        format!("{} bytes, {} expected, or wrong ones", seen.len(), expected.len())
    }))
}
