//! Frames in both modes: what is written is read, what is damaged is noticed, and nothing that arrives does harm.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::frames::Side;
use common::native::Ciphers;
use proptest::collection::vec;
use proptest::prelude::*;
use std::rc::Rc;
use wasmount_ceph::msgr::frame::{
    Frame, FrameError, FrameReader, Limits, PREAMBLE_LEN, Preamble, Segment, Tag,
};
use wasmount_ceph::msgr::{AeadFactory, Arrived, MessageHeader, WANT_BYTES_MAX, Want};
use wasmount_ceph::payload::crc32c;

const NONCE: [u8; 12] = [0xfe; 12];

/// Two ends of one direction.
fn ends(secure: bool) -> (Side, Side) {
    let (mut writes, mut reads) = (Side::new(), Side::new());
    if secure {
        let cipher = Rc::new(Ciphers.aes128_gcm(&[7; 16]).unwrap());
        writes.secure(Rc::clone(&cipher), NONCE, NONCE);
        reads.secure(cipher, NONCE, NONCE);
    }
    (writes, reads)
}

fn message(front: Vec<u8>, middle: Vec<u8>, data: Vec<u8>) -> Frame<Bytes> {
    let header =
        MessageHeader { sequence: 5, tid: 6, kind: 42, acknowledged: 4, flags: 1, ..Default::default() };
    let data = (!data.is_empty()).then(|| data.into());
    Frame { tag: Tag::Message, head: header.encode(), front, middle, data }
}

fn any_frame() -> impl Strategy<Value = Frame<Bytes>> {
    let bytes = |most| vec(any::<u8>(), 0..most);
    let control = bytes(200).prop_map(|head| Frame {
        tag: Tag::AuthReplyMore,
        head,
        front: Vec::new(),
        middle: Vec::new(),
        data: None,
    });
    let message = (bytes(100), bytes(40), prop_oneof![Just(Vec::new()), bytes(300)])
        .prop_map(|(front, middle, data)| message(front, middle, data));
    prop_oneof![control, message]
}

fn read_all(side: &mut Side, bytes: Vec<u8>) -> Result<Vec<Frame<Bytes>>, FrameError> {
    let mut stream = Bytes::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = side.read(&mut stream)? {
        frames.push(frame);
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn what_is_written_is_read(frames in vec(any_frame(), 1..6), secure: bool) {
        let (mut writes, mut reads) = ends(secure);
        let bytes = frames.iter().flat_map(|frame| writes.again(frame)).collect();
        prop_assert_eq!(read_all(&mut reads, bytes).unwrap(), frames);
    }

    #[test]
    fn a_changed_byte_is_noticed_or_harmless(
        frames in vec(any_frame(), 1..4), secure: bool, at: prop::sample::Index, change in 1..=255_u8,
    ) {
        let (mut writes, mut reads) = ends(secure);
        let mut bytes: Vec<u8> = frames.iter().flat_map(|frame| writes.again(frame)).collect();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        match read_all(&mut reads, bytes) {
            Ok(read) => {
                prop_assert!(!secure, "nothing in secure mode is left unprotected");
                prop_assert_eq!(read, frames);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..400), secure: bool) {
        let (_, mut reads) = ends(secure);
        let _ = read_all(&mut reads, bytes);
    }

    /// Behind a preamble with a good checksum, so that more than the preamble is read.
    #[test]
    fn arbitrary_frames_do_no_harm(
        tag in 0..24_u8, count in 0..6_u8, lengths in [0..70_u32, 0..70, 0..70, 0..70], flags in 0..3_u8,
        rest in vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = vec![tag, count];
        for length in lengths {
            bytes.extend(length.to_le_bytes());
            bytes.extend([8, 0]);
        }
        bytes.extend([flags, 0]);
        bytes.extend(crc32c(0, &bytes).to_le_bytes());
        prop_assert_eq!(bytes.len(), PREAMBLE_LEN);
        bytes.extend(rest);
        let (_, mut reads) = ends(false);
        let _ = read_all(&mut reads, bytes);
    }
}

#[test]
fn large_fronts_arrive_bit_by_bit() {
    let (mut writes, reads) = ends(false);
    let frame = message(vec![1; 3 * WANT_BYTES_MAX as usize], Vec::new(), Vec::new());
    let bytes = writes.again(&frame);
    let mut reader = reads.reader;
    let mut at = 0;
    let mut wants = 0;
    while at < bytes.len() {
        let Want::Bytes(length) = reader.want() else { panic!("no data in this frame") };
        assert!(length <= WANT_BYTES_MAX);
        let piece = bytes[at..at + length as usize].to_vec();
        at += piece.len();
        wants += 1;
        reader.received(Arrived::Bytes(piece)).unwrap();
    }
    // The preamble, and a little more than three times the most.
    assert_eq!(wants, 5);
}

#[test]
fn data_stay_outside_and_what_is_encrypted_with_them_too() {
    for secure in [false, true] {
        let (mut writes, mut reads) = ends(secure);
        // In secure mode a front may be too long to be decrypted at once, too.
        for frame in
            [message(vec![1; 100], vec![2; 20], vec![3; 5000]), message(vec![1; 70_000], vec![], vec![])]
        {
            let bytes = Bytes::from(writes.again(&frame));
            let mut stream = bytes.clone();
            assert_eq!(reads.read(&mut stream).unwrap().unwrap(), frame);
        }
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let limits = Limits { front: 10, ..Limits::default() };
    for (frame, error) in [
        (
            message(vec![0; 11], vec![], vec![]),
            "a MESSAGE frame whose front segment has 11 bytes; the limit is 10",
        ),
        (
            Frame { tag: Tag::Hello, head: vec![0; 65537], front: vec![], middle: vec![], data: None },
            "a HELLO frame whose first segment has 65537 bytes; the limit is 65536",
        ),
    ] {
        let bytes = Side::new().again(&frame);
        let mut stream = Bytes::copy_from_slice(&bytes[..PREAMBLE_LEN]);
        let result = Side::with_limits(limits).read(&mut stream);
        assert_eq!(result.unwrap_err().to_string(), error);
    }
}

/// Changes a byte of a frame's bytes and says what the reader thinks of it.
fn problem(frame: &Frame<Bytes>, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Side::new().again(frame);
    change(&mut bytes);
    Side::new().read(&mut Bytes::from(bytes)).unwrap_err().to_string()
}

#[test]
fn errors_say_what_is_wrong() {
    let frame = message(vec![1; 10], vec![2; 10], vec![3; 10]);
    let at_front = PREAMBLE_LEN + MessageHeader::LENGTH + 4;
    for (at, segment) in
        [(PREAMBLE_LEN, "first"), (at_front, "front"), (at_front + 10, "middle"), (at_front + 20, "data")]
    {
        let text = problem(&frame, |bytes| bytes[at] ^= 1);
        assert!(text.starts_with(&format!("the {segment} segment of a MESSAGE frame is damaged")), "{text}");
    }
    let text = problem(&frame, |bytes| bytes[0] ^= 1);
    assert!(text.starts_with("the preamble of a frame is damaged"), "{text}");
    let status = at_front + 30;
    assert_eq!(problem(&frame, |bytes| bytes[status] = 1), "the peer gave up in the middle of a frame");
    assert_eq!(problem(&frame, |bytes| bytes[status] = 2), "a frame ends with the unknown status 0x02");
    let text = problem(&frame, |bytes| bytes[status + 1..].fill(0));
    assert!(text.ends_with("(a crc of 0 is what peers with ms_crc_data=false send; turn it on)"), "{text}");

    let preamble = |change: fn(&mut [u8])| {
        problem(&frame, |bytes| {
            change(bytes);
            let crc = crc32c(0, &bytes[..PREAMBLE_LEN - 4]);
            bytes[PREAMBLE_LEN - 4..PREAMBLE_LEN].copy_from_slice(&crc.to_le_bytes());
        })
    };
    assert_eq!(preamble(|bytes| bytes[0] = 99), "a frame with the unknown tag 99");
    assert_eq!(preamble(|bytes| bytes[1] = 5), "a MESSAGE frame of 5 segments");
    assert_eq!(preamble(|bytes| bytes[0] = 1), "a HELLO frame of 4 segments");
    assert_eq!(preamble(|bytes| bytes[20..24].fill(0)), "a MESSAGE frame whose last segment is empty");
    assert_eq!(
        preamble(|bytes| bytes[26] = 1),
        "a compressed MESSAGE frame, though compression was not agreed on"
    );
}

#[test]
fn a_message_before_the_session_is_refused_at_its_preamble() {
    let bytes = Side::new().again(&message(vec![1; 10], vec![], vec![]));
    let mut reader = FrameReader::<Bytes, common::native::Cipher>::new(Limits::default());
    let result = reader.received(Arrived::Bytes(bytes[..PREAMBLE_LEN].to_vec()));
    assert_eq!(result.unwrap_err().to_string(), "a MESSAGE frame before the session has begun");
}

#[test]
fn the_driver_must_hand_over_what_was_wanted() {
    let mut reader = Side::new().reader;
    let error = reader.received(Arrived::Bytes(vec![0; 31])).unwrap_err();
    assert_eq!(error.to_string(), "the driver handed over 31 bytes where 32 bytes was asked for");
    let error = reader.received(Arrived::Payload(Bytes::from_static(&[0; 32]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the driver handed over a payload of 32 bytes where 32 bytes was asked for"
    );
}

#[test]
fn preambles_leave_out_empty_segments_at_the_end() {
    let preamble = Preamble::of(Tag::Message, [41, 7, 0, 0]);
    assert_eq!((preamble.count, preamble.length(Segment::Data)), (2, 0));
    assert_eq!(Preamble::of(Tag::Wait, [0; 4]).count, 1);
    let data = Preamble::of(Tag::Message, [41, 0, 0, 9]);
    assert_eq!((data.count, data.segments[3].alignment), (4, 4096));
    let bytes: [u8; PREAMBLE_LEN] = data.encode().try_into().unwrap();
    assert_eq!(Preamble::decode(&bytes).unwrap(), data);
}
