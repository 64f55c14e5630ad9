//! Frames of msgr 2.1: how bytes on a connection are cut into tagged pieces, and what protects them.
//!
//! A frame begins with a preamble of 32 bytes that says its tag and the lengths of its one to four segments. Messages have four
//! (header, front, middle, data; empty ones at the end are left out), everything else has one.
//!
//! In *crc* mode the first segment is followed by its CRC if it is not empty; the others follow, and an epilogue of 13 bytes holds
//! theirs. A frame with one segment has no epilogue.
//!
//! In *secure* mode every segment is padded to 16 bytes. The preamble and the first 48 bytes of the first segment are one sealed text (96
//! bytes on the wire), what is left of the first segment another, and the remaining segments with an epilogue of 16 bytes a third. The
//! last two are left out if they hold nothing.
//!
//! Source: `doc/dev/msgr2.rst` and `msg/async/frames_v2.h` of Ceph.

mod error;
mod preamble;
mod reader;
mod writer;

pub use error::FrameError;
pub use preamble::{Limits, PREAMBLE_LEN, Preamble, Segment, SegmentSpec, Tag};
pub use reader::{Frame, FrameReader, Read, Sealed};
pub use writer::{Assembled, FrameWriter};

use preamble::SEGMENTS_MAX;

/// Bytes of the first segment that travel in the sealed preamble.
const INLINE_LEN: usize = 48;
/// Bytes of a sealed preamble.
const SEALED_PREAMBLE_LEN: usize = PREAMBLE_LEN + INLINE_LEN + super::aead::TAG_LEN;
/// Bytes of a CRC.
const CRC_LEN: usize = 4;
/// Bytes of the epilogue in crc mode: status and the CRCs of three segments.
const CRC_EPILOGUE_LEN: usize = 1 + CRC_LEN * (SEGMENTS_MAX - 1);
/// Bytes of the epilogue in secure mode, of which the first is the status.
const SECURE_EPILOGUE_LEN: usize = 16;

/// The frame is complete (low half of the status byte; a frame whose sender gave up says 1).
const STATUS_COMPLETE: u8 = 0x0e;
const STATUS_ABORTED: u8 = 0x01;
const STATUS_MASK: u8 = 0x0f;

/// What a segment takes in secure mode without its tag.
const fn padded(length: usize) -> usize {
    length.next_multiple_of(16)
}

/// Checks the status byte of an epilogue.
fn check_status(status: u8) -> Result<(), FrameError> {
    match status & STATUS_MASK {
        STATUS_COMPLETE => Ok(()),
        STATUS_ABORTED => Err(FrameError::Aborted),
        _ => Err(FrameError::Status(status)),
    }
}

/// A CRC as it stands on the wire.
fn read_crc(bytes: &[u8]) -> u32 {
    bytes.iter().take(CRC_LEN).rev().fold(0, |crc, &byte| crc << 8 | u32::from(byte))
}
