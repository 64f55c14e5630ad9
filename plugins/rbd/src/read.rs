//! Reading: the objects under a range, what is missing in them from the parent, and zeros where there is nothing.

use crate::failure::ImageError;
use crate::image::Image;
use crate::rados::Rados;
use futures::future::{join, join_all, try_join, try_join_all};
use std::collections::HashMap;
use std::pin::Pin;
use wasmount_ceph::osd::Extent;
use wasmount_ceph::striper::Piece;
use wasmount_ceph_guest::objects::{self, Found, Part, Wanted};

/// Most objects whose bytes are held for one read at a time, or not many more: each is a handle, of which the host gives a plugin 8192 for
/// everything.
const MOST_OBJECTS: u64 = 256;

/// A stretch of the answer before the parent was asked.
enum Slot<P> {
    Part(Part<P>),
    /// This range of the parent.
    Below(u64, u64),
}

/// Reads exactly this range of an image, in as few requests as there are objects under it, all at the same time. Where objects are
/// missing, one more request tells whether that means what it seems to.
///
/// # Errors
/// [`ImageError::Beyond`]: it is not inside the image; [`ImageError::Removed`]: it is a snapshot, or sees through to one, that was
/// removed; what failed of the requests.
pub async fn read<R: Rados>(
    rados: &R,
    image: &Image,
    offset: u64,
    length: u64,
) -> Result<Vec<Part<R::Payload>>, ImageError> {
    loop {
        // Each time around it has been cut off from its parent, or from a part of that: the objects are there now.
        if let Some(parts) = attempt(rados, image, offset, length).await? {
            return Ok(parts);
        }
    }
}

/// [`read`], if no less of the parent is seen through to at the end than at the beginning. If it is, an object may have been looked for
/// before it was copied up, and the parent after it was cut off: then `None`.
async fn attempt<R: Rados>(
    rados: &R,
    image: &Image,
    offset: u64,
    length: u64,
) -> Result<Option<Vec<Part<R::Payload>>>, ImageError> {
    let overlap = image.overlap();
    let pieces: Vec<Piece> = image.layout().pieces(offset, length).collect();
    let possible: Vec<Piece> = pieces.iter().filter(|piece| image.may_exist(piece.object)).copied().collect();
    let wanted = objects::group(&possible);
    // A live image may have shrunk, or been cut off from its parent: that is looked at now and then, beside the reading.
    let fetch = async {
        let answers = join_all(wanted.values().map(|wanted| fetch(rados, image, *wanted))).await;
        Ok(answers)
    };
    let ((), answers) = try_join(image.look(rados), fetch).await?;
    inside(image, offset, length)?;
    let mut found = HashMap::with_capacity(wanted.len());
    for (wanted, answer) in wanted.values().zip(answers) {
        found.insert(wanted.object, (wanted.offset, answer?));
    }
    // The OSDs do not tell objects that a snapshot never had from those that went with it.
    let mut doubtful = !image.is_live() && found.values().any(|(_, found)| found.is_none());
    let mut slots = Vec::with_capacity(pieces.len());
    for piece in &pieces {
        match found.get(&piece.object) {
            Some((start, Some(payload))) => {
                slots.extend(Part::of(piece, *start, payload.as_ref()).map(Slot::Part))
            }
            _ => {
                doubtful |= piece.file_offset < overlap;
                missing(&mut slots, piece, overlap);
            }
        }
    }
    if !doubtful {
        return fill(rados, image, slots).await.map(Some);
    }
    // At the same time, since a parent looks for itself.
    let (confirmed, parts) = join(image.confirm(rados), fill(rados, image, slots)).await;
    confirmed?;
    if matches!(parts, Err(ImageError::Removed { .. })) {
        // It may have been removed because nobody sees through to it any more, just after it was seen through to.
        image.confirm(rados).await?;
    }
    if image.overlap() != overlap {
        return Ok(None);
    }
    inside(image, offset, length)?;
    parts.map(Some)
}

fn inside(image: &Image, offset: u64, length: u64) -> Result<(), ImageError> {
    let (end, size) = (offset.saturating_add(length), image.size());
    if end > size { Err(ImageError::Beyond { offset, end, size }) } else { Ok(()) }
}

/// The bytes of a range of an object, fewer where it ends.
async fn fetch<R: Rados>(rados: &R, image: &Image, wanted: Wanted) -> Result<Found<R::Payload>, ImageError> {
    let name = image.object(wanted.object);
    let extent = Extent::new(wanted.offset, wanted.length);
    Ok(objects::fetch(rados, image.data(), &name, image.snap(), extent).await?)
}

/// A piece of an object that does not exist: the parent's, as far as it reaches.
fn missing<P>(slots: &mut Vec<Slot<P>>, piece: &Piece, overlap: u64) {
    let below = overlap.saturating_sub(piece.file_offset).min(piece.length);
    match slots.last_mut() {
        _ if below == 0 => {}
        Some(Slot::Below(offset, length)) if *offset + *length == piece.file_offset => *length += below,
        _ => slots.push(Slot::Below(piece.file_offset, below)),
    }
    if below < piece.length {
        slots.push(Slot::Part(Part::Zeros(piece.length - below)));
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
            Slot::Part(part) => part.push_to(&mut parts),
            Slot::Below(_, length) => match below.next() {
                Some(found) => found.into_iter().for_each(|part| part.push_to(&mut parts)),
                None => Part::Zeros(length).push_to(&mut parts),
            },
        }
    }
    Ok(parts)
}

/// Ranges to read a range in, one after the other: one, unless the objects of the image, or of one below it, are very small.
pub fn windows(image: &Image, offset: u64, length: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
    let smallest = image.chain().map(|image| image.layout().object_size()).min().unwrap_or(u64::MAX);
    let most = smallest.saturating_mul(MOST_OBJECTS);
    let end = offset.saturating_add(length);
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let window = (at, most.min(end - at));
            at += window.1;
            window
        })
    })
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
