//! What is inside messages of monitors and OSDs. The first byte of an input chooses which.

use anyhow::Result;
use bytes::Bytes;
use wasmount_ceph::encoding::{Decoder, Encoder};
use wasmount_ceph::mon::messages;
use wasmount_ceph::osd::{Backoff, Extent, HObject, MapMessage, OmapKeys, OmapVals, Op, Reply, Stat};

use crate::input::{Input, pieces};
use crate::seeds::fixture;

pub(super) fn mon(input: &[u8]) {
    let mut input = Input(input);
    match input.byte() % 5 {
        0 => drop(messages::decode_subscribe_ack(input.rest())),
        1 => drop(messages::AuthReply::decode(input.rest())),
        2 => drop(messages::VersionReply::decode(input.number(), input.rest())),
        3 => drop(messages::decode_command_ack(input.rest())),
        _ => drop(messages::decode_mon_map(input.rest())),
    }
}

pub(super) fn mon_seeds() -> Result<Vec<Vec<u8>>> {
    let monmap = fixture("golden/monmap.bin")?;
    let mut seeds = vec![[&[0][..], &[30, 0, 0, 0], &[5; 16]].concat()];
    let mut auth = Encoder::new();
    auth.u8(1).u32(2).i32(0).u64(4100).blob([6; 20]).blob("");
    let mut version = Encoder::new();
    version.u8(2).u8(1).u8(0).u64(1).u64(9).u64(2);
    let mut command = Encoder::new();
    command.zeros(18).i32(-2).blob("no such thing").u32(1).blob("a command");
    let mut map = Encoder::new();
    map.blob(&monmap);
    for encoder in [auth, version, command, map] {
        seeds.push([vec![u8::try_from(seeds.len())?], encoder.finish()].concat());
    }
    Ok(seeds)
}

/// Operations of every kind of output.
fn asked() -> Vec<Op<Bytes>> {
    vec![
        Op::Read(Extent::new(0, 4096)),
        Op::Stat,
        Op::OmapGetVals { start_after: Vec::new(), max: 10, prefix: Vec::new() },
        Op::Call { class: "rbd".to_owned(), method: "get_size".to_owned(), input: Vec::new() },
    ]
}

pub(super) fn osd(input: &[u8]) {
    let mut input = Input(input);
    match input.byte() % 7 {
        0 => {
            let (version, data) = (input.number(), Bytes::copy_from_slice(input.piece()));
            let Ok(reply) = Reply::decode(version, 1, input.rest()) else { return };
            for count in 1..=4 {
                let mut asked = asked();
                asked.truncate(count);
                drop(std::hint::black_box(reply.results(&asked, Some(data.clone()))));
            }
        }
        1 => drop(MapMessage::decode(input.number(), input.rest())),
        2 => drop(Backoff::decode(input.rest()).map(|backoff| backoff.encode())),
        3 => drop(HObject::decode(&mut Decoder::new("hobject", input.rest()))),
        4 => drop(OmapKeys::decode(input.rest())),
        5 => drop(OmapVals::decode(input.rest())),
        _ => drop(Stat::decode(input.rest())),
    }
}

pub(super) fn osd_seeds() -> Result<Vec<Vec<u8>>> {
    let mut omap = Encoder::new();
    omap.u32(2).blob("features").blob([1; 8]).blob("size").blob([2; 8]).bool(true);
    let mut keys = Encoder::new();
    keys.u32(2).blob("features").blob("size").bool(false);
    let mut hobject = Encoder::new();
    HObject::max().encode(&mut hobject);
    let mut stat = Encoder::new();
    stat.u64(4 << 20).u32(1).u32(2);
    let story = fixture("maps/story.mosdmap")?;
    // Operations and results of a read, as every release writes them.
    let mut reply = Encoder::new();
    reply.blob("rbd_header.1").u8(1).u64(2).u32(3).i32(-1).u64(5).i32(0).u32(0).u64(0).u32(7).u32(1);
    reply.zeros(34).u32(12).i32(-1).i32(0).u32(0).u64(0).u64(9).bool(false);
    Ok(vec![
        [&[0, 8, 0][..], &pieces([&[5; 12][..]]), &reply.finish()].concat(),
        [&[1, 4, 0][..], &story[..story.len().min(6000)]].concat(),
        [&[3][..], &hobject.finish()].concat(),
        [&[4][..], &keys.finish()].concat(),
        [&[5][..], &omap.finish()].concat(),
        [&[6][..], &stat.finish()].concat(),
    ])
}
