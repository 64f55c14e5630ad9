//! The other side, for tests: a cluster that authenticates clients as monitors and OSDs do.

use super::cephx::{AUTH, METHOD_CEPHX};
use super::{AuthError, Cephx, Key, KeyType, MonAuthenticator, ServiceAuthenticator, Usage};
use crate::encoding::{Decoder, Encoder};
use crate::entropy::Entropy;
use crate::msgr::{Authenticator, SessionKeys};
use crate::time::Now;
use crate::types::entity;

/// Not random at all.
pub(crate) struct Counting(pub(crate) u8);

impl Entropy for Counting {
    fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

/// A key made of one byte.
pub(crate) fn key(key_type: KeyType, byte: u8) -> Key {
    Key::decode(&mut Decoder::new("test", &encoded(key_type, byte))).unwrap()
}

fn encoded(key_type: KeyType, byte: u8) -> Vec<u8> {
    let length = match key_type {
        KeyType::Aes => 16_u16,
        KeyType::Aes256k => 32,
    };
    let mut encoder = Encoder::new();
    encoder.u16(key_type.number()).u64(0).u16(length).raw(&vec![byte; length.into()]);
    encoder.finish()
}

/// A moment so many milliseconds after the beginning of time.
pub(crate) fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, ..Now::default() }
}

/// A cluster with one user.
pub(crate) struct Cluster {
    pub(crate) user: Key,
    /// Encrypts what is for the services only. Replacing it makes all tickets worthless.
    pub(crate) rotating: Key,
    /// Whether the service lets the user in.
    pub(crate) has_caps: bool,
    /// Seconds.
    pub(crate) session_validity: u32,
    /// Seconds.
    pub(crate) ticket_validity: u32,
    /// Types of the session keys, so that they can be mixed.
    pub(crate) session_type: KeyType,
    pub(crate) last_global_id: u64,
    made: u8,
    entropy: Counting,
}

impl Cluster {
    pub(crate) fn new(user: Key) -> Self {
        let session_type = user.key_type();
        Self {
            user,
            rotating: key(session_type, 200),
            has_caps: true,
            session_validity: 72 * 3600,
            ticket_validity: 3600,
            session_type,
            last_global_id: 4000,
            made: 0,
            entropy: Counting(100),
        }
    }

    /// Talks with a client that connects to a monitor, to the end.
    pub(crate) fn authenticate(
        &mut self,
        client: &mut MonAuthenticator,
        now: Now,
    ) -> Result<SessionKeys, AuthError> {
        let hello = client.start(now, &mut Counting(0))?;
        self.finish(client, &hello, now)
    }

    /// The same, after the client's first message.
    pub(crate) fn finish(
        &mut self,
        client: &mut MonAuthenticator,
        hello: &[u8],
        now: Now,
    ) -> Result<SessionKeys, AuthError> {
        const SERVER_CHALLENGE: u64 = 0x1122_3344_5566_7788;
        let mut hello = Decoder::new("hello", hello);
        assert_eq!((hello.u8().unwrap(), hello.u32().unwrap()), (10, entity::CLIENT.into()));
        assert_eq!(hello.string().unwrap(), "admin");
        let claimed = hello.u64().unwrap();
        let mut challenge = Encoder::new();
        challenge.u8(1).u64(SERVER_CHALLENGE);
        let answer = client.more(&challenge.finish(), now, &mut Counting(50))?;
        let mut answer = Decoder::new("answer", &answer);
        assert_eq!((answer.u16().unwrap(), answer.u8().unwrap()), (0x0100, 3));
        let client_challenge = answer.u64().unwrap();
        let proof = answer.u64().unwrap();
        answer.u8().unwrap();
        answer.u64().unwrap();
        let old = self.read_blob(answer.blob().unwrap());
        let services = answer.u32().unwrap();
        assert!(answer.is_empty());
        if proof != self.user.prove(SERVER_CHALLENGE, client_challenge) {
            return Err(client.bad_method(-1, &[METHOD_CEPHX], &[1, 2]));
        }
        let global_id = match &old {
            Some((_, id)) if *id == claimed => claimed,
            // Like a cluster with auth_allow_insecure_global_id_reclaim=false.
            _ if claimed != 0 => return Err(client.bad_method(-13, &[METHOD_CEPHX], &[1, 2])),
            _ => {
                self.last_global_id += 1;
                self.last_global_id
            }
        };
        let mut reply = Encoder::new();
        reply.u16(0x0100).u32(0);
        let user = self.user.clone();
        let old_key = old.map(|(key, _)| key);
        let session_key =
            self.tickets(&mut reply, &user, AUTH, global_id, self.session_validity, old_key.as_ref());
        let secret = session_key.seal(Usage::ConnectionSecret, &mut self.entropy, |e| {
            e.blob([9; 40]);
        });
        let mut framed = Encoder::new();
        framed.blob(secret);
        reply.blob(framed.finish());
        let mut extra = Encoder::new();
        self.tickets(&mut extra, &session_key, services, global_id, self.ticket_validity, None);
        reply.blob(extra.finish());
        client.done(global_id, &reply.finish(), now)
    }

    /// Answers a request for tickets.
    pub(crate) fn renew(&mut self, request: &[u8]) -> Vec<u8> {
        let mut request = Decoder::new("request", request);
        assert_eq!(request.u16().unwrap(), 0x0200);
        let (session_key, global_id, _, _) = self.read_authorizer(&mut request, AUTH).unwrap();
        assert_eq!(request.u8().unwrap(), 1);
        let services = request.u32().unwrap();
        assert!(request.is_empty());
        let mut reply = Encoder::new();
        reply.u16(0x0200).u32(0);
        self.tickets(&mut reply, &session_key, services, global_id, self.ticket_validity, None);
        reply.finish()
    }

    /// Talks with a client that connects to an OSD, to the end.
    pub(crate) fn authorize(
        &mut self,
        client: &mut ServiceAuthenticator,
        now: Now,
    ) -> Result<SessionKeys, AuthError> {
        const CHALLENGE: u64 = u64::MAX;
        let first = client.start(now, &mut Counting(7))?;
        let osd = entity::OSD.into();
        let Some((session_key, _, nonce, answer)) =
            self.read_authorizer(&mut Decoder::new("authorizer", &first), osd)
        else {
            return Err(client.bad_method(-13, &[METHOD_CEPHX], &[1, 2]));
        };
        assert_eq!(answer, None);
        let challenge = session_key.seal(Usage::AuthorizeChallenge, &mut self.entropy, |e| {
            e.u8(1).u64(CHALLENGE);
        });
        let second = client.more(&challenge, now, &mut Counting(90))?;
        let (_, _, again, answer) =
            self.read_authorizer(&mut Decoder::new("authorizer", &second), osd).unwrap();
        assert_eq!((again, answer), (nonce, Some(CHALLENGE.wrapping_add(1))));
        if !self.has_caps {
            return Err(client.bad_method(-13, &[METHOD_CEPHX], &[1, 2]));
        }
        let reply = session_key.seal(Usage::AuthorizeReply, &mut self.entropy, |e| {
            e.u8(2).u64(nonce.wrapping_add(1)).blob([8; 40]);
        });
        let mut framed = Encoder::new();
        framed.blob(reply);
        let keys = client.done(0, &framed.finish(), now)?;
        assert_eq!(keys.session_key.as_slice(), session_key.secret());
        assert_eq!(keys.connection_secret.as_slice(), [8; 40]);
        Ok(keys)
    }

    /// Writes tickets for a set of services; returns the session key of the last one.
    fn tickets(
        &mut self,
        reply: &mut Encoder,
        key: &Key,
        services: u32,
        global_id: u64,
        validity: u32,
        old: Option<&Key>,
    ) -> Key {
        let services: Vec<u32> = (0..32).map(|bit| 1 << bit).filter(|bit| services & bit != 0).collect();
        reply.u8(1).length(services.len());
        let mut last = key.clone();
        for service in services {
            self.made += 1;
            let session_key = encoded(self.session_type, self.made);
            reply.u32(service).u8(1).blob(key.seal(Usage::TicketSessionKey, &mut self.entropy, |e| {
                e.u8(1).raw(&session_key).u32(validity).u32(0);
            }));
            // The usage does not matter: only this side reads it.
            let blob = self.rotating.seal(Usage::TicketBlob, &mut self.entropy, |e| {
                e.raw(&session_key).u64(global_id);
            });
            let mut ticket = Encoder::new();
            ticket.u8(1).u64(77).blob(blob);
            let ticket = ticket.finish();
            match old {
                Some(old) => {
                    reply.bool(true).blob(old.seal(Usage::TicketBlob, &mut self.entropy, |e| {
                        e.blob(&ticket);
                    }));
                }
                None => {
                    reply.bool(false).blob(&ticket);
                }
            }
            last = Key::decode(&mut Decoder::new("test", &session_key)).unwrap();
        }
        last
    }

    /// Session key and global id in a ticket, if it was made with the present rotating key.
    fn read_blob(&self, blob: &[u8]) -> Option<(Key, u64)> {
        let opened = self.rotating.open(Usage::TicketBlob, blob, "a ticket").ok()?;
        let mut decoder = Decoder::new("ticket", &opened);
        Some((Key::decode(&mut decoder).unwrap(), decoder.u64().unwrap()))
    }

    /// Session key, global id, nonce, and answer to the challenge.
    fn read_authorizer(
        &self,
        decoder: &mut Decoder<'_>,
        service: u32,
    ) -> Option<(Key, u64, u64, Option<u64>)> {
        assert_eq!(decoder.u8().unwrap(), 1);
        let global_id = decoder.u64().unwrap();
        assert_eq!(decoder.u32().unwrap(), service);
        assert_eq!((decoder.u8().unwrap(), decoder.u64().unwrap()), (1, 77));
        let (session_key, in_ticket) = self.read_blob(decoder.blob().unwrap())?;
        assert_eq!(in_ticket, global_id);
        let opened = session_key.open(Usage::Authorize, decoder.blob().unwrap(), "an authorizer").unwrap();
        let mut proof = Decoder::new("proof", &opened);
        assert_eq!(proof.u8().unwrap(), 2);
        let nonce = proof.u64().unwrap();
        let answered = proof.bool().unwrap();
        let answer = proof.u64().unwrap();
        Some((session_key, global_id, nonce, answered.then_some(answer)))
    }
}

/// `client.admin` with this key, who wants to talk to OSDs.
pub(crate) fn admin(key: &Key) -> Cephx {
    Cephx::new("client.admin", Some(key.clone()), &[entity::OSD]).unwrap()
}
