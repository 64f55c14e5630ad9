//! Objects of a cluster, one request each: what images and files are made of.

use crate::client::Client;
use crate::driver::HostMachine;
use crate::payload::HostBytes;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use wasmount_ceph::Payload;
use wasmount_ceph::encoding::DecodeError;
use wasmount_ceph::osd::{Extent, Op, OpResult, Output};
use wasmount_ceph::rados::{OpRequest, RadosError};
use wasmount_ceph::striper::Piece;
use wasmount_sdk::{Body, Error, Result, system};

/// Where objects are: a pool and a namespace in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Id of the pool.
    pub pool: i64,
    /// Name of the namespace; empty: the default one.
    pub namespace: String,
}

/// Objects of a cluster: a trait, so that what stands on it is tested without one.
pub trait Rados {
    /// Bytes of objects.
    type Payload: Payload + fmt::Debug;

    /// Does these operations on an object, in order and as a whole, and waits for their results, one for each.
    ///
    /// # Errors
    /// Why the request failed; [`RadosError::NotFound`] if the object does not exist.
    fn exec(
        &self,
        place: &Place,
        object: &str,
        snap: u64,
        ops: Vec<Op<Self::Payload>>,
    ) -> impl Future<Output = Result<Vec<OpResult<Self::Payload>>, RadosError>>;

    /// Milliseconds on a clock that never goes back.
    fn monotonic_ms(&self) -> u64;
}

impl<M: HostMachine> Rados for Client<M> {
    type Payload = HostBytes;

    async fn exec(
        &self,
        place: &Place,
        object: &str,
        snap: u64,
        ops: Vec<Op<HostBytes>>,
    ) -> Result<Vec<OpResult<HostBytes>>, RadosError> {
        // No deadline: the one of the operation that it is made for, which only the host knows, is the limit.
        let request = OpRequest::new(place.pool, object, ops).namespace(place.namespace.as_str()).snap(snap);
        Client::exec(self, request).await.map(|reply| reply.results)
    }

    fn monotonic_ms(&self) -> u64 {
        system::monotonic_ms()
    }
}

/// A range of one object: one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the object.
    pub object: u64,
    /// Where the range begins in it.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// One range for each object under a stretch of a file, whose pieces in an object follow each other there.
#[must_use]
pub fn group(pieces: &[Piece]) -> BTreeMap<u64, Wanted> {
    let mut wanted = BTreeMap::<u64, Wanted>::new();
    for piece in pieces {
        wanted
            .entry(piece.object)
            .and_modify(|range| range.length = piece.offset + piece.length - range.offset)
            .or_insert(Wanted { object: piece.object, offset: piece.offset, length: piece.length });
    }
    wanted
}

/// What a range of an object has: outer `None` if there is no object, inner `None` if it has no bytes there.
pub type Found<P> = Option<Option<Rc<P>>>;

/// The bytes of a range of an object, fewer where it ends.
///
/// # Errors
/// Why the request failed.
pub async fn fetch<R: Rados>(
    rados: &R,
    place: &Place,
    object: &str,
    snap: u64,
    extent: Extent,
) -> Result<Found<R::Payload>, RadosError> {
    let length = extent.length;
    let result = match rados.exec(place, object, snap, vec![Op::Read(extent)]).await {
        Ok(results) => results.into_iter().next(),
        Err(RadosError::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let malformed = |problem| Err(RadosError::from(DecodeError::new("read of an object", problem)));
    match result.map(|result| result.output) {
        Some(Output::Payload(None)) => Ok(Some(None)),
        Some(Output::Payload(Some(payload))) if payload.len() as u64 <= length => {
            Ok(Some(Some(Rc::new(payload))))
        }
        Some(Output::Payload(Some(_))) => malformed("more bytes than were asked for"),
        _ => malformed("no bytes"),
    }
}

/// A stretch of what was read.
#[derive(Debug)]
pub enum Part<P> {
    /// A part of these bytes.
    Data {
        /// Bytes of an object; several parts may share them.
        payload: Rc<P>,
        /// Where the part begins in them.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// So many zeros.
    Zeros(u64),
}

impl<P: Payload> Part<P> {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } | Self::Zeros(length) => *length,
        }
    }

    /// A piece of an object that exists, of which `payload` is the range from `start` on: its bytes as far as they go, then zeros.
    pub fn of(piece: &Piece, start: u64, payload: Option<&Rc<P>>) -> impl Iterator<Item = Self> + use<P> {
        let offset = piece.offset - start;
        let there =
            payload.map_or(0, |payload| payload.len() as u64).saturating_sub(offset).min(piece.length);
        let data = payload.map(|payload| Self::Data { payload: payload.clone(), offset, length: there });
        data.into_iter().chain([Self::Zeros(piece.length - there)])
    }

    /// Appends it to others; zeros become one part with those before them, and what is empty nothing.
    pub fn push_to(self, parts: &mut Vec<Self>) {
        match (parts.last_mut(), self) {
            (_, part) if part.length() == 0 => {}
            (Some(Self::Zeros(before)), Self::Zeros(more)) => *before += more,
            (_, part) => parts.push(part),
        }
    }
}

/// Puts parts together. Slices are made here and given away at once, since each of them is a handle and there may be many.
///
/// # Errors
/// `out-of-range`: a part is not inside its bytes; `too-large`: there are more buffers than the host allows.
pub fn body(parts: Vec<Part<HostBytes>>) -> Result<Body> {
    use wasmount_sdk::Piece;
    let piece = |part: Part<HostBytes>| match part {
        Part::Zeros(count) => Ok(Piece::Zeros(count)),
        Part::Data { payload, offset, length } => {
            let whole = offset == 0 && length == u64::from(payload.0.len());
            match Rc::try_unwrap(payload) {
                Ok(payload) if whole => Ok(Piece::Buffer(payload.0)),
                payload => {
                    let payload = payload.map_or_else(|shared| shared, Rc::new);
                    let inside = || Error::out_of_range("a read longer than 4 GiB");
                    let offset = u32::try_from(offset).map_err(|_| inside())?;
                    let length = u32::try_from(length).map_err(|_| inside())?;
                    payload.0.slice(offset, length).map(Piece::Buffer)
                }
            }
        }
    };
    Body::assemble(parts.into_iter().map(piece).collect::<Result<_>>()?)
}

/// Most pieces of a body, as the host has it.
const MOST_PIECES: usize = 1024;

/// [`body`] of more parts than a body may have: then the host copies them together, so many at a time.
///
/// # Errors
/// As for [`body`].
pub async fn long_body(parts: Vec<Part<HostBytes>>) -> Result<Body> {
    if parts.len() <= MOST_PIECES {
        return body(parts);
    }
    let mut pieces = Vec::new();
    for batch in batches(parts) {
        let together = body(batch)?.collect(u32::MAX).await?;
        pieces.push(wasmount_sdk::Piece::Buffer(together));
    }
    Body::assemble(pieces)
}

/// At most [`MOST_PIECES`] each, in order.
fn batches<T>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rest = all.into_iter();
    std::iter::from_fn(move || {
        let batch: Vec<T> = rest.by_ref().take(MOST_PIECES).collect();
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Bytes that nobody looks at.
    #[derive(Debug)]
    struct Bytes(usize);

    impl Payload for Bytes {
        fn len(&self) -> usize {
            self.0
        }
        fn slice(&self, offset: usize, length: usize) -> Option<Self> {
            (offset + length <= self.0).then_some(Self(length))
        }
        fn share(&self) -> Self {
            Self(self.0)
        }
        fn copy_out(&self, _: usize, length: usize) -> Option<Vec<u8>> {
            Some(vec![0; length])
        }
        fn crc32c(&self, register: u32) -> u32 {
            register
        }
    }

    /// Answers a read with so many bytes.
    struct Answers(Cell<Option<Result<Option<usize>, RadosError>>>);

    impl Rados for Answers {
        type Payload = Bytes;

        async fn exec(
            &self,
            _: &Place,
            _: &str,
            _: u64,
            _: Vec<Op<Bytes>>,
        ) -> Result<Vec<OpResult<Bytes>>, RadosError> {
            let length = self.0.take().unwrap_or(Err(RadosError::Cancelled))?;
            Ok(vec![OpResult { result: 0, output: Output::Payload(length.map(Bytes)) }])
        }

        fn monotonic_ms(&self) -> u64 {
            0
        }
    }

    fn fetched(answer: Result<Option<usize>, RadosError>) -> Result<Option<Option<usize>>, RadosError> {
        let place = Place { pool: 1, namespace: String::new() };
        let answers = Answers(Cell::new(Some(answer)));
        let found = fetch(&answers, &place, "o", 0, Extent::new(0, 10));
        let found = futures::executor::block_on(found)?;
        Ok(found.map(|payload| payload.map(|payload| payload.len())))
    }

    #[test]
    fn an_object_may_be_short_or_missing_but_not_longer_than_asked() {
        assert_eq!(fetched(Ok(Some(10))), Ok(Some(Some(10))));
        assert_eq!(fetched(Ok(None)), Ok(Some(None)));
        assert_eq!(fetched(Err(RadosError::NotFound)), Ok(None));
        assert!(matches!(fetched(Ok(Some(11))), Err(RadosError::Malformed(_))));
        assert_eq!(fetched(Err(RadosError::Io)), Err(RadosError::Io));
    }

    #[test]
    fn zeros_follow_what_is_short_and_each_other() {
        let piece = |offset, length| Piece { file_offset: 0, object: 0, offset, length };
        let payload = Rc::new(Bytes(8));
        let mut parts = Vec::new();
        for (offset, length) in [(100, 6), (106, 6), (112, 6), (118, 0)] {
            Part::of(&piece(offset, length), 100, Some(&payload)).for_each(|part| part.push_to(&mut parts));
        }
        Part::of(&piece(0, 5), 0, None).for_each(|part| part.push_to(&mut parts));
        let found: Vec<(Option<u64>, u64)> = parts
            .iter()
            .map(|part| match part {
                Part::Data { offset, length, .. } => (Some(*offset), *length),
                Part::Zeros(length) => (None, *length),
            })
            .collect();
        assert_eq!(found, [(Some(0), 6), (Some(6), 2), (None, 4 + 6 + 5)]);
    }

    #[test]
    fn no_batch_is_more_than_a_body() {
        for count in [0, 1, MOST_PIECES, MOST_PIECES + 1, 3 * MOST_PIECES] {
            let found: Vec<Vec<usize>> = batches((0..count).collect()).collect();
            assert!(found.iter().all(|batch| (1..=MOST_PIECES).contains(&batch.len())));
            assert_eq!(found.len(), count.div_ceil(MOST_PIECES));
            assert!(found.into_iter().flatten().eq(0..count));
        }
    }

    #[test]
    fn one_object_is_one_range() {
        let piece = |object, offset, length| Piece { file_offset: 0, object, offset, length };
        let found = group(&[piece(3, 4096, 100), piece(1, 0, 4096), piece(3, 4196, 50)]);
        let wanted = |object, offset, length| Wanted { object, offset, length };
        assert_eq!(found.into_values().collect::<Vec<_>>(), [wanted(1, 0, 4096), wanted(3, 4096, 150)]);
    }
}
