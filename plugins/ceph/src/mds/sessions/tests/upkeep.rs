//! Renewals, and what an MDS says about the session.

use super::script::{R0, R1, Script, caps};
use crate::mds::{
    LeaseAction, LeaseMessage, MdsState, QuotaMessage, SessionMessage, SessionOp, SnapMessage, SnapOp,
    SnapTrace,
};

#[test]
fn it_is_renewed_three_times_as_often_as_needed() {
    let mut script = Script::open();
    script.session(R0, SessionOp::RenewCaps, 1);
    assert_eq!(script.events(), ["renewed mds.0 until 61000"]);
    script.pass(20_000);
    assert_eq!(script.events(), ["to mds.0: RequestRenewCaps 2"]);
    script.pass(500);
    script.session(R0, SessionOp::RenewCaps, 1);
    assert!(script.events().is_empty(), "an answer to an older one");
    script.session(R0, SessionOp::RenewCaps, 2);
    assert_eq!(script.events(), ["renewed mds.0 until 81000"], "counted from when it was sent");
}

#[test]
fn without_an_answer_nothing_counts() {
    let mut script = Script::open();
    assert!(script.sessions.is_valid(R0, script.now));
    script.pass(59_000);
    assert!(script.sessions.is_valid(R0, script.now));
    script.events();
    script.pass(1_000);
    assert!(!script.sessions.is_valid(R0, script.now));
    assert_eq!(script.events(), ["stale mds.0", "to mds.0: RequestRenewCaps 4"]);
    script.pass(20_000);
    assert_eq!(script.events(), ["to mds.0: RequestRenewCaps 5"]);
    script.session(R0, SessionOp::RenewCaps, 5);
    assert_eq!(script.events(), ["renewed mds.0 until 141000"]);
    assert!(script.sessions.is_valid(R0, script.now));
}

#[test]
fn a_machine_that_slept_knows_that_nothing_counts() {
    let mut script = Script::open();
    script.now.monotonic_ms += 3_600_000;
    assert!(!script.sessions.is_valid(R0, script.now));
    script.sessions.on_time(script.now);
    assert_eq!(script.events(), ["stale mds.0", "to mds.0: RequestRenewCaps 2"]);
}

#[test]
fn an_mds_that_says_so_is_believed() {
    let mut script = Script::open();
    script.session(R0, SessionOp::Stale, 0);
    assert_eq!(script.events(), ["stale mds.0, says the MDS", "to mds.0: RequestRenewCaps 2"]);
    assert!(!script.sessions.is_valid(R0, script.now));
    script.session(R0, SessionOp::RenewCaps, 1);
    assert!(!script.sessions.is_valid(R0, script.now), "that was answered before");
    script.session(R0, SessionOp::RenewCaps, 2);
    assert_eq!(script.events(), ["renewed mds.0 until 61000"]);
}

#[test]
fn what_is_asked_of_the_client_is_passed_on() {
    let mut script = Script::open();
    let recall = SessionMessage { max_caps: 100, ..SessionMessage::new(SessionOp::RecallState, 0) };
    for _ in 0..1000 {
        script.says(R0, recall.clone().into_message());
    }
    script.session(R0, SessionOp::FlushMsg, 17);
    script.session(R0, SessionOp::ForceReadOnly, 0);
    script.session(R0, SessionOp::Other(77), 0);
    assert_eq!(script.events(), ["recall mds.0 100", "to mds.0: FlushMsgAck 17", "read-only mds.0"]);
}

#[test]
fn what_is_said_of_capabilities_is_passed_on_in_order() {
    let mut script = Script::open();
    let tid = script.ask();
    script.events();
    script.says(R0, caps(40));
    script.answer(R0, tid);
    script.says(R0, caps(30));
    let lease = LeaseMessage {
        action: LeaseAction::Revoke,
        mask: 1,
        ino: 1,
        first: 0,
        last: 0,
        seq: 1,
        duration_ms: 0,
        name: b"n".to_vec(),
    };
    script.says(R0, lease.into_message());
    script.says(R0, QuotaMessage { ino: 1, ..QuotaMessage::default() }.into_message());
    let trace = SnapTrace::default();
    let snap = SnapMessage { op: SnapOp::Create, split: 0, split_inos: vec![], split_realms: vec![], trace };
    script.says(R0, snap.into_message(true));
    assert_eq!(
        script.events(),
        [
            "osd barrier 40",
            "caps mds.0 Grant 0x10",
            "#1 answered by mds.0",
            "caps mds.0 Grant 0x10",
            "lease mds.0 Revoke",
            "quota mds.0 0x1",
            "snap mds.0 Create"
        ]
    );
    assert_eq!(script.sessions.osd_barrier(), 40);
    // All of that was pushed but for the answer.
    script.sessions.close(script.now);
    assert_eq!(script.events(), ["to mds.0: RequestClose 5"]);
}

#[test]
fn what_is_malformed_changes_nothing() {
    let mut script = Script::open();
    let tid = script.ask();
    script.events();
    let mut message = caps(1);
    message.front.truncate(20);
    assert!(script.sessions.message(R0, &message, script.now).is_err());
    assert!(script.events().is_empty());
    let mut message = super::script::reply(true).to_message(tid, true);
    message.front.truncate(20);
    assert!(script.sessions.message(R0, &message, script.now).is_err());
    assert!(script.events()[0].starts_with("#1 failed: the MDS's answer is malformed"));
    assert_eq!(script.sessions.in_flight(), 0);
}

#[test]
fn capabilities_are_spoken_of_only_in_a_session() {
    let mut script = Script::open();
    script.sessions.send(R0, caps(0));
    script.sessions.send(R1, caps(0));
    assert_eq!(script.events(), ["to mds.0: kind 0x310"]);
    script.map_with(6, &[], &[0], |_| {});
    script.events();
    script.sessions.send(R0, caps(0));
    assert!(script.events().is_empty());
    script.says(R0, caps(0));
    assert!(script.events().is_empty(), "the daemon has lost its rank");
}

#[test]
fn ranks_that_may_get_what_the_client_holds_have_sessions_too() {
    let mut script = Script::open();
    script.map_with(6, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)], &[], |map| {
        for daemon in map.daemons.values_mut() {
            daemon.export_targets = vec![R1];
        }
    });
    assert_eq!(script.events(), ["got mdsmap.1 6", "connect mds.1 4200"]);
    script.ready(R1);
    assert_eq!(script.events(), ["to mds.1: RequestOpen 0"]);
    assert!(script.sessions.has_session(R1));
}
