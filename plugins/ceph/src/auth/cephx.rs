//! Who this client is, and the tickets it has.

use super::ticket::{Authorizer, Ticket, Tickets, decode_tickets};
use super::{AuthError, Key, MonAuthenticator, ServiceAuthenticator};
use crate::encoding::{Decoder, Encoder};
use crate::entropy::Entropy;
use crate::time::Now;
use crate::types::entity;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `CEPH_AUTH_NONE`: everybody is believed.
pub(super) const METHOD_NONE: u32 = 1;
/// `CEPH_AUTH_CEPHX`.
pub(super) const METHOD_CEPHX: u32 = 2;
/// `CEPHX_GET_AUTH_SESSION_KEY`.
pub(super) const GET_AUTH_SESSION_KEY: u16 = 0x0100;
/// `CEPHX_GET_PRINCIPAL_SESSION_KEY`: tickets for services.
const GET_PRINCIPAL_SESSION_KEY: u16 = 0x0200;
/// The authentication service, in tickets.
pub(super) const AUTH: u32 = entity::AUTH as u32;
/// A request for tickets that has not been answered may be repeated after so long. Also keeps a service whose tickets the monitors
/// cannot make (keys not there yet) from being asked for without end.
const ASK_AGAIN_MS: u64 = 10_000;

/// Identity and tickets of one client of one cluster, shared by its connections: a handle, whose clones mean the same.
#[derive(Clone)]
pub struct Cephx {
    shared: Arc<Mutex<Shared>>,
}

/// What is behind the handle.
pub(super) struct Shared {
    /// `client.admin`.
    pub(super) entity: String,
    /// Without one, the method is "none".
    pub(super) key: Option<Key>,
    /// Services it wants tickets for: a set of [`entity`] bits.
    pub(super) services: u32,
    /// What the monitors call this client; 0 before the first session.
    pub(super) global_id: u64,
    /// Tickets it has, the one for the authentication service among them.
    pub(super) tickets: Tickets,
    /// How often a monitor has authenticated it. Of several that are asked at once the first wins.
    pub(super) sessions: u64,
    /// When tickets may be asked for again.
    ask_at: u64,
}

impl Cephx {
    /// A client named `entity` (`client.admin`) that wants to talk to `services` (of [`entity`]). Without a key it
    /// uses the method "none", which clusters have to be told to accept.
    ///
    /// # Errors
    /// The name does not begin with `client.`, or ends there.
    pub fn new(entity: &str, key: Option<Key>, services: &[u8]) -> Result<Self, AuthError> {
        match entity.strip_prefix("client.") {
            Some(id) if !id.is_empty() && !id.contains(|c: char| c.is_whitespace() || c.is_control()) => {}
            _ => return Err(AuthError::Entity(entity.to_owned())),
        }
        let services = services.iter().fold(0, |set, &service| set | u32::from(service));
        Ok(Self {
            shared: Arc::new(Mutex::new(Shared {
                entity: entity.to_owned(),
                key,
                services,
                global_id: 0,
                tickets: Tickets::new(),
                sessions: 0,
                ask_at: 0,
            })),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing panics while it holds the lock; and if it did, nothing would be half done.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `client.admin`.
    #[must_use]
    pub fn entity(&self) -> String {
        self.lock().entity.clone()
    }

    /// Has another key from now on: the user's was exchanged. What it holds, and what is under way, stays as it is.
    pub fn replace_key(&self, key: Key) {
        self.lock().key = Some(key);
    }

    /// What the monitors call this client: the number of `client.NUMBER` in messages. 0 before the first session; another one only
    /// after [`forget`](Self::forget) or when the monitors no longer accepted the old session.
    #[must_use]
    pub fn global_id(&self) -> u64 {
        self.lock().global_id
    }

    /// The number of the method used.
    #[must_use]
    pub fn method(&self) -> u32 {
        self.lock().method()
    }

    /// Authenticates one connection to a monitor.
    #[must_use]
    pub fn monitor(&self) -> MonAuthenticator {
        MonAuthenticator::new(self.clone())
    }

    /// Authenticates one connection to a service: one of [`entity`].
    #[must_use]
    pub fn service(&self, service: u8) -> ServiceAuthenticator {
        ServiceAuthenticator::new(self.clone(), service)
    }

    /// Whether a connection to a service can be authenticated now.
    #[must_use]
    pub fn has_ticket(&self, service: u8, now: Now) -> bool {
        let shared = self.lock();
        shared.key.is_none() || shared.valid(u32::from(service), now).is_some()
    }

    /// When [`renewal`](Self::renewal) or [`is_old`](Self::is_old) should be looked at again.
    #[must_use]
    pub fn next_renewal(&self) -> Option<u64> {
        let shared = self.lock();
        shared.key.as_ref()?;
        let session = shared.tickets.get(&AUTH).map(|ticket| ticket.renew_at);
        let service =
            shared.wanted().map(|service| shared.tickets.get(&service).map_or(0, |t| t.renew_at)).min();
        let service = service.map(|at| at.max(shared.ask_at));
        session.into_iter().chain(service).min()
    }

    /// Whether the client has to authenticate anew with a monitor: the ticket of the session itself nears its end, or is gone.
    #[must_use]
    pub fn is_old(&self, now: Now) -> bool {
        let shared = self.lock();
        shared.key.is_some() && shared.tickets.get(&AUTH).is_none_or(|ticket| now.reached(ticket.renew_at))
    }

    /// The payload of an `MAuth` that asks for new tickets, if some are needed: missing, refused, or near their end.
    #[must_use]
    pub fn renewal(&self, now: Now, entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        let mut shared = self.lock();
        shared.key.as_ref()?;
        let needed = shared
            .wanted()
            .filter(|service| shared.tickets.get(service).is_none_or(|ticket| now.reached(ticket.renew_at)))
            .fold(0, |set, service| set | service);
        if needed == 0 || !now.reached(shared.ask_at) {
            return None;
        }
        let ticket = shared.valid(AUTH, now)?.clone();
        shared.ask_at = now.after(ASK_AGAIN_MS);
        let authorizer = Authorizer::new(AUTH, shared.global_id, ticket, entropy);
        let mut encoder = Encoder::new();
        encoder.u16(GET_PRINCIPAL_SESSION_KEY).raw(&authorizer.encode(None, entropy)).u8(1).u32(needed);
        Some(encoder.finish())
    }

    /// Takes what came back for a [`renewal`](Self::renewal): result and payload of an `MAuthReply`.
    ///
    /// # Errors
    /// The monitors refused, or what came cannot be verified: the client should authenticate anew.
    pub fn renewed(&self, result: i32, payload: &[u8], now: Now) -> Result<(), AuthError> {
        let mut shared = self.lock();
        let mut decoder = Decoder::new("CephXResponse", payload);
        let result = if result < 0 || payload.is_empty() {
            result
        } else if decoder.u16()? == GET_PRINCIPAL_SESSION_KEY {
            decoder.i32()?
        } else {
            return Err(AuthError::Protocol("an answer to something that was not asked"));
        };
        if result < 0 {
            let entity = shared.entity.clone();
            return Err(AuthError::Errno { peer: "monitor", entity, errno: result.saturating_neg() });
        }
        let key = &shared.tickets.get(&AUTH).ok_or(AuthError::NoTicket { service: "auth" })?.session_key;
        let tickets = decode_tickets(&mut decoder, key, &shared.tickets, now)?;
        shared.tickets.extend(tickets);
        Ok(())
    }

    /// Throws all tickets for services away: the keys they were made with are no longer valid (the map of the monitors has a
    /// new `auth_epoch`). The client should then authenticate anew.
    pub fn drop_service_tickets(&self) {
        let mut shared = self.lock();
        shared.tickets.retain(|&service, _| service == AUTH);
        shared.ask_at = 0;
    }

    /// Forgets tickets and global id: the next session is another client for the cluster.
    pub fn forget(&self) {
        self.lock().forget();
    }
}

impl std::fmt::Debug for Cephx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = self.lock();
        f.debug_struct("Cephx")
            .field("entity", &shared.entity)
            .field("global_id", &shared.global_id)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn method(&self) -> u32 {
        if self.key.is_some() { METHOD_CEPHX } else { METHOD_NONE }
    }

    /// The ticket for a service, if it has not expired.
    pub(super) fn valid(&self, service: u32, now: Now) -> Option<&Ticket> {
        self.tickets.get(&service).filter(|ticket| !now.reached(ticket.expires_at))
    }

    /// Begins or continues a session: what a monitor has said is true from now on.
    pub(super) fn adopt(&mut self, global_id: u64, tickets: Tickets) {
        self.global_id = global_id;
        self.tickets.extend(tickets);
        self.sessions += 1;
        self.ask_at = 0;
    }

    pub(super) fn forget(&mut self) {
        self.global_id = 0;
        self.tickets.clear();
    }

    /// A service does not accept its ticket. It may have been replaced since that was sent.
    pub(super) fn refused(&mut self, service: u32, ticket: &Ticket) {
        if self.tickets.get(&service).is_some_and(|current| current.blob == ticket.blob) {
            self.tickets.remove(&service);
        }
    }

    /// Sees to another ticket for a service, and keeps the one there is until then: tickets hold the capabilities that the user had when they
    /// were made.
    pub(super) fn renew(&mut self, service: u32) {
        if let Some(ticket) = self.tickets.get_mut(&service) {
            ticket.renew_at = 0;
        }
    }

    /// The wanted services, one bit each.
    fn wanted(&self) -> impl Iterator<Item = u32> + use<> {
        let services = self.services;
        (0..u32::BITS).map(|bit| 1 << bit).filter(move |service| services & service != 0)
    }
}

/// How people call a service.
pub(super) fn service_name(service: u32) -> &'static str {
    match u8::try_from(service) {
        Ok(entity::MON) => "mon",
        Ok(entity::MDS) => "mds",
        Ok(entity::OSD) => "osd",
        Ok(entity::MGR) => "mgr",
        Ok(entity::AUTH) => "auth",
        Ok(_) | Err(_) => "unknown",
    }
}
