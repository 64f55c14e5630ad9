//! The same store as applications see it: through the core's file system, without FUSE.

use super::super::{rules, table};
use super::{BlockBench, SAMPLE, bytes, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use wasmount_core::FileSystem;
use wasmount_core::fs::{ReadDir, ReadRequest};
use wasmount_types::{Error, Ino, Name};

rules! {
    "tree/list": "there is a file for each image and one for each snapshot" => list;
    "tree/read": "files read through the file system, in odd pieces, equal the images" => read;
}

/// Bytes of one read: no multiple of anything.
const PIECE: u32 = 100_003;

async fn list(bench: &BlockBench) -> Result<Outcome, Error> {
    let fs = table((bench.source)(Vec::new())?)?;
    let fh = fs.opendir(within(PATIENCE), Ino::ROOT).await?.fh;
    let (mut offset, mut files) = (0, 0_usize);
    loop {
        let request = ReadDir { offset, limit: 100, plus: false };
        let entries = fs.readdir(within(PATIENCE), fh, request).await?;
        let Some(last) = entries.last() else { break };
        offset = last.next_offset;
        files += entries.len();
    }
    fs.releasedir(fh);
    // The suite knows the snapshots of the first few images only.
    let least = bench.images.len() + bench.snapshots.len();
    Ok(super::super::expect(files >= least, || format!("{files} files for {least} images and snapshots")))
}

async fn read(bench: &BlockBench) -> Result<Outcome, Error> {
    let plain =
        |name: &str| !name.contains(['/', '\0', '%', '@']) && name.len() < 120 && !name.starts_with('.');
    let named =
        |subject: &super::Subject| plain(&subject.image) && subject.snapshot.as_deref().is_none_or(plain);
    let Some(subject) = bench.subjects().into_iter().find(named) else { return Ok(nothing()) };
    let file = match &subject.snapshot {
        Some(snapshot) => format!("{}@{snapshot}", subject.image),
        None => subject.image.clone(),
    };
    let image = bench.open(&subject).await?;
    let expected = bytes(&*bench.store, &*image, 0, image.geometry().size.min(SAMPLE)).await?;
    let fs = table((bench.source)(Vec::new())?)?;
    let name = Name::new(file.as_bytes()).map_err(|_| Error::not_found(&file))?;
    let entry = fs.lookup(within(PATIENCE), Ino::ROOT, &name).await?;
    let open = fs.open(within(PATIENCE), entry.attr.ino).await?;
    let mut at = 0_usize;
    while at < expected.len() {
        let piece = fs.read(within(PATIENCE), open.fh, ReadRequest::pages(at as u64, PIECE)).await?.bytes;
        let end = (at + piece.len()).min(expected.len());
        let right = !piece.is_empty() && expected.get(at..end) == piece.get(..end - at);
        if !right {
            return Ok(Outcome::Failed(format!("other bytes at {at} of {file}")));
        }
        at = end;
    }
    fs.release(open.fh);
    Ok(Outcome::Passed)
}
