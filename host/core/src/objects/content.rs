//! Bytes of objects: one version of one object each, or `stale`.

use crate::inode::FileVersion;
use crate::ports::{BoxFuture, GetOutcome, GetRequest, GetResponse, ObjectStore, Pinning};
use crate::read::{Fetched, Source, Wanted};
use std::sync::Arc;
use wasmount_types::{Blame, ByteRange, Error, ErrorKind, RequestCtx};

/// The bytes of a store's objects.
pub(super) struct ObjectContent(pub(super) Arc<dyn ObjectStore>);

impl ObjectContent {
    /// One GET for what is wanted.
    async fn get(&self, ctx: RequestCtx, wanted: Wanted<'_>) -> Result<Fetched, Error> {
        let Wanted { key, version, from, until } = wanted;
        let caps = self.0.capabilities();
        let whole = from == 0 && until == version.size;
        let pin = version.version.clone().filter(|_| caps.pinning != Pinning::None);
        let request = GetRequest {
            key: key.clone(),
            range: (caps.ranges && !whole).then(|| ByteRange::new(from, until - from)),
            pin: pin.clone(),
            unless: None,
        };
        let response = match self.0.get(ctx, request).await {
            Ok(GetOutcome::Found(response)) => response,
            Ok(GetOutcome::Unchanged) => {
                return Err(corrupt("the store answered `unchanged` to a question without a condition"));
            }
            // The open file is the version it was opened as; that there is none now is the same to its reader.
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::OutOfRange) => {
                return Err(Error::stale(key));
            }
            Err(error) => return Err(error),
        };
        check(&response, wanted)?;
        // Where nothing ties the bytes to the version they are good enough for this reader, not for those of the next days.
        let pinned = pin.is_some() || response.object.version.is_some();
        Ok(Fetched { offset: response.offset, until, content: response.content, pinned })
    }
}

/// Whether the answer is about the version and the place that were asked for.
fn check(response: &GetResponse, wanted: Wanted<'_>) -> Result<(), Error> {
    let (object, version) = (&response.object, wanted.version);
    let now = FileVersion { version: object.version.clone(), size: object.size, modified: object.modified };
    let same = match (&version.version, &now.version) {
        // An answer that does not name its version was pinned by the request.
        (Some(_), None) => now.size == version.size,
        _ => now.same(version),
    };
    if !same {
        return Err(Error::stale(wanted.key));
    }
    if now.size != version.size {
        return Err(corrupt(format!(
            "the same version has {} bytes now and had {} before",
            now.size, version.size
        )));
    }
    if response.offset > wanted.from {
        return Err(corrupt(format!(
            "asked for bytes from {}, the answer begins at {}",
            wanted.from, response.offset
        )));
    }
    if let Some(length) = response.content.len()
        && response.offset.checked_add(length).is_none_or(|end| end > object.size)
    {
        return Err(corrupt(format!(
            "{length} bytes from {} on in an object of {}",
            response.offset, object.size
        )));
    }
    Ok(())
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, Blame::Origin, message)
}

impl Source for ObjectContent {
    fn ranges(&self) -> bool {
        self.0.capabilities().ranges
    }

    fn outlasts_readers(&self) -> bool {
        true
    }

    fn fetch<'a>(&'a self, ctx: RequestCtx, wanted: Wanted<'a>) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.get(ctx, wanted))
    }
}
