//! What others do to an image and to what it is a clone of, while it is read.

use super::*;
use crate::extents::{self, Stretch};
use crate::fake::{Fake, Spec, place};
use crate::read::read;
use futures::executor::block_on;
use proptest::prelude::*;
use wasmount_ceph_guest::objects::Part;

/// Size of the objects.
const K: u64 = 4096;
/// Those of each image in the property.
const OBJECTS: u64 = 6;

fn here() -> Place {
    place(1, "")
}

fn open(fake: &Fake, id: &str, snap: u64) -> Rc<Image> {
    block_on(Image::open(fake, here(), id.into(), snap)).unwrap()
}

fn name(id: &str, object: u64) -> String {
    format!("rbd_data.{id}.{object:016x}")
}

fn put(fake: &Fake, id: &str, snap: u64, object: u64, value: u8) {
    fake.put(&here(), &name(id, object), snap, &[value; K as usize]);
}

fn bytes_of(fake: &Fake, image: &Image, offset: u64, length: u64) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    for part in block_on(read(fake, image, offset, length))? {
        match part {
            Part::Zeros(count) => bytes.resize(bytes.len() + count as usize, 0),
            Part::Data { payload, offset, length } => {
                bytes.extend_from_slice(&payload[offset as usize..(offset + length) as usize]);
            }
        }
    }
    Ok(bytes)
}

/// The first byte of each of the first objects.
fn values(fake: &Fake, image: &Image, objects: u64) -> Result<Vec<u8>, ImageError> {
    let bytes = bytes_of(fake, image, 0, objects * K)?;
    Ok(bytes.chunks(K as usize).map(|object| object[0]).collect())
}

fn hole(fake: &Fake, image: &Image, offset: u64, length: u64) -> Result<Stretch, ImageError> {
    block_on(extents::next(fake, image, offset, length))
}

/// A snapshot of four objects, of which there are two.
fn snapshot() -> (Fake, Rc<Image>) {
    let fake = Fake::default();
    fake.add_image(&here(), "a", 7, &Spec { size: 4 * K, ..Spec::default() });
    put(&fake, "a", 7, 0, 1);
    put(&fake, "a", 7, 2, 3);
    let image = open(&fake, "a", 7);
    (fake, image)
}

#[test]
fn a_snapshot_that_was_removed_has_no_bytes() {
    let (fake, image) = snapshot();
    assert_eq!(values(&fake, &image, 4), Ok(vec![1, 0, 3, 0]));
    assert_eq!(hole(&fake, &image, K, 3 * K), Ok(Stretch { hole: true, length: K }));
    fake.remove_snapshot(&here(), "a", 7);
    let removed = ImageError::Removed { image: "a".into(), snap: 7 };
    assert_eq!(values(&fake, &image, 4), Err(removed.clone()));
    assert_eq!(hole(&fake, &image, 0, 4 * K), Err(removed));
}

#[test]
fn one_that_is_removed_while_it_is_read_has_none_either() {
    let (fake, image) = snapshot();
    fake.after(&name("a", 0), |fake| fake.remove_snapshot(&here(), "a", 7));
    assert!(matches!(values(&fake, &image, 4), Err(ImageError::Removed { .. })));
}

#[test]
fn a_snapshot_in_the_trash_has_its_bytes_as_long_as_it_has_clones() {
    let (fake, image) = snapshot();
    fake.set_purpose(&here(), "a", 7, 2, 1);
    assert_eq!(values(&fake, &image, 4), Ok(vec![1, 0, 3, 0]));
    // The OSDs drop it before its record is removed.
    fake.set_purpose(&here(), "a", 7, 2, 0);
    fake.drop_objects(&here(), "a", 7);
    assert!(matches!(values(&fake, &image, 4), Err(ImageError::Removed { .. })));
    assert!(matches!(hole(&fake, &image, 0, 4 * K), Err(ImageError::Removed { .. })));
}

#[test]
fn who_misses_nothing_asks_nothing_more() {
    let (fake, image) = snapshot();
    fake.asked.borrow_mut().clear();
    bytes_of(&fake, &image, 0, K).unwrap();
    assert_eq!(*fake.asked.borrow(), [name("a", 0)]);
    fake.asked.borrow_mut().clear();
    bytes_of(&fake, &image, 0, 4 * K).unwrap();
    assert_eq!(fake.asked.borrow().len(), 4 + 1);
    // Nothing can be said wrongly of a live image without parent.
    fake.add_image(&here(), "live", snap::HEAD, &Spec { size: 4 * K, ..Spec::default() });
    let live = open(&fake, "live", snap::HEAD);
    fake.asked.borrow_mut().clear();
    bytes_of(&fake, &live, 0, 4 * K).unwrap();
    assert_eq!(fake.asked.borrow().len(), 4);
}

/// A clone of one object, and its parent.
fn clone_of(snap: u64) -> Fake {
    let fake = Fake::default();
    fake.add_image(&here(), "base", 5, &Spec { size: K, ..Spec::default() });
    put(&fake, "base", 5, 0, 0xb0);
    let spec = Spec {
        size: K,
        features: 1 | Features::OBJECT_MAP.0,
        parent: Some(((1, "", "base", 5), K)),
        ..Spec::default()
    };
    fake.add_image(&here(), "clone", snap, &spec);
    fake.add_map(&here(), "clone", snap, &[0]);
    fake
}

/// `rbd flatten`, then the removal of the parent.
fn flatten(fake: &Fake, snap: u64) {
    put(fake, "clone", snap, 0, 0xb0);
    fake.add_map(&here(), "clone", snap, &[1]);
    fake.set_overlap(&here(), "clone", snap, None);
    fake.remove_snapshot(&here(), "base", 5);
}

#[test]
fn what_is_copied_up_during_a_read_is_found() {
    for snap in [snap::HEAD, 9] {
        // With the map of a snapshot, the parent is asked first.
        for object in ["rbd_data.", "rbd_header.", "rbd_data.base"] {
            let fake = clone_of(snap);
            let image = open(&fake, "clone", snap);
            fake.after(object, move |fake| flatten(fake, snap));
            assert_eq!(values(&fake, &image, 1), Ok(vec![0xb0]), "{snap:#x} {object}");
        }
    }
}

#[test]
fn what_is_copied_up_during_a_look_for_holes_is_found() {
    for snap in [snap::HEAD, 9] {
        for object in ["rbd_data.", "rbd_object_map.", "rbd_header."] {
            let fake = clone_of(snap);
            let image = open(&fake, "clone", snap);
            fake.clock_ms.set(5000);
            fake.after(object, move |fake| flatten(fake, snap));
            let found = hole(&fake, &image, 0, K);
            assert_eq!(found, Ok(Stretch { hole: false, length: K }), "{snap:#x} {object}");
        }
    }
}

#[test]
fn a_hole_stays_one_when_the_parent_goes() {
    for object in ["rbd_data.", "rbd_header.base", "rbd_header.clone"] {
        let fake = clone_of(9);
        fake.drop_objects(&here(), "base", 5);
        let image = open(&fake, "clone", 9);
        let deed = |fake: &Fake| {
            fake.set_overlap(&here(), "clone", 9, None);
            fake.remove_snapshot(&here(), "base", 5);
        };
        fake.after(object, deed);
        assert_eq!(hole(&fake, &image, 0, K), Ok(Stretch { hole: true, length: K }), "{object}");
    }
}

#[test]
fn the_map_of_a_snapshot_that_was_flattened_is_not_believed() {
    let fake = clone_of(9);
    let image = open(&fake, "clone", 9);
    flatten(&fake, 9);
    assert_eq!(values(&fake, &image, 1), Ok(vec![0xb0]));
    assert_eq!(hole(&fake, &image, 0, K), Ok(Stretch { hole: false, length: K }));
}

#[test]
fn a_parent_that_is_gone_although_it_is_needed_is_not_zeros() {
    for snap in [snap::HEAD, 9] {
        let fake = clone_of(snap);
        let image = open(&fake, "clone", snap);
        fake.remove_snapshot(&here(), "base", 5);
        let removed = ImageError::Removed { image: "base".into(), snap: 5 };
        assert_eq!(values(&fake, &image, 1), Err(removed.clone()));
        assert_eq!(hole(&fake, &image, 0, K), Err(removed));
    }
}

/// A step of somebody who flattens an image of the chain and removes what is below it.
type Step = Box<dyn FnOnce(&Fake)>;

/// The steps of flattening an image that is seen to have these bytes, as far as `overlap`.
fn flattening(
    id: &'static str,
    snap: u64,
    seen: &[u8],
    overlap: u64,
    below: (&'static str, u64),
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for object in 0..overlap.div_ceil(K) {
        let end = (object * K + K).min(overlap);
        let bytes = seen[(object * K) as usize..end as usize].to_vec();
        steps.push(Box::new(move |fake| {
            // Zeros are not copied up.
            if !fake.has(&here(), &name(id, object), snap) && bytes.iter().any(|byte| *byte != 0) {
                fake.put(&here(), &name(id, object), snap, &bytes);
            }
        }));
    }
    steps.push(Box::new(move |fake| fake.set_overlap(&here(), id, snap, None)));
    steps.push(Box::new(move |fake| fake.remove_snapshot(&here(), below.0, below.1)));
    steps
}

/// Bytes of a level: its own objects, then what is below as far as `overlap`, then zeros.
fn seen(own: &[bool], value: u8, below: &[u8], overlap: u64) -> Vec<u8> {
    let byte = |at: usize| match own[at / K as usize] {
        true => value,
        false if (at as u64) < overlap => below[at],
        false => 0,
    };
    (0..(OBJECTS * K) as usize).map(byte).collect()
}

proptest! {
    /// A clone of a clone, read while somebody flattens both and removes what is below them: always the same bytes, and no hole where
    /// there are some.
    #[test]
    fn bytes_stay_the_same_while_the_chain_is_taken_apart(
        existing in proptest::collection::vec(any::<bool>(), 3 * OBJECTS as usize),
        mapped in any::<bool>(),
        turns in proptest::collection::vec((any::<bool>(), 0_usize..6), 40),
        live in any::<bool>(),
        reads in proptest::collection::vec((0..OBJECTS * K, 1..OBJECTS * K), 30),
    ) {
        let fake = Fake::default();
        let top_snap = if live { snap::HEAD } else { 11 };
        let levels = [("base", 5), ("middle", 9), ("top", top_snap)];
        let overlaps = [0, 3 * K + K / 2, 5 * K];
        let (mut bytes, mut levels_seen) = (vec![0; (OBJECTS * K) as usize], Vec::new());
        for (level, (id, snap)) in levels.into_iter().enumerate() {
            let features = if mapped { 1 | Features::OBJECT_MAP.0 } else { 1 };
            let parent = level.checked_sub(1).map(|below| {
                let (id, snap) = levels[below];
                ((1, "", id, snap), overlaps[level])
            });
            // Nobody keeps the map of the live image up to date here.
            let flags = if snap == snap::HEAD { INVALID } else { 0 };
            let spec = Spec { size: OBJECTS * K, features, flags, parent, ..Spec::default() };
            fake.add_image(&here(), id, snap, &spec);
            let own = &existing[level * OBJECTS as usize..][..OBJECTS as usize];
            let states: Vec<u8> = own.iter().map(|exists| u8::from(*exists)).collect();
            fake.add_map(&here(), id, snap, &states);
            for object in (0..OBJECTS).filter(|object| own[*object as usize]) {
                put(&fake, id, snap, object, level as u8 + 1);
            }
            bytes = seen(own, level as u8 + 1, &bytes, overlaps[level]);
            levels_seen.push(bytes.clone());
        }
        let image = open(&fake, "top", top_snap);

        let mut middle = flattening("middle", 9, &levels_seen[1], overlaps[1], levels[0]).into_iter();
        let mut top = flattening("top", top_snap, &levels_seen[2], overlaps[2], levels[1]).into_iter();
        for (turn, pause) in turns {
            for _ in 0..pause {
                fake.after("", |_| ());
            }
            let step = if turn { top.next().or_else(|| middle.next()) } else { middle.next().or_else(|| top.next()) };
            if let Some(step) = step {
                fake.after("", step);
            }
        }
        for (offset, length) in reads {
            let length = length.min(OBJECTS * K - offset);
            let expected = &bytes[offset as usize..(offset + length) as usize];
            prop_assert!(bytes_of(&fake, &image, offset, length).unwrap() == expected);
            let found = hole(&fake, &image, offset, length).unwrap();
            prop_assert!(found.length > 0 && found.length <= length);
            if found.hole {
                prop_assert!(expected[..found.length as usize].iter().all(|byte| *byte == 0));
            }
            fake.clock_ms.set(fake.clock_ms.get() + 300);
        }
    }
}
