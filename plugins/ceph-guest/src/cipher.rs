//! AES-128-GCM in the host, for secure mode.

use wasmount_ceph::msgr::{Aead, AeadFactory, NONCE_LEN};
use wasmount_sdk::crypto::{Cipher, CipherSuite};

/// Makes ciphers.
#[derive(Clone, Copy, Debug)]
pub struct HostCiphers;

/// A key in the host.
#[derive(Debug)]
pub struct HostCipher(pub(crate) Cipher);

impl AeadFactory for HostCiphers {
    type Aead = HostCipher;

    fn aes128_gcm(&self, key: &[u8; 16]) -> Option<HostCipher> {
        Cipher::create(CipherSuite::Aes128Gcm, key).ok().map(HostCipher)
    }
}

impl Aead for HostCipher {
    fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.open_bytes(nonce, &[], sealed).ok()
    }

    fn seal(&self, nonce: &[u8; NONCE_LEN], plain: &[u8]) -> Option<Vec<u8>> {
        self.0.seal_bytes(nonce, &[], plain).ok()
    }
}
