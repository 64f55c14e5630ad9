//! Writing.

/// Appends to bytes it owns.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// How much was written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// These bytes, as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// So many zero bytes.
    pub fn zeros(&mut self, count: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + count, 0);
        self
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    /// A length or count, which Ceph writes as `u32`. Nothing this crate writes comes near its limit; beyond it the number
    /// saturates, and the peer refuses the message.
    pub fn length(&mut self, length: usize) -> &mut Self {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX))
    }

    /// A `u32` length and these bytes (`bufferlist`, `string`).
    pub fn blob(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.length(bytes.len()).raw(bytes)
    }

    /// A `u32` length and what `write` writes.
    pub fn framed(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.u32(0);
        write(self);
        let length = u32::try_from(self.bytes.len() - start - 4).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self
    }

    /// A versioned structure (`ENCODE_START`): version, compatible version, length, and what `write` writes.
    pub fn section(&mut self, version: u8, compat: u8, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.u8(version).u8(compat).framed(write)
    }

    /// A list: count, then items.
    pub fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.length(items.len());
        for item in items {
            write(self, item);
        }
        self
    }
}

macro_rules! numbers {
    ($($name:ident),*) => {
        impl Encoder {
            $(
                #[doc = concat!("A little-endian `", stringify!($name), "`.")]
                pub fn $name(&mut self, value: $name) -> &mut Self {
                    self.raw(&value.to_le_bytes())
                }
            )*
        }
    };
}

numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Decoder;

    #[test]
    fn sections_carry_their_length() {
        let mut encoder = Encoder::new();
        encoder.section(3, 1, |inner| {
            inner.u16(7).blob("ab");
        });
        encoder.list([1_u8, 2].into_iter(), |e, v| {
            e.u8(v);
        });
        let bytes = encoder.finish();
        assert_eq!(bytes, [3, 1, 8, 0, 0, 0, 7, 0, 2, 0, 0, 0, b'a', b'b', 2, 0, 0, 0, 1, 2]);
        let mut decoder = Decoder::new("test", &bytes);
        let mut section = decoder.section("inner", 3).unwrap();
        assert_eq!(section.body.u16(), Ok(7));
        assert_eq!(section.body.string().unwrap(), "ab");
        assert_eq!(decoder.list(Decoder::u8).unwrap(), [1, 2]);
    }
}
