//! Which rank is asked, and what becomes of what is asked.

use super::script::{R0, R1, Script, last_sent};
use crate::mds::sessions::{RequestId, Target};
use crate::mds::{CapReleaseItem, MdsState, Rank, RequestMessage, SessionOp, request_flags};

/// Two ranks, and a session with the first.
fn two() -> Script {
    let mut script = Script::open();
    script.map(6, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)]);
    script.events();
    script
}

#[test]
fn the_rank_that_is_meant_is_asked() {
    let mut script = two();
    script.ask();
    script.ask_with(|request| request.target = Target::Any(R0));
    script.ask_with(|request| request.target = Target::Any(Rank(7)));
    assert_eq!(script.events(), ["to mds.0: #1 getattr", "to mds.0: #2 getattr", "to mds.0: #3 getattr"]);
    script.ask_with(|request| request.target = Target::Auth(R1));
    assert_eq!(script.events(), ["connect mds.1 4200"]);
    script.ask_with(|request| request.target = Target::Any(R1));
    assert!(script.events().is_empty());
    script.ready(R1);
    script.opened(R1);
    assert_eq!(script.events()[3..], ["to mds.1: #4 getattr", "to mds.1: #5 getattr"]);
    // A rank that is not there is not responsible for anything any more.
    script.ask_with(|request| request.target = Target::Auth(Rank(7)));
    assert_eq!(script.events(), ["to mds.0: #6 getattr"]);
}

#[test]
fn who_is_responsible_is_waited_for_and_who_has_a_copy_is_not() {
    let mut script = Script::open();
    script.map_with(6, &[(0, 4100, MdsState::ACTIVE)], &[1], |_| {});
    script.events();
    script.ask_with(|request| request.target = Target::Auth(R1));
    script.ask_with(|request| request.target = Target::Any(R1));
    assert_eq!(script.events(), ["to mds.0: #2 getattr"]);
    script.map(7, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::ACTIVE)]);
    assert_eq!(script.events(), ["got mdsmap.1 7", "connect mds.1 4200"]);
}

#[test]
fn a_rank_that_stops_is_asked_only_in_a_session_that_there_is() {
    // Without a session nobody waits for one: such a rank gives none.
    let mut script = two();
    let stopping = |script: &mut Script, epoch| {
        script.map(epoch, &[(0, 4100, MdsState::ACTIVE), (1, 4200, MdsState::STOPPING)]);
        script.events();
    };
    stopping(&mut script, 7);
    script.ask_with(|request| request.target = Target::Any(R1));
    assert_eq!(script.events(), ["to mds.0: #1 getattr"]);
    // Who is sent there waits until the rank has handed everything over.
    script.forward(R0, 1, R1, 1);
    assert!(script.events().is_empty());
    script.map(8, &[(0, 4100, MdsState::ACTIVE)]);
    assert_eq!(script.events(), ["got mdsmap.1 8", "to mds.0: #1 getattr forwarded 1"]);
    // With one the rank answers until it ends the session, which is in order.
    let mut script = two();
    script.sessions.open(R1, script.now);
    script.ready(R1);
    script.opened(R1);
    stopping(&mut script, 7);
    script.ask_with(|request| request.target = Target::Any(R1));
    assert_eq!(script.events(), ["to mds.1: #1 getattr"]);
    script.session(R1, SessionOp::Close, 0);
    let events = script.events();
    assert!(events.iter().any(|event| event.contains("closed") && event.contains("Bye")), "{events:?}");
    assert_eq!(events.last().map(String::as_str), Some("to mds.0: #1 getattr retry 1"));
}

#[test]
fn a_request_follows_where_it_is_sent() {
    let mut script = two();
    let release = CapReleaseItem { ino: 1, ..CapReleaseItem::default() };
    script.ask_with(|request| {
        request.releases.push(release.clone());
        request.want_dentry = true;
    });
    let message = last_sent(&mut script.sessions);
    let first = RequestMessage::decode(message.version, &message.front).unwrap();
    assert_eq!((first.releases, first.flags), (vec![release], request_flags::WANT_DENTRY));
    script.forward(R0, 1, R1, 1);
    assert_eq!(script.events(), ["connect mds.1 4200"]);
    script.ready(R1);
    script.opened(R1);
    let message = last_sent(&mut script.sessions);
    let second = RequestMessage::decode(message.version, &message.front).unwrap();
    assert!(second.releases.is_empty(), "the first one has brought it");
    assert_eq!((second.retries, second.forwards, second.mdsmap_epoch), (0, 1, 6));
    // What the one says that was asked first counts no more.
    script.answer(R0, 1);
    script.forward(R0, 1, R0, 2);
    assert!(script.events().is_empty());
    script.answer(R1, 1);
    assert_eq!(script.events(), ["#1 answered by mds.1"]);
    script.answer(R1, 1);
    assert!(script.events().is_empty(), "once");
}

#[test]
fn it_is_not_sent_on_for_ever() {
    let mut script = two();
    script.sessions.open(R1, script.now);
    script.ready(R1);
    script.opened(R1);
    script.ask();
    script.events();
    let mut ranks = [R0, R1].into_iter().cycle();
    let mut at = ranks.next().unwrap();
    for times in 1..=33 {
        let to = ranks.next().unwrap();
        // An MDS that does not count.
        script.forward(at, 1, to, 0);
        let events = script.events();
        if times <= 32 {
            assert_eq!(events, [format!("to {to}: #1 getattr forwarded {times}")]);
        } else {
            assert_eq!(
                events,
                ["#1 failed: MDSs have sent the request on 33 times and none has answered it"]
            );
        }
        at = to;
    }
    script.ask();
    script.events();
    script.forward(R0, 2, R1, u32::MAX);
    assert!(script.events()[0].contains("#2 failed"));
}

#[test]
fn a_deadline_is_kept_and_says_what_was_missing() {
    let mut script = Script::open();
    let deadline = script.now.after(30_000);
    script.ask_with(|request| request.deadline_ms = Some(deadline));
    script.pass(12_000);
    script.map_with(6, &[(0, 4100, MdsState::ACTIVE)], &[1], |_| {});
    script.ask_with(|request| {
        request.deadline_ms = Some(deadline);
        request.target = Target::Auth(R1);
    });
    script.events();
    script.pass(17_999);
    assert_eq!(script.events(), ["to mds.0: RequestRenewCaps 2"]);
    script.pass(1);
    assert_eq!(
        script.events(),
        [
            "#1 failed: timed out: mds.0 has not answered a getattr for 30 s",
            "#2 failed: timed out: a getattr has waited 18 s for an MDS: the rank that is responsible is not available"
        ]
    );
    assert_eq!(script.sessions.in_flight(), 0);
    script.ask_with(|request| request.deadline_ms = Some(0));
    assert!(script.events()[0].contains("over when it began"));
    let mut script = Script::new();
    script.ask_with(|request| request.deadline_ms = Some(2_000));
    script.pass(1_000);
    assert!(script.events().last().unwrap().ends_with("no map of the file system has come yet"));
}

#[test]
fn what_an_answer_gives_comes_even_if_nobody_waits() {
    let mut script = Script::open();
    let deadline = script.now.after(1_000);
    script.ask_with(|request| request.deadline_ms = Some(deadline));
    script.ask();
    script.sessions.cancel(RequestId(2));
    script.pass(1_000);
    script.events();
    script.answer(R0, 1);
    script.answer(R0, 2);
    assert_eq!(script.events(), ["#1 answered by mds.0", "#2 answered by mds.0"]);
    // What was not sent is gone, and what was is not sent again.
    script.ask();
    script.map_with(6, &[], &[0], |_| {});
    script.ask();
    script.sessions.cancel(RequestId(3));
    script.sessions.cancel(RequestId(4));
    assert_eq!(script.sessions.in_flight(), 0);
    script.events();
    script.map(7, &[(0, 4200, MdsState::ACTIVE)]);
    script.pass(1_000);
    script.ready(R0);
    script.opened(R0);
    assert_eq!(script.events().last().unwrap(), "to mds.0: RequestRenewCaps 1");
}

#[test]
fn what_nobody_waits_for_does_not_pile_up() {
    let mut script = Script::open();
    for _ in 0..5_000 {
        let deadline = script.now.after(10);
        script.ask_with(|request| request.deadline_ms = Some(deadline));
        script.pass(10);
        script.events();
    }
    script.answer(R0, 1);
    assert!(script.events().is_empty(), "that one was forgotten");
    script.answer(R0, 5_000);
    assert_eq!(script.events(), ["#5000 answered by mds.0"]);
    assert_eq!(script.sessions.in_flight(), 0);
}
