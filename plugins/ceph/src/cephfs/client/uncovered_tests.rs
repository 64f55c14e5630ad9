//! What no capability covers: what all below a directory amounts to, and that a snapshot was made of it. It is asked for, and what is told of it is not contradicted by
//! what was kept.

use super::{Command, FsClient};
use crate::cephfs::{Answer, CallId, Done, FsConfig, Invalid, Vino};
use crate::mds::{
    Caps, InodeStat, Op, Rank, Reply, ReplyCap, SnapMessage, SnapOp, SnapRealm, SnapTrace, cap_flags, ino,
};
use crate::time::Now;

const R0: Rank = Rank(0);
const DIRECTORY: Vino = Vino { ino: 0x1000, snap: ino::NO_SNAP };
const WITH: Caps = Caps(Caps::ANY_SHARED.0 | Caps::RSTAT.0);

fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } }
}

/// The directory as its MDS tells it, with the right to keep all its attributes.
fn told(version: u64, bytes: u64) -> Reply {
    let mut stat = InodeStat::new(DIRECTORY.ino, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink, stat.rbytes) = (version, 0o040_755, 1, bytes);
    stat.cap = ReplyCap {
        caps: Caps::PIN | Caps::ANY_SHARED,
        cap_id: 1,
        seq: 1,
        realm: 1,
        flags: cap_flags::AUTH,
        ..ReplyCap::default()
    };
    Reply { mdsmap_epoch: 1, safe: true, target: Some(stat), ..Reply::default() }
}

/// The masks with which the MDS is asked, by the requests' numbers.
fn asked(client: &mut FsClient) -> Vec<(u64, u32)> {
    let commands = std::iter::from_fn(|| client.poll_command());
    commands
        .filter_map(|command| match command {
            Command::Request { number, op: Op::Getattr { mask }, .. } => Some((number, mask.0)),
            _ => None,
        })
        .collect()
}

/// What the user is told: the bytes of each answer, and how often to forget the attributes.
fn heard(client: &mut FsClient) -> (Vec<(CallId, u64)>, usize) {
    let (mut bytes, mut forgets) = (Vec::new(), 0);
    while let Some(done) = client.poll_done() {
        match done {
            Done::Call { id, result: Ok(Answer::Attributes(attributes, _)) } => {
                bytes.push((id, attributes.recursive.bytes));
            }
            Done::Invalidate { items, .. } => {
                assert_eq!(items, [Invalid::Attributes(DIRECTORY)]);
                forgets += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    (bytes, forgets)
}

/// A client that knows the directory, and may keep what it knows.
fn knowing() -> FsClient {
    let mut client = FsClient::new(FsConfig::default());
    client.resumed(R0, at(0));
    let call = client.getattr(DIRECTORY, Caps::ANY_SHARED, None, at(1));
    let [(number, _)] = asked(&mut client)[..] else { panic!("one question") };
    client.replied(number, R0, 1, told(1, 0), at(1));
    assert_eq!(heard(&mut client), (vec![(call, 0)], 0));
    client
}

#[test]
fn it_is_asked_for_each_time_and_nothing_else_is() {
    let mut client = knowing();
    let kept = client.getattr(DIRECTORY, Caps::ANY_SHARED, None, at(2));
    assert_eq!((asked(&mut client), heard(&mut client)), (vec![], (vec![(kept, 0)], 0)));
    for version in 2..4 {
        let call = client.getattr(DIRECTORY, WITH, None, at(version));
        let [(number, mask)] = asked(&mut client)[..] else { panic!("one question") };
        assert_eq!(mask, WITH.0);
        client.replied(number, R0, version, told(version, 7), at(version));
        let forgets = usize::from(version == 2);
        assert_eq!(
            heard(&mut client),
            (vec![(call, 7)], forgets),
            "only what has changed is to be forgotten"
        );
    }
    let kept = client.getattr(DIRECTORY, Caps::ANY_SHARED, None, at(5));
    assert_eq!((asked(&mut client), heard(&mut client)), (vec![], (vec![(kept, 7)], 0)));
}

#[test]
fn an_answer_from_before_changes_nothing() {
    let mut client = knowing();
    for (version, bytes, forgets) in [(3, 7, 1), (2, 5, 0)] {
        let call = client.getattr(DIRECTORY, WITH, None, at(2));
        let [(number, _)] = asked(&mut client)[..] else { panic!("one question") };
        client.replied(number, R0, 2, told(version, bytes), at(2));
        assert_eq!(heard(&mut client), (vec![(call, 7)], forgets));
    }
}

#[test]
fn a_snapshot_changes_a_time_that_the_mds_vouches_for() {
    let mut client = knowing();
    let realm = SnapRealm { ino: DIRECTORY.ino, seq: 2, ..SnapRealm::default() };
    let trace = SnapTrace { realms: vec![realm] };
    let (split_inos, split_realms) = (Vec::new(), Vec::new());
    client.snapshots(&SnapMessage { op: SnapOp::Create, split: 0, split_inos, split_realms, trace });
    assert_eq!(heard(&mut client), (vec![], 1), "what was kept is to be forgotten");
    // What an MDS says that has not heard of it yet is not the end of the matter.
    for (version, seconds, asks) in [(0, 3, 1), (2, 9, 1), (2, 9, 0)] {
        let call = client.getattr(DIRECTORY, Caps::ANY_SHARED, None, at(2));
        let questions = asked(&mut client);
        assert_eq!(questions.len(), asks, "version {version}");
        for (number, _) in questions {
            let mut reply = told(version, 0);
            reply.target.as_mut().unwrap().ctime.seconds = seconds;
            client.replied(number, R0, 2, reply, at(2));
        }
        let Some(Done::Call { id, result: Ok(Answer::Attributes(attributes, rights)) }) = client.poll_done()
        else {
            panic!("an answer")
        };
        assert_eq!((id, rights.attributes), (call, version == 2), "to be kept once it is known");
        assert_eq!(attributes.ctime.seconds, if version == 2 { 9 } else { 0 });
    }
}
