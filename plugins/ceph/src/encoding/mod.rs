//! Ceph's binary encoding (`include/encoding.h`): little-endian numbers, length-prefixed strings and lists, and structures that carry
//! their version and length so that an old reader can skip what a new writer added.

mod decode;
mod encode;

pub use decode::{DecodeError, Decoder, Section};
pub use encode::Encoder;
