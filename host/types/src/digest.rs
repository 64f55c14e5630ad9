//! What names content: its SHA-256.

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

/// SHA-256 of some bytes. Written as `sha256:` and 64 hexadecimal digits, as OCI registries do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// This is no digest as [`Digest`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl Digest {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digits alone.
    pub fn hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// From the digits alone.
    ///
    /// # Errors
    /// When these are not 64 lower-case hexadecimal digits; OCI's image specification allows no others.
    pub fn from_hex(digits: &str) -> Result<Self, DigestError> {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(DigestError),
        };
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(DigestError);
        }
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::from_hex(text.strip_prefix("sha256:").ok_or(DigestError)?)
    }
}

/// Computes the [`Digest`] of bytes that come one after the other.
#[derive(Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Of everything written.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn known_digest() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        let mut digester = Digester::default();
        digester.write_all(b"a").unwrap();
        digester.write_all(b"bc").unwrap();
        assert_eq!(digester.finish(), Digest::of(b"abc"));
    }

    #[test]
    fn reading_what_was_written() {
        assert_eq!(ABC.parse(), Ok(Digest::of(b"abc")));
        let long = format!("{ABC}0");
        for wrong in ["", "sha256:", &ABC[7..], &ABC[..70], &long, &ABC.to_uppercase(), "sha512:00"] {
            assert_eq!(wrong.parse::<Digest>(), Err(DigestError), "{wrong}");
        }
        let foreign = format!("sha256:{}", "é".repeat(32));
        assert_eq!(foreign.parse::<Digest>(), Err(DigestError));
    }
}
