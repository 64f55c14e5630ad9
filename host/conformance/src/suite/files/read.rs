//! Bytes of files.

use super::super::rules;
use super::{FileBench, Found, SAMPLE, bytes, nothing};
use crate::bench::{PATIENCE, within};
use crate::report::Outcome;
use futures::future::try_join_all;
use wasmount_core::fs::Seek;
use wasmount_core::ports::StoreHandle;
use wasmount_types::{Error, ErrorKind};

rules! {
    "read/pieces": "a file read in odd pieces through another handle is what it is in large ones" => pieces;
    "read/end": "a read ends with the file, and there is nothing beyond" => end;
    "read/many-at-once": "64 reads at once give the right bytes each" => many;
    "read/holes": "what `seek` calls a hole reads as zeros, and data and holes take turns" => holes;
}

/// Bytes of one read: no multiple of anything.
const PIECE: u32 = 100_003;

/// A file to look into. One that others may be writing to is worth less.
async fn subject(bench: &FileBench) -> Result<Option<(&Found, StoreHandle)>, Error> {
    for file in bench.files() {
        let opened = bench.store.open(within(PATIENCE), file.entry.node, false).await?;
        if !opened.cache.bypass {
            return Ok(Some((file, opened.handle)));
        }
        bench.store.release(opened.handle);
    }
    Ok(None)
}

fn slice(bytes: &[u8], from: u64, length: u64) -> Option<&[u8]> {
    let from = usize::try_from(from).ok()?;
    bytes.get(from..from.checked_add(usize::try_from(length).ok()?)?)
}

async fn pieces(bench: &FileBench) -> Result<Outcome, Error> {
    let Some((file, first)) = subject(bench).await? else { return Ok(nothing("file with content")) };
    let second = bench.store.open(within(PATIENCE), file.entry.node, false).await?.handle;
    let whole = bytes(&*bench.store, first, 0, SAMPLE, u32::MAX).await?;
    bench.store.release(first);
    let again = bytes(&*bench.store, second, 0, SAMPLE, PIECE).await?;
    bench.store.release(second);
    let expected = file.entry.attributes.size.min(SAMPLE);
    if whole.len() as u64 != expected {
        let text = format!("{} bytes of {}, which has {expected}", whole.len(), file.shown());
        return Ok(Outcome::Failed(text));
    }
    match whole.iter().zip(&again).position(|(one, other)| one != other) {
        None if whole.len() == again.len() => Ok(Outcome::Passed),
        at => Ok(Outcome::Failed(format!("other bytes of {} at {at:?}", file.shown()))),
    }
}

async fn end(bench: &FileBench) -> Result<Outcome, Error> {
    let Some((file, handle)) = subject(bench).await? else { return Ok(nothing("file with content")) };
    let size = file.entry.attributes.size;
    for (from, expected) in [(size - 1, 1), (size, 0), (size + 12_345, 0), (1 << 62, 0)] {
        let found = bytes(&*bench.store, handle, from, 4096, 4096).await?.len();
        if found != expected {
            let text = format!("{found} bytes from {from} on of {}, which has {size}", file.shown());
            return Ok(Outcome::Failed(text));
        }
    }
    bench.store.release(handle);
    Ok(Outcome::Passed)
}

async fn many(bench: &FileBench) -> Result<Outcome, Error> {
    let Some((file, handle)) = subject(bench).await? else { return Ok(nothing("file with content")) };
    let whole = bytes(&*bench.store, handle, 0, SAMPLE, u32::MAX).await?;
    let length = whole.len() as u64;
    let one = |index: u64| {
        let from = index * length / 64;
        let count = 5000.min(length - from);
        async move { Ok::<_, Error>((from, count, bytes(&*bench.store, handle, from, count, PIECE).await?)) }
    };
    for (from, count, part) in try_join_all((0..64).map(one)).await? {
        if slice(&whole, from, count) != Some(&part[..]) {
            return Ok(Outcome::Failed(format!(
                "other bytes at {from}..{} of {}",
                from + count,
                file.shown()
            )));
        }
    }
    bench.store.release(handle);
    Ok(Outcome::Passed)
}

async fn holes(bench: &FileBench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().seek {
        return Ok(Outcome::Skipped("the plugin does not promise to know holes".into()));
    }
    let Some((file, handle)) = subject(bench).await? else { return Ok(nothing("file with content")) };
    let (size, mut at) = (file.entry.attributes.size, 0);
    let seek = |at, what| bench.store.seek(within(PATIENCE), handle, at, what);
    for _ in 0..64 {
        let data = match seek(at, Seek::Data).await {
            Ok(data) => data,
            // No more data: the rest is a hole.
            Err(error) if error.kind == ErrorKind::OutOfRange => size,
            Err(error) => return Err(error),
        };
        let hole = bytes(&*bench.store, handle, at, (data - at).min(SAMPLE), u32::MAX).await?;
        if hole.iter().any(|byte| *byte != 0) {
            return Ok(Outcome::Failed(format!("a hole of {} at {at} with bytes in it", file.shown())));
        }
        if data >= size {
            break;
        }
        at = seek(data, Seek::Hole).await?;
        if at <= data || at > size {
            return Ok(Outcome::Failed(format!("data of {} from {data} to {at}", file.shown())));
        }
        if at == size {
            break;
        }
    }
    bench.store.release(handle);
    Ok(Outcome::Passed)
}
