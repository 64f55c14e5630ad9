//! `MOSDOp`: operations on one object.

use super::op::Input;
use super::{HObject, Locator, Op};
use crate::encoding::Encoder;
use crate::msgr::Chunk;
use crate::osdmap::SpgId;
use crate::payload::Payload;
use crate::types::{Epoch, UTime};

/// What a write says about the snapshots of the object: those that must be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapContext {
    /// Newest snapshot.
    pub seq: u64,
    /// All of them, newest first.
    pub snaps: Vec<u64>,
}

/// A request as one attempt sends it.
#[derive(Clone, Debug)]
pub struct Request<'a, P> {
    /// Placement group, and the shard of it in an erasure coded pool.
    pub pg: SpgId,
    /// The object: pool, namespace, key, name, snapshot and full hash.
    pub object: &'a HObject,
    /// Epoch of the map that named the OSD.
    pub epoch: Epoch,
    /// As in [`flags`](super::flags).
    pub flags: u32,
    /// Counted from 0.
    pub attempt: i32,
    /// Time of a write; zero for reads.
    pub mtime: UTime,
    /// For writes.
    pub snap_context: &'a SnapContext,
    /// What this client understands (feature bits of the connection).
    pub features: u64,
    /// What to do, in order.
    pub ops: &'a [Op<P>],
}

impl<P: Payload> Request<'_, P> {
    /// Version of the message that is written. Version 9 adds tracing only.
    pub const VERSION: u16 = 8;
    /// Oldest version that a reader must know.
    pub const COMPAT: u16 = 3;

    /// Front and data of the message.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Vec<Chunk<P>>) {
        let mut encoder = Encoder::new();
        self.pg.encode(&mut encoder);
        encoder.u32(self.object.hash).u32(self.epoch).u32(self.flags);
        // `osd_reqid_t`: all zero; the OSD takes the sender's name and the message's transaction id.
        encoder.section(2, 2, |body| {
            body.zeros(21);
        });
        // `blkin_trace_info`: no tracing.
        encoder.zeros(24);
        // Incarnation of the client: it never changes, since a new life has a new global id.
        encoder.u32(0);
        self.mtime.encode(&mut encoder);
        Locator {
            pool: self.object.pool,
            key: self.object.key.clone(),
            namespace: self.object.namespace.clone(),
            hash: -1,
        }
        .encode(&mut encoder);
        encoder.blob(&self.object.name);
        encoder.u16(u16::try_from(self.ops.len()).unwrap_or(u16::MAX));
        let mut data: Vec<Chunk<P>> = Vec::new();
        for op in self.ops {
            match op.encode(&mut encoder) {
                Input::Bytes(bytes) if bytes.is_empty() => {}
                Input::Bytes(bytes) => match data.last_mut() {
                    Some(Chunk::Bytes(last)) => last.extend_from_slice(&bytes),
                    _ => data.push(Chunk::Bytes(bytes)),
                },
                Input::Payload(payload) if payload.is_empty() => {}
                Input::Payload(payload) => data.push(Chunk::Payload(payload.share())),
            }
        }
        encoder.u64(self.object.snap).u64(self.snap_context.seq);
        encoder.list(self.snap_context.snaps.iter(), |encoder, snap| {
            encoder.u64(*snap);
        });
        encoder.i32(self.attempt).u64(self.features);
        (encoder.finish(), data)
    }
}
