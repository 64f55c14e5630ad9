//! Frames that cannot be read or written.

use super::{Segment, Tag};

/// A frame that cannot be read or written. The connection is at its end: nothing after it can be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The preamble's CRC does not fit.
    #[error("the preamble of a frame is damaged: its crc is {announced:#010x}, computed {computed:#010x}")]
    PreambleCrc {
        /// What it says.
        announced: u32,
        /// What it is.
        computed: u32,
    },
    /// A segment's CRC does not fit.
    #[error(
        "the {segment} segment of a {tag} frame is damaged: its crc is {announced:#010x}, computed {computed:#010x}{}",
        if *announced == 0 { " (a crc of 0 is what peers with ms_crc_data=false send; turn it on)" } else { "" }
    )]
    SegmentCrc {
        /// Of which frame.
        tag: Tag,
        /// Which.
        segment: Segment,
        /// What it says.
        announced: u32,
        /// What it is.
        computed: u32,
    },
    /// A sealed text was changed on its way, or the keys differ.
    #[error("{what} cannot be decrypted: it was changed on its way")]
    Unauthentic {
        /// `a preamble`.
        what: &'static str,
    },
    /// The cipher did not encrypt.
    #[error("the driver's cipher does not encrypt a {tag} frame")]
    Unsealed {
        /// Which frame.
        tag: Tag,
    },
    /// A tag that this protocol does not have.
    #[error("a frame with the unknown tag {0}")]
    Tag(u8),
    /// A number of segments that the tag cannot have.
    #[error("a {tag} frame of {count} segments")]
    SegmentCount {
        /// Which frame.
        tag: Tag,
        /// What it says.
        count: u8,
    },
    /// Empty segments at the end must be left out.
    #[error("a {0} frame whose last segment is empty")]
    LastSegmentEmpty(Tag),
    /// Messages are not in place yet.
    #[error("a {0} frame before the session has begun")]
    Early(Tag),
    /// A segment is longer than this side accepts or can send.
    #[error("a {tag} frame whose {segment} segment has {length} bytes; the limit is {limit}")]
    TooLarge {
        /// Of which frame.
        tag: Tag,
        /// Which.
        segment: Segment,
        /// What it says.
        length: u64,
        /// The limit.
        limit: u32,
    },
    /// The sender gave up in the middle of the frame.
    #[error("the peer gave up in the middle of a frame")]
    Aborted,
    /// The epilogue's status is neither complete nor aborted.
    #[error("a frame ends with the unknown status {0:#04x}")]
    Status(u8),
    /// The frame is compressed, which was never agreed on.
    #[error("a compressed {0} frame, though compression was not agreed on")]
    Compressed(Tag),
    /// The driver handed over something else than was asked for.
    #[error("the driver handed over {got} where {wanted} was asked for")]
    Driver {
        /// `17 bytes`.
        got: String,
        /// `32 bytes`.
        wanted: String,
    },
}
