//! Reading: the objects under a range, what is missing in them from the parent, and zeros where there is nothing.

use crate::failure::ImageError;
use crate::image::Image;
use crate::layout::Piece;
use crate::rados::Rados;
use futures::future::{join_all, try_join, try_join_all};
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::rc::Rc;
use wasmount_ceph::Payload;
use wasmount_ceph::encoding::DecodeError;
use wasmount_ceph::osd::{Extent, Op, Output};
use wasmount_ceph::rados::RadosError;

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

impl<P> Part<P> {
    /// How long it is.
    pub fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } | Self::Zeros(length) => *length,
        }
    }
}

/// A range of one object: one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    object: u64,
    offset: u64,
    length: u64,
}

/// A stretch of the answer before the parent was asked.
enum Slot<P> {
    Part(Part<P>),
    /// This range of the parent.
    Below(u64, u64),
}

/// Reads exactly this range of an image, in as few requests as there are objects under it, all at the same time.
///
/// # Errors
/// [`ImageError::Beyond`]: it is not inside the image; what failed of the requests.
pub async fn read<R: Rados>(
    rados: &R,
    image: &Image,
    offset: u64,
    length: u64,
) -> Result<Vec<Part<R::Payload>>, ImageError> {
    let pieces: Vec<Piece> = image.layout().pieces(offset, length).collect();
    let wanted = group(&pieces);
    // A live image may have shrunk, or been cut off from its parent: that is looked at now and then, beside the reading.
    let fetch = async {
        let answers = join_all(wanted.values().map(|wanted| fetch(rados, image, *wanted))).await;
        Ok(answers)
    };
    let ((), answers) = try_join(image.look(rados, false), fetch).await?;
    let end = offset.saturating_add(length);
    if end > image.size() {
        return Err(ImageError::Beyond { offset, end, size: image.size() });
    }
    let mut found = HashMap::with_capacity(wanted.len());
    for (wanted, answer) in wanted.values().zip(answers) {
        found.insert(wanted.object, (wanted.offset, answer?));
    }
    let mut slots = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        match found.get(&piece.object) {
            Some((start, Some(payload))) => present(&mut slots, piece, *start, payload.as_ref()),
            _ => missing(&mut slots, piece, image.overlap()),
        }
    }
    fill(rados, image, slots).await
}

/// One range for each object, in the order in which they are met. Pieces of one object follow each other in it.
fn group(pieces: &[Piece]) -> BTreeMap<u64, Wanted> {
    let mut wanted = BTreeMap::<u64, Wanted>::new();
    for piece in pieces {
        wanted
            .entry(piece.object)
            .and_modify(|range| range.length = piece.offset + piece.length - range.offset)
            .or_insert(Wanted { object: piece.object, offset: piece.offset, length: piece.length });
    }
    wanted
}

/// The bytes of a range of an object, fewer where it ends: outer `None` if there is no object, inner `None` if no bytes.
async fn fetch<R: Rados>(
    rados: &R,
    image: &Image,
    wanted: Wanted,
) -> Result<Option<Option<Rc<R::Payload>>>, ImageError> {
    if !image.may_exist(wanted.object) {
        return Ok(None);
    }
    let name = image.object(wanted.object);
    let read = Op::Read(Extent::new(wanted.offset, wanted.length));
    let result = match rados.exec(image.data(), &name, image.snap(), vec![read]).await {
        Ok(results) => results.into_iter().next(),
        Err(RadosError::NotFound) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let malformed = |problem| Err(RadosError::from(DecodeError::new("read of an object", problem)).into());
    match result.map(|result| result.output) {
        Some(Output::Payload(None)) => Ok(Some(None)),
        Some(Output::Payload(Some(payload))) if payload.len() as u64 <= wanted.length => {
            Ok(Some(Some(Rc::new(payload))))
        }
        Some(Output::Payload(Some(_))) => malformed("more bytes than were asked for"),
        _ => malformed("no bytes"),
    }
}

/// A piece of an object that exists: its bytes as far as they go, then zeros.
fn present<P: Payload>(slots: &mut Vec<Slot<P>>, piece: &Piece, start: u64, payload: Option<&Rc<P>>) {
    let offset = piece.offset - start;
    let there = payload.map_or(0, |payload| payload.len() as u64).saturating_sub(offset).min(piece.length);
    if let Some(payload) = payload.filter(|_| there > 0) {
        slots.push(Slot::Part(Part::Data { payload: payload.clone(), offset, length: there }));
    }
    zeros(slots, piece.length - there);
}

/// A piece of an object that does not exist: the parent's, as far as it reaches.
fn missing<P>(slots: &mut Vec<Slot<P>>, piece: &Piece, overlap: u64) {
    let below = overlap.saturating_sub(piece.image_offset).min(piece.length);
    match slots.last_mut() {
        _ if below == 0 => {}
        Some(Slot::Below(offset, length)) if *offset + *length == piece.image_offset => *length += below,
        _ => slots.push(Slot::Below(piece.image_offset, below)),
    }
    zeros(slots, piece.length - below);
}

fn zeros<P>(slots: &mut Vec<Slot<P>>, count: u64) {
    match slots.last_mut() {
        _ if count == 0 => {}
        Some(Slot::Part(Part::Zeros(before))) => *before += count,
        _ => slots.push(Slot::Part(Part::Zeros(count))),
    }
}

/// Puts what the parent has in its places.
async fn fill<R: Rados>(
    rados: &R,
    image: &Image,
    slots: Vec<Slot<R::Payload>>,
) -> Result<Vec<Part<R::Payload>>, ImageError> {
    let below = slots.iter().filter_map(|slot| match slot {
        Slot::Below(offset, length) => Some((*offset, *length)),
        Slot::Part(_) => None,
    });
    let mut below = match image.parent() {
        Some(parent) => {
            try_join_all(below.map(|(offset, length)| read_parent(rados, parent, offset, length))).await?
        }
        None => Vec::new(),
    }
    .into_iter();
    let mut parts = Vec::with_capacity(slots.len());
    for slot in slots {
        match slot {
            Slot::Part(part) => parts.push(part),
            Slot::Below(_, length) => match below.next() {
                Some(found) => parts.extend(found),
                None => parts.push(Part::Zeros(length)),
            },
        }
    }
    Ok(parts)
}

type Reading<'a, P> = Pin<Box<dyn Future<Output = Result<Vec<Part<P>>, ImageError>> + 'a>>;

/// [`read`] of a parent, which may be smaller than what its clone sees through to: zeros follow.
fn read_parent<'a, R: Rados>(
    rados: &'a R,
    parent: &'a Image,
    offset: u64,
    length: u64,
) -> Reading<'a, R::Payload> {
    Box::pin(async move {
        let there = parent.size().saturating_sub(offset).min(length);
        let mut parts = if there > 0 { read(rados, parent, offset, there).await? } else { Vec::new() };
        if there < length {
            parts.push(Part::Zeros(length - there));
        }
        Ok(parts)
    })
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
