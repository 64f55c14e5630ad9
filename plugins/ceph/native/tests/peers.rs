//! Sessions with a real metadata server, whose connections break: no message is lost, none comes twice, and what a server forgets is
//! told.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::observer::{Observed, Told, active_mds};
use common::proxy::Proxy;
use common::{Cluster, cluster_with_mds, payload, read};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wasmount_ceph::auth::keyring;
use wasmount_ceph::encoding::{Decoder, Encoder};
use wasmount_ceph::mon::Repeat;
use wasmount_ceph::msgr::{Message, Mode};
use wasmount_ceph::osd::Op;
use wasmount_ceph::rados::{Config, OpRequest, RadosError};

/// `CEPH_MSG_CLIENT_SESSION`.
const SESSION: u16 = 22;
/// `CEPH_MSG_MDS_MAP`.
const MDS_MAP: u16 = 21;
/// `CEPH_SESSION_REQUEST_OPEN` and its answer.
const OPEN: (u32, u32) = (0, 1);
/// `CEPH_SESSION_REQUEST_RENEWCAPS`: each is answered once, with its number.
const RENEW: (u32, u32) = (4, 5);

/// The cluster, for one test at a time: what one does to it would disturb the others.
fn cluster() -> Option<(&'static Cluster, MutexGuard<'static, ()>)> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    Some((cluster_with_mds()?, alone))
}

/// `CEPH_SESSION_REJECT`.
const REJECT: u32 = 11;

/// `MClientSession`.
fn session(op: u32, number: u64) -> Message<Bytes> {
    let mut front = Encoder::new();
    front.u32(op).u64(number).zeros(8).u32(0).u32(0);
    // Nothing about this client, and the features of clients of Ceph 16, bits 0 to 18.
    front.u32(0).blob([0xff, 0xff, 0x07, 0, 0, 0, 0, 0]);
    Message::new(SESSION, 3, 1, front.finish())
}

/// Operation and number of an `MClientSession`.
fn read_session(message: &Message<Bytes>) -> (u32, u64) {
    let mut front = Decoder::new("MClientSession", &message.front);
    (front.u32().unwrap(), front.u64().unwrap())
}

/// Opens a session.
fn open(observed: &Observed) {
    observed.send(session(OPEN.0, 0));
    while read_session(&observed.message(SESSION)).0 != OPEN.1 {}
}

/// An observer with a session, that reaches the metadata server over a proxy.
fn begun(cluster: &Cluster, config: Config) -> (Observed, Proxy) {
    let mds = active_mds(cluster);
    let proxy = Proxy::new(mds.socket.unwrap());
    let observed = Observed::begin(config);
    observed.detour(mds.socket.unwrap(), proxy.address);
    observed.open(mds);
    assert!(!observed.until(|told| match told {
        Told::Ready { resumed } => Some(resumed),
        Told::Lost { reason, .. } => panic!("{reason}"),
        _ => None,
    }));
    open(&observed);
    (observed, proxy)
}

/// Numbers that seem random, the same each time.
fn numbers(mut state: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        Some(state >> 33)
    })
}

#[test]
fn nothing_is_lost_and_nothing_comes_twice() {
    let Some((cluster, _alone)) = cluster() else { return };
    for mode in [Mode::Crc, Mode::Secure] {
        let mut config = cluster.config();
        config.osd_modes = vec![mode];
        let (observed, proxy) = begun(cluster, config);
        let (mut sent, mut answered, mut resumed) = (0, 0, 0);
        let mut broken = 0;
        for number in numbers(mode as u64).take(60) {
            // Somewhere between the first byte of a banner and some messages later.
            proxy.break_after(i64::try_from(number % 5_000).unwrap());
            broken += 1;
            let begin = Instant::now();
            while !proxy.has_broken() || answered < sent {
                assert!(begin.elapsed() < Duration::from_secs(60), "{answered} of {sent} are answered");
                if !proxy.has_broken() && sent < answered + 20 {
                    sent += 1;
                    observed.send(session(RENEW.0, sent));
                }
                match observed.within(Duration::from_millis(2)) {
                    Some(Told::Message(message)) if message.kind == SESSION => {
                        answered += 1;
                        assert_eq!(read_session(&message), (RENEW.1, answered));
                    }
                    Some(Told::Ready { resumed: true }) => resumed += 1,
                    Some(Told::Ready { resumed: false } | Told::Reset) => panic!("the session was lost"),
                    Some(Told::Lost { reason, permanent: true }) => panic!("{reason}"),
                    _ => {}
                }
            }
        }
        eprintln!(
            "{mode}: {answered} messages, {} connections, broken {broken} times, continued {resumed} times",
            proxy.made()
        );
        assert!(resumed > 20 && answered > 500);
    }
}

#[test]
fn a_session_that_was_ended_begins_anew() {
    let Some((cluster, _alone)) = cluster() else { return };
    let (observed, _proxy) = begun(cluster, cluster.config());
    let id = observed.tell(|cluster, _| cluster.global_id());
    let pool = observed.tell(|cluster, _| cluster.osdmap().unwrap().pool_by_name("cephfs_data").unwrap().0);
    let missing = || {
        let deadline = observed.client.deadline(30_000);
        let request = OpRequest::new(pool, "no-such-object", vec![Op::Stat]).deadline(deadline);
        observed.client.execute(request).unwrap_err()
    };
    assert_eq!(missing(), RadosError::NotFound);

    cluster.run(&["ceph", "tell", "mds.0", "session", "evict", &format!("id={id}")]);
    // The OSDs say so, or a map does.
    assert!(matches!(missing(), RadosError::Blocklisted { .. } | RadosError::NotFound));
    let begin = Instant::now();
    while !matches!(missing(), RadosError::Blocklisted { .. }) {
        assert!(begin.elapsed() < Duration::from_secs(30), "it is not locked out");
        std::thread::sleep(Duration::from_millis(100));
    }
    let address = observed.until(|told| match told {
        Told::Blocklisted(address) => Some(address),
        _ => None,
    });
    assert!(address.contains(":0"), "{address}");

    let before = observed.client.address().unwrap();
    observed.tell(|cluster, now| cluster.rename(now));
    observed.until(|told| matches!(told, Told::Reset).then_some(()));
    observed.until(|told| matches!(told, Told::Ready { resumed: false }).then_some(()));
    open(&observed);
    observed.send(session(RENEW.0, 7));
    assert_eq!(read_session(&observed.message(SESSION)), (RENEW.1, 7));
    assert_eq!(missing(), RadosError::NotFound);
    assert_ne!(observed.client.address().unwrap(), before);
}

#[test]
fn another_server_is_not_taken_for_the_one_before() {
    let Some((cluster, _alone)) = cluster() else { return };
    let (observed, _proxy) = begun(cluster, cluster.config());
    observed.tell(|cluster, now| cluster.subscribe("mdsmap", 0, Repeat::Always, now));
    observed.until(|told| matches!(told, Told::Delivered(MDS_MAP)).then_some(()));
    // It waits so long for clients that do not tell what they have.
    cluster.run(&["ceph", "config", "set", "mds", "mds_reconnect_timeout", "3"]);
    let before = active_mds(cluster);
    cluster.run(&["ceph", "mds", "fail", "0"]);
    let after = active_mds(cluster);
    assert_ne!(before, after);
    // The one that was told to go has gone, or stands by and does not know us.
    observed.until(|told| match told {
        Told::Lost { permanent: false, .. } => Some(()),
        Told::Lost { reason, .. } => panic!("{reason}"),
        Told::Message(_) | Told::Ready { .. } | Told::Reset => panic!("the old server still speaks"),
        _ => None,
    });
    observed.until(|told| matches!(told, Told::Delivered(MDS_MAP)).then_some(()));
    observed.open(after);
    assert!(!observed.until(|told| match told {
        Told::Ready { resumed } => Some(resumed),
        _ => None,
    }));
    observed.send(session(RENEW.0, 1));
    observed.tell(|cluster, now| cluster.peer_close(common::observer::PEER, now));
}

#[test]
fn users_whom_no_metadata_server_wants_are_told_so() {
    let Some((cluster, _alone)) = cluster() else { return };
    let text =
        cluster.run(&["ceph", "auth", "get-or-create", "client.objects", "mon", "allow r", "osd", "allow r"]);
    let key = keyring::parse(&text, "client.objects").unwrap();
    let observed = Observed::begin(cluster.config_of("client.objects", key));
    observed.open(active_mds(cluster));
    observed.send(session(OPEN.0, 0));
    // The connection is made; it is the session that is refused.
    let refused = observed.message(SESSION);
    assert_eq!(read_session(&refused).0, REJECT);
    let text = String::from_utf8_lossy(&refused.front).into_owned();
    assert!(text.contains("error_string"), "{text:?}");
}

#[test]
fn the_room_in_the_cluster_is_told() {
    let Some((cluster, _alone)) = cluster() else { return };
    let observed = Observed::begin(cluster.config());
    let pool = observed.tell(|cluster, _| cluster.osdmap().unwrap().pool_by_name("cephfs_data").unwrap().0);
    let ask = |pool| {
        let request = observed.tell(move |cluster, now| cluster.usage(pool, now));
        let (answered, usage) = observed.until(|told| match told {
            Told::Usage(answered, usage) => Some((answered, usage)),
            _ => None,
        });
        assert_eq!(answered, request);
        usage
    };
    // Two OSDs of 8 GiB; and two copies of everything, with some room kept free. The manager counts, some seconds after it began.
    let begin = Instant::now();
    while ask(None).total_kib != 16 << 20 {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", ask(None));
        std::thread::sleep(Duration::from_millis(100));
    }
    let (all, one) = (ask(None), ask(Some(pool)));
    assert!(all.available_kib <= all.total_kib && all.available_kib + all.used_kib >= 15 << 20, "{all:?}");
    assert!((6 << 20..9 << 20).contains(&one.available_kib), "{one:?}");
}

#[test]
fn no_request_is_sent_with_a_map_from_before_a_barrier() {
    let Some((cluster, _alone)) = cluster() else { return };
    let observed = Observed::begin(cluster.config());
    let pool = observed.tell(|cluster, _| cluster.osdmap().unwrap().pool_by_name("cephfs_data").unwrap().0);
    let write = OpRequest::new(pool, "barrier", vec![Op::WriteFull(Bytes::from_static(b"behind it"))]);
    observed.client.execute(write.deadline(observed.client.deadline(30_000))).unwrap();
    let behind = observed.tell(|cluster, now| {
        let next = cluster.osdmap().unwrap().epoch + 2;
        cluster.osd_barrier(next, now);
        next
    });
    let soon = OpRequest::new(pool, "barrier", vec![Op::Stat]).deadline(observed.client.deadline(5_000));
    let error = observed.client.execute(soon).unwrap_err();
    let RadosError::TimedOut { waiting } = error else { panic!("{error}") };
    assert!(waiting.contains(&format!("map {behind}")), "{waiting}");
    let late = observed.client.submit(read(&observed.client, pool, "barrier", 0, 100)).unwrap();
    for value in ["set", "unset"] {
        cluster.run(&["ceph", "osd", value, "nodeep-scrub"]);
    }
    assert_eq!(payload(late.wait().unwrap()), "behind it");
}
