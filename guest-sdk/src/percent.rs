//! Percent-encoding (RFC 3986, section 2): the strict form that signatures demand.

use crate::{Error, Result};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends `text` with everything but unreserved characters encoded: for query names and values, and single path segments.
pub fn encode_into(out: &mut String, text: &str) {
    encode_bytes(out, text.as_bytes(), false);
}

/// Appends a path: as [`encode_into`], but `/` stays.
pub fn encode_path_into(out: &mut String, path: &str) {
    encode_bytes(out, path.as_bytes(), true);
}

/// [`encode_into`] a new string.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text);
    out
}

/// [`encode_path_into`] a new string.
pub fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    encode_path_into(&mut out, path);
    out
}

fn encode_bytes(out: &mut String, bytes: &[u8], slash: bool) {
    for &byte in bytes {
        if unreserved(byte) || (slash && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).copied().map_or('0', char::from));
            }
        }
    }
}

/// Decodes `%41` to `A`; `+` stays.
///
/// # Errors
/// `corrupt`: a `%` without two hexadecimal digits, or a result that is not UTF-8.
pub fn decode(text: &str) -> Result<String> {
    decode_bytes(text, false)
}

/// Decodes the form that HTML forms and the listings of S3 use: as [`decode`], and `+` is a space.
///
/// # Errors
/// As [`decode`].
pub fn decode_form(text: &str) -> Result<String> {
    decode_bytes(text, true)
}

fn decode_bytes(text: &str, plus: bool) -> Result<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => out.push(high << 4 | low),
                _ => return Err(Error::corrupt(format!("a broken percent-encoding in {text:?}"))),
            },
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    Ok(String::from_utf8(out)?)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_everything_but_unreserved() {
        assert_eq!(encode("a/b c+d%~é\u{1}"), "a%2Fb%20c%2Bd%25~%C3%A9%01");
        assert_eq!(encode_path("a//b?#"), "a//b%3F%23");
    }

    #[test]
    fn plus_is_a_space_only_in_forms() {
        assert_eq!(decode("a+b%2Bc").unwrap(), "a+b+c");
        assert_eq!(decode_form("a+b%2bc").unwrap(), "a b+c");
    }

    #[test]
    fn broken_encodings_are_errors() {
        for bad in ["%", "%4", "%zz", "%+1", "%ff", "a%"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_character_survives() {
        let all: String = (1..0x800).filter_map(char::from_u32).chain(['\u{10ffff}', '中']).collect();
        assert_eq!(decode(&encode(&all)).unwrap(), all);
        assert_eq!(decode_form(&encode_path(&all)).unwrap(), all);
    }
}
