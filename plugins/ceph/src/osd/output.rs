//! What operations give back, decoded.

use crate::encoding::{DecodeError, Decoder};
use crate::types::UTime;

/// Output of [`Op::Stat`](super::Op::Stat).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change.
    pub modified: UTime,
}

impl Stat {
    /// Reads one.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(output: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("stat", output);
        Ok(Self { size: decoder.u64()?, modified: UTime::decode(&mut decoder)? })
    }
}

/// Output of [`Op::OmapGetKeys`](super::Op::OmapGetKeys).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OmapKeys {
    /// Keys in order.
    pub keys: Vec<Vec<u8>>,
    /// There are more: the OSD gives less than what is asked for when that is a lot.
    pub more: bool,
}

impl OmapKeys {
    /// Reads them.
    ///
    /// # Errors
    /// They are cut off.
    pub fn decode(output: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("omap keys", output);
        let keys = decoder.list(|decoder| decoder.blob().map(<[u8]>::to_vec))?;
        Ok(Self { keys, more: more(&mut decoder)? })
    }
}

/// Output of [`Op::OmapGetVals`](super::Op::OmapGetVals) and [`Op::OmapGetByKeys`](super::Op::OmapGetByKeys).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OmapVals {
    /// Keys in order, and their values.
    pub values: Vec<(Vec<u8>, Vec<u8>)>,
    /// There are more, as in [`OmapKeys`].
    pub more: bool,
}

impl OmapVals {
    /// Reads them.
    ///
    /// # Errors
    /// They are cut off.
    pub fn decode(output: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("omap values", output);
        let blob = |decoder: &mut Decoder<'_>| decoder.blob().map(<[u8]>::to_vec);
        let values = decoder.pairs(blob, blob)?;
        Ok(Self { values, more: more(&mut decoder)? })
    }
}

/// The mark behind a page. Values of chosen keys have none: they are always complete.
fn more(decoder: &mut Decoder<'_>) -> Result<bool, DecodeError> {
    if decoder.is_empty() { Ok(false) } else { decoder.bool() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoder;

    #[test]
    fn pages_say_whether_there_are_more() {
        let mut encoder = Encoder::new();
        encoder.list([("a", "1"), ("b", "")].into_iter(), |e, (key, value)| {
            e.blob(key).blob(value);
        });
        let whole = encoder.clone().finish();
        let values = vec![(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), Vec::new())];
        assert_eq!(OmapVals::decode(&whole).unwrap(), OmapVals { values: values.clone(), more: false });
        let page = encoder.bool(true).clone().finish();
        assert_eq!(OmapVals::decode(&page).unwrap(), OmapVals { values, more: true });
        assert!(OmapKeys::decode(&[1, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_stat_is_size_and_time() {
        let mut encoder = Encoder::new();
        encoder.u64(4096).u32(1_700_000_000).u32(5);
        let stat = Stat::decode(&encoder.finish()).unwrap();
        assert_eq!((stat.size, stat.modified.seconds, stat.modified.nanoseconds), (4096, 1_700_000_000, 5));
    }
}
