//! Sessions that are wanted because capabilities move, and cannot be had at once.

use super::script::{R1, Script};
use crate::mds::{MdsState, Rank, SessionOp};

const BOTH: [(i32, u64, MdsState); 2] = [(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)];

/// A session with the one rank, and a pause because the other one has just ended its own.
fn pausing() -> Script {
    let mut script = Script::open();
    script.map(6, &BOTH);
    script.sessions.open(R1, script.now);
    script.ready(R1);
    script.opened(R1);
    script.session(R1, SessionOp::Close, 0);
    script.events();
    script
}

#[test]
fn a_session_that_is_wanted_during_a_pause_is_asked_for_after_it() {
    let mut script = pausing();
    script.sessions.open(R1, script.now);
    script.pass(999);
    assert!(script.events().is_empty());
    script.pass(1);
    assert_eq!(script.events(), ["connect mds.1 4200"]);
    script.ready(R1);
    script.opened(R1);
    script.events();
    // Once it was there nobody wants it.
    script.session(R1, SessionOp::Close, 0);
    script.pass(15_000);
    assert!(script.events().iter().all(|event| !event.starts_with("connect")));
}

#[test]
fn a_session_with_a_rank_that_does_not_serve_yet_is_asked_for_when_it_does() {
    let mut script = Script::open();
    for rank in [R1, Rank(-1), Rank(i32::MAX)] {
        script.sessions.open(rank, script.now);
    }
    assert_eq!(script.sessions.wanted.len(), 1, "no others are remembered than ranks that can be");
    script.map(6, &[BOTH[0], (1, 4200, MdsState::REJOIN)]);
    assert_eq!(script.events(), ["got mdsmap.1 6"]);
    script.map(7, &BOTH);
    assert_eq!(script.events(), ["got mdsmap.1 7", "connect mds.1 4200"]);
}

#[test]
fn that_a_session_does_not_come_about_is_told() {
    let mut script = Script::open();
    script.map(6, &BOTH);
    script.sessions.open(R1, script.now);
    script.ready(R1);
    script.events();
    // Whatever the rank holds for this client, it cannot take back without one.
    script.sessions.peer_reset(R1, script.now);
    assert_eq!(script.events(), ["disconnect mds.1", "closed mds.1 Lost"]);
    script.pass(1_000);
    assert_eq!(script.events(), ["connect mds.1 4200"]);
    script.map(7, &[BOTH[0]]);
    assert_eq!(script.events(), ["got mdsmap.1 7", "disconnect mds.1", "closed mds.1 Bye"]);
    script.map(8, &BOTH);
    assert_eq!(script.events(), ["got mdsmap.1 8"]);
}

#[test]
fn what_was_to_be_had_of_a_daemon_that_is_gone_is_void() {
    for successor in [&[BOTH[0], (1, 4300, MdsState::ACTIVE)][..], &BOTH[..1]] {
        let mut script = pausing();
        script.sessions.open(R1, script.now);
        script.map(7, successor);
        assert_eq!(script.events(), ["got mdsmap.1 7", "closed mds.1 Lost"]);
        script.map(8, &BOTH);
        script.pass(15_000);
        assert!(script.events().iter().all(|event| !event.starts_with("connect")));
    }
}

#[test]
fn what_a_client_that_is_blocklisted_was_to_have_is_void() {
    let mut script = pausing();
    script.sessions.open(R1, script.now);
    script.sessions.evicted(script.now);
    assert_eq!(
        script.events(),
        ["closed mds.1 Evicted", "disconnect mds.0", "closed mds.0 Evicted", "connect mds.0 4100"]
    );
}
