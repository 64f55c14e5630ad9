//! Bytes of objects, which this crate passes on without looking at them.

use bytes::Bytes;

/// Immutable bytes that may live elsewhere: in the host of a component, or natively in memory.
///
/// Everything here is cheap but [`copy_out`](Self::copy_out), which is for the small parts of a frame that have to be understood.
pub trait Payload: Sized + 'static {
    /// How many bytes.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part, sharing the memory; `None` if it does not lie inside, or if whoever keeps the bytes keeps no more parts.
    fn slice(&self, offset: usize, length: usize) -> Option<Self>;

    /// The same bytes once more.
    fn share(&self) -> Self;

    /// A copy of a part; `None` if it does not lie inside, or cannot be had.
    fn copy_out(&self, offset: usize, length: usize) -> Option<Vec<u8>>;

    /// The raw CRC-32C register after these bytes, started from `register`, without inversion before or after: Ceph's `ceph_crc32c`
    /// (`include/crc32c.h`).
    fn crc32c(&self, register: u32) -> u32;
}

impl Payload for Bytes {
    fn len(&self) -> usize {
        Bytes::len(self)
    }

    fn slice(&self, offset: usize, length: usize) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (end <= Bytes::len(self)).then(|| Bytes::slice(self, offset..end))
    }

    fn share(&self) -> Self {
        self.clone()
    }

    fn copy_out(&self, offset: usize, length: usize) -> Option<Vec<u8>> {
        self.get(offset..offset.checked_add(length)?).map(<[u8]>::to_vec)
    }

    fn crc32c(&self, register: u32) -> u32 {
        crc32c(register, self)
    }
}

/// The raw CRC-32C register after `bytes`, as in [`Payload::crc32c`].
#[must_use]
pub fn crc32c(register: u32, bytes: &[u8]) -> u32 {
    // The crate inverts before and after, as the common CRC-32C does.
    !crc32c::crc32c_append(!register, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_is_raw() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, b""), 0);
        assert_eq!(crc32c(crc32c(7, b"ab"), b"cd"), crc32c(7, b"abcd"));
    }
}
