//! Part of something that has a beginning.

/// Part of an object or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// Number of bytes, never zero; `None`: up to the end.
    pub length: Option<u64>,
}

impl ByteRange {
    /// `length` bytes from `offset`.
    pub const fn new(offset: u64, length: u64) -> Self {
        Self { offset, length: Some(length) }
    }

    /// Everything from `offset`.
    pub const fn from(offset: u64) -> Self {
        Self { offset, length: None }
    }
}
