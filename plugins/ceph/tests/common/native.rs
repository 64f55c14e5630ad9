//! What a driver provides, natively.

use aes_gcm::Aes128Gcm;
use aes_gcm::aead::{Aead as _, KeyInit, Nonce};
use wasmount_ceph::Entropy;
use wasmount_ceph::msgr::{Aead, AeadFactory, NONCE_LEN};

/// Makes ciphers of a library.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ciphers;

/// A cipher of a library.
pub struct Cipher(Aes128Gcm);

impl AeadFactory for Ciphers {
    type Aead = Cipher;

    fn aes128_gcm(&self, key: &[u8; 16]) -> Option<Cipher> {
        Some(Cipher(Aes128Gcm::new(key.into())))
    }
}

fn nonce(bytes: &[u8; NONCE_LEN]) -> Nonce<Aes128Gcm> {
    (*bytes).into()
}

impl Aead for Cipher {
    fn open(&self, at: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&nonce(at), sealed).ok()
    }

    fn seal(&self, at: &[u8; NONCE_LEN], plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&nonce(at), plain).ok()
    }
}

/// Numbers that are the same in each run.
pub struct Counting(pub u8);

impl Entropy for Counting {
    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}
