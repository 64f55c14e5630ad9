//! What Ceph's own tools asked of OSDs, and what they were answered: requests are written again byte for byte, answers are cut into the
//! outputs that belong to them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::frames::{BANNER_LEN, Side, join};
use common::pcap::{Recording, recordings};
use std::collections::HashMap;
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::msgr::MessageHeader;
use wasmount_ceph::msgr::frame::{Frame, Tag};
use wasmount_ceph::osd::{
    Extent, HObject, Locator, MapMessage, OmapVals, Op, Output, Reply, Request, SnapContext, Stat, kind,
};
use wasmount_ceph::osdmap::{OsdMap, SpgId};
use wasmount_ceph::types::UTime;

/// The messages of one direction.
fn messages(stream: &[u8]) -> Vec<(MessageHeader, Frame<Bytes>)> {
    let mut side = Side::new();
    let mut rest = Bytes::copy_from_slice(&stream[BANNER_LEN..]);
    let mut found = Vec::new();
    while let Some(frame) = side.read(&mut rest).unwrap() {
        if frame.tag == Tag::Message {
            found.push((MessageHeader::decode(&frame.head).unwrap(), frame));
        }
    }
    found
}

/// Connections in crc mode; the others cannot be read here.
fn readable() -> Vec<Recording> {
    let recordings = recordings("rbd-crc-all.pcap.gz");
    recordings.into_iter().filter(|recording| recording.to_client.starts_with(b"ceph v2\n")).collect()
}

/// An operation as it was recorded; `None`: one that this crate does not make.
fn operation(head: &mut Decoder<'_>, input: &mut Decoder<'_>) -> Option<Op<Bytes>> {
    let (code, flags) = (head.u16().unwrap(), head.u32().unwrap());
    let mut detail = head.sub("detail", 28).unwrap();
    let length = head.u32().unwrap() as usize;
    let mut input = input.sub("input", length).unwrap();
    let extent = |detail: &mut Decoder<'_>| Extent {
        offset: detail.u64().unwrap(),
        length: detail.u64().unwrap(),
        truncate_size: detail.u64().unwrap(),
        truncate_seq: detail.u32().unwrap(),
    };
    if flags != 0 {
        return None;
    }
    let blob = |input: &mut Decoder<'_>| input.blob().unwrap().to_vec();
    Some(match code {
        0x1201 => Op::Read(extent(&mut detail)),
        0x1202 => Op::Stat,
        0x1205 => Op::SparseRead(extent(&mut detail)),
        0x1211 => Op::OmapGetKeys { start_after: blob(&mut input), max: input.u64().unwrap() },
        0x1212 => Op::OmapGetVals {
            start_after: blob(&mut input),
            max: input.u64().unwrap(),
            prefix: blob(&mut input),
        },
        0x1214 => Op::OmapGetByKeys(input.list(|input| input.blob().map(<[u8]>::to_vec)).unwrap()),
        0x1401 => {
            let (class, method) = (detail.u8().unwrap(), detail.u8().unwrap());
            let mut text =
                |length: u8| String::from_utf8(input.bytes(length.into()).unwrap().to_vec()).unwrap();
            Op::Call { class: text(class), method: text(method), input: input.rest().to_vec() }
        }
        0x2202 => Op::WriteFull(Bytes::copy_from_slice(input.rest())),
        0x2205 => Op::Delete,
        _ => return None,
    })
}

/// What a recorded request is made of.
struct Recorded {
    pg: SpgId,
    object: HObject,
    epoch: u32,
    flags: u32,
    mtime: UTime,
    snap_context: SnapContext,
    attempt: i32,
    features: u64,
    ops: Option<Vec<Op<Bytes>>>,
}

impl Recorded {
    fn decode(frame: &Frame<Bytes>) -> Self {
        let mut front = Decoder::new("MOSDOp", &frame.front);
        let pg = SpgId::decode(&mut front).unwrap();
        let (hash, epoch, flags) = (front.u32().unwrap(), front.u32().unwrap(), front.u32().unwrap());
        front.section("osd_reqid_t", 2).unwrap();
        front.skip(24 + 4).unwrap();
        let mtime = UTime::decode(&mut front).unwrap();
        let locator = Locator::decode(&mut front).unwrap();
        let name = front.blob().unwrap().to_vec();
        let count = front.u16().unwrap();
        let data = frame.data.clone().unwrap_or_default();
        let mut input = Decoder::new("data", &data);
        let ops: Vec<_> = (0..count).map(|_| operation(&mut front, &mut input)).collect();
        let snap = front.u64().unwrap();
        let snap_context =
            SnapContext { seq: front.u64().unwrap(), snaps: front.list(Decoder::u64).unwrap() };
        let (attempt, features) = (front.i32().unwrap(), front.u64().unwrap());
        let Locator { pool, key, namespace, .. } = locator;
        let object = HObject { pool, namespace, key, name, snap, hash, max: false };
        Self {
            pg,
            object,
            epoch,
            flags,
            mtime,
            snap_context,
            attempt,
            features,
            ops: ops.into_iter().collect(),
        }
    }

    fn request<'a>(&'a self, ops: &'a [Op<Bytes>]) -> Request<'a, Bytes> {
        Request {
            pg: self.pg,
            object: &self.object,
            epoch: self.epoch,
            flags: self.flags,
            attempt: self.attempt,
            mtime: self.mtime,
            snap_context: &self.snap_context,
            features: self.features,
            ops,
        }
    }
}

#[test]
fn requests_are_written_again_byte_for_byte() {
    let (mut same, mut unknown) = (0, 0);
    for recording in readable() {
        for (header, frame) in messages(&recording.to_server) {
            if header.kind != kind::OSD_OP {
                continue;
            }
            assert_eq!(
                (header.version, header.compat),
                (Request::<Bytes>::VERSION, Request::<Bytes>::COMPAT)
            );
            let recorded = Recorded::decode(&frame);
            let Some(ops) = &recorded.ops else {
                unknown += 1;
                continue;
            };
            let (front, data) = recorded.request(ops).encode();
            assert_eq!(front, frame.front, "{ops:?}");
            assert_eq!(join(&data), frame.data.clone().unwrap_or_default(), "{ops:?}");
            same += 1;
        }
    }
    // The rest are writes of `rbd import`, with hints and watches.
    assert_eq!((same, unknown), (139, 15));
}

#[test]
fn answers_are_cut_into_the_outputs_that_were_asked_for() {
    let (mut answers, mut stats, mut pages) = (0, 0, 0);
    for recording in readable() {
        let mut asked: HashMap<u64, Vec<Op<Bytes>>> = HashMap::new();
        for (header, frame) in messages(&recording.to_server) {
            if header.kind == kind::OSD_OP {
                asked.extend(Recorded::decode(&frame).ops.map(|ops| (header.tid, ops)));
            }
        }
        for (header, frame) in messages(&recording.to_client) {
            let Some(ops) = asked.get(&header.tid).filter(|_| header.kind == kind::OSD_OPREPLY) else {
                continue;
            };
            let reply = Reply::decode(header.version, header.compat, &frame.front).unwrap();
            let results = reply.results(ops, frame.data.clone()).unwrap();
            answers += 1;
            for (op, result) in ops.iter().zip(&results) {
                match (op, &result.output) {
                    (Op::Stat, Output::Bytes(bytes)) if result.result == 0 && reply.result == 0 => {
                        assert!(Stat::decode(bytes).unwrap().modified.seconds > 1_700_000_000);
                        stats += 1;
                    }
                    (Op::OmapGetVals { .. }, Output::Bytes(bytes)) => {
                        assert!(!OmapVals::decode(bytes).unwrap().more);
                        pages += 1;
                    }
                    _ => {}
                }
            }
        }
    }
    assert_eq!((answers, stats, pages), (139, 8, 1));
}

#[test]
fn maps_come_in_messages() {
    let mut full = 0;
    for recording in readable() {
        for (header, frame) in messages(&recording.to_client) {
            if header.kind == kind::OSD_MAP {
                let message = MapMessage::decode(header.version, &frame.front).unwrap();
                assert!(message.oldest <= message.newest);
                for (epoch, bytes) in &message.full {
                    let map = OsdMap::decode(bytes).unwrap();
                    assert_eq!((map.epoch, map.fsid), (*epoch, message.fsid));
                    full += 1;
                }
            }
        }
    }
    assert!(full > 0);
}
