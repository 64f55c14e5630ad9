use super::*;
use crate::fake::{Fake, Spec, place};
use crate::features::Features;
use crate::object_map::INVALID;
use futures::executor::block_on;
use proptest::prelude::*;
use std::rc::Rc;
use wasmount_ceph::osd::snap;

const K: u64 = 4096;
const MIB: u64 = 1 << 20;

fn open(fake: &Fake, id: &str, snap: u64) -> Rc<Image> {
    block_on(Image::open(fake, place(1, ""), id.into(), snap)).unwrap()
}

fn bytes_of(parts: Vec<Part<bytes::Bytes>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Zeros(count) => bytes.resize(bytes.len() + count as usize, 0),
            Part::Data { payload, offset, length } => {
                bytes.extend_from_slice(&payload[offset as usize..(offset + length) as usize]);
            }
        }
    }
    bytes
}

fn read_all(fake: &Fake, image: &Image, offset: u64, length: u64) -> Vec<u8> {
    bytes_of(block_on(read(fake, image, offset, length)).unwrap())
}

fn name(id: &str, object: u64) -> String {
    format!("rbd_data.{id}.{object:016x}")
}

#[test]
fn short_and_missing_objects_are_zeros() {
    let fake = Fake::default();
    fake.add_image(&place(1, ""), "a", snap::HEAD, &Spec { size: 4 * K, ..Spec::default() });
    fake.put(&place(1, ""), &name("a", 0), snap::HEAD, &[1; 4096]);
    fake.put(&place(1, ""), &name("a", 2), snap::HEAD, &[3; 10]);
    let image = open(&fake, "a", snap::HEAD);
    let parts = block_on(read(&fake, &image, 0, 4 * K)).unwrap();
    let lengths: Vec<u64> = parts.iter().map(Part::length).collect();
    assert_eq!(lengths, [K, K, 10, 2 * K - 10], "zeros that follow each other are one part");
    let bytes = bytes_of(parts);
    assert!(bytes[..4096].iter().all(|b| *b == 1) && bytes[4096..8192].iter().all(|b| *b == 0));
    assert!(bytes[8192..8202].iter().all(|b| *b == 3) && bytes[8202..].iter().all(|b| *b == 0));
    assert_eq!(read_all(&fake, &image, 2 * K + 8, 4), [3, 3, 0, 0]);
    let beyond = block_on(read(&fake, &image, 3 * K, K + 1)).unwrap_err();
    assert_eq!(beyond, ImageError::Beyond { offset: 3 * K, end: 4 * K + 1, size: 4 * K });
}

#[test]
fn data_may_be_in_another_pool_and_in_a_namespace() {
    let fake = Fake::default();
    let (header, data) = (place(1, "ns"), place(7, "ns"));
    fake.add_image(
        &header,
        "a",
        snap::HEAD,
        &Spec { size: K, features: 0x81, data_pool: 7, ..Spec::default() },
    );
    fake.put(&data, &name("a", 0), snap::HEAD, b"other pool");
    let image = block_on(Image::open(&fake, header, "a".into(), snap::HEAD)).unwrap();
    assert_eq!(read_all(&fake, &image, 0, 10), b"other pool");
}

/// A clone of a clone: what is missing in one is in the next, as far as that reaches.
fn chain() -> (Fake, Rc<Image>) {
    let fake = Fake::default();
    let (here, other) = (place(1, ""), place(2, "ns"));
    let base = Spec { size: 3 * K, ..Spec::default() };
    fake.add_image(&other, "base", 5, &base);
    fake.put(&other, &name("base", 0), 5, &[0xb0; 4096]);
    fake.put(&other, &name("base", 1), 5, &[0xb1; 4096]);
    fake.put(&other, &name("base", 2), 5, &[0xb2; 4096]);
    fake.put(&other, &name("base", 2), snap::HEAD, &[0xff; 4096]);
    let middle = Spec { size: 4 * K, parent: Some(((2, "ns", "base", 5), 2 * K + 100)), ..Spec::default() };
    fake.add_image(&here, "middle", 9, &middle);
    fake.put(&here, &name("middle", 1), 9, &[0x11; 50]);
    let top = Spec { size: 8 * K, parent: Some(((1, "", "middle", 9), 4 * K)), ..Spec::default() };
    fake.add_image(&here, "top", snap::HEAD, &top);
    fake.put(&here, &name("top", 5), snap::HEAD, &[0x55; 4096]);
    let image = open(&fake, "top", snap::HEAD);
    (fake, image)
}

#[test]
fn clones_see_through_to_their_parents() {
    let (fake, image) = chain();
    let mut expected = vec![0; 8 * 4096];
    expected[..4096].fill(0xb0); // from the base
    expected[4096..4146].fill(0x11); // short in the middle: zeros follow, not the base
    expected[2 * 4096..2 * 4096 + 100].fill(0xb2); // as far as the middle sees through, and from the snapshot
    expected[5 * 4096..6 * 4096].fill(0x55);
    assert_eq!(read_all(&fake, &image, 0, 8 * K), expected);
    assert_eq!(read_all(&fake, &image, 2 * K + 90, 20), expected[2 * 4096 + 90..2 * 4096 + 110]);
}

#[test]
fn one_object_is_one_request() {
    let (fake, image) = chain();
    fake.asked.borrow_mut().clear();
    read_all(&fake, &image, 5 * K, K);
    assert_eq!(*fake.asked.borrow(), [name("top", 5)]);
}

#[test]
fn a_parent_that_is_gone_is_named() {
    let fake = Fake::default();
    let spec = Spec { size: K, parent: Some(((3, "", "lost", 5), K)), ..Spec::default() };
    fake.add_image(&place(1, ""), "a", snap::HEAD, &spec);
    let error = block_on(Image::open(&fake, place(1, ""), "a".into(), snap::HEAD)).unwrap_err();
    assert!(matches!(&error, ImageError::Parent { pool: 3, image, .. } if image == "lost"), "{error:?}");
    assert!(!error.is_not_found());
}

#[test]
fn a_chain_without_end_is_refused() {
    let fake = Fake::default();
    let spec = Spec { size: K, parent: Some(((1, "", "a", 5), K)), ..Spec::default() };
    fake.add_image(&place(1, ""), "a", 5, &spec);
    let error = block_on(Image::open(&fake, place(1, ""), "a".into(), 5)).unwrap_err();
    assert!(matches!(&error, ImageError::Parent { .. } | ImageError::TooDeep(16)), "{error:?}");
}

#[test]
fn a_snapshots_map_spares_requests() {
    let fake = Fake::default();
    let here = place(1, "");
    let spec = Spec { size: 4 * K, features: 1 | Features::OBJECT_MAP.0, ..Spec::default() };
    for (snap, flags) in [(7, 0), (8, INVALID), (snap::HEAD, 0)] {
        fake.add_image(&here, "a", snap, &Spec { flags, ..spec.clone() });
        fake.add_map(&here, "a", snap, &[1, 0, 2, 0]);
        fake.put(&here, &name("a", 2), snap, &[2; 4096]);
    }
    // What the map says of a snapshot is believed; an invalid map, and any of a live image, are not. Of a snapshot it is asked afterwards
    // whether it is still there.
    for (snap, requests) in [(7, 2 + 1), (8, 4 + 1), (snap::HEAD, 4)] {
        let image = open(&fake, "a", snap);
        fake.asked.borrow_mut().clear();
        let bytes = read_all(&fake, &image, 0, 4 * K);
        assert_eq!(bytes[2 * 4096], 2);
        assert_eq!(fake.asked.borrow().len(), requests, "{snap:#x}");
    }
    assert_eq!(open(&fake, "a", 7).version().as_deref(), Some("a:7"));
    assert_eq!(open(&fake, "a", snap::HEAD).version(), None);
}

#[test]
fn a_live_image_is_looked_at_again() {
    let (fake, image) = chain();
    // It was made smaller.
    let spec = Spec { size: 7 * K, parent: Some(((1, "", "middle", 9), 4 * K)), ..Spec::default() };
    fake.add_image(&place(1, ""), "top", snap::HEAD, &spec);
    assert_eq!(read_all(&fake, &image, 5 * K, 1), [0x55]);
    assert_eq!(image.size(), 8 * K, "believed for a while");
    fake.clock_ms.set(1000);
    assert_eq!(read_all(&fake, &image, 5 * K, 1), [0x55]);
    assert_eq!(image.size(), 7 * K);
    fake.asked.borrow_mut().clear();
    read_all(&fake, &image, 5 * K, 1);
    assert_eq!(fake.asked.borrow().len(), 1, "not looked at again at once");
    block_on(image.confirm(&fake)).unwrap();
    assert_eq!(fake.asked.borrow().len(), 2, "unless it matters");
}

#[test]
fn very_small_objects_are_read_a_window_at_a_time() {
    let fake = Fake::default();
    let here = place(1, "");
    fake.add_image(&here, "base", 5, &Spec { size: 64 * MIB, ..Spec::default() });
    let parent = Some(((1, "", "base", 5), 64 * MIB));
    fake.add_image(&here, "clone", 7, &Spec { size: 64 * MIB, order: 22, parent, ..Spec::default() });
    fake.add_image(&here, "usual", 7, &Spec { size: 64 * MIB, order: 22, ..Spec::default() });
    let found =
        |id: &str, snap: u64| -> Vec<(u64, u64)> { windows(&open(&fake, id, snap), 512, 16 * MIB).collect() };
    assert_eq!(found("usual", 7), [(512, 16 * MIB)]);
    for small in [found("base", 5), found("clone", 7)] {
        assert!(small.iter().all(|(_, length)| (1..=MOST_OBJECTS * K).contains(length)));
        let end = small.iter().fold(512, |at, (offset, length)| {
            assert_eq!(*offset, at);
            at + length
        });
        assert_eq!(end, 512 + 16 * MIB);
    }
}

proptest! {
    /// Whatever the stripes, what was put is what is read, with one request for each object.
    #[test]
    fn stripes_are_put_together(
        shift in 0_u8..4,
        count in 1_u64..5,
        sets in 1_u64..4,
        start in 0_u64..4096,
        length in 1_u64..60_000,
        holes in proptest::collection::vec(any::<bool>(), 16),
    ) {
        let fake = Fake::default();
        let here = place(1, "");
        let unit = K >> shift;
        let size = K * count * sets;
        let spec = Spec { size, features: 3, stripes: Some((unit, count)), ..Spec::default() };
        fake.add_image(&here, "s", snap::HEAD, &spec);
        let image = open(&fake, "s", snap::HEAD);
        let mut expected = vec![0_u8; size as usize];
        for object in (0..count * sets).filter(|object| !holes[*object as usize % 16]) {
            let mut bytes = vec![0_u8; K as usize];
            for piece in image.layout().pieces(0, size).filter(|piece| piece.object == object) {
                for at in 0..piece.length {
                    let value = ((piece.file_offset + at) % 251 + 1) as u8;
                    bytes[(piece.offset + at) as usize] = value;
                    expected[(piece.file_offset + at) as usize] = value;
                }
            }
            fake.put(&here, &name("s", object), snap::HEAD, &bytes);
        }
        let start = start.min(size - 1);
        let length = length.min(size - start);
        fake.asked.borrow_mut().clear();
        let found = read_all(&fake, &image, start, length);
        prop_assert_eq!(&found[..], &expected[start as usize..(start + length) as usize]);
        let mut asked = fake.asked.take();
        let requests = asked.len();
        asked.sort();
        asked.dedup();
        prop_assert_eq!(asked.len(), requests);
    }
}
