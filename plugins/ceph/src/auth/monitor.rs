//! Authentication with a monitor: where everything begins.

use super::cephx::{AUTH, GET_AUTH_SESSION_KEY};
use super::refusal::{EACCES, ENOENT, EPERM, nothing_in_common};
use super::ticket::{Ticket, Tickets, decode_tickets};
use super::{AuthError, Cephx, Key, Usage};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::entropy::Entropy;
use crate::msgr::{Authenticator, SessionKeys};
use crate::time::Now;
use crate::types::entity;
use zeroize::Zeroizing;

/// `AUTH_MODE_MON` of `auth/Auth.h`: the first request to a monitor begins with it.
const MODE_MON: u8 = 10;
/// Version of `CephXAuthenticate` that promises to present an old ticket whenever there is one.
const AUTHENTICATE: u8 = 3;

/// Authenticates one connection to a monitor, and puts the tickets that come with it into the [`Cephx`] it was made by.
#[derive(Debug)]
pub struct MonAuthenticator {
    cephx: Cephx,
    /// How many sessions there had been when this began.
    sessions: u64,
    /// The global id from before that this connection claims, and the ticket that proves the claim: as they were when it began, since
    /// several connections are tried at once.
    claim: Option<(u64, Option<Ticket>)>,
    challenged: bool,
}

impl MonAuthenticator {
    pub(super) fn new(cephx: Cephx) -> Self {
        Self { cephx, sessions: 0, claim: None, challenged: false }
    }
}

impl Authenticator for MonAuthenticator {
    fn method(&self) -> u32 {
        self.cephx.method()
    }

    fn start(&mut self, _now: Now, _entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        let shared = self.cephx.lock();
        self.sessions = shared.sessions;
        self.challenged = false;
        self.claim = (shared.global_id != 0).then(|| (shared.global_id, shared.tickets.get(&AUTH).cloned()));
        let id = shared.entity.strip_prefix("client.").unwrap_or_default();
        let mut encoder = Encoder::new();
        encoder.u8(MODE_MON).u32(entity::CLIENT.into()).blob(id).u64(shared.global_id);
        Ok(encoder.finish())
    }

    fn bad_method(&mut self, result: i32, methods: &[u32], modes: &[u32]) -> AuthError {
        let shared = self.cephx.lock();
        if let Some(error) = nothing_in_common(result, shared.method(), methods, modes) {
            return error;
        }
        let entity = shared.entity.clone();
        match result.saturating_neg() {
            // The key may be right all the same: it can be the proof of the old session that is not accepted any more.
            EPERM | ENOENT | EACCES if self.claim.is_some() => AuthError::SessionLost { entity },
            EPERM | ENOENT | EACCES => {
                AuthError::Refused { entity, key_type: shared.key.as_ref().map(Key::key_type) }
            }
            errno => AuthError::Errno { peer: "monitor", entity, errno },
        }
    }

    fn more(&mut self, payload: &[u8], _now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        if std::mem::replace(&mut self.challenged, true) {
            return Err(AuthError::Protocol("a second challenge"));
        }
        let mut decoder = Decoder::new("CephXServerChallenge", payload);
        decoder.skip(1)?;
        let server_challenge = decoder.u64()?;
        let client_challenge = entropy.number();
        let shared = self.cephx.lock();
        let key = shared.key.as_ref().ok_or(AuthError::Protocol("a challenge although no key is used"))?;
        let old =
            self.claim.as_ref().and_then(|(_, ticket)| ticket.as_ref()).map(|ticket| ticket.blob.clone());
        let mut encoder = Encoder::new();
        encoder.u16(GET_AUTH_SESSION_KEY).u8(AUTHENTICATE).u64(client_challenge);
        encoder.u64(key.prove(server_challenge, client_challenge));
        old.unwrap_or_default().encode(&mut encoder);
        encoder.u32(shared.services);
        Ok(encoder.finish())
    }

    fn done(&mut self, global_id: u64, payload: &[u8], now: Now) -> Result<SessionKeys, AuthError> {
        let mut shared = self.cephx.lock();
        if shared.sessions != self.sessions {
            return Err(AuthError::Superseded);
        }
        let Some(key) = &shared.key else {
            shared.adopt(global_id, Tickets::new());
            return Ok(SessionKeys::default());
        };
        let claimed = self.claim.take().and_then(|(_, ticket)| ticket).map(|ticket| (AUTH, ticket));
        let (tickets, keys) = decode_done(payload, key, &claimed.into_iter().collect(), now)?;
        shared.adopt(global_id, tickets);
        Ok(keys)
    }
}

/// Reads the answer to `CephXAuthenticate`: the ticket for the authentication service, the secret of the connection, and further tickets.
fn decode_done(
    payload: &[u8],
    key: &Key,
    old: &Tickets,
    now: Now,
) -> Result<(Tickets, SessionKeys), AuthError> {
    let mut decoder = Decoder::new("CephXResponse", payload);
    if decoder.u16()? != GET_AUTH_SESSION_KEY {
        return Err(AuthError::Protocol("an answer to something that was not asked"));
    }
    if decoder.i32()? != 0 {
        return Err(AuthError::Protocol("a success that says it is a failure"));
    }
    let mut tickets = decode_tickets(&mut decoder, key, old, now)?;
    let session =
        tickets.get(&AUTH).ok_or(AuthError::Protocol("no ticket for the authentication service"))?;
    let session_key = session.session_key.clone();
    let mut connection_secret = Zeroizing::default();
    if !decoder.is_empty() {
        connection_secret = decode_secret(decoder.blob()?, &session_key)?;
        let more = decoder.blob()?;
        if !more.is_empty() {
            let mut more = Decoder::new("extra tickets", more);
            tickets.extend(decode_tickets(&mut more, &session_key, old, now)?);
        }
    }
    let session_key = Zeroizing::new(session_key.secret().to_vec());
    Ok((tickets, SessionKeys { session_key, connection_secret }))
}

/// The secret of the connection: twice nothing in mode crc, where the ciphertext of an empty string comes.
fn decode_secret(blob: &[u8], session_key: &Key) -> Result<Zeroizing<Vec<u8>>, AuthError> {
    if blob.is_empty() {
        return Ok(Zeroizing::default());
    }
    let sealed = Decoder::new("connection secret", blob).blob()?;
    let opened = session_key.open(Usage::ConnectionSecret, sealed, "the secret of the connection")?;
    let secret: Result<_, DecodeError> = Decoder::new("connection secret", &opened).blob();
    Ok(Zeroizing::new(secret?.to_vec()))
}

#[cfg(test)]
#[path = "cephx_tests.rs"]
mod tests;
