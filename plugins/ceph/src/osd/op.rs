//! One operation on an object, and how it is written (`struct ceph_osd_op` of `include/rados.h`).

use super::flags;
use crate::encoding::Encoder;
use crate::payload::Payload;

/// A part of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// How many; for reads, 0 is "to the end".
    pub length: u64,
    /// Size to which the object is cut before the operation, if the object has not seen `truncate_seq` yet. Only CephFS uses it.
    pub truncate_size: u64,
    /// Number of the truncation; 0: none.
    pub truncate_seq: u32,
}

impl Extent {
    /// A part of an object that nobody truncates lazily.
    #[must_use]
    pub fn new(offset: u64, length: u64) -> Self {
        Self { offset, length, truncate_size: 0, truncate_seq: 0 }
    }
}

/// An operation. Several on the same object make a request, which the OSD does in order and as a whole: the first that fails ends
/// it, and then nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<P> {
    /// Reads bytes. Fewer come back where the object ends. Gives [`Output::Payload`](super::Output::Payload).
    Read(Extent),
    /// Reads only what was written. Gives [`Output::Sparse`](super::Output::Sparse).
    SparseRead(Extent),
    /// Size and time of the last change. Gives a [`Stat`](super::Stat).
    Stat,
    /// Keys of the object's map, in order. Gives [`OmapKeys`](super::OmapKeys).
    OmapGetKeys {
        /// Only keys greater than this.
        start_after: Vec<u8>,
        /// At most so many.
        max: u64,
    },
    /// Keys and values of the object's map, in order. Gives [`OmapVals`](super::OmapVals).
    OmapGetVals {
        /// Only keys greater than this.
        start_after: Vec<u8>,
        /// At most so many.
        max: u64,
        /// Only keys that begin so.
        prefix: Vec<u8>,
    },
    /// Values of these keys, as far as they exist. Gives [`OmapVals`](super::OmapVals).
    OmapGetByKeys(Vec<Vec<u8>>),
    /// An extended attribute.
    GetXattr(Vec<u8>),
    /// Runs a method of a class that the OSD has loaded.
    Call {
        /// `rbd`.
        class: String,
        /// `get_size`.
        method: String,
        /// What the method is given.
        input: Vec<u8>,
    },
    /// Writes bytes, creating the object if need be.
    Write {
        /// Where; the length is the data's.
        offset: u64,
        /// What.
        data: P,
    },
    /// Replaces all bytes, creating the object if need be.
    WriteFull(P),
    /// Removes the object.
    Delete,
}

/// Bits of an operation's number which say what it does (`CEPH_OSD_OP_MODE_*`).
mod mode {
    pub(super) const READ: u16 = 0x1000;
    pub(super) const WRITE: u16 = 0x2000;
}

/// Numbers of operations (`CEPH_OSD_OP_*`): mode, type (2 data, 3 attribute, 4 class), and number.
mod code {
    use super::mode;
    const DATA: u16 = 0x0200;
    pub(super) const READ: u16 = mode::READ | DATA | 1;
    pub(super) const STAT: u16 = mode::READ | DATA | 2;
    pub(super) const SPARSE_READ: u16 = mode::READ | DATA | 5;
    pub(super) const OMAP_GET_KEYS: u16 = mode::READ | DATA | 17;
    pub(super) const OMAP_GET_VALS: u16 = mode::READ | DATA | 18;
    pub(super) const OMAP_GET_VALS_BY_KEYS: u16 = mode::READ | DATA | 20;
    pub(super) const GET_XATTR: u16 = mode::READ | 0x0300 | 1;
    pub(super) const CALL: u16 = mode::READ | 0x0400 | 1;
    pub(super) const WRITE: u16 = mode::WRITE | DATA | 1;
    pub(super) const WRITE_FULL: u16 = mode::WRITE | DATA | 2;
    pub(super) const DELETE: u16 = mode::WRITE | DATA | 5;
}

/// Bytes of one operation in a message: number, flags, what it needs to know (28 bytes), and the length of its input.
const LENGTH: usize = 38;

/// What travels with an operation in the message's data.
pub(super) enum Input<'a, P> {
    /// Bytes made here.
    Bytes(Vec<u8>),
    /// Bytes of an object.
    Payload(&'a P),
}

impl<P: Payload> Op<P> {
    /// Its number.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Read(_) => code::READ,
            Self::SparseRead(_) => code::SPARSE_READ,
            Self::Stat => code::STAT,
            Self::OmapGetKeys { .. } => code::OMAP_GET_KEYS,
            Self::OmapGetVals { .. } => code::OMAP_GET_VALS,
            Self::OmapGetByKeys(_) => code::OMAP_GET_VALS_BY_KEYS,
            Self::GetXattr(_) => code::GET_XATTR,
            Self::Call { .. } => code::CALL,
            Self::Write { .. } => code::WRITE,
            Self::WriteFull(_) => code::WRITE_FULL,
            Self::Delete => code::DELETE,
        }
    }

    /// The flags that a request with this operation must have. A class method counts as reading: the OSD knows which ones write,
    /// and refuses those in a request that is not flagged so.
    #[must_use]
    pub fn request_flags(&self) -> u32 {
        let code = self.code();
        let read = if code & mode::READ != 0 { flags::READ } else { 0 };
        let write = if code & mode::WRITE != 0 { flags::WRITE } else { 0 };
        read | write
    }

    /// Bytes of objects that it moves, as far as known beforehand: what is counted against the limit of bytes in flight.
    #[must_use]
    pub fn cost(&self) -> u64 {
        match self {
            Self::Read(extent) | Self::SparseRead(extent) => extent.length,
            Self::Write { data, .. } | Self::WriteFull(data) => data.len() as u64,
            _ => 0,
        }
    }

    /// Writes its part of the message's front, and tells its part of the data.
    pub(super) fn encode(&self, encoder: &mut Encoder) -> Input<'_, P> {
        let input = self.input();
        let length = match &input {
            Input::Bytes(bytes) => bytes.len(),
            Input::Payload(payload) => payload.len(),
        };
        let end = encoder.len() + LENGTH;
        encoder.u16(self.code()).u32(0);
        match self {
            Self::Read(extent) | Self::SparseRead(extent) => {
                encoder.u64(extent.offset).u64(extent.length);
                encoder.u64(extent.truncate_size).u32(extent.truncate_seq);
            }
            Self::Write { offset, data } => {
                encoder.u64(*offset).u64(data.len() as u64);
            }
            Self::WriteFull(data) => {
                encoder.u64(0).u64(data.len() as u64);
            }
            Self::GetXattr(name) => {
                encoder.length(name.len());
            }
            Self::Call { class, method, input } => {
                encoder.u8(saturated(class.len())).u8(saturated(method.len())).u8(0).length(input.len());
            }
            // What they have no other use for says how long their input is, once more.
            Self::OmapGetKeys { .. } | Self::OmapGetVals { .. } | Self::OmapGetByKeys(_) => {
                encoder.u64(0).u64(length as u64);
            }
            Self::Stat | Self::Delete => {}
        }
        encoder.zeros(end - 4 - encoder.len()).length(length);
        input
    }

    /// What travels in the message's data.
    fn input(&self) -> Input<'_, P> {
        let mut encoder = Encoder::new();
        match self {
            Self::Write { data, .. } | Self::WriteFull(data) => return Input::Payload(data),
            Self::Read(_) | Self::SparseRead(_) | Self::Stat | Self::Delete => {}
            Self::OmapGetKeys { start_after, max } => {
                encoder.blob(start_after).u64(*max);
            }
            Self::OmapGetVals { start_after, max, prefix } => {
                encoder.blob(start_after).u64(*max).blob(prefix);
            }
            Self::OmapGetByKeys(keys) => {
                encoder.list(keys.iter(), |encoder, key| {
                    encoder.blob(key);
                });
            }
            Self::GetXattr(name) => {
                encoder.raw(name);
            }
            Self::Call { class, method, input } => {
                encoder.raw(class.as_bytes()).raw(method.as_bytes()).raw(input);
            }
        }
        Input::Bytes(encoder.finish())
    }
}

/// A length that the protocol gives one byte. No class or method has a longer name; the OSD refuses what it cannot find.
fn saturated(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn every_operation_takes_the_same_room() {
        let data = Bytes::from_static(b"data");
        let ops: [Op<Bytes>; 11] = [
            Op::Read(Extent::new(1, 2)),
            Op::SparseRead(Extent { offset: 1, length: 2, truncate_size: 3, truncate_seq: 4 }),
            Op::Stat,
            Op::OmapGetKeys { start_after: b"k".to_vec(), max: 1 },
            Op::OmapGetVals { start_after: Vec::new(), max: 1, prefix: b"p".to_vec() },
            Op::OmapGetByKeys(vec![b"a".to_vec(), b"b".to_vec()]),
            Op::GetXattr(b"name".to_vec()),
            Op::Call { class: "rbd".into(), method: "get_size".into(), input: vec![1; 8] },
            Op::Write { offset: 7, data: data.clone() },
            Op::WriteFull(data),
            Op::Delete,
        ];
        for op in ops {
            let mut encoder = Encoder::new();
            op.encode(&mut encoder);
            assert_eq!(encoder.len(), LENGTH, "{op:?}");
        }
    }

    #[test]
    fn numbers_are_cephs() {
        let code = |op: Op<Bytes>| op.code();
        assert_eq!(code(Op::Read(Extent::default())), 0x1201);
        assert_eq!(code(Op::OmapGetByKeys(Vec::new())), 0x1214);
        assert_eq!(code(Op::Call { class: String::new(), method: String::new(), input: Vec::new() }), 0x1401);
        assert_eq!(code(Op::WriteFull(Bytes::new())), 0x2202);
    }

    #[test]
    fn flags_and_cost_follow_from_what_is_done() {
        let read: Op<Bytes> = Op::Read(Extent::new(0, 4096));
        let write = Op::Write { offset: 0, data: Bytes::from_static(b"abc") };
        assert_eq!((read.request_flags(), read.cost()), (flags::READ, 4096));
        assert_eq!((write.request_flags(), write.cost()), (flags::WRITE, 3));
    }
}
