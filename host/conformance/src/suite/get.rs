//! Bytes.

use super::{all, expect, expect_error, no_objects, rules};
use crate::bench::{Bench, PATIENCE, within};
use crate::report::Outcome;
use futures::future::try_join_all;
use wasmount_core::ports::{GetOutcome, GetRequest, Pinning};
use wasmount_types::{ByteRange, Error, ErrorKind, Object, Version};

rules! {
    "get/whole": "without a range all bytes come, and as many as the listing says" => whole;
    "get/ranges": "ranges give exactly those bytes: first, last, middle, open-ended, past the end" => ranges;
    "get/beyond-the-end": "a range that begins at or beyond the end is `out-of-range`" => beyond;
    "get/missing": "a key that is not there is `not-found` (or `denied`, where the store hides it)" => missing;
    "get/pinned": "the pinned version is served, a version that is gone is `stale`" => pinned;
    "get/unchanged": "asked with the current version as `unless`, it says `unchanged`" => unchanged;
    "get/many-at-once": "64 reads at once give the right bytes each" => many;
}

/// Small objects to read whole: up to 8 of at most 4 MiB.
fn sample(bench: &Bench) -> Vec<&Object> {
    bench.with_content().into_iter().filter(|o| o.size <= 4 << 20).take(8).collect()
}

/// The bytes the suite itself put there, if it did.
fn truth(bench: &Bench, key: &str) -> Option<Vec<u8>> {
    Some(bench.scripted.as_ref()?.get(key)?.bytes.to_vec())
}

async fn whole(bench: &Bench) -> Result<Outcome, Error> {
    let objects = sample(bench);
    if objects.is_empty() {
        return Ok(no_objects());
    }
    for object in objects {
        let key = object.key.as_str();
        let bytes = bench.read(key, None, object.version.clone()).await?;
        let right = bytes.len() as u64 == object.size && truth(bench, key).is_none_or(|t| t == bytes);
        if !right {
            return Ok(Outcome::Failed(format!(
                "{} bytes of {key:?}, {} expected, or wrong ones",
                bytes.len(),
                object.size
            )));
        }
    }
    Ok(Outcome::Passed)
}

async fn ranges(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = sample(bench).into_iter().next_back() else { return Ok(no_objects()) };
    let key = object.key.as_str();
    let all_bytes = bench.read(key, None, object.version.clone()).await?;
    let size = object.size;
    let cases = [
        ByteRange::new(0, 1),
        ByteRange::new(size - 1, 1),
        ByteRange::new(size / 2, (size / 4).max(1)),
        ByteRange::from(size / 3),
        ByteRange::new(size / 2, size * 2),
    ];
    for range in cases {
        let begin = usize::try_from(range.offset).unwrap_or(usize::MAX);
        let end = range.length.map_or(all_bytes.len(), |n| {
            begin.saturating_add(usize::try_from(n).unwrap_or(usize::MAX)).min(all_bytes.len())
        });
        let bytes = bench.read(key, Some(range), object.version.clone()).await?;
        if all_bytes.get(begin..end) != Some(&bytes[..]) {
            return Ok(Outcome::Failed(format!(
                "{range:?} of {key:?} gave {} bytes or wrong ones",
                bytes.len()
            )));
        }
    }
    Ok(Outcome::Passed)
}

async fn beyond(bench: &Bench) -> Result<Outcome, Error> {
    if !bench.store.capabilities().ranges {
        return Ok(Outcome::Skipped("ranges are not promised".into()));
    }
    let Some(object) = sample(bench).into_iter().next() else { return Ok(no_objects()) };
    let at_end = bench.read(object.key.as_str(), Some(ByteRange::new(object.size, 10)), None).await;
    let beyond = bench.read(object.key.as_str(), Some(ByteRange::from(object.size + 1000)), None).await;
    Ok(all([expect_error(at_end, &[ErrorKind::OutOfRange]), expect_error(beyond, &[ErrorKind::OutOfRange])]))
}

async fn missing(bench: &Bench) -> Result<Outcome, Error> {
    let result = bench.read("no key is called so/surely", None, None).await;
    Ok(expect_error(result, &[ErrorKind::NotFound, ErrorKind::Denied]))
}

async fn pinned(bench: &Bench) -> Result<Outcome, Error> {
    if bench.store.capabilities().pinning == Pinning::None {
        return Ok(Outcome::Skipped("pinning is not promised".into()));
    }
    let Some(object) = sample(bench).into_iter().find(|o| o.version.is_some()) else {
        return Ok(no_objects());
    };
    let key = object.key.as_str();
    let current = bench.read(key, Some(ByteRange::new(0, 1)), object.version.clone()).await;
    let gone = bench.read(key, Some(ByteRange::new(0, 1)), Some(other_version(object))).await;
    Ok(all([expect(current.is_ok(), || format!("{current:?}")), expect_error(gone, &[ErrorKind::Stale])]))
}

/// A version of the right form that the object does not have: the same with its last letter or digit changed.
fn other_version(object: &Object) -> Version {
    let mut text: Vec<char> = object.version.as_ref().map_or("", Version::as_str).chars().collect();
    if let Some(c) = text.iter_mut().rev().find(|c| c.is_ascii_alphanumeric()) {
        *c = if *c == '0' { '1' } else { '0' };
    }
    Version::new(text.into_iter().collect::<String>())
}

async fn unchanged(bench: &Bench) -> Result<Outcome, Error> {
    let Some(object) = sample(bench).into_iter().find(|o| o.version.is_some()) else {
        return Ok(no_objects());
    };
    let request =
        GetRequest { key: object.key.clone(), range: None, pin: None, unless: object.version.clone() };
    let outcome = bench.store.get(within(PATIENCE), request).await?;
    Ok(expect(matches!(outcome, GetOutcome::Unchanged), || "bytes".into()))
}

async fn many(bench: &Bench) -> Result<Outcome, Error> {
    let objects = sample(bench);
    if objects.is_empty() {
        return Ok(no_objects());
    }
    let one = |object: &Object| {
        let (key, size, version) = (object.key.clone(), object.size, object.version.clone());
        async move { Ok::<_, Error>((key.clone(), size, bench.read(key.as_str(), None, version).await?)) }
    };
    let read = try_join_all(objects.iter().cycle().take(64).map(|o| one(o))).await?;
    let wrong = read.iter().find(|(key, size, bytes)| {
        bytes.len() as u64 != *size || truth(bench, key.as_str()).is_some_and(|t| t != *bytes)
    });
    Ok(expect(wrong.is_none(), || format!("wrong bytes of {:?}", wrong.map(|w| &w.0))))
}
