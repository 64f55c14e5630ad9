//! The cipher of secure mode, which a driver provides: inside a component the host's, natively a library's.

use zeroize::Zeroize;

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes by which sealing makes a text longer.
pub const TAG_LEN: usize = 16;

/// AES-128-GCM with a key inside and no associated data; the tag follows the ciphertext.
///
/// Only small things go through here. What is large or payload is given to the driver whole, as [`Event::Open`](super::Event::Open) and
/// [`Event::Seal`](super::Event::Seal).
pub trait Aead {
    /// Decrypts; `None` if the tag does not fit.
    fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>>;

    /// Encrypts; `None` if the cipher refuses, as a host may that is at its limits.
    fn seal(&self, nonce: &[u8; NONCE_LEN], plain: &[u8]) -> Option<Vec<u8>>;
}

/// Makes ciphers.
pub trait AeadFactory {
    /// What it makes. A connection shares it with its driver.
    type Aead: Aead;

    /// A cipher for this key; `None` if no more can be had.
    fn aes128_gcm(&self, key: &[u8; 16]) -> Option<Self::Aead>;
}

/// What a connection secret means in secure mode (`crypto_onwire.cc` of Ceph).
pub struct SecureKeys {
    /// The key of both directions.
    pub key: [u8; 16],
    /// Where the nonces of the server's frames begin.
    pub from_server: [u8; NONCE_LEN],
    /// Where the nonces of the client's frames begin.
    pub from_client: [u8; NONCE_LEN],
}

impl SecureKeys {
    /// Cuts up a connection secret; `None` if it is shorter than the 40 bytes that are needed.
    #[must_use]
    pub fn parse(connection_secret: &[u8]) -> Option<Self> {
        let (key, rest) = connection_secret.split_first_chunk()?;
        let (from_server, rest) = rest.split_first_chunk()?;
        let (from_client, _) = rest.split_first_chunk()?;
        Some(Self { key: *key, from_server: *from_server, from_client: *from_client })
    }
}

impl Drop for SecureKeys {
    fn drop(&mut self) {
        self.key.zeroize();
        self.from_server.zeroize();
        self.from_client.zeroize();
    }
}

impl std::fmt::Debug for SecureKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureKeys").finish_non_exhaustive()
    }
}

/// Counts nonces: each is used once.
pub(crate) struct Nonces {
    next: [u8; NONCE_LEN],
}

impl Nonces {
    pub(crate) fn from(first: [u8; NONCE_LEN]) -> Self {
        Self { next: first }
    }

    /// The next one. The first four bytes stay; the other eight are a little-endian counter, which would need longer than any connection
    /// lives to come round.
    pub(crate) fn take(&mut self) -> [u8; NONCE_LEN] {
        let nonce = self.next;
        if let Some((_, counter)) = self.next.split_last_chunk_mut::<8>() {
            *counter = u64::from_le_bytes(*counter).wrapping_add(1).to_le_bytes();
        }
        nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_cut_in_order() {
        let secret: Vec<u8> = (0..64).collect();
        let keys = SecureKeys::parse(&secret).unwrap();
        assert_eq!((keys.key[0], keys.from_server[0], keys.from_client[0]), (0, 16, 28));
        assert!(SecureKeys::parse(&secret[..39]).is_none());
        assert_eq!(format!("{keys:?}"), "SecureKeys { .. }");
    }

    #[test]
    fn only_the_counter_of_a_nonce_moves() {
        let mut nonces = Nonces::from([9, 9, 9, 9, 0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(nonces.take()[4..6], [0xff, 0]);
        assert_eq!(nonces.take(), [9, 9, 9, 9, 0, 1, 0, 0, 0, 0, 0, 0]);
        let mut last = Nonces::from([0xff; 12]);
        last.take();
        assert_eq!(last.take(), [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
