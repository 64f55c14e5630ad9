//! What clients and monitors were recorded to say to each other is written again byte for byte, and understood.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::frames::{BANNER_LEN, Side};
use common::pcap::{Recording, recordings};
use std::collections::BTreeMap;
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::mon::MonMap;
use wasmount_ceph::mon::messages::{self, VersionReply, kind};
use wasmount_ceph::msgr::frame::Tag;
use wasmount_ceph::msgr::{Message, MessageHeader};
use wasmount_ceph::types::Fsid;

/// All messages of one direction.
fn all(stream: &[u8]) -> Vec<Message<Bytes>> {
    let mut side = Side::new();
    let mut rest = Bytes::copy_from_slice(&stream[BANNER_LEN..]);
    let mut all = Vec::new();
    while let Some(frame) = side.read(&mut rest).unwrap() {
        if frame.tag == Tag::Message {
            let header = MessageHeader::decode(&frame.head).unwrap();
            let message = Message::new(header.kind, header.version, header.compat, frame.front);
            all.push(Message { tid: header.tid, ..message });
        }
    }
    all
}

/// Checks what a client has sent; the result is whether it was of a kind that this client sends.
fn asked(message: &Message<Bytes>) -> bool {
    let mut decoder = Decoder::new("test", &message.front);
    let again: Message<Bytes> = match message.kind {
        kind::MON_SUBSCRIBE => {
            let wishes = decoder.list(|d| Ok((d.string()?, d.u64()?, d.bool()?))).unwrap();
            let wishes = wishes.iter().map(|(name, start, once)| (name.as_str(), *start, *once));
            messages::subscribe(wishes, &decoder.string().unwrap())
        }
        kind::MON_GET_VERSION => messages::get_version(decoder.u64().unwrap(), &decoder.string().unwrap()),
        kind::MON_COMMAND => {
            decoder.skip(18).unwrap();
            let fsid = Fsid(decoder.array().unwrap());
            assert_eq!(decoder.u32().unwrap(), 1);
            messages::command(message.tid, fsid, &decoder.string().unwrap())
        }
        _ => return false,
    };
    assert_eq!((again.kind, again.version, again.compat), (message.kind, message.version, message.compat));
    assert_eq!(again.front, message.front);
    true
}

/// Reads what a monitor has sent; the result is whether it was of a kind that this client reads.
fn answered(message: &Message<Bytes>) -> bool {
    match message.kind {
        kind::MON_MAP => {
            let map = MonMap::decode(messages::decode_mon_map(&message.front).unwrap()).unwrap();
            assert_eq!(map.mons.len(), 1);
            assert!(map.mons[0].address().is_some());
        }
        kind::MON_GET_VERSION_REPLY => {
            let reply = VersionReply::decode(message.version, &message.front).unwrap();
            assert!(reply.oldest >= 1 && reply.newest >= reply.oldest, "{reply:?}");
        }
        kind::MON_COMMAND_ACK => {
            let (result, _) = messages::decode_command_ack(&message.front).unwrap();
            assert_eq!(result, 0);
        }
        _ => return false,
    }
    true
}

/// How often each kind was checked.
fn check(recordings: &[Recording]) -> BTreeMap<u16, usize> {
    let mut checked = BTreeMap::new();
    for recording in recordings {
        let asked = all(&recording.to_server).into_iter().filter(asked);
        let answered = all(&recording.to_client).into_iter().filter(answered);
        for message in asked.chain(answered) {
            *checked.entry(message.kind).or_default() += 1;
        }
    }
    checked
}

#[test]
fn a_mount_and_one_of_a_newer_release() {
    let expected = BTreeMap::from([(kind::MON_MAP, 1), (kind::MON_SUBSCRIBE, 2)]);
    assert_eq!(check(&recordings("fuse-crc.pcap.gz")), expected);
    assert_eq!(check(&recordings("fuse-crc-tentacle.pcap.gz")), expected);
}

#[test]
fn images_and_objects() {
    assert_eq!(
        check(&recordings("rbd-crc-all.pcap.gz")),
        BTreeMap::from([(kind::MON_MAP, 48), (kind::MON_SUBSCRIBE, 44)])
    );
}
