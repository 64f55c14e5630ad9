//! Keys: what a user and the cluster, or two ends of a session, both know.

use super::AuthError;
use super::{aes, aes256k};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::entropy::Entropy;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// The cipher a key is for (`CEPH_CRYPTO_*` of `include/ceph_fs.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// AES-128 in CBC mode, without a check of integrity: the only one until August 2026. Its base64 begins with `AQ`.
    Aes,
    /// AES-256 with HMAC-SHA384, as in RFC 8009 (CVE-2025-30156). Its base64 begins with `Ag`.
    Aes256k,
}

impl KeyType {
    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Aes),
            2 => Some(Self::Aes256k),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::Aes => 1,
            Self::Aes256k => 2,
        }
    }

    /// Bytes of a secret. Longer ones are accepted, as by Ceph.
    fn secret_length(self) -> usize {
        match self {
            Self::Aes => aes::KEY,
            Self::Aes256k => aes256k::KEY,
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes => "aes",
            Self::Aes256k => "aes256k",
        })
    }
}

/// A text that is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is nothing.
    #[error("the key is empty: give what `ceph auth get-key client.NAME` prints")]
    Empty,
    /// It is a keyring file, or a line of one.
    #[error(
        "the key is a keyring, or a line of one: give only what follows `key =`, or use the option for a keyring"
    )]
    Keyring,
    /// It is not base64.
    #[error("the key is not base64: give what `ceph auth get-key client.NAME` prints")]
    NotBase64,
    /// It is a key that went through base64 once more, as happens to Kubernetes secrets.
    #[error(
        "the key was encoded in base64 twice: the secret's `data` holds base64 of a text that already was base64 of a key; \
         put the key itself under `stringData`, or encode it once"
    )]
    EncodedTwice,
    /// It is base64 of something else.
    #[error("the key is base64, but not of a key: give what `ceph auth get-key client.NAME` prints")]
    NotKey,
    /// It is of a type that this client does not know.
    #[error("the key is of type {0}, this client knows 1 (aes) and 2 (aes256k)")]
    UnknownType(u16),
    /// Part of it is missing.
    #[error("the key is cut off: its secret has {found} bytes, one of type {key_type} has {expected}")]
    CutOff {
        /// Its type.
        key_type: KeyType,
        /// Bytes there are.
        found: usize,
        /// Bytes there should be.
        expected: usize,
    },
}

/// What something is encrypted for (`CEPHX_KEY_USAGE_*` of `auth/cephx/CephxProtocol.h`). The newer cipher derives keys from it, so that
/// nothing said in one place can be replayed in another; the older ignores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Usage {
    /// The secret of a connection to a monitor.
    ConnectionSecret = 0x03,
    /// The session key of a ticket.
    TicketSessionKey = 0x04,
    /// A ticket that replaces an older one.
    TicketBlob = 0x05,
    /// An authorizer.
    Authorize = 0x10,
    /// A service's challenge to it.
    AuthorizeChallenge = 0x11,
    /// A service's reply to it.
    AuthorizeReply = 0x12,
}

/// A secret and the cipher it is for (`CryptoKey`).
#[derive(Clone)]
pub struct Key {
    key_type: KeyType,
    secret: Zeroizing<Vec<u8>>,
}

impl Key {
    /// Reads the base64 that keyrings and `ceph auth get-key` have. White space around it is ignored.
    ///
    /// # Errors
    /// It is not a key; the error tells the usual mistakes apart.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.starts_with('[') || text.trim_start_matches("key").trim_start().starts_with('=') {
            return Err(KeyError::Keyring);
        }
        let bytes = base64_bytes(text).ok_or(KeyError::NotBase64)?;
        Self::from_bytes(&bytes).map_err(|error| {
            let inner = std::str::from_utf8(&bytes).ok().map(str::trim).and_then(base64_bytes);
            match inner {
                Some(inner) if Self::from_bytes(&inner).is_ok() => KeyError::EncodedTwice,
                Some(_) | None => error,
            }
        })
    }

    /// Reads all of the bytes behind the base64.
    fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut decoder = Decoder::new("CryptoKey", bytes);
        let (number, length) = head(&mut decoder).map_err(|_| KeyError::NotKey)?;
        // Anything else than a small type is not an unknown key but no key at all.
        let key_type = match KeyType::from_number(number) {
            Some(key_type) => key_type,
            None if number < 16 && decoder.remaining() == length => {
                return Err(KeyError::UnknownType(number));
            }
            None => return Err(KeyError::NotKey),
        };
        let (found, expected) = (decoder.remaining(), key_type.secret_length());
        if length < expected || found > length {
            return Err(KeyError::NotKey);
        }
        if found < length {
            return Err(KeyError::CutOff { key_type, found, expected: length });
        }
        Ok(Self { key_type, secret: Zeroizing::new(decoder.rest().to_vec()) })
    }

    /// Reads one inside a message.
    ///
    /// # Errors
    /// It is cut off, too short, or of an unknown type.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (number, length) = head(decoder)?;
        let key_type = KeyType::from_number(number)
            .ok_or_else(|| decoder.error(format_args!("a key of unknown type {number}")))?;
        let secret = decoder.bytes(length)?;
        if length < key_type.secret_length() {
            return Err(decoder.error(format_args!("a key of type {key_type} with {length} bytes")));
        }
        Ok(Self { key_type, secret: Zeroizing::new(secret.to_vec()) })
    }

    /// The cipher it is for.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The secret itself, for the signature of a handshake.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// Encrypts what `write` writes, inside the envelope by which the other side knows that it has the same key.
    pub fn seal(&self, usage: Usage, entropy: &mut dyn Entropy, write: impl FnOnce(&mut Encoder)) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(ENVELOPE).u64(MAGIC);
        write(&mut encoder);
        let plain = Zeroizing::new(encoder.finish());
        match self.key_type {
            KeyType::Aes => aes::seal(&self.secret, &plain),
            KeyType::Aes256k => {
                let mut confounder = [0; aes256k::CONFOUNDER];
                entropy.fill(&mut confounder);
                aes256k::seal(&self.secret, usage as u32, &confounder, &plain)
            }
        }
    }

    /// Decrypts an envelope and returns what was in it; `what` names it in the error.
    ///
    /// # Errors
    /// [`AuthError::Unverified`]: it was encrypted with another key, for another usage, or has been changed.
    pub fn open(
        &self,
        usage: Usage,
        sealed: &[u8],
        what: &'static str,
    ) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        let plain = match self.key_type {
            KeyType::Aes => aes::open(&self.secret, sealed),
            KeyType::Aes256k => aes256k::open(&self.secret, usage as u32, sealed),
        };
        let mut plain = plain.ok_or(AuthError::Unverified { what })?;
        let mut decoder = Decoder::new("envelope", &plain);
        match (decoder.u8(), decoder.u64()) {
            (Ok(_), Ok(MAGIC)) => {}
            _ => return Err(AuthError::Unverified { what }),
        }
        plain.drain(..ENVELOPE_LENGTH);
        Ok(plain)
    }

    /// The number by which a client proves that it has this key (`cephx_calc_client_server_challenge`): both challenges, encrypted or
    /// hashed, folded to 64 bits.
    #[must_use]
    pub fn prove(&self, server_challenge: u64, client_challenge: u64) -> u64 {
        let mut encoder = Encoder::new();
        match self.key_type {
            KeyType::Aes => {
                encoder.u8(ENVELOPE).u64(MAGIC).u64(server_challenge).u64(client_challenge);
                let sealed = aes::seal(&self.secret, &encoder.finish());
                // The length before it is folded too; what is left at the end is not.
                let mut framed = Encoder::new();
                framed.blob(sealed);
                fold(&framed.finish())
            }
            KeyType::Aes256k => {
                encoder.u64(server_challenge).u64(client_challenge);
                fold(&hmac_sha256(&self.secret, &encoder.finish()))
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.key_type)
    }
}

/// Version of the envelope.
const ENVELOPE: u8 = 1;
/// Says that decryption went well (`AUTH_ENC_MAGIC`).
const MAGIC: u64 = 0xff00_9cad_8826_aa55;
/// Bytes before the content of an envelope.
const ENVELOPE_LENGTH: usize = 9;

/// Type and length of the secret, which follows. The time in between, when the key was made, is of no use.
fn head(decoder: &mut Decoder<'_>) -> Result<(u16, usize), DecodeError> {
    let number = decoder.u16()?;
    decoder.skip(8)?;
    Ok((number, usize::from(decoder.u16()?)))
}

/// Base64 with or without padding.
fn base64_bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, lenient).decode(text).ok().map(Zeroizing::new)
}

/// All complete words of eight bytes, combined by exclusive or.
fn fold(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().fold(0, |folded, word| folded ^ u64::from_le_bytes(*word))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        // HMAC takes keys of any length.
        return Vec::new();
    };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
