//! Opening a mount, files and directories.

use super::super::{all, expect, expect_error, rules};
use super::{FileBench, list, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use wasmount_core::ports::NodeNumber;
use wasmount_types::{Error, ErrorKind};

rules! {
    "open/again": "a second instance of the same mount opens and lists the same root beside the first" => again;
    "open/no-directory": "a file cannot be listed, nor can something be looked up in it" => no_directory;
    "open/many": "200 files are opened at once and closed in another order" => many;
}

async fn again(bench: &FileBench) -> Result<Outcome, Error> {
    let second = super::open_store(&*(bench.source)(Vec::new())?).await?;
    let names = list::names(&*second, NodeNumber::ROOT, 1000).await?;
    let known = list::names(&*bench.store, NodeNumber::ROOT, 1000).await?;
    Ok(expect(names == known, || {
        format!("{} names in the second instance, {} in the first", names.len(), known.len())
    }))
}

async fn no_directory(bench: &FileBench) -> Result<Outcome, Error> {
    let Some(file) = bench.files().pop() else { return Ok(nothing("file with content")) };
    let node = file.entry.node;
    let listed = bench.store.open_directory(within(PATIENCE), node).await;
    let found = bench.resolve(node, &list::nobody()?).await;
    Ok(all([
        expect_error(listed, &[ErrorKind::NotDirectory]),
        expect_error(found, &[ErrorKind::NotDirectory]),
    ]))
}

async fn many(bench: &FileBench) -> Result<Outcome, Error> {
    let files = bench.files();
    if files.is_empty() {
        return Ok(nothing("file with content"));
    }
    let mut open = Vec::new();
    for file in files.iter().cycle().take(200) {
        open.push((file, bench.store.open(within(PATIENCE), file.entry.node, false).await?.handle));
    }
    // Every other one is closed before the rest is read.
    for (index, (file, handle)) in open.iter().enumerate().filter(|(index, _)| index % 2 == 1) {
        bench.store.release(*handle);
        let Some((_, other)) = open.get(index - 1) else { continue };
        let bytes = super::bytes(&*bench.store, *other, 0, 1, 1).await?;
        if bytes.len() != 1 {
            return Ok(Outcome::Failed(format!("a file beside {} ended when that was closed", file.shown())));
        }
        bench.store.release(*other);
    }
    Ok(Outcome::Passed)
}
