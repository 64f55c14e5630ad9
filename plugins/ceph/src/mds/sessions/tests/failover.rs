//! Daemons that go, and others that take their ranks over.

use super::script::{R0, R1, Script, last_sent, reply};
use crate::mds::FeatureSet;
use crate::mds::sessions::Target;
use crate::mds::{
    Caps, MdsState, Op, ReconnectCap, ReconnectRealm, RequestMessage, SessionMessage, SessionOp, feature,
};

const RECONNECT: [(i32, u64, MdsState); 1] = [(0, 4200, MdsState::RECONNECT)];
const ACTIVE: [(i32, u64, MdsState); 1] = [(0, 4200, MdsState::ACTIVE)];

#[test]
fn a_successor_hears_what_the_client_holds_and_then_its_requests() {
    let mut script = Script::open();
    script.ask();
    script.events();
    script.map_with(6, &[], &[0], |_| {});
    assert_eq!(script.events(), ["got mdsmap.1 6", "disconnect mds.0"]);
    script.ask();
    script.map(7, &[(0, 4200, MdsState::REPLAY)]);
    assert_eq!(script.events(), ["got mdsmap.1 7"]);
    script.map(8, &RECONNECT);
    assert_eq!(script.events(), ["got mdsmap.1 8", "connect mds.0 4200"]);
    script.ready(R0);
    assert_eq!(script.events(), ["want reconnect mds.0"]);
    let caps = vec![ReconnectCap { ino: 1, ..ReconnectCap::default() }; 3];
    script.sessions.reconnect(R0, caps, vec![ReconnectRealm::default()], script.now);
    assert_eq!(script.events(), ["to mds.0: reconnect, 3 caps, 1 realms"]);
    script.sessions.reconnect(R0, Vec::new(), Vec::new(), script.now);
    assert!(script.events().is_empty(), "it is told once");
    script.opened(R0);
    assert_eq!(script.events(), ["reconnected mds.0", "to mds.0: RequestRenewCaps 2"]);
    script.map(9, &[(0, 4200, MdsState::REJOIN)]);
    assert_eq!(script.events(), ["got mdsmap.1 9"], "it does not serve yet");
    script.map(10, &ACTIVE);
    assert_eq!(script.events(), ["got mdsmap.1 10", "to mds.0: #1 getattr retry 1", "to mds.0: #2 getattr"]);
}

#[test]
fn a_successor_in_one_map_is_noticed_too() {
    let mut script = Script::open();
    script.map(6, &RECONNECT);
    assert_eq!(script.events(), ["got mdsmap.1 6", "disconnect mds.0", "connect mds.0 4200"]);
    // And a successor of the successor, before it was told anything.
    script.map(7, &[(0, 4300, MdsState::REPLAY)]);
    assert_eq!(script.events(), ["got mdsmap.1 7", "disconnect mds.0"]);
    script.map(8, &[(0, 4300, MdsState::RECONNECT)]);
    assert_eq!(script.events(), ["got mdsmap.1 8", "connect mds.0 4300"]);
}

#[test]
fn who_comes_too_late_has_lost_everything() {
    // It never saw the state in which the MDS asked.
    let mut script = Script::open();
    script.ask();
    script.events();
    script.map(6, &ACTIVE);
    assert_eq!(script.events(), ["got mdsmap.1 6", "disconnect mds.0", "closed mds.0 Lost"]);
    script.pass(1_000);
    script.ready(R0);
    script.opened(R0);
    assert_eq!(
        script.events(),
        [
            "connect mds.0 4200",
            "to mds.0: RequestOpen 0",
            "opened mds.0",
            "to mds.0: RequestRenewCaps 1",
            "to mds.0: #1 getattr retry 1"
        ]
    );
    // It saw it, and there was no connection in time.
    let mut script = Script::open();
    script.map(6, &RECONNECT);
    script.events();
    script.map(7, &[(0, 4200, MdsState::REJOIN)]);
    assert_eq!(script.events(), ["got mdsmap.1 7", "disconnect mds.0", "closed mds.0 Lost"]);
    script.ready(R0);
    assert!(script.events().is_empty());
    script.map(8, &ACTIVE);
    script.pass(1_000);
    assert_eq!(script.events(), ["got mdsmap.1 8", "connect mds.0 4200"]);
    // It told it, and the MDS does not want it.
    let mut script = Script::open();
    script.map(6, &RECONNECT);
    script.ready(R0);
    script.sessions.reconnect(R0, Vec::new(), Vec::new(), script.now);
    script.events();
    script.session(R0, SessionOp::Close, 0);
    assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Lost"]);
}

#[test]
fn much_is_told_in_several_messages_if_the_mds_takes_them() {
    for several in [true, false] {
        let mut script = Script::new();
        if !several {
            script.features = [feature::REPLY_ENCODING].into_iter().collect::<FeatureSet>();
        }
        script.fs(1, &["cephfs"], Some(1));
        script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
        script.ready(R0);
        script.opened(R0);
        script.map(6, &RECONNECT);
        script.ready(R0);
        script.events();
        let caps = vec![ReconnectCap::default(); 40_000];
        script.sessions.reconnect(R0, caps, vec![ReconnectRealm::default()], script.now);
        let expected: &[&str] = if several {
            &[
                "to mds.0: reconnect, 32768 caps, 1 realms and more",
                "to mds.0: reconnect, 7232 caps, 0 realms",
            ]
        } else {
            &["to mds.0: reconnect, 40000 caps, 1 realms"]
        };
        assert_eq!(script.events(), expected);
    }
}

#[test]
fn a_change_that_was_answered_and_not_written_is_played_again_first() {
    let mut script = Script::open();
    let tid = script.ask_with(|request| request.op = Op::Other { code: 0x1220, args: vec![0; 4] });
    script.says(R0, reply(false).to_message(tid, true));
    script.says(R0, reply(false).to_message(tid, true));
    assert_eq!(script.events(), ["to mds.0: #1 request", "#1 answered by mds.0 unsafe"]);
    // The oldest request that the MDS must remember is this one.
    script.ask();
    let message = last_sent(&mut script.sessions);
    assert_eq!(RequestMessage::decode(message.version, &message.front).unwrap().oldest_client_tid, 1);
    script.map(6, &RECONNECT);
    script.ready(R0);
    script.events();
    script.sessions.reconnect(R0, Vec::new(), Vec::new(), script.now);
    assert_eq!(
        script.events(),
        ["to mds.0: #1 request retry 1 replay", "to mds.0: reconnect, 0 caps, 0 realms"]
    );
    script.opened(R0);
    script.map(7, &ACTIVE);
    assert_eq!(script.events().last().unwrap(), "to mds.0: #2 getattr retry 1");
    script.answer(R0, tid);
    assert!(script.events().is_empty(), "that it is written now is no news to who asked");
    script.pass(20_000);
    let message = last_sent(&mut script.sessions);
    assert_eq!(SessionMessage::decode(message.version, &message.front).unwrap().oldest_client_tid, 2);
}

#[test]
fn a_change_whose_mds_is_lost_before_it_was_written_is_told() {
    let mut script = Script::open();
    let tid = script.ask_with(|request| request.op = Op::Other { code: 0x1220, args: vec![0; 4] });
    script.says(R0, reply(false).to_message(tid, true));
    script.events();
    script.map(6, &ACTIVE);
    assert_eq!(
        script.events(),
        [
            "got mdsmap.1 6",
            "disconnect mds.0",
            "closed mds.0 Lost",
            "#1 failed: mds.0 has lost the session before it had written the change"
        ]
    );
}

#[test]
fn who_is_thrown_out_begins_anew_and_ever_more_slowly() {
    let mut script = Script::open();
    script.ask();
    script.events();
    script.sessions.peer_reset(R0, script.now);
    assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Evicted"]);
    for pause in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        script.pass(pause - 1);
        assert!(script.events().is_empty(), "{pause}");
        script.pass(1);
        script.ready(R0);
        script.opened(R0);
        assert!(script.events().last().unwrap().starts_with("to mds.0: #1 getattr retry"));
        script.session(R0, SessionOp::Close, 0);
        assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Evicted"]);
    }
    // A session that lasted is a new beginning.
    script.pass(30_000);
    script.ready(R0);
    script.opened(R0);
    for _ in 0..7 {
        script.pass(10_000);
        let events = script.events();
        let renewal = events.iter().rev().find_map(|event| event.strip_prefix("to mds.0: RequestRenewCaps "));
        if let Some(renewal) = renewal {
            script.session(R0, SessionOp::RenewCaps, renewal.parse().unwrap());
        }
    }
    script.events();
    script.session(R0, SessionOp::Close, 0);
    assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Evicted", "connect mds.0 4100"]);
}

#[test]
fn a_client_that_is_blocklisted_loses_all_sessions() {
    let mut script = Script::open();
    script.map(6, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)]);
    script.sessions.open(R1, script.now);
    script.ready(R1);
    script.opened(R1);
    script.events();
    script.sessions.evicted(script.now);
    assert_eq!(
        script.events(),
        [
            "disconnect mds.0",
            "closed mds.0 Evicted",
            "disconnect mds.1",
            "closed mds.1 Evicted",
            "connect mds.0 4100"
        ]
    );
}

#[test]
fn a_rank_that_is_given_up_takes_its_session_along() {
    let mut script = Script::open();
    script.map(6, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)]);
    script.sessions.open(R1, script.now);
    script.ready(R1);
    script.opened(R1);
    let tid = script.ask_with(|request| request.target = Target::Auth(R1));
    script.events();
    script.map(7, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::STOPPING)]);
    script.ask_with(|request| request.target = Target::Auth(R1));
    assert_eq!(script.events(), ["got mdsmap.1 7", "to mds.1: #2 getattr"], "it serves until it is empty");
    script.answer(R1, tid);
    script.map(8, &[(0, 4100, MdsState::ACTIVE)]);
    assert_eq!(
        script.events(),
        [
            "#1 answered by mds.1",
            "got mdsmap.1 8",
            "disconnect mds.1",
            "closed mds.1 Bye",
            "to mds.0: #2 getattr retry 1"
        ]
    );
}

#[test]
fn a_reset_while_the_successor_is_told_ends_it() {
    let mut script = Script::open();
    script.map(6, &RECONNECT);
    script.ready(R0);
    script.events();
    // A new connection that had to begin anew changes nothing.
    script.sessions.peer_reset(R0, script.now);
    assert_eq!(script.events(), ["disconnect mds.0", "connect mds.0 4200"]);
    script.ready(R0);
    script.sessions.reconnect(
        R0,
        vec![ReconnectCap { issued: Caps::PIN, ..ReconnectCap::default() }],
        Vec::new(),
        script.now,
    );
    script.events();
    script.sessions.peer_reset(R0, script.now);
    assert_eq!(script.events(), ["disconnect mds.0", "closed mds.0 Lost"]);
}

#[test]
fn what_was_held_counts_as_long_as_it_was_given_for_even_if_the_daemon_is_gone() {
    let mut script = Script::open();
    script.map_with(6, &[], &[0], |_| {});
    script.events();
    assert!(script.sessions.is_valid(R0, script.now));
    script.pass(60_000);
    assert_eq!(script.events(), ["stale mds.0"]);
    script.map(7, &RECONNECT);
    script.ready(R0);
    script.sessions.reconnect(R0, Vec::new(), Vec::new(), script.now);
    script.opened(R0);
    script.events();
    script.session(R0, SessionOp::RenewCaps, 2);
    assert_eq!(script.events(), ["renewed mds.0 until 121000"]);
}
