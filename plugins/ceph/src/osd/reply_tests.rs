use super::*;
use crate::encoding::Encoder;
use crate::osd::{Extent, Locator};
use bytes::Bytes;

/// A front as an OSD writes it, with these operations: length of output, and result.
fn front(result: i32, operations: &[(u32, i32)], redirect: Option<&Locator>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.blob("object");
    PgId { pool: 4, seed: 3 }.encode(&mut encoder);
    encoder.u64(0x40_0015).i32(result).zeros(12).u32(28);
    encoder.length(operations.len());
    for (length, _) in operations {
        encoder.u16(0x1201).zeros(32).u32(*length);
    }
    encoder.i32(2);
    for (_, result) in operations {
        encoder.i32(*result);
    }
    encoder.zeros(12).u64(99).bool(redirect.is_some());
    if let Some(locator) = redirect {
        encoder.section(1, 1, |body| {
            locator.encode(body);
            body.blob("elsewhere").u32(0);
        });
    }
    encoder.zeros(24);
    encoder.finish()
}

fn sparse_output(extents: &[(u64, u64)], pieces: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.list(extents.iter(), |encoder, (offset, length)| {
        encoder.u64(*offset).u64(*length);
    });
    encoder.blob(pieces);
    encoder.finish()
}

#[test]
fn data_is_cut_by_the_lengths_of_the_outputs() {
    let reply = Reply::decode(8, 2, &front(0, &[(3, 0), (2, 1), (0, 0)], None)).unwrap();
    assert_eq!((reply.attempt, reply.version, reply.epoch), (2, 99, 28));
    let data = Bytes::from_static(b"abcde");
    let ops = [Op::Read(Extent::new(0, 3)), Op::GetXattr(b"x".to_vec()), Op::Read(Extent::new(9, 1))];
    let results = reply.results(&ops, Some(data.clone())).unwrap();
    assert_eq!(results[0].output, Output::Payload(Some(Bytes::from_static(b"abc"))));
    assert_eq!(results[1], OpResult { result: 1, output: Output::Bytes(b"de".to_vec()) });
    assert_eq!(results[2].output, Output::Payload(None), "the object ends before");
}

#[test]
fn what_does_not_fit_is_refused() {
    let data = Bytes::from_static(b"abcde");
    let read = [Op::Read(Extent::new(0, 9))];
    let long = Reply::decode(8, 2, &front(0, &[(6, 0)], None)).unwrap();
    assert!(long.results(&read, Some(data.clone())).is_err(), "an output longer than the data");
    assert!(long.results::<Bytes>(&read, None).is_err(), "an output without data");
    let two = Reply::decode(8, 2, &front(0, &[(1, 0), (1, 0)], None)).unwrap();
    assert!(two.results(&read, Some(data.clone())).is_err(), "more results than operations");
    assert!(Reply::decode(11, 11, &front(0, &[], None)).is_err(), "a version that must not be read");
    let whole = front(0, &[(1, 0)], None);
    // The last 24 bytes are tracing, which is not read.
    for length in 0..whole.len() - 24 {
        assert!(Reply::decode(8, 2, &whole[..length]).is_err(), "{length} bytes");
    }
}

/// Bytes of which no part can be had, or no copy.
#[derive(Clone, Debug, PartialEq)]
struct Scarce {
    bytes: Bytes,
    parts: bool,
    copies: bool,
}

impl Payload for Scarce {
    fn len(&self) -> usize {
        self.bytes.len()
    }
    fn slice(&self, offset: usize, length: usize) -> Option<Self> {
        let bytes = Payload::slice(&self.bytes, offset, length)?;
        self.parts.then(|| Self { bytes, ..self.clone() })
    }
    fn share(&self) -> Self {
        self.clone()
    }
    fn copy_out(&self, offset: usize, length: usize) -> Option<Vec<u8>> {
        self.bytes.copy_out(offset, length).filter(|_| self.copies)
    }
    fn crc32c(&self, register: u32) -> u32 {
        self.bytes.crc32c(register)
    }
}

#[test]
fn what_cannot_be_held_is_no_hole() {
    let cut = |ops: &[Op<Scarce>], output: &[u8], lengths: &[(u32, i32)], parts, copies| {
        let data = Scarce { bytes: Bytes::copy_from_slice(output), parts, copies };
        Reply::decode(8, 2, &front(0, lengths, None)).unwrap().results(ops, Some(data))
    };
    let read = || Op::Read(Extent::new(0, 3));
    let two = cut(&[read(), read()], b"abcdef", &[(3, 0), (3, 0)], false, true);
    assert_eq!(two, Err(OutputError::Refused), "a part is refused");
    let small = cut(&[Op::Stat], b"abc", &[(3, 0)], true, false);
    assert_eq!(small, Err(OutputError::Refused), "a copy is refused");
    let mixed = cut(&[read(), Op::Stat], b"abcdef", &[(3, 0), (3, 0)], true, false);
    assert_eq!(mixed, Err(OutputError::Refused), "the copy of a part is refused");
    let pieces = sparse_output(&[(0, 2)], b"ab");
    let lengths = [(u32::try_from(pieces.len()).unwrap(), 0)];
    let sparse = || [Op::SparseRead(Extent::new(0, 0))];
    assert_eq!(cut(&sparse(), &pieces, &lengths, false, true), Err(OutputError::Refused));
    assert_eq!(cut(&sparse(), &pieces, &lengths, true, false), Err(OutputError::Refused));
}

#[test]
fn all_of_the_data_needs_no_part() {
    let data = Scarce { bytes: Bytes::from_static(b"abc"), parts: false, copies: false };
    let reply = Reply::decode(8, 2, &front(0, &[(0, 0), (3, 0)], None)).unwrap();
    let ops = [Op::Stat, Op::Read(Extent::new(0, 3))];
    let results = reply.results(&ops, Some(data.clone())).unwrap();
    assert_eq!(results[1].output, Output::Payload(Some(data)));
}

#[test]
fn a_refusal_may_leave_the_operations_out() {
    let reply = Reply::decode(8, 2, &front(-108, &[], None)).unwrap();
    assert_eq!(reply.results::<Bytes>(&[Op::Stat], None).unwrap(), []);
}

#[test]
fn a_redirect_is_told() {
    let locator = Locator { pool: 5, key: Vec::new(), namespace: b"n".to_vec(), hash: -1 };
    let reply = Reply::decode(8, 2, &front(0, &[], Some(&locator))).unwrap();
    assert_eq!(reply.redirect, Some(Redirect { locator, object: b"elsewhere".to_vec() }));
}

#[test]
fn a_sparse_read_tells_where_its_pieces_are() {
    let output = sparse_output(&[(4096, 2), (8192, 3)], b"abcde");
    let mut data = b"xx".to_vec();
    data.extend_from_slice(&output);
    let lengths = [(2, 0), (u32::try_from(output.len()).unwrap(), 0)];
    let reply = Reply::decode(8, 2, &front(0, &lengths, None)).unwrap();
    let ops = [Op::Stat, Op::SparseRead(Extent::new(0, 0))];
    let results = reply.results(&ops, Some(Bytes::from(data))).unwrap();
    assert_eq!(results[0].output, Output::Bytes(b"xx".to_vec()));
    let data = Some(Bytes::from_static(b"abcde"));
    assert_eq!(results[1].output, Output::Sparse { extents: vec![(4096, 2), (8192, 3)], data });
}

#[test]
fn extents_that_cannot_be_are_refused() {
    let results = |output: Vec<u8>| {
        let length = u32::try_from(output.len()).unwrap();
        let reply = Reply::decode(8, 2, &front(0, &[(length, 0)], None)).unwrap();
        reply.results(&[Op::SparseRead(Extent::new(0, 0))], Some(Bytes::from(output)))
    };
    assert!(results(sparse_output(&[], b"")).is_ok(), "nothing but a hole");
    assert!(results(sparse_output(&[(0, 5)], b"abcd")).is_err(), "fewer bytes than announced");
    assert!(results(sparse_output(&[(4, 2), (5, 2)], b"abcd")).is_err(), "overlapping");
    assert!(results(sparse_output(&[(u64::MAX, 2)], b"ab")).is_err(), "beyond all numbers");
    assert!(results(vec![0xff; 12]).is_err(), "more extents than bytes");
    for length in 1..8 {
        assert!(results(vec![0; length]).is_err(), "{length} bytes");
    }
}
