//! Reading.

use std::fmt;

/// Bytes that are not what they should be. Whoever sent them broke the protocol, or they are damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {problem} at byte {offset}")]
pub struct DecodeError {
    /// What was being read: `pg_pool_t`.
    what: &'static str,
    /// What is wrong with it.
    problem: String,
    /// Where, counted from the beginning of what the outermost decoder was given.
    offset: usize,
}

impl DecodeError {
    /// An error at the beginning, for checks that span a whole structure.
    pub fn new(what: &'static str, problem: impl fmt::Display) -> Self {
        Self { what, problem: problem.to_string(), offset: 0 }
    }
}

/// Reads from the front of borrowed bytes. Nothing it does can panic, and nothing allocates more than the input could fill.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    offset: usize,
    what: &'static str,
}

/// A versioned structure (`ENCODE_START`): its version, and a decoder over exactly its bytes. What is left in it when the
/// reader is done was added by a newer writer and is ignored.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Version the writer wrote.
    pub version: u8,
    /// Oldest version a reader must know.
    pub compat: u8,
    /// Its bytes.
    pub body: Decoder<'a>,
}

impl<'a> Decoder<'a> {
    /// Reads `bytes`; `what` names them in errors.
    #[must_use]
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0, what }
    }

    /// An error here.
    pub fn error(&self, problem: impl fmt::Display) -> DecodeError {
        DecodeError { what: self.what, problem: problem.to_string(), offset: self.offset }
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Everything not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.rest.split_at_checked(length) else {
            return Err(self.error(format_args!("{length} bytes expected, {} left", self.rest.len())));
        };
        self.rest = tail;
        self.offset += length;
        Ok(head)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// Passes over `length` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn skip(&mut self, length: usize) -> Result<(), DecodeError> {
        self.bytes(length).map(drop)
    }

    /// A `u32` length and so many bytes (`bufferlist`, `string`).
    ///
    /// # Errors
    /// There are fewer.
    pub fn blob(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }

    /// A string that must be UTF-8.
    ///
    /// # Errors
    /// There are fewer bytes, or they are not UTF-8.
    pub fn string(&mut self) -> Result<String, DecodeError> {
        let bytes = self.blob()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.error("a string that is not UTF-8"))
    }

    /// A boolean: one byte, 0 or anything else.
    ///
    /// # Errors
    /// There is no byte.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// A `u32` count that announces items of at least `smallest` bytes each (1 if unknown): never more than could follow, so that it
    /// can be trusted as a capacity.
    ///
    /// # Errors
    /// So many items cannot follow.
    pub fn count(&mut self, smallest: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / smallest.max(1) {
            return Err(self.error(format_args!("{count} items announced, {} bytes left", self.rest.len())));
        }
        Ok(count)
    }

    /// A list: count, then items.
    ///
    /// # Errors
    /// Those of `item`, and a count that cannot be.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.count(1)?;
        // Items in memory may be larger than on the wire: the capacity grows with what is really there.
        let mut items = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A list of pairs: a map on the wire.
    ///
    /// # Errors
    /// Those of `key` and `value`, and a count that cannot be.
    pub fn pairs<K, V>(
        &mut self,
        mut key: impl FnMut(&mut Self) -> Result<K, DecodeError>,
        mut value: impl FnMut(&mut Self) -> Result<V, DecodeError>,
    ) -> Result<Vec<(K, V)>, DecodeError> {
        self.list(|decoder| Ok((key(decoder)?, value(decoder)?)))
    }

    /// An optional value: a byte that says whether it is there, then the value (`std::optional`).
    ///
    /// # Errors
    /// Those of `value`.
    pub fn option<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool()? { value(self).map(Some) } else { Ok(None) }
    }

    /// The next `length` bytes as a decoder of their own, named `what`.
    ///
    /// # Errors
    /// There are fewer.
    pub fn sub(&mut self, what: &'static str, length: usize) -> Result<Self, DecodeError> {
        let offset = self.offset;
        let rest = self.bytes(length)?;
        Ok(Self { rest, offset, what })
    }

    /// A versioned structure: `version`, `compat`, `u32` length, body (`DECODE_START`).
    ///
    /// # Errors
    /// A reader that knows versions up to `known` must not read it, or it is longer than what is left.
    pub fn section(&mut self, what: &'static str, known: u8) -> Result<Section<'a>, DecodeError> {
        let (version, compat) = (self.u8()?, self.u8()?);
        let length = self.u32()?;
        let body = self.sub(what, length as usize)?;
        if compat > known {
            return Err(
                body.error(format_args!("needs a reader of version {compat}, this one knows {known}"))
            );
        }
        Ok(Section { version, compat, body })
    }
}

macro_rules! numbers {
    ($($name:ident $size:literal),*) => {
        impl Decoder<'_> {
            $(
                #[doc = concat!("A little-endian `", stringify!($name), "`.")]
                ///
                /// # Errors
                /// There are fewer bytes.
                pub fn $name(&mut self) -> Result<$name, DecodeError> {
                    self.array::<$size>().map($name::from_le_bytes)
                }
            )*
        }
    };
}

numbers!(u8 1, u16 2, u32 4, u64 8, i8 1, i16 2, i32 4, i64 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_an_error_with_its_place() {
        let mut decoder = Decoder::new("thing", &[1, 0, 0, 0, 2, 0]);
        assert_eq!(decoder.u32(), Ok(1));
        assert_eq!(decoder.u32().unwrap_err().to_string(), "thing: 4 bytes expected, 2 left at byte 4");
        assert_eq!(decoder.u16(), Ok(2));
        assert!(decoder.is_empty());
    }

    #[test]
    fn a_section_hides_what_follows_it_and_forgives_what_was_added() {
        let bytes = [3, 1, 5, 0, 0, 0, 7, 0, 0, 0, 99, 42];
        let mut decoder = Decoder::new("outer", &bytes);
        let mut section = decoder.section("inner", 1).unwrap();
        assert_eq!((section.version, section.body.u32()), (3, Ok(7)));
        assert_eq!(section.body.u32().unwrap_err().to_string(), "inner: 4 bytes expected, 1 left at byte 10");
        assert_eq!(decoder.u8(), Ok(42));
        assert!(Decoder::new("outer", &[3, 2, 0, 0, 0, 0]).section("inner", 1).is_err());
    }

    #[test]
    fn a_count_that_cannot_be_allocates_nothing() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3];
        assert!(Decoder::new("list", &bytes).list(Decoder::u8).is_err());
        assert!(Decoder::new("list", &[2, 0, 0, 0, 1, 2]).count(2).is_err());
    }
}
