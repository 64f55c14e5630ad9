//! Recorded sessions of Ceph's own clients and daemons: every frame in both directions is read, checked, understood, and written again
//! byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::frames::{BANNER_LEN, Side};
use common::pcap::{Recording, recordings};
use std::collections::BTreeMap;
use wasmount_ceph::msgr::MessageHeader;
use wasmount_ceph::msgr::control::Control;
use wasmount_ceph::msgr::frame::Tag;

/// How often what was seen: frames by tag, messages by kind and version.
type Census = BTreeMap<String, u32>;

/// Reads one direction to its end.
fn walk(stream: &[u8], census: &mut Census) {
    assert_eq!(stream[..8], *b"ceph v2\n");
    let mut side = Side::new();
    let mut rest = Bytes::copy_from_slice(&stream[BANNER_LEN..]);
    while !rest.is_empty() {
        let before = rest.clone();
        let frame = side.read(&mut rest).unwrap().expect("the recording ends within a frame");
        let raw = &before[..before.len() - rest.len()];
        if frame.tag == Tag::Message {
            let header = MessageHeader::decode(&frame.head).unwrap();
            assert_eq!(header.encode(), frame.head);
            *census.entry(format!("{:#x} v{}", header.kind, header.version)).or_default() += 1;
        } else {
            if let Some(control) = Control::decode(frame.tag, &frame.head).unwrap() {
                assert_eq!(control.encode(), frame.head, "{control:?}");
                assert_eq!(control.tag(), frame.tag);
            }
            *census.entry(frame.tag.to_string()).or_default() += 1;
        }
        assert!(side.again(&frame) == raw, "{} is written differently", frame.tag);
    }
}

fn census(recordings: &[Recording]) -> Census {
    let mut census = Census::new();
    for recording in recordings {
        walk(&recording.to_server, &mut census);
        walk(&recording.to_client, &mut census);
    }
    census
}

fn expected(counts: &[(&str, u32)]) -> Census {
    counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
}

#[test]
fn a_mount_in_crc_mode() {
    let recordings = recordings("fuse-crc.pcap.gz");
    assert_eq!(recordings.len(), 4);
    assert_eq!(
        census(&recordings),
        // Counted by another program when it was recorded.
        expected(&[
            ("ACK", 186),
            ("AUTH_DONE", 4),
            ("AUTH_REPLY_MORE", 4),
            ("AUTH_REQUEST", 4),
            ("AUTH_REQUEST_MORE", 4),
            ("AUTH_SIGNATURE", 8),
            ("CLIENT_IDENT", 4),
            ("HELLO", 8),
            ("KEEPALIVE2", 1),
            ("KEEPALIVE2_ACK", 1),
            ("SERVER_IDENT", 4),
            ("0x313 v2", 2),   // client caprelease
            ("0x310 v11", 49), // client caps
            ("0x1d v1", 11),   // client metrics
            ("0x1a v1", 85),   // client reply
            ("0x18 v5", 72),   // client request
            ("0x16 v1", 7),    // client session
            ("0x16 v5", 2),    // client session
            ("0x312 v1", 5),   // client snap
            ("0x3e v1", 1),    // config
            ("0x15 v2", 1),    // mds map
            ("0x4 v1", 1),     // mon map
            ("0xf v3", 2),     // mon subscribe
            ("0x29 v4", 1),    // osd map
            ("0x2a v8", 11),   // osd op
            ("0x2b v8", 11),   // osd op reply
            ("0xd v2", 3),     // statfs
            ("0xe v1", 3),     // statfs reply
            ("0x5 v1", 1),     // mon get map
        ])
    );
}

#[test]
fn a_mount_of_a_newer_release() {
    let census = census(&recordings("fuse-crc-tentacle.pcap.gz"));
    // These two frames are what an old client does not know.
    assert!(census["COMPRESSION_REQUEST"] > 0 && census["COMPRESSION_DONE"] > 0, "{census:?}");
    assert!(census["0x18 v6"] > 0 && census["0x2a v9"] > 0, "{census:?}");
}

/// All connections to a cluster while images were listed, written and read.
#[test]
fn a_whole_cluster() {
    let recordings = recordings("rbd-crc-all.pcap.gz");
    assert_eq!(recordings.len(), 49);
    let census = census(&recordings);
    let counts = ["HELLO", "AUTH_SIGNATURE", "CLIENT_IDENT", "SERVER_IDENT", "0x2a v8", "0x2b v8", "0x29 v4"];
    // Greetings and signatures go both ways; each of the 154 requests to an OSD has its answer.
    assert_eq!(counts.map(|name| census[name]), [98, 98, 49, 49, 154, 154, 10]);
}
