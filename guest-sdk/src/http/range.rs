//! The two headers of a ranged GET (RFC 9110, section 14).

use crate::bindings::wasmount::plugin::types::ByteRange;
use crate::{Error, Result};

/// The value of the `range` header that asks for these bytes.
///
/// # Errors
/// `invalid`: an empty range or one that ends beyond 2^64.
pub fn range_header(range: &ByteRange) -> Result<String> {
    let first = range.offset;
    let Some(length) = range.length else {
        return Ok(format!("bytes={first}-"));
    };
    length
        .checked_sub(1)
        .and_then(|rest| first.checked_add(rest))
        .map(|last| format!("bytes={first}-{last}"))
        .ok_or_else(|| Error::invalid(format!("no such range: {length} bytes from {first}")))
}

/// The value of a `content-range` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Position of the first byte sent.
    pub first: u64,
    /// Position of the last byte sent.
    pub last: u64,
    /// Size of the whole, unless the server does not know it (`*`).
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes 0-9/100`; `None` if it is anything else, including `bytes */100`.
    pub fn parse(value: &str) -> Option<Self> {
        let rest = value.trim().strip_prefix("bytes")?.trim_start();
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let total = match total.trim() {
            "*" => None,
            number => Some(number.parse().ok()?),
        };
        (first <= last && total.is_none_or(|total| last < total)).then_some(Self { first, last, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_for_inclusive_ends() {
        let header = |offset, length| range_header(&ByteRange { offset, length });
        assert_eq!(header(0, Some(1)).unwrap(), "bytes=0-0");
        assert_eq!(header(100, Some(50)).unwrap(), "bytes=100-149");
        assert_eq!(header(7, None).unwrap(), "bytes=7-");
        assert!(header(0, Some(0)).is_err());
        assert!(header(u64::MAX, Some(2)).is_err());
    }

    #[test]
    fn reads_only_sound_answers() {
        let total = |value| ContentRange::parse(value).and_then(|range| range.total);
        assert_eq!(total("bytes 0-9/100"), Some(100));
        assert_eq!(ContentRange::parse("bytes 5-9/*"), Some(ContentRange { first: 5, last: 9, total: None }));
        for bad in [
            "",
            "bytes */100",
            "bytes 9-5/100",
            "bytes 0-100/100",
            "bytes 0-9",
            "octets 0-9/100",
            "bytes a-b/c",
        ] {
            assert_eq!(ContentRange::parse(bad), None, "{bad}");
        }
    }
}
