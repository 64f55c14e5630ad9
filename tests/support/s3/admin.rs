//! What MinIO's administrator does about users: makes them, removes them, ends their sessions.

use anyhow::{Result, anyhow};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use std::num::NonZeroU32;

use super::{Client, Credentials};

/// Rounds of the key derivation (madmin-go, encrypt.go).
const ROUNDS: NonZeroU32 = NonZeroU32::MIN.saturating_add(8191);
/// "PBKDF2 and AES-256-GCM" there.
const PBKDF2_AES_GCM: u8 = 2;
/// Larger requests would have to be cut into pieces.
const PIECE: usize = 16 * 1024;

impl Client {
    /// Makes a user that may read and write everything (MinIO's `readonly` may not list).
    ///
    /// # Errors
    /// When the server refuses.
    pub fn add_user(&self, user: &Credentials) -> Result<()> {
        let request = serde_json::json!({"secretKey": user.secret_key, "status": "enabled"}).to_string();
        let sealed = seal(&self.credentials.secret_key, request.into_bytes())?;
        self.send("PUT", "/minio/admin/v3/add-user", &[("accessKey", &user.access_key)], &sealed)?;
        let policy = [("policyName", "readwrite"), ("userOrGroup", &*user.access_key), ("isGroup", "false")];
        self.send("PUT", "/minio/admin/v3/set-user-or-group-policy", &policy, &[]).map(drop)
    }

    /// Removes a user: the server does not know its key from now on.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn remove_user(&self, access_key: &str) -> Result<()> {
        self.send("DELETE", "/minio/admin/v3/remove-user", &[("accessKey", access_key)], &[]).map(drop)
    }

    /// Ends all sessions of a user: temporary credentials that were issued to it are not known any more.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn revoke_sessions(&self, user: &str) -> Result<()> {
        let all = [("user", user), ("fullRevoke", "true")];
        self.send("POST", "/minio/admin/v3/revoke-tokens/builtin", &all, &[]).map(drop)
    }
}

/// Encrypts what is sent with an administrator's own secret key, in the one format of the server's for which everything is at hand here
/// (madmin-go, `EncryptData`; sio-go): salt, algorithm, nonce, then a single last piece, whose associated data is a mark of being the last and the
/// tag of an empty message with number 0.
fn seal(password: &str, mut text: Vec<u8>) -> Result<Vec<u8>> {
    if text.len() > PIECE {
        return Err(anyhow!("{} bytes are more than one piece", text.len()));
    }
    let (mut salt, mut prefix) = ([0_u8; 32], [0_u8; 8]);
    let random = SystemRandom::new();
    for bytes in [&mut salt[..], &mut prefix[..]] {
        random.fill(bytes).map_err(|_| anyhow!("no random numbers"))?;
    }
    let mut key = [0_u8; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, password.as_bytes(), &mut key);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow!("no key"))?);
    let nonce = |number: u32| {
        let mut nonce = [0_u8; 12];
        nonce[..8].copy_from_slice(&prefix);
        nonce[8..].copy_from_slice(&number.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    let refused = |_| anyhow!("cannot encrypt");
    let tag = key.seal_in_place_separate_tag(nonce(0), Aad::empty(), &mut []).map_err(refused)?;
    let associated = [&[0x80], tag.as_ref()].concat();
    key.seal_in_place_append_tag(nonce(1), Aad::from(associated), &mut text).map_err(refused)?;
    Ok([&salt[..], &[PBKDF2_AES_GCM], &prefix, &text].concat())
}
