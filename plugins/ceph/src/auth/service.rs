//! Authentication with a service: OSDs, and later MDSs.

use super::cephx::service_name;
use super::refusal::{EACCES, nothing_in_common};
use super::ticket::Authorizer;
use super::{AuthError, Cephx};
use crate::encoding::Encoder;
use crate::entropy::Entropy;
use crate::msgr::{Authenticator, SessionKeys};
use crate::time::Now;
use crate::types::entity;
use zeroize::Zeroizing;

/// `AUTH_MODE_AUTHORIZER` of `auth/Auth.h`; with the method "none" it is also the version of the structure.
const MODE_AUTHORIZER: u8 = 1;

/// Authenticates one connection to a service with the ticket that its [`Cephx`] has at that moment.
#[derive(Debug)]
pub struct ServiceAuthenticator {
    cephx: Cephx,
    service: u32,
    /// What was sent. The ticket may be renewed while the answer is on its way.
    authorizer: Option<Authorizer>,
    challenged: bool,
}

impl ServiceAuthenticator {
    pub(super) fn new(cephx: Cephx, service: u8) -> Self {
        Self { cephx, service: service.into(), authorizer: None, challenged: false }
    }
}

impl Authenticator for ServiceAuthenticator {
    fn method(&self) -> u32 {
        self.cephx.method()
    }

    fn start(&mut self, now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        let shared = self.cephx.lock();
        self.challenged = false;
        if shared.key.is_none() {
            let id = shared.entity.strip_prefix("client.").unwrap_or_default();
            let mut encoder = Encoder::new();
            encoder.u8(MODE_AUTHORIZER).u32(entity::CLIENT.into()).blob(id).u64(shared.global_id);
            return Ok(encoder.finish());
        }
        let service = service_name(self.service);
        let ticket = shared.valid(self.service, now).ok_or(AuthError::NoTicket { service })?.clone();
        let authorizer = Authorizer::new(self.service, shared.global_id, ticket, entropy);
        let payload = authorizer.encode(None, entropy);
        self.authorizer = Some(authorizer);
        Ok(payload)
    }

    fn bad_method(&mut self, result: i32, methods: &[u32], modes: &[u32]) -> AuthError {
        let mut shared = self.cephx.lock();
        if let Some(error) = nothing_in_common(result, shared.method(), methods, modes) {
            return error;
        }
        match (result.saturating_neg(), self.authorizer.take()) {
            // Only who could read the ticket sends a challenge.
            (EACCES, Some(_)) if self.challenged => {
                shared.renew(self.service);
                AuthError::NoCaps { service: service_name(self.service), entity: shared.entity.clone() }
            }
            (EACCES, Some(authorizer)) => {
                shared.refused(self.service, authorizer.ticket());
                AuthError::TicketRefused { service: service_name(self.service) }
            }
            (errno, _) => {
                AuthError::Errno { peer: service_name(self.service), entity: shared.entity.clone(), errno }
            }
        }
    }

    fn more(&mut self, payload: &[u8], _now: Now, entropy: &mut dyn Entropy) -> Result<Vec<u8>, AuthError> {
        if std::mem::replace(&mut self.challenged, true) {
            return Err(AuthError::Protocol("a second challenge"));
        }
        let authorizer = self.authorizer.as_ref().ok_or(AuthError::Protocol("a challenge to nothing"))?;
        let challenge = authorizer.challenge(payload)?;
        Ok(authorizer.encode(Some(challenge), entropy))
    }

    fn done(&mut self, _global_id: u64, payload: &[u8], _now: Now) -> Result<SessionKeys, AuthError> {
        let Some(authorizer) = self.authorizer.take() else {
            // The method "none" has nothing to check.
            return match self.cephx.lock().key {
                None => Ok(SessionKeys::default()),
                Some(_) => Err(AuthError::Protocol("a success that nothing was done for")),
            };
        };
        let connection_secret = authorizer.verify(payload)?;
        let session_key = Zeroizing::new(authorizer.ticket().session_key.secret().to_vec());
        Ok(SessionKeys { session_key, connection_secret })
    }
}
