//! The newer cipher: AES-256 in CBC mode with ciphertext stealing, authenticated by HMAC-SHA384 cut to 192 bits, as RFC 8009 defines it for
//! Kerberos (`CryptoAES256KRB5` of `auth/Crypto.cc`).

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha384;
use zeroize::Zeroizing;

/// Bytes of a key.
pub(super) const KEY: usize = 32;
/// Random bytes before the plain text, which make equal ones look different.
pub(super) const CONFOUNDER: usize = 16;
/// Bytes of the code of authentication.
const MAC: usize = 24;
/// Bytes of a block of AES.
const BLOCK: usize = 16;
/// Always zero: the confounder does its work.
const IV: [u8; BLOCK] = [0; BLOCK];

/// Encrypts and authenticates.
pub(super) fn seal(key: &[u8], usage: u32, confounder: &[u8; CONFOUNDER], plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONFOUNDER + plain.len() + MAC);
    bytes.extend_from_slice(confounder);
    bytes.extend_from_slice(plain);
    encrypt(&derive::<KEY>(key, usage, Purpose::Encryption), &mut bytes);
    let mac = authenticate(key, usage, &bytes).finalize().into_bytes();
    bytes.extend_from_slice(&mac[..MAC]);
    bytes
}

/// Checks and decrypts; `None` if it was not made with this key for this usage.
pub(super) fn open(key: &[u8], usage: u32, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (encrypted, mac) = sealed.split_last_chunk::<MAC>()?;
    if encrypted.len() < CONFOUNDER {
        return None;
    }
    authenticate(key, usage, encrypted).verify_truncated_left(mac).ok()?;
    let mut plain = Zeroizing::new(encrypted.to_vec());
    decrypt(&derive::<KEY>(key, usage, Purpose::Encryption), &mut plain);
    plain.drain(..CONFOUNDER);
    Some(plain)
}

/// What a derived key is for; the last byte of its label (RFC 8009, section 5).
#[derive(Clone, Copy)]
enum Purpose {
    Encryption = 0xaa,
    Integrity = 0x55,
}

/// `KDF-HMAC-SHA2` of RFC 8009, section 3, without context.
fn derive<const LENGTH: usize>(key: &[u8], usage: u32, purpose: Purpose) -> Zeroizing<[u8; LENGTH]> {
    let mut mac = hmac(key);
    mac.update(&1_u32.to_be_bytes());
    mac.update(&usage.to_be_bytes());
    mac.update(&[purpose as u8, 0]);
    mac.update(&(LENGTH as u32 * 8).to_be_bytes());
    let mut derived = Zeroizing::new([0; LENGTH]);
    derived.copy_from_slice(&mac.finalize().into_bytes()[..LENGTH]);
    derived
}

/// The code of authentication over what is sent.
fn authenticate(key: &[u8], usage: u32, encrypted: &[u8]) -> Hmac<Sha384> {
    let mut mac = hmac(&*derive::<MAC>(key, usage, Purpose::Integrity));
    mac.update(&IV);
    mac.update(encrypted);
    mac
}

fn hmac(key: &[u8]) -> Hmac<Sha384> {
    // HMAC takes keys of any length; the other branch does not exist.
    Hmac::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

/// CBC with ciphertext stealing: the last two blocks swap places, and the last one is cut to what the plain text fills (CS3 of NIST SP
/// 800-38A's addendum). At least one block.
fn encrypt(key: &[u8; KEY], bytes: &mut Vec<u8>) {
    let length = bytes.len();
    bytes.resize(length.next_multiple_of(BLOCK), 0);
    let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
    let mut cbc = cbc::Encryptor::<Aes256>::new(key.into(), &IV.into());
    for block in blocks.iter_mut() {
        cbc.encrypt_block(block.into());
    }
    if let [.., before, last] = blocks {
        std::mem::swap(before, last);
    }
    bytes.truncate(length);
}

/// The reverse. At least one block.
fn decrypt(key: &[u8; KEY], bytes: &mut Vec<u8>) {
    let length = bytes.len();
    let padded = length.next_multiple_of(BLOCK);
    if padded > BLOCK {
        // The last block but one is whole; decrypted on its own it ends with the part that was cut off the last one.
        let missing = padded - length;
        let whole = padded - 2 * BLOCK;
        let mut stolen = [0; BLOCK];
        stolen.copy_from_slice(&bytes[whole..whole + BLOCK]);
        cbc::Decryptor::<Aes256>::new(key.into(), &IV.into()).decrypt_block((&mut stolen).into());
        bytes.extend_from_slice(&stolen[BLOCK - missing..]);
        let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
        if let [.., before, last] = blocks {
            std::mem::swap(before, last);
        }
    }
    let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
    let mut cbc = cbc::Decryptor::<Aes256>::new(key.into(), &IV.into());
    for block in blocks.iter_mut() {
        cbc.decrypt_block(block.into());
    }
    bytes.truncate(length);
}

#[cfg(test)]
#[path = "aes256k_tests.rs"]
mod tests;
