//! Keyed hashes over secrets.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use wasmount_types::{Blame, Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Hash below the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// Output 20 bytes.
    Sha1,
    /// Output 32 bytes.
    Sha256,
    /// Output 48 bytes.
    Sha384,
    /// Output 64 bytes.
    Sha512,
}

/// How a secret's text becomes key bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The text itself.
    Raw,
    /// The text is base64 of the key (RFC 4648, section 4; padding may be missing).
    Base64,
}

/// HMAC (RFC 2104) over `data` with the key `prefix` followed by the decoded `secret`.
pub(super) fn keyed_hash(
    hash: Hash,
    encoding: Encoding,
    prefix: &[u8],
    secret: &[u8],
    data: &[u8],
) -> Result<Vec<u8>> {
    let decoded;
    let key: &[u8] = match encoding {
        Encoding::Raw => secret,
        Encoding::Base64 => {
            decoded = Zeroizing::new(base64_decode(secret)?);
            &decoded
        }
    };
    let mut whole = Zeroizing::new(Vec::with_capacity(prefix.len() + key.len()));
    whole.extend_from_slice(prefix);
    whole.extend_from_slice(key);
    match hash {
        Hash::Sha1 => mac::<Hmac<sha1::Sha1>>(&whole, data),
        Hash::Sha256 => mac::<Hmac<sha2::Sha256>>(&whole, data),
        Hash::Sha384 => mac::<Hmac<sha2::Sha384>>(&whole, data),
        Hash::Sha512 => mac::<Hmac<sha2::Sha512>>(&whole, data),
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Result<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key)
        .map_err(|_| Error::new(ErrorKind::Invalid, Blame::Plugin, "the key does not fit this hash"))?;
    mac.update(data);
    Ok(mac.finalize().into_bytes().to_vec())
}

fn base64_decode(text: &[u8]) -> Result<Vec<u8>> {
    let text = text.trim_ascii();
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).map_err(|_| {
        // The decoder's own message would quote a byte of the secret.
        Error::new(
            ErrorKind::Invalid,
            Blame::Caller,
            "the secret is not base64, as this storage system's keys are",
        )
    })
}

/// Base64 with padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn rfc_4231_and_2202_vectors() {
        let (key, data) = (b"Jefe", b"what do ya want for nothing?");
        let vectors = [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Hash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (hash, expected) in vectors {
            assert_eq!(hex(&keyed_hash(hash, Encoding::Raw, b"", key, data).unwrap()), expected);
            // A prefix is the beginning of the key.
            assert_eq!(hex(&keyed_hash(hash, Encoding::Raw, b"Je", b"fe", data).unwrap()), expected);
            for text in [&b"SmVmZQ=="[..], b"SmVmZQ"] {
                assert_eq!(hex(&keyed_hash(hash, Encoding::Base64, b"", text, data).unwrap()), expected);
            }
        }
    }

    #[test]
    fn a_secret_that_is_not_base64_is_not_quoted() {
        let error = keyed_hash(Hash::Sha1, Encoding::Base64, b"", b"top!secret", b"").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(!error.message.contains('!'), "{error}");
    }
}
