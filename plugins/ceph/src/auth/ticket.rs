//! Tickets, and the authorizers made of them.

use super::{AuthError, Key, Usage};
use crate::encoding::{DecodeError, Decoder, Encoder};
use crate::entropy::Entropy;
use crate::time::Now;
use crate::types::UTime;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// Tickets by service: one of [`entity`](crate::types::entity).
pub(super) type Tickets = BTreeMap<u32, Ticket>;

/// The right to talk to a service for a while.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    /// What client and service have in common.
    pub(super) session_key: Key,
    /// What only the service can read.
    pub(super) blob: TicketBlob,
    /// When a new one should be asked for: monotonic milliseconds.
    pub(super) renew_at: u64,
    /// When it ends.
    pub(super) expires_at: u64,
}

/// The service's half of a ticket (`CephXTicketBlob`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TicketBlob {
    /// Which of the service's rotating keys it is encrypted with.
    pub(super) secret_id: u64,
    /// The ciphertext.
    pub(super) blob: Vec<u8>,
}

impl TicketBlob {
    pub(super) fn encode(&self, encoder: &mut Encoder) {
        encoder.u8(1).u64(self.secret_id).blob(&self.blob);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.skip(1)?;
        Ok(Self { secret_id: decoder.u64()?, blob: decoder.blob()?.to_vec() })
    }
}

/// Reads the tickets of a reply (`cephx_build_service_ticket_reply`), whose session keys are encrypted with `key`. A blob that replaces
/// an older one may be encrypted with the older one's session key, which is in `old`.
pub(super) fn decode_tickets(
    decoder: &mut Decoder<'_>,
    key: &Key,
    old: &Tickets,
    now: Now,
) -> Result<Tickets, AuthError> {
    /// Service, version, two lengths and a flag.
    const SMALLEST: usize = 14;
    decoder.skip(1)?;
    let count = decoder.count(SMALLEST)?;
    let mut tickets = Tickets::new();
    for _ in 0..count {
        let service = decoder.u32()?;
        decoder.skip(1)?;
        let mine = key.open(Usage::TicketSessionKey, decoder.blob()?, "a ticket")?;
        let (session_key, validity) = decode_mine(&mine)?;
        let replaces = decoder.bool()?;
        let theirs = decoder.blob()?;
        let blob = if replaces {
            let old_key =
                &old.get(&service).ok_or(AuthError::Unverified { what: "a renewed ticket" })?.session_key;
            let opened = old_key.open(Usage::TicketBlob, theirs, "a renewed ticket")?;
            // What was encrypted is a string of bytes, with its length.
            let inner = Decoder::new("ticket", &opened).blob()?;
            TicketBlob::decode(&mut Decoder::new("CephXTicketBlob", inner))?
        } else {
            TicketBlob::decode(&mut Decoder::new("CephXTicketBlob", theirs))?
        };
        let (renew_at, expires_at) = lifetime(validity, now);
        tickets.insert(service, Ticket { session_key, blob, renew_at, expires_at });
    }
    Ok(tickets)
}

/// The client's half of a ticket (`CephXServiceTicket`): session key and validity.
fn decode_mine(bytes: &[u8]) -> Result<(Key, UTime), DecodeError> {
    let mut decoder = Decoder::new("CephXServiceTicket", bytes);
    decoder.skip(1)?;
    Ok((Key::decode(&mut decoder)?, UTime::decode(&mut decoder)?))
}

/// Renewed after three quarters of its validity, as every client of Ceph does. A validity of zero means for ever.
fn lifetime(validity: UTime, now: Now) -> (u64, u64) {
    match u64::from(validity.seconds) * 1000 {
        0 => (u64::MAX, u64::MAX),
        milliseconds => (now.after(milliseconds / 4 * 3), now.after(milliseconds)),
    }
}

/// Shows a service that this client has a ticket for it, and afterwards that the service could read it (`CephXAuthorizer`).
#[derive(Clone, Debug)]
pub(super) struct Authorizer {
    service: u32,
    global_id: u64,
    ticket: Ticket,
    nonce: u64,
}

impl Authorizer {
    pub(super) fn new(service: u32, global_id: u64, ticket: Ticket, entropy: &mut dyn Entropy) -> Self {
        Self { service, global_id, ticket, nonce: entropy.number() }
    }

    pub(super) fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// What is sent: once without, and when the service has asked for it, once more with the answer to its challenge.
    pub(super) fn encode(&self, challenge: Option<u64>, entropy: &mut dyn Entropy) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(1).u64(self.global_id).u32(self.service);
        self.ticket.blob.encode(&mut encoder);
        encoder.blob(self.ticket.session_key.seal(Usage::Authorize, entropy, |proof| {
            proof.u8(2).u64(self.nonce).bool(challenge.is_some());
            proof.u64(challenge.map_or(0, |challenge| challenge.wrapping_add(1)));
        }));
        encoder.finish()
    }

    /// Reads the service's challenge.
    pub(super) fn challenge(&self, sealed: &[u8]) -> Result<u64, AuthError> {
        let opened =
            self.ticket.session_key.open(Usage::AuthorizeChallenge, sealed, "the service's challenge")?;
        let mut decoder = Decoder::new("CephXAuthorizeChallenge", &opened);
        decoder.skip(1)?;
        Ok(decoder.u64()?)
    }

    /// Checks the service's reply; gives the secret of the connection, which is empty in mode crc.
    pub(super) fn verify(&self, reply: &[u8]) -> Result<Zeroizing<Vec<u8>>, AuthError> {
        const WHAT: &str = "the service's reply to the authorizer";
        let sealed = Decoder::new("CephXAuthorizeReply", reply).blob()?;
        let opened = self.ticket.session_key.open(Usage::AuthorizeReply, sealed, WHAT)?;
        let mut decoder = Decoder::new("CephXAuthorizeReply", &opened);
        let version = decoder.u8()?;
        if decoder.u64()? != self.nonce.wrapping_add(1) {
            return Err(AuthError::Unverified { what: WHAT });
        }
        Ok(Zeroizing::new(if version >= 2 { decoder.blob()?.to_vec() } else { Vec::new() }))
    }
}
