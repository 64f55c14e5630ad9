//! Authenticated encryption on host bytes, for protocols that encrypt their own frames.
//!
//! Nonces are 12 bytes and counted by the plugin, which must never use one twice with the same key; tags are 16 bytes at the end of the
//! ciphertext.
//!
//! ```
//! use wasmount_sdk::crypto::{Cipher, CipherSuite};
//! use wasmount_sdk::{Buffer, Result};
//!
//! async fn open(key: &[u8; 16], nonce: &[u8; 12], head: &[u8], payload: &Buffer) -> Result<Buffer> {
//!     let cipher = Cipher::create(CipherSuite::Aes128Gcm, key)?;
//!     cipher.open(nonce.to_vec(), head.to_vec(), payload).await
//! }
//! # fn main() {}
//! ```

pub use crate::bindings::wasmount::plugin::crypto::{Cipher, CipherSuite};
