//! Holes of an image: ranges under which there is no object, here and in the parents.

use crate::failure::ImageError;
use crate::image::Image;
use crate::rados::Rados;
use futures::future::try_join_all;
use std::collections::BTreeMap;
use std::pin::Pin;
use wasmount_ceph::osd::Op;
use wasmount_ceph::rados::RadosError;

/// Objects that are looked at one by one in a call, where there is no object map. Each is a request.
const LOOKED_AT: u64 = 64;
/// Objects that are walked through in a call, where there is one.
const WALKED: u64 = 1 << 20;
/// Pieces of an image that are walked through in a call: with small stripes, an object has many.
const PIECES: usize = 1 << 16;

/// A stretch of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Nothing is there: reads are zeros.
    pub hole: bool,
    /// How long it is.
    pub length: u64,
}

/// What is at `offset`, and how far that reaches inside `length` bytes, which lie inside the image.
///
/// # Errors
/// [`ImageError::Beyond`]: they do not; [`ImageError::Removed`]: it is a snapshot, or sees through to one, that was removed; what failed of
/// the requests.
pub async fn next<R: Rados>(
    rados: &R,
    image: &Image,
    offset: u64,
    length: u64,
) -> Result<Stretch, ImageError> {
    loop {
        image.look(rados).await?;
        let (end, size) = (offset.saturating_add(length), image.size());
        if length == 0 || end > size {
            return Err(ImageError::Beyond { offset, end, size });
        }
        let overlaps = || -> Vec<u64> { image.chain().map(Image::overlap).collect() };
        let before = overlaps();
        let found = stretch(rados, image, offset, length).await?;
        // Data is always a right answer.
        if !found.hole {
            return Ok(found);
        }
        let witnesses: Vec<&Image> = witnesses(image, offset).collect();
        let mut confirmed = Ok(());
        // From the bottom up, because a parent is removed after its clone was cut off from it, never before.
        for image in witnesses.into_iter().rev() {
            confirmed = image.confirm(rados).await.and(confirmed);
        }
        // If one of them was cut off meanwhile, it may have objects now that it did not have before.
        if overlaps() == before {
            return confirmed.map(|()| found);
        }
    }
}

/// The images whose missing objects make the hole at `offset`, as far as they may be missing for another reason.
fn witnesses(image: &Image, offset: u64) -> impl Iterator<Item = &Image> {
    let mut seen_through = true;
    let chain =
        image.chain().take_while(move |image| std::mem::replace(&mut seen_through, image.overlap() > offset));
    chain.filter(|image| image.must_confirm())
}

async fn stretch<R: Rados>(
    rados: &R,
    image: &Image,
    offset: u64,
    length: u64,
) -> Result<Stretch, ImageError> {
    let map = image.objects_now(rados).await?;
    let limit = if map.is_some() { WALKED } else { LOOKED_AT };
    let length = length.min(image.layout().object_size().saturating_mul(limit));
    let pieces = || image.layout().pieces(offset, length).take(PIECES);
    let exists: BTreeMap<u64, bool> = match &map {
        Some(_) => BTreeMap::new(),
        None => {
            let mut objects: Vec<u64> = pieces().map(|piece| piece.object).collect();
            objects.sort_unstable();
            objects.dedup();
            // With several objects to a stripe there may be more of them than fit the limit by their size.
            objects.truncate(usize::try_from(LOOKED_AT).unwrap_or(usize::MAX));
            let looked = try_join_all(objects.into_iter().map(|object| look(rados, image, object)));
            looked.await?.into_iter().collect()
        }
    };
    // What was not looked at counts as data: whoever is not sure says so.
    let may_exist = |object| match &map {
        Some(map) => map.may_exist(object),
        None => exists.get(&object).copied().unwrap_or(true),
    };
    let mut found: Option<Stretch> = None;
    for piece in pieces() {
        let here = if may_exist(piece.object) {
            Stretch { hole: false, length: piece.length }
        } else {
            below(rados, image, piece.file_offset, piece.length).await?
        };
        match &mut found {
            None => found = Some(here),
            Some(stretch) if stretch.hole == here.hole => stretch.length += here.length,
            Some(_) => break,
        }
        if here.length < piece.length {
            break;
        }
    }
    Ok(found.unwrap_or(Stretch { hole: false, length }))
}

/// What is under a piece of an object that does not exist.
async fn below<R: Rados>(rados: &R, image: &Image, offset: u64, length: u64) -> Result<Stretch, ImageError> {
    let through = image.overlap().saturating_sub(offset).min(length);
    let Some(parent) = image.parent().filter(|_| through > 0) else {
        return Ok(Stretch { hole: true, length });
    };
    let there = parent.size().saturating_sub(offset).min(through);
    if there == 0 {
        return Ok(Stretch { hole: true, length });
    }
    type Looking<'a> = Pin<Box<dyn Future<Output = Result<Stretch, ImageError>> + 'a>>;
    let looking: Looking<'_> = Box::pin(stretch(rados, parent, offset, there));
    let found = looking.await?;
    // A hole down to the end of what the parent has goes on above it.
    let whole = found.hole && found.length == there;
    Ok(if whole { Stretch { hole: true, length } } else { found })
}

/// Whether an object exists.
async fn look<R: Rados>(rados: &R, image: &Image, object: u64) -> Result<(u64, bool), ImageError> {
    match rados.exec(image.data(), &image.object(object), image.snap(), vec![Op::Stat]).await {
        Ok(_) => Ok((object, true)),
        Err(RadosError::NotFound) => Ok((object, false)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, Spec, place};
    use crate::features::Features;
    use futures::executor::block_on;
    use std::rc::Rc;
    use wasmount_ceph::osd::snap;

    const K: u64 = 4096;

    fn open(fake: &Fake, id: &str) -> Rc<Image> {
        block_on(Image::open(fake, place(1, ""), id.into(), snap::HEAD)).unwrap()
    }

    /// The whole image as the host would see it, stretches of one kind put together: `.` a hole, `x` data, one for each 4 KiB.
    fn shape(fake: &Fake, image: &Image) -> String {
        let mut shape = String::new();
        let mut at = 0;
        while at < image.size() {
            let found = block_on(next(fake, image, at, image.size() - at)).unwrap();
            assert!(found.length > 0 && found.length <= image.size() - at);
            let sign = if found.hole { "." } else { "x" };
            shape.push_str(&sign.repeat((found.length / K) as usize));
            at += found.length;
        }
        shape
    }

    fn put(fake: &Fake, id: &str, objects: &[u64]) {
        for object in objects {
            fake.put(&place(1, ""), &format!("rbd_data.{id}.{object:016x}"), snap::HEAD, &[1; 4096]);
        }
    }

    #[test]
    fn objects_are_looked_at_where_there_is_no_map() {
        let fake = Fake::default();
        fake.add_image(&place(1, ""), "a", snap::HEAD, &Spec { size: 200 * K, ..Spec::default() });
        put(&fake, "a", &[0, 3, 4, 199]);
        let image = open(&fake, "a");
        let expected = format!("x..xx{}x", ".".repeat(194));
        assert_eq!(shape(&fake, &image), expected);
        let error = block_on(next(&fake, &image, 200 * K, K)).unwrap_err();
        assert!(matches!(error, ImageError::Beyond { .. }));
    }

    #[test]
    fn a_live_images_map_is_loaded_for_each_call() {
        let fake = Fake::default();
        let here = place(1, "");
        let spec = Spec { size: 4 * K, features: 1 | Features::OBJECT_MAP.0, ..Spec::default() };
        fake.add_image(&here, "a", snap::HEAD, &spec);
        fake.add_map(&here, "a", snap::HEAD, &[0, 1, 0, 0]);
        let image = open(&fake, "a");
        assert_eq!(shape(&fake, &image), ".x..");
        fake.add_map(&here, "a", snap::HEAD, &[0, 1, 1, 3]);
        assert_eq!(shape(&fake, &image), ".xxx");
        // Now it lies: nobody believes it.
        fake.add_image(&here, "a", snap::HEAD, &Spec { flags: 1, ..spec });
        assert_eq!(shape(&fake, &image), "....");
    }

    #[test]
    fn holes_of_clones_are_holes_of_the_parent_too() {
        let fake = Fake::default();
        let here = place(1, "");
        fake.add_image(&here, "p", 5, &Spec { size: 4 * K, ..Spec::default() });
        for object in [0, 3] {
            fake.put(&here, &format!("rbd_data.p.{object:016x}"), 5, &[1; 4096]);
        }
        let spec = Spec { size: 6 * K, parent: Some(((1, "", "p", 5), 3 * K)), ..Spec::default() };
        fake.add_image(&here, "c", snap::HEAD, &spec);
        put(&fake, "c", &[2, 5]);
        assert_eq!(shape(&fake, &open(&fake, "c")), "x.x..x");
    }

    #[test]
    fn stripes_have_holes_of_their_unit() {
        let fake = Fake::default();
        let spec = Spec { size: 16 * K, order: 13, features: 3, stripes: Some((K, 2)), ..Spec::default() };
        fake.add_image(&place(1, ""), "s", snap::HEAD, &spec);
        put(&fake, "s", &[1, 2, 3]);
        assert_eq!(shape(&fake, &open(&fake, "s")), ".x.xxxxx........");
    }
}
