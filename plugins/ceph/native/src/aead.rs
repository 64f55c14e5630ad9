//! The cipher of secure mode.

use aes_gcm::aead::{Aead as _, KeyInit as _};
use wasmount_ceph::msgr::{Aead, AeadFactory, NONCE_LEN};

/// AES-128-GCM by the `aes-gcm` crate.
pub struct Aes128Gcm(aes_gcm::Aes128Gcm);

impl Aead for Aes128Gcm {
    fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&(*nonce).into(), sealed).ok()
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&(*nonce).into(), plain).ok()
    }
}

/// Makes [`Aes128Gcm`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Aes128GcmFactory;

impl AeadFactory for Aes128GcmFactory {
    type Aead = Aes128Gcm;

    fn aes128_gcm(&self, key: &[u8; 16]) -> Option<Aes128Gcm> {
        Some(Aes128Gcm(aes_gcm::Aes128Gcm::new(&(*key).into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_what_was_changed_does_not() {
        let cipher = Aes128GcmFactory.aes128_gcm(&[7; 16]).unwrap();
        let mut sealed = cipher.seal(&[1; NONCE_LEN], b"plain").unwrap();
        assert_eq!(cipher.open(&[1; NONCE_LEN], &sealed).unwrap(), b"plain");
        assert!(cipher.open(&[2; NONCE_LEN], &sealed).is_none());
        sealed[0] ^= 1;
        assert!(cipher.open(&[1; NONCE_LEN], &sealed).is_none());
    }
}
