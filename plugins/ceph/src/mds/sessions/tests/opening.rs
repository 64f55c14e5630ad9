//! Finding the file system and getting a session.

use super::script::{R0, R1, Script, last_sent};
use crate::mds::sessions::{CloseReason, SessionConfig, SessionEvent, Status};
use crate::mds::{FeatureSet, MdsState, RequestMessage, SessionMessage, SessionOp, feature};

fn refused(script: &Script) -> String {
    match script.sessions.status() {
        Status::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

fn waiting(script: &Script) -> String {
    match script.sessions.status() {
        Status::Waiting(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn maps_then_a_session_then_requests() {
    let mut script = Script::new();
    assert_eq!(script.events(), ["subscribe fsmap.user from 0"]);
    assert_eq!(script.ask(), 1);
    assert!(waiting(&script).contains("no map"));
    script.fs(7, &["cephfs"], Some(1));
    assert_eq!(script.events(), ["got fsmap.user 7", "subscribe mdsmap.1 from 0"]);
    script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
    assert_eq!(script.events(), ["got mdsmap.1 5", "connect mds.0 4100"]);
    assert!(waiting(&script).contains("no connection to mds.0 yet"));
    script.ready(R0);
    assert!(waiting(&script).contains("has not opened the session"));
    assert_eq!(script.events(), ["to mds.0: RequestOpen 0"]);
    script.opened(R0);
    assert_eq!(script.events(), ["opened mds.0", "to mds.0: RequestRenewCaps 1", "to mds.0: #1 getattr"]);
    assert_eq!(script.sessions.status(), Status::Ready);
    script.answer(R0, 1);
    assert_eq!(script.events(), ["#1 answered by mds.0"]);
    assert_eq!(script.sessions.in_flight(), 0);
}

#[test]
fn it_says_who_it_is_and_what_it_can_do() {
    let mut config = SessionConfig::new("/dir", "tst1");
    config.hostname = "node-1".to_owned();
    config.metadata.insert("mount_point".to_owned(), "/mnt".to_owned());
    let mut script = Script::with(config);
    script.fs(1, &["cephfs"], Some(1));
    script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
    script.ready(R0);
    let message = last_sent(&mut script.sessions);
    let open = SessionMessage::decode(message.version, &message.front).unwrap();
    assert_eq!((open.op, open.features), (SessionOp::RequestOpen, FeatureSet::supported()));
    let told: Vec<(&str, &[u8])> = open.metadata.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    assert_eq!(
        told,
        [("entity_id", &b"tst1"[..]), ("hostname", b"node-1"), ("mount_point", b"/mnt"), ("root", b"/dir")]
    );
    // An old MDS takes the parts of the head that it does not know for something else.
    script.features = [feature::REPLY_ENCODING].into_iter().collect();
    script.opened(R0);
    script.events();
    script.ask();
    let message = last_sent(&mut script.sessions);
    assert_eq!(RequestMessage::decode(message.version, &message.front).unwrap().head_version, 1);
    assert!(!script.sessions.features(R0).unwrap().has(feature::OP_GETVXATTR));
}

#[test]
fn the_file_system_is_found_by_its_name_or_is_the_only_one() {
    let choose = |name: Option<&str>, names: &[&str], default| {
        let mut config = SessionConfig::new("/", "tst1");
        config.fs_name = name.map(str::to_owned);
        let mut script = Script::with(config);
        script.events();
        script.ask();
        script.fs(3, names, default);
        (script.events(), script.sessions.status())
    };
    let found = |name, names: &[&str], default, expected: &str| {
        let (events, _) = choose(name, names, default);
        assert_eq!(events, ["got fsmap.user 3".to_owned(), format!("subscribe {expected} from 0")]);
    };
    found(Some("b"), &["a", "b"], Some(1), "mdsmap.2");
    found(None, &["a", "b"], Some(2), "mdsmap.2");
    found(None, &["a"], None, "mdsmap.1");
    // The default is one that this user cannot see.
    found(None, &["a"], Some(9), "mdsmap.1");

    let failed = |name, names: &[&str], parts: &[&str]| {
        let (events, status) = choose(name, names, None);
        let Status::Refused(why) = status else { panic!("{status:?}") };
        assert_eq!(events, ["got fsmap.user 3".to_owned(), format!("#1 failed: {why}")]);
        for part in parts {
            assert!(why.contains(part), "{why}");
        }
    };
    failed(Some("c"), &["a", "b"], &["named \"c\"", "client.tst1 can see: a, b"]);
    failed(None, &["a", "b"], &["option `fs`", "a, b"]);
    failed(None, &[], &["ceph fs ls", "ceph auth get client.tst1"]);
}

#[test]
fn a_file_system_that_appears_is_used_and_one_that_is_replaced_is_left() {
    let mut script = Script::new();
    script.fs(3, &[], None);
    script.ask();
    assert!(script.events().last().unwrap().starts_with("#1 failed: there is no file system"));
    script.fs(4, &["cephfs"], None);
    script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
    script.ready(R0);
    script.opened(R0);
    assert_eq!(script.sessions.status(), Status::Ready);
    script.events();
    script.fs(4, &["older"], None);
    assert!(script.events().is_empty(), "a map that is not newer");
    // The only one has another number now, as its namesake has.
    script.fs(5, &["gone", "cephfs"], Some(2));
    assert_eq!(
        script.events(),
        [
            "got fsmap.user 5",
            "unsubscribe mdsmap.1",
            "disconnect mds.0",
            "closed mds.0 Lost",
            "subscribe mdsmap.2 from 0"
        ]
    );
    script.map(2, &[(0, 5100, MdsState::ACTIVE)]);
    script.pass(1_000);
    assert_eq!(script.events(), ["got mdsmap.2 2", "connect mds.0 5100"]);
}

#[test]
fn maps_that_are_not_newer_are_ignored() {
    let mut script = Script::open();
    script.map(5, &[(0, 4200, MdsState::ACTIVE)]);
    script.map(4, &[]);
    assert!(script.events().is_empty());
    assert_eq!(script.sessions.map().unwrap().epoch, 5);
}

#[test]
fn a_root_that_is_not_allowed_is_said_with_the_remedy() {
    let mut script = Script::new();
    script.fs(1, &["cephfs"], Some(1));
    script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
    script.ready(R0);
    script.ask();
    script.events();
    script.reject(R0, "non-allowable root '/dir'", 0);
    let why = refused(&script);
    for part in ["client.tst1", "\"/dir\"", "ceph fs authorize cephfs client.tst1 /dir r"] {
        assert!(why.contains(part), "{why}");
    }
    assert_eq!(
        script.events(),
        [format!("#1 failed: {why}"), "disconnect mds.0".to_owned(), "closed mds.0 Refused".to_owned()]
    );
    // For a while nobody is asked again.
    script.ask();
    assert_eq!(script.events(), [format!("#2 failed: {why}")]);
    script.pass(60_000);
    assert!(script.events().is_empty(), "without a request nobody is asked");
    script.ask();
    assert_eq!(script.events(), ["connect mds.0 4100"]);
    script.ready(R0);
    script.opened(R0);
    assert_eq!(script.sessions.status(), Status::Ready);
}

#[test]
fn other_refusals_are_told_as_they_are() {
    for (error, part) in [
        ("client doesn't have caps for FS \"cephfs\"", "may not use file system \"cephfs\""),
        (
            "missing required features '13'",
            "mds.0 refuses a session to client.tst1: missing required features '13'",
        ),
        ("", "does not say why"),
    ] {
        let mut script = Script::new();
        script.fs(1, &["cephfs"], Some(1));
        script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
        script.ready(R0);
        script.reject(R0, error, 0);
        assert!(refused(&script).contains(part), "{}", refused(&script));
    }
    let mut script = Script::new();
    script.fs(1, &["cephfs"], Some(1));
    script.map_with(5, &[(0, 4100, MdsState::ACTIVE)], &[], |map| {
        map.required_client_features = [9, 22].into_iter().collect();
    });
    assert!(refused(&script).contains("lacks: 22"), "{}", refused(&script));
    let mut script = Script::new();
    script.fs(1, &["cephfs"], Some(1));
    script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
    script.ask();
    script.sessions.peer_lost(R0, "access denied", true, script.now);
    assert!(refused(&script).contains("access denied"));
    assert!(script.events().iter().any(|event| event.starts_with("#1 failed: mds.0 does not accept")));
}

#[test]
fn a_rejection_that_is_none_is_followed_by_another_attempt() {
    for (error, flags) in
        [("blocklisted (blacklisted)", 1), ("blocklisted (blacklisted)", 0), ("sessionless", 0)]
    {
        let mut script = Script::open();
        script.ask();
        script.events();
        script.reject(R0, error, flags);
        let expected: &[&str] = if error == "sessionless" {
            &["disconnect mds.0", "closed mds.0 Lost"]
        } else {
            // Whoever reads the map of OSDs will know what to do.
            &["subscribe osdmap from 0", "disconnect mds.0", "closed mds.0 Evicted"]
        };
        assert_eq!(script.events(), expected);
        script.pass(1_000);
        assert_eq!(script.events(), ["connect mds.0 4100"]);
        script.ready(R0);
        script.opened(R0);
        assert_eq!(script.events().last().unwrap(), "to mds.0: #1 getattr retry 1");
    }
}

#[test]
fn a_request_for_a_session_is_said_again() {
    let mut script = Script::new();
    script.fs(1, &["cephfs"], Some(1));
    script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
    script.ready(R0);
    script.events();
    script.pass(31_000);
    assert_eq!(script.events(), ["to mds.0: RequestOpen 0"; 2]);
    script.sessions.peer_lost(R0, "connection refused", false, script.now);
    script.pass(31_000);
    assert!(script.events().is_empty(), "the connection sees to it");
    assert!(waiting(&script).contains("connection refused"));
    script.sessions.peer_reset(R0, script.now);
    script.pass(1_000);
    assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Lost", "connect mds.0 4100"]);
}

#[test]
fn what_is_in_the_way_is_told() {
    let mut script = Script::new();
    script.fs(1, &["cephfs"], Some(1));
    script.map_with(5, &[(0, 4100, MdsState::REPLAY)], &[1], |_| {});
    assert!(waiting(&script).contains("mds.0 (d4100) is up:replay, mds.1 has failed"));
    script.map_with(6, &[], &[], |map| map.enabled = false);
    assert!(waiting(&script).contains("does not exist any more"));
}

#[test]
fn leaving_waits_until_the_mds_has_let_go() {
    let mut script = Script::open();
    script.says(R0, super::script::caps(0));
    script.sessions.close(script.now);
    script.ask();
    assert_eq!(
        script.events(),
        ["caps mds.0 Grant 0x10", "to mds.0: RequestClose 1", "#1 failed: the client is leaving"]
    );
    // An MDS ignores a request that has not seen all it has pushed.
    script.says(R0, super::script::caps(0));
    assert_eq!(script.events(), ["to mds.0: RequestClose 2", "caps mds.0 Grant 0x10"]);
    script.session(R0, SessionOp::Close, 0);
    assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Bye"]);
    script.pass(100_000);
    script.map(6, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)]);
    assert_eq!(script.events(), ["got mdsmap.1 6"]);
    script.sessions.open(R1, script.now);
    assert!(script.events().is_empty());
}

#[test]
fn the_reason_of_an_end_is_a_sentence() {
    let mut script = Script::open();
    script.sessions.evicted(script.now);
    let closed = std::iter::from_fn(|| script.sessions.poll_event()).find_map(|event| match event {
        SessionEvent::Closed { reason, why, .. } => Some((reason, why)),
        _ => None,
    });
    let (reason, why) = closed.unwrap();
    assert_eq!(reason, CloseReason::Evicted);
    assert!(why.contains("blocklisted"));
}
