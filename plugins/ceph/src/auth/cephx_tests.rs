//! Client against the other side of the protocol; sessions recorded from real clusters are in `tests/`.

use crate::auth::testing::{Cluster, Counting, admin, at, key};
use crate::auth::{AuthError, Cephx, KeyType};
use crate::encoding::Encoder;
use crate::msgr::Authenticator;
use crate::types::entity::{MDS, OSD};
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;

#[test]
fn a_client_authenticates_and_reaches_an_osd_with_keys_of_either_type() {
    for (user, session) in [
        (KeyType::Aes, KeyType::Aes),
        (KeyType::Aes256k, KeyType::Aes256k),
        // Clusters in the middle of a change mix them.
        (KeyType::Aes, KeyType::Aes256k),
        (KeyType::Aes256k, KeyType::Aes),
    ] {
        let mut cluster = Cluster::new(key(user, 1));
        cluster.session_type = session;
        let client = admin(&cluster.user);
        assert_eq!(
            client.service(OSD).start(at(0), &mut Counting(0)).unwrap_err(),
            AuthError::NoTicket { service: "osd" }
        );
        let keys = cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
        assert_eq!(keys.connection_secret.as_slice(), [9; 40]);
        assert_eq!(client.global_id(), 4001);
        assert!(client.has_ticket(OSD, at(0)) && !client.has_ticket(MDS, at(0)));
        cluster.authorize(&mut client.service(OSD), at(0)).unwrap();
    }
}

#[test]
fn a_wrong_key_is_called_by_its_name() {
    let mut cluster = Cluster::new(key(KeyType::Aes, 1));
    let error = cluster.authenticate(&mut admin(&key(KeyType::Aes, 2)).monitor(), at(0)).unwrap_err();
    assert!(error.is_permanent());
    let text = error.to_string();
    assert!(
        text.starts_with("the cluster refuses user client.admin: it is unknown or its key is wrong"),
        "{text}"
    );
    assert!(text.contains("auth_allowed_ciphers"), "{text}");
    let newer = cluster.authenticate(&mut admin(&key(KeyType::Aes256k, 2)).monitor(), at(0)).unwrap_err();
    assert!(!newer.to_string().contains("auth_allowed_ciphers"), "{newer}");
}

#[test]
fn refusals_say_what_to_change() {
    let client = admin(&key(KeyType::Aes, 1));
    let mut monitor = client.monitor();
    let method = monitor.bad_method(-95, &[1], &[1, 2]);
    assert_eq!(
        method.to_string(),
        "the cluster authenticates by none, this client by cephx: set auth_client_required alike on both sides"
    );
    let mode = monitor.bad_method(-95, &[2], &[2]);
    assert!(mode.to_string().contains("in mode secure only"), "{mode}");
    let osd = client.service(OSD).bad_method(-95, &[2], &[2]);
    assert_eq!(osd, mode);
    let other = monitor.bad_method(-5, &[2], &[1, 2]);
    assert_eq!(other.to_string(), "the monitor refuses user client.admin: errno 5");
    assert!(!other.is_permanent());
    for name in ["admin", "client.", "osd.0", "client.a b"] {
        assert_eq!(Cephx::new(name, None, &[]).unwrap_err(), AuthError::Entity(name.to_owned()));
    }
}

#[test]
fn a_client_stays_who_it_is() {
    let mut cluster = Cluster::new(key(KeyType::Aes256k, 1));
    let client = admin(&cluster.user);
    cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
    cluster.authenticate(&mut client.monitor(), at(1000)).unwrap();
    assert_eq!((client.global_id(), cluster.last_global_id), (4001, 4001), "reclaimed with the old ticket");
    // Once more, so that the ticket that came encrypted is used.
    cluster.authenticate(&mut client.monitor(), at(2000)).unwrap();
    assert_eq!(client.global_id(), 4001);
    cluster.rotating = key(KeyType::Aes256k, 201);
    let lost = cluster.authenticate(&mut client.monitor(), at(3000)).unwrap_err();
    assert_eq!(lost, AuthError::SessionLost { entity: "client.admin".to_owned() });
    assert_eq!(client.global_id(), 4001, "one monitor alone does not decide that");
    client.forget();
    cluster.authenticate(&mut client.monitor(), at(4000)).unwrap();
    assert_eq!(client.global_id(), 4002);
}

#[test]
fn of_two_monitors_the_first_wins() {
    let mut cluster = Cluster::new(key(KeyType::Aes, 1));
    let client = admin(&cluster.user);
    let (mut first, mut second) = (client.monitor(), client.monitor());
    let hello = first.start(at(0), &mut Counting(0)).unwrap();
    cluster.authenticate(&mut second, at(0)).unwrap();
    assert_eq!(cluster.finish(&mut first, &hello, at(0)).unwrap_err(), AuthError::Superseded);
    assert_eq!(client.global_id(), 4001);
    cluster.authorize(&mut client.service(OSD), at(0)).unwrap();
}

#[test]
fn what_becomes_of_one_connection_does_not_disturb_another() {
    let mut cluster = Cluster::new(key(KeyType::Aes, 1));
    let client = admin(&cluster.user);
    cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
    let mut monitor = client.monitor();
    let hello = monitor.start(at(1), &mut Counting(0)).unwrap();
    // While that is under way, somebody else loses the session.
    client.forget();
    cluster.finish(&mut monitor, &hello, at(1)).unwrap();
    assert_eq!(client.global_id(), 4001);
}

#[test]
fn a_user_whom_a_service_knows_and_does_not_let_in() {
    let mut cluster = Cluster::new(key(KeyType::Aes256k, 1));
    let client = admin(&cluster.user);
    cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
    cluster.has_caps = false;
    let refused = cluster.authorize(&mut client.service(OSD), at(1)).unwrap_err();
    assert!(refused.to_string().contains("ceph auth get client.admin"), "{refused}");
    assert!(!refused.is_permanent() && client.has_ticket(OSD, at(1)), "the ticket is good");
    // With the next one it has the capabilities that it may have got meanwhile.
    let request = client.renewal(at(2), &mut Counting(0)).unwrap();
    client.renewed(0, &cluster.renew(&request), at(2)).unwrap();
    assert_eq!(client.renewal(at(20_000), &mut Counting(0)), None);
    cluster.has_caps = true;
    cluster.authorize(&mut client.service(OSD), at(20_001)).unwrap();
}

#[test]
fn tickets_are_renewed_before_they_end() {
    let mut cluster = Cluster::new(key(KeyType::Aes256k, 1));
    let client = admin(&cluster.user);
    assert_eq!(client.next_renewal(), Some(0));
    cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
    assert_eq!(client.next_renewal(), Some(HOUR / 4 * 3));
    let entropy = &mut Counting(0);
    assert_eq!(client.renewal(at(HOUR / 4 * 3 - 1), entropy), None);
    let now = at(HOUR / 4 * 3);
    let request = client.renewal(now, entropy).unwrap();
    assert_eq!(client.renewal(now, entropy), None, "not twice");
    client.renewed(0, &cluster.renew(&request), now).unwrap();
    assert_eq!(client.next_renewal(), Some(now.monotonic_ms + HOUR / 4 * 3));
    assert!(client.has_ticket(OSD, at(HOUR)) && !client.has_ticket(OSD, at(3 * HOUR)));
    cluster.authorize(&mut client.service(OSD), at(HOUR)).unwrap();
    assert!(!client.is_old(at(53 * HOUR)) && client.is_old(at(54 * HOUR)));
}

#[test]
fn a_refused_ticket_is_replaced() {
    let mut cluster = Cluster::new(key(KeyType::Aes, 1));
    let client = admin(&cluster.user);
    cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
    let present = std::mem::replace(&mut cluster.rotating, key(KeyType::Aes, 202));
    let refused = cluster.authorize(&mut client.service(OSD), at(1)).unwrap_err();
    assert_eq!(refused, AuthError::TicketRefused { service: "osd" });
    assert!(!refused.is_permanent() && !client.has_ticket(OSD, at(1)));
    cluster.rotating = present;
    let request = client.renewal(at(2), &mut Counting(0)).unwrap();
    client.renewed(0, &cluster.renew(&request), at(2)).unwrap();
    cluster.authorize(&mut client.service(OSD), at(3)).unwrap();
    // A refusal of a ticket that has been replaced meanwhile does not touch the new one.
    let mut late = client.service(OSD);
    late.start(at(4), &mut Counting(0)).unwrap();
    client.drop_service_tickets();
    let request = client.renewal(at(20_000), &mut Counting(0)).unwrap();
    client.renewed(0, &cluster.renew(&request), at(20_000)).unwrap();
    late.bad_method(-13, &[2], &[1]);
    assert!(client.has_ticket(OSD, at(20_000)));
}

#[test]
fn a_key_that_was_exchanged_keeps_the_session() {
    let mut cluster = Cluster::new(key(KeyType::Aes, 1));
    let client = admin(&cluster.user);
    cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
    let known_as = client.global_id();
    cluster.user = key(KeyType::Aes, 2);
    assert!(cluster.authenticate(&mut client.monitor(), at(1)).is_err(), "the old one is worth nothing");
    assert!(client.has_ticket(OSD, at(1)), "what it holds is not");
    client.replace_key(cluster.user.clone());
    cluster.authenticate(&mut client.monitor(), at(2)).unwrap();
    assert_eq!(client.global_id(), known_as);
}

#[test]
fn who_does_not_have_the_key_is_not_believed() {
    let client = admin(&key(KeyType::Aes256k, 1));
    let mut monitor = client.monitor();
    monitor.start(at(0), &mut Counting(0)).unwrap();
    let mut reply = Encoder::new();
    reply.u16(0x0100).u32(0).u8(1).u32(1).u32(0x20).u8(1).blob([0; 100]).u8(0).blob([0; 20]);
    let forged = monitor.done(5000, &reply.finish(), at(0));
    assert_eq!(forged.unwrap_err(), AuthError::Unverified { what: "a ticket" });
    assert_eq!(client.global_id(), 0);

    Cluster::new(key(KeyType::Aes256k, 1)).authenticate(&mut client.monitor(), at(0)).unwrap();
    let mut osd = client.service(OSD);
    osd.start(at(0), &mut Counting(0)).unwrap();
    assert!(matches!(osd.done(0, &[32, 0, 0, 0, 1], at(0)), Err(AuthError::Decode(_))));
    osd.start(at(0), &mut Counting(0)).unwrap();
    assert!(matches!(osd.more(&[0; 57], at(0), &mut Counting(0)), Err(AuthError::Unverified { .. })));
    assert_eq!(
        osd.more(&[0; 57], at(0), &mut Counting(0)).unwrap_err(),
        AuthError::Protocol("a second challenge")
    );
}

#[test]
fn without_a_key_everybody_is_believed() {
    let client = Cephx::new("client.guest", None, &[OSD]).unwrap();
    let mut monitor = client.monitor();
    assert_eq!(monitor.method(), 1);
    let hello = monitor.start(at(0), &mut Counting(0)).unwrap();
    assert_eq!(hello, b"\x0a\x08\0\0\0\x05\0\0\0guest\0\0\0\0\0\0\0\0");
    assert!(monitor.done(17, &[], at(0)).unwrap().session_key.is_empty());
    assert_eq!((client.global_id(), client.next_renewal(), client.is_old(at(u64::MAX))), (17, None, false));
    let mut osd = client.service(OSD);
    let hello = osd.start(at(0), &mut Counting(0)).unwrap();
    assert_eq!(hello, b"\x01\x08\0\0\0\x05\0\0\0guest\x11\0\0\0\0\0\0\0");
    assert!(osd.done(0, &[], at(0)).unwrap().session_key.is_empty());
}

proptest! {
    #[test]
    fn whatever_a_daemon_sends_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), head in any::<bool>()) {
        let mut payload = if head { vec![0, 1, 0, 0, 0, 0, 1] } else { Vec::new() };
        payload.extend_from_slice(&bytes);
        let cluster = &mut Cluster::new(key(KeyType::Aes, 1));
        let client = admin(&cluster.user);
        let mut monitor = client.monitor();
        monitor.start(at(0), &mut Counting(0)).unwrap();
        let _ = monitor.more(&bytes, at(0), &mut Counting(0));
        prop_assert!(monitor.done(1, &payload, at(0)).is_err());
        cluster.authenticate(&mut client.monitor(), at(0)).unwrap();
        payload.insert(0, 0);
        prop_assert!(client.renewed(0, &payload, at(0)).is_err() || payload.is_empty());
        let mut osd = client.service(OSD);
        osd.start(at(0), &mut Counting(0)).unwrap();
        prop_assert!(osd.more(&bytes, at(0), &mut Counting(0)).is_err());
        prop_assert!(osd.done(0, &bytes, at(0)).is_err());
    }
}
