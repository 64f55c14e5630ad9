use super::*;
use crate::fake::{Fake, plan};
use futures::executor::block_on;
use proptest::prelude::*;
use wasmount_ceph::cephfs::Vino;

const K: u64 = 1 << 10;

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

fn read_all(fake: &Fake, plan: &ReadPlan, offset: u64, length: u64) -> Vec<u8> {
    bytes_of(block_on(read(fake, plan, offset, length)).unwrap())
}

#[test]
fn holes_are_zeros_and_the_end_is_the_end() {
    let fake = Fake::default();
    let plan = plan(0x100_0000_0abc, 10 * K + 5, (4 * K, 4 * K, 1));
    fake.put(&plan, 0, &[1; 100]);
    fake.put(&plan, 2, &[3; 4096]);
    let parts = block_on(read(&fake, &plan, 0, 64 * K)).unwrap();
    let lengths: Vec<u64> = parts.iter().map(Part::length).collect();
    assert_eq!(lengths, [100, 8 * K - 100, 2 * K + 5], "zeros that follow each other are one part");
    assert_eq!(*fake.asked.borrow(), [0, 1, 2].map(|object| format!("10000000abc.{object:08x}")));
    assert_eq!(read_all(&fake, &plan, 8 * K - 2, 4), [0, 0, 3, 3]);
    assert_eq!(read_all(&fake, &plan, 10 * K + 4, 100), [3]);
    fake.asked.take();
    assert!(read_all(&fake, &plan, 10 * K + 5, 100).is_empty());
    assert!(read_all(&fake, &plan, u64::MAX, u64::MAX).is_empty());
    assert!(fake.asked.take().is_empty());
}

#[test]
fn a_snapshot_has_its_own_bytes() {
    let fake = Fake::default();
    let live = plan(0x100, 4, (4 * K, 4 * K, 1));
    let old = ReadPlan { vino: Vino { ino: 0x100, snap: 7 }, ..live.clone() };
    fake.put(&live, 0, b"new!");
    fake.put(&old, 0, b"old!");
    assert_eq!(
        (read_all(&fake, &live, 0, 4), read_all(&fake, &old, 0, 4)),
        (b"new!".to_vec(), b"old!".to_vec())
    );
}

/// What was cut off stays away although the objects still have it, also where a file is striped.
#[test]
fn truncations_are_told_to_each_object() {
    for (object_size, unit, count) in [(4 * K, 4 * K, 1), (4 * K, K, 3)] {
        let fake = Fake::default();
        let before = plan(0x100, 24 * K, (object_size, unit, count));
        for object in 0..6 {
            fake.put(&before, object, &[object as u8 + 1; 4096]);
        }
        let whole = read_all(&fake, &before, 0, 24 * K);
        for cut in [0, 1, 1500, 4096, 5 * K + 7, 12 * K, 20 * K] {
            let regrown = ReadPlan { truncate_seq: 1, truncate_size: cut, ..before.clone() };
            let found = read_all(&fake, &regrown, 0, 24 * K);
            let (kept, gone) = found.split_at(cut as usize);
            assert_eq!(kept, &whole[..cut as usize]);
            assert!(gone.iter().all(|byte| *byte == 0), "cut at {cut}");
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let fake = Fake::default();
    let good = plan(0x100, 8 * K, (4 * K, 4 * K, 1));
    fake.fails.replace(Some(RadosError::Io));
    let error = block_on(read(&fake, &good, 5 * K, 10)).unwrap_err();
    assert!(error.to_string().starts_with("object 100.00000001 in pool 2: "), "{error}");
    for bad in [plan(0x100, 8 * K, (4 * K, 0, 1)), plan(0x100, 8 * K, (4 * K, 4 * K, 0))] {
        let error = block_on(read(&fake, &bad, 0, 10)).unwrap_err();
        assert!(matches!(error, ReadError::Layout(_)), "{error}");
    }
}

proptest! {
    /// Whatever the stripes, what was put is what is read, with one request for each object.
    #[test]
    fn stripes_are_put_together(
        shift in 0_u8..3,
        count in 1_u64..5,
        sets in 1_u64..4,
        short in 0_u64..4096,
        start in 0_u64..50_000,
        length in 1_u64..60_000,
        holes in proptest::collection::vec(any::<bool>(), 16),
    ) {
        let fake = Fake::default();
        let unit = (4 * K) >> shift;
        let size = 4 * K * count * sets - short;
        let plan = plan(0x100, size, (4 * K, unit, count));
        let layout = Layout::new(4 * K, unit, count).unwrap();
        let mut expected = vec![0_u8; size as usize];
        for object in (0..count * sets).filter(|object| !holes[*object as usize % 16]) {
            let mut bytes = vec![0_u8; layout.object_length(object, size) as usize];
            for piece in layout.pieces(0, size).filter(|piece| piece.object == object) {
                for at in 0..piece.length {
                    let value = ((piece.file_offset + at) % 251 + 1) as u8;
                    bytes[(piece.offset + at) as usize] = value;
                    expected[(piece.file_offset + at) as usize] = value;
                }
            }
            fake.put(&plan, object, &bytes);
        }
        let start = start.min(size - 1);
        let end = size.min(start + length);
        let found = read_all(&fake, &plan, start, length);
        prop_assert_eq!(&found[..], &expected[start as usize..end as usize]);
        let mut asked = fake.asked.take();
        let requests = asked.len();
        asked.sort();
        asked.dedup();
        prop_assert_eq!(asked.len(), requests);
    }
}
