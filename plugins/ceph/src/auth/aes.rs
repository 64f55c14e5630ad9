//! The older cipher: AES-128-CBC with a constant initialisation vector and PKCS #7 padding (`CryptoAES` of `auth/Crypto.cc`).

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use zeroize::Zeroizing;

/// Bytes of a key. Of a longer one Ceph uses the first of these.
pub(super) const KEY: usize = 16;

/// `CEPH_AES_IV` of `include/ceph_fs.h`.
const IV: &[u8; 16] = b"cephsageyudagreg";

/// Encrypts. A key that is too short, which [`Key`](super::Key) does not make, gives nothing.
pub(super) fn seal(key: &[u8], plain: &[u8]) -> Vec<u8> {
    let Some(key) = key.first_chunk::<KEY>() else {
        return Vec::new();
    };
    cbc::Encryptor::<Aes128>::new(key.into(), IV.into()).encrypt_padded_vec::<Pkcs7>(plain)
}

/// Decrypts; `None` if the padding is wrong. With a wrong key it sometimes is right by chance.
pub(super) fn open(key: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let decryptor = cbc::Decryptor::<Aes128>::new(key.first_chunk::<KEY>()?.into(), IV.into());
    decryptor.decrypt_padded_vec::<Pkcs7>(sealed).ok().map(Zeroizing::new)
}
