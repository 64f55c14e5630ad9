//! cephx: what a monitor and a service answer, sealed with the right key, so that bytes reach what reads them.

use anyhow::{Context, Result};
use wasmount_ceph::auth::{Cephx, Key, Usage};
use wasmount_ceph::encoding::{Decoder, Encoder};
use wasmount_ceph::msgr::Authenticator;
use wasmount_ceph::types::{UTime, entity};
use wasmount_ceph::{Entropy, Now};

use crate::input::{Input, pieces};

/// `CEPHX_GET_AUTH_SESSION_KEY` of `auth/cephx/CephxProtocol.h`.
const GET_AUTH_SESSION_KEY: u16 = 0x0100;

struct Nothing;

impl Entropy for Nothing {
    fn fill(&mut self, into: &mut [u8]) {
        into.fill(7);
    }
}

/// A key as it is encoded: its type, when it was made, its secret.
fn encoded(key_type: u16) -> Vec<u8> {
    let secret = vec![9; if key_type == 1 { 16 } else { 32 }];
    let mut encoder = Encoder::new();
    encoder.u16(key_type).u32(0).u32(0).u16(u16::try_from(secret.len()).unwrap_or(0)).raw(&secret);
    encoder.finish()
}

fn key(key_type: u16) -> Option<Key> {
    Key::decode(&mut Decoder::new("key", &encoded(key_type))).ok()
}

/// Tickets for these services, each with what it says about the session key, sealed.
fn tickets(encoder: &mut Encoder, key: &Key, of: &[(u8, &[u8])], replaces: bool, blob: &[u8]) {
    encoder.u8(1).length(of.len());
    for (service, mine) in of {
        encoder.u32(u32::from(*service)).u8(1);
        encoder.blob(key.seal(Usage::TicketSessionKey, &mut Nothing, |plain| {
            plain.raw(mine);
        }));
        encoder.bool(replaces).blob(blob);
    }
}

/// A good ticket, on the client's side: its session key, and for how long.
fn good_ticket(key_type: u16) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.u8(1).raw(&encoded(key_type));
    UTime { seconds: 3600, nanoseconds: 0 }.encode(&mut encoder);
    encoder.finish()
}

/// A good ticket, on the service's side.
fn good_blob() -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.u8(1).u64(3).blob([4; 40]);
    encoder.finish()
}

/// What a monitor says at the end, around the parts.
fn done(key: &Key, mine: &[u8], blob: &[u8], secret: &[u8], extra: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.u16(GET_AUTH_SESSION_KEY).i32(0);
    tickets(&mut encoder, key, &[(entity::AUTH, mine)], false, blob);
    encoder.blob(secret).blob(extra);
    encoder.finish()
}

pub(super) fn cephx(input: &[u8]) {
    let mut input = Input(input);
    let choice = input.byte();
    let key_type = if choice & 1 == 0 { 1 } else { 2 };
    let Some(key) = key(key_type) else { return };
    let Ok(cephx) = Cephx::new("client.admin", Some(key.clone()), &[entity::OSD, entity::MDS]) else {
        return;
    };
    let now = Now::default();
    let mut monitor = cephx.monitor();
    let _ = monitor.start(now, &mut Nothing);
    let part = input.piece();
    match choice >> 1 & 7 {
        // As it comes.
        0 => {
            let _ = monitor.more(part, now, &mut Nothing);
            let _ = monitor.done(1, input.rest(), now);
        }
        // What is inside a ticket.
        1 => drop(monitor.done(1, &done(&key, part, input.rest(), &[], &[]), now)),
        // The connection's secret, and tickets for services.
        2 => {
            let mut secret = Encoder::new();
            secret.blob(key.seal(Usage::ConnectionSecret, &mut Nothing, |plain| {
                plain.raw(part);
            }));
            let good = good_ticket(key_type);
            drop(monitor.done(1, &done(&key, &good, &good_blob(), &secret.finish(), input.rest()), now));
        }
        // The same, with what is inside those tickets.
        3 => {
            let mut extra = Encoder::new();
            tickets(&mut extra, &key, &[(entity::OSD, part)], choice & 16 != 0, input.rest());
            let good = good_ticket(key_type);
            drop(monitor.done(1, &done(&key, &good, &good_blob(), &[], &extra.finish()), now));
        }
        // What comes later: other tickets, and what a service says.
        _ => {
            let good = good_ticket(key_type);
            let mut extra = Encoder::new();
            tickets(&mut extra, &key, &[(entity::OSD, &good)], false, &good_blob());
            let payload = done(&key, &good, &good_blob(), &[], &extra.finish());
            if monitor.done(1, &payload, now).is_err() {
                return;
            }
            let _ = cephx.renewal(now, &mut Nothing);
            let _ = cephx.renewed(0, part, now);
            let mut service = cephx.service(entity::OSD);
            if service.start(now, &mut Nothing).is_err() {
                return;
            }
            let seal = |usage, plain: &[u8]| {
                key.seal(usage, &mut Nothing, |encoder| {
                    encoder.raw(plain);
                })
            };
            let _ = service.more(&seal(Usage::AuthorizeChallenge, part), now, &mut Nothing);
            let mut reply = Encoder::new();
            reply.blob(seal(Usage::AuthorizeReply, input.rest()));
            let _ = service.done(1, &reply.finish(), now);
        }
    }
}

pub(super) fn cephx_seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (bit, key_type) in [(0, 1), (1, 2)] {
        let key = key(key_type).context("a key")?;
        let good = good_ticket(key_type);
        let mut secret = Encoder::new();
        secret.blob([8; 64]);
        let mut extra = Encoder::new();
        tickets(&mut extra, &key, &[(entity::OSD, &good), (entity::MDS, &good)], false, &good_blob());
        let mut challenge = Encoder::new();
        challenge.u8(1).u64(11);
        let mut reply = Encoder::new();
        // The nonce is what `Nothing` yields, and one more.
        reply.u8(2).u64(u64::from_le_bytes([7; 8]).wrapping_add(1)).blob([8; 64]);
        let whole = done(&key, &good, &good_blob(), &[], &[]);
        for (mode, part, rest) in [
            (0, challenge.clone().finish(), whole),
            (1, good.clone(), good_blob()),
            (2, secret.finish(), extra.finish()),
            (3, good.clone(), good_blob()),
            (4, challenge.finish(), reply.finish()),
        ] {
            seeds.push([vec![mode << 1 | bit], pieces([part.as_slice()]), rest].concat());
        }
    }
    Ok(seeds)
}
