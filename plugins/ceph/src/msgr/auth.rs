//! What a connection needs from an authentication protocol.

use crate::auth::AuthError;
use crate::entropy::Entropy;
use crate::time::Now;
use zeroize::Zeroizing;

/// The client's side of an authentication, as a connection drives it: payloads in, payloads out. What they mean is the authenticator's.
///
/// A connection authenticates anew whenever it is made again: [`start`](Self::start) may be called many times.
pub trait Authenticator {
    /// Number of the method (`CEPH_AUTH_NONE` is 1, `CEPH_AUTH_CEPHX` is 2).
    fn method(&self) -> u32;

    /// The payload of `AUTH_REQUEST`.
    ///
    /// # Errors
    /// There is nothing to authenticate with: no ticket for the service.
    fn start(&mut self, now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError>;

    /// What the peer's `AUTH_BAD_METHOD` means: its result (negative errno), and the methods and connection modes it would accept.
    fn bad_method(&mut self, result: i32, methods: &[u32], modes: &[u32]) -> AuthError;

    /// Answers an `AUTH_REPLY_MORE`; the result is the payload of `AUTH_REQUEST_MORE`.
    ///
    /// # Errors
    /// The payload is not what it should be, or the peer refuses.
    fn more(&mut self, payload: &[u8], now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError>;

    /// Takes `AUTH_DONE`: the global id that the peer knows this client by, and a payload with the secrets of the connection.
    ///
    /// # Errors
    /// The payload is not what it should be, or does not prove that the peer knows the secret it should.
    fn done(&mut self, global_id: u64, payload: &[u8], now: Now) -> Result<SessionKeys, AuthError>;
}

/// What an authentication leaves to its connection. Either is empty if the method has no such thing.
#[derive(Clone, Default)]
pub struct SessionKeys {
    /// Signs the transcript of the handshake (`AUTH_SIGNATURE`).
    pub session_key: Zeroizing<Vec<u8>>,
    /// Key and nonces of secure mode: at least 40 bytes there.
    pub connection_secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionKeys").finish_non_exhaustive()
    }
}
