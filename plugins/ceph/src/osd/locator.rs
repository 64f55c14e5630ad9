//! Where an object is, and where an OSD says that it really is.

use crate::encoding::{DecodeError, Decoder, Encoder};

/// What places an object beside its name (`object_locator_t` of `osd/osd_types.h`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locator {
    /// Pool.
    pub pool: i64,
    /// Hashed instead of the name; empty: none.
    pub key: Vec<u8>,
    /// Namespace in the pool.
    pub namespace: Vec<u8>,
    /// A hash instead of all names, which only listings use; -1: none.
    pub hash: i64,
}

impl Locator {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or of a version that must not be read.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut section = decoder.section("object_locator_t", 6)?;
        let body = &mut section.body;
        // Behind the pool was a preferred OSD, which no release honours any more.
        let pool = if section.version < 2 {
            let pool = i64::from(body.i32()?);
            body.skip(2)?;
            pool
        } else {
            let pool = body.i64()?;
            body.skip(4)?;
            pool
        };
        let key = body.blob()?.to_vec();
        let namespace = if section.version >= 5 { body.blob()?.to_vec() } else { Vec::new() };
        let hash = if section.version >= 6 { body.i64()? } else { -1 };
        Ok(Self { pool, key, namespace, hash })
    }

    /// Writes it.
    pub fn encode(&self, encoder: &mut Encoder) {
        let compat = if self.hash == -1 { 3 } else { 6 };
        encoder.section(6, compat, |body| {
            body.i64(self.pool).i32(-1).blob(&self.key).blob(&self.namespace).i64(self.hash);
        });
    }
}

/// The answer "ask there instead" (`request_redirect_t` of `osd/osd_types.h`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Pool, key and namespace of the other object.
    pub locator: Locator,
    /// Its name; empty: the same.
    pub object: Vec<u8>,
}

impl Redirect {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off, or of a version that must not be read.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut body = decoder.section("request_redirect_t", 1)?.body;
        let locator = Locator::decode(&mut body)?;
        let object = body.blob()?.to_vec();
        Ok(Self { locator, object })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locators_survive_the_wire() {
        for hash in [-1, 7] {
            let locator = Locator { pool: 9, key: b"k".to_vec(), namespace: b"ns".to_vec(), hash };
            let mut encoder = Encoder::new();
            locator.encode(&mut encoder);
            let bytes = encoder.finish();
            assert_eq!(bytes[1], if hash == -1 { 3 } else { 6 }, "who must understand a hash");
            assert_eq!(Locator::decode(&mut Decoder::new("test", &bytes)).unwrap(), locator);
        }
    }

    #[test]
    fn a_redirect_names_object_and_place() {
        let locator = Locator { pool: 2, key: Vec::new(), namespace: Vec::new(), hash: -1 };
        let mut encoder = Encoder::new();
        encoder.section(1, 1, |body| {
            locator.encode(body);
            body.blob("target").u32(0);
        });
        let bytes = encoder.finish();
        let redirect = Redirect::decode(&mut Decoder::new("test", &bytes)).unwrap();
        assert_eq!(redirect, Redirect { locator, object: b"target".to_vec() });
    }
}
