//! Anything in any order: no rule is broken, and in the end every request has an answer.

use super::script::{R0, R1, Script, caps, map_of, reply};
use crate::mds::sessions::{RequestId, SessionEvent, Target};
use crate::mds::{
    Gid, MdsMapMessage, MdsState, Rank, ReconnectCap, RequestForward, RequestMessage, SessionMessage,
    SessionOp, kind,
};
use crate::types::Fsid;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Ask { rank: i32, deadline: Option<u64> },
    Cancel(u64),
    Want(i32),
    Map(Vec<(i32, MdsState, bool)>),
    Ready(i32),
    Reset(i32),
    Lost(i32, bool),
    Opened(i32),
    Says(i32, SessionOp, u64),
    Reject(i32, &'static str),
    Answer(i32, u64, bool),
    Forward(i32, u64, i32),
    Caps(i32),
    Evicted,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let rank = || 0..3_i32;
    let tid = || 1..40_u64;
    let state = prop::sample::select(vec![
        MdsState::REPLAY,
        MdsState::RECONNECT,
        MdsState::REJOIN,
        MdsState::CLIENT_REPLAY,
        MdsState::ACTIVE,
        MdsState::ACTIVE,
        MdsState::STOPPING,
    ]);
    let op = prop::sample::select(vec![
        SessionOp::Close,
        SessionOp::RenewCaps,
        SessionOp::Stale,
        SessionOp::RecallState,
        SessionOp::FlushMsg,
    ]);
    let error =
        prop::sample::select(vec!["non-allowable root", "sessionless", "blocklisted (blacklisted)", ""]);
    prop_oneof![
        4 => (rank(), prop::option::of(1..100_000_u64)).prop_map(|(rank, deadline)| Step::Ask { rank, deadline }),
        1 => tid().prop_map(Step::Cancel),
        2 => rank().prop_map(Step::Want),
        4 => prop::collection::vec((rank(), state, any::<bool>()), 0..3).prop_map(Step::Map),
        6 => rank().prop_map(Step::Ready),
        1 => rank().prop_map(Step::Reset),
        1 => (rank(), prop::bool::weighted(0.2)).prop_map(|(rank, permanent)| Step::Lost(rank, permanent)),
        6 => rank().prop_map(Step::Opened),
        2 => (rank(), op, 0..4_u64).prop_map(|(rank, op, seq)| Step::Says(rank, op, seq)),
        1 => (rank(), error).prop_map(|(rank, error)| Step::Reject(rank, error)),
        4 => (rank(), tid(), prop::bool::weighted(0.8)).prop_map(|(rank, tid, safe)| Step::Answer(rank, tid, safe)),
        2 => (rank(), tid(), rank()).prop_map(|(rank, tid, to)| Step::Forward(rank, tid, to)),
        1 => rank().prop_map(Step::Caps),
        1 => Just(Step::Evicted),
        3 => (1..120_000_u64).prop_map(Step::Pass),
    ]
}

/// What may be expected at this moment.
struct World {
    script: Script,
    epoch: u32,
    gid: u64,
    daemons: BTreeMap<i32, (u64, MdsState)>,
    linked: BTreeMap<Rank, Gid>,
    /// Sessions as the client must see them.
    open: BTreeSet<Rank>,
    asked: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    unsafe_answers: BTreeSet<u64>,
    /// What was sent to whom and waits for an answer.
    there: BTreeMap<u64, Rank>,
    wants_reconnect: Vec<Rank>,
}

impl World {
    fn new() -> Self {
        let mut script = Script::new();
        script.fs(1, &["cephfs"], Some(1));
        let mut world = Self {
            script,
            epoch: 10,
            gid: 4000,
            daemons: BTreeMap::new(),
            linked: BTreeMap::new(),
            open: BTreeSet::new(),
            asked: BTreeSet::new(),
            ended: BTreeSet::new(),
            unsafe_answers: BTreeSet::new(),
            there: BTreeMap::new(),
            wants_reconnect: Vec::new(),
        };
        world.look();
        world
    }

    fn map(&mut self, changes: &[(i32, MdsState, bool)]) {
        self.epoch += 1;
        for &(rank, state, successor) in changes {
            let old = self.daemons.get(&rank).copied();
            match old {
                // A daemon only ever goes on; back at the beginning is another one.
                Some((gid, before)) if !successor && state >= before => {
                    self.daemons.insert(rank, (gid, state));
                }
                Some(_) if successor && state == MdsState::STOPPING => {
                    self.daemons.remove(&rank);
                }
                _ => {
                    self.gid += 1;
                    self.daemons.insert(rank, (self.gid, state));
                }
            }
        }
        let daemons: Vec<_> = self.daemons.iter().map(|(rank, (gid, state))| (*rank, *gid, *state)).collect();
        let map = map_of(self.epoch, &daemons, &[]);
        let message = MdsMapMessage { fsid: Fsid::default(), epoch: self.epoch, map };
        self.script.sessions.mds_map(&message.encode(), self.script.now).unwrap();
    }

    fn take(&mut self, step: Step) {
        let now = self.script.now;
        match step {
            Step::Ask { rank, deadline } => {
                let target = match rank {
                    0 => Target::Random,
                    rank => [Target::Auth(Rank(rank - 1)), Target::Any(Rank(rank))][rank as usize % 2],
                };
                let tid = self.script.ask_with(|request| {
                    request.target = target;
                    request.deadline_ms = deadline.map(|ms| now.after(ms));
                });
                self.asked.insert(tid);
            }
            Step::Cancel(tid) => {
                self.script.sessions.cancel(RequestId(tid));
                // Whether anything more is said about it is open.
                self.asked.remove(&tid);
            }
            Step::Want(rank) => self.script.sessions.open(Rank(rank), now),
            Step::Map(changes) => self.map(&changes),
            Step::Ready(rank) if self.linked.contains_key(&Rank(rank)) => self.script.ready(Rank(rank)),
            Step::Reset(rank) => self.script.sessions.peer_reset(Rank(rank), now),
            Step::Lost(rank, permanent) => self.script.sessions.peer_lost(Rank(rank), "lost", permanent, now),
            Step::Opened(rank) => self.script.opened(Rank(rank)),
            Step::Says(rank, op, seq) => self.script.session(Rank(rank), op, seq),
            Step::Reject(rank, error) => self.script.reject(Rank(rank), error, 0),
            Step::Answer(rank, tid, safe) => self.script.says(Rank(rank), reply(safe).to_message(tid, true)),
            Step::Forward(rank, tid, to) => {
                let message = RequestForward { rank: Rank(to), forwards: 1 }.into_message(tid);
                self.script.says(Rank(rank), message);
            }
            Step::Caps(rank) => self.script.says(Rank(rank), caps(1)),
            Step::Evicted => self.script.sessions.evicted(now),
            Step::Pass(milliseconds) => self.script.pass(milliseconds),
            Step::Ready(_) => {}
        }
        self.look();
        for rank in std::mem::take(&mut self.wants_reconnect) {
            let now = self.script.now;
            self.script.sessions.reconnect(rank, vec![ReconnectCap::default()], Vec::new(), now);
            self.look();
        }
    }

    /// Reads all events and holds them against the rules.
    fn look(&mut self) {
        while let Some(event) = self.script.sessions.poll_event() {
            match event {
                SessionEvent::Connect { rank, gid, .. } => {
                    assert!(self.linked.insert(rank, gid).is_none(), "{rank} is connected twice");
                }
                SessionEvent::Disconnect { rank } => {
                    assert!(self.linked.remove(&rank).is_some(), "{rank} is not connected");
                }
                SessionEvent::Send { rank, message } => {
                    assert!(self.linked.contains_key(&rank), "{rank} is not connected");
                    match message.kind {
                        kind::CLIENT_REQUEST => {
                            assert!(self.open.contains(&rank) || self.unsafe_answers.contains(&message.tid));
                            let request = RequestMessage::decode(message.version, &message.front).unwrap();
                            assert!(request.oldest_client_tid <= message.tid);
                            self.there.insert(message.tid, rank);
                        }
                        kind::CLIENT_SESSION => {
                            let session = SessionMessage::decode(message.version, &message.front).unwrap();
                            let opening = session.op == SessionOp::RequestOpen;
                            assert!(
                                opening != self.open.contains(&rank) || session.op == SessionOp::FlushMsgAck
                            );
                        }
                        _ => {}
                    }
                }
                SessionEvent::Opened { rank, .. } => assert!(self.open.insert(rank)),
                SessionEvent::Closed { rank, .. } => {
                    self.open.remove(&rank);
                }
                SessionEvent::WantReconnect { rank } => {
                    assert!(self.open.contains(&rank));
                    self.wants_reconnect.push(rank);
                }
                SessionEvent::Reconnected { rank }
                | SessionEvent::Stale { rank, .. }
                | SessionEvent::Renewed { rank, .. } => assert!(self.open.contains(&rank)),
                SessionEvent::Reply { id, reply, .. } => {
                    if !reply.safe {
                        self.unsafe_answers.insert(id.0);
                    }
                    self.ended.insert(id.0);
                }
                SessionEvent::Failed { id, .. } => {
                    // A change can be answered and then be lost; and it is said in any case.
                    assert!(
                        self.ended.insert(id.0) || self.unsafe_answers.contains(&id.0),
                        "#{} ends twice",
                        id.0
                    );
                }
                _ => {}
            }
        }
    }

    /// Everything is well from now on.
    fn heal(&mut self) {
        self.map(&[
            (0, MdsState::STOPPING, true),
            (1, MdsState::STOPPING, true),
            (2, MdsState::STOPPING, true),
        ]);
        self.daemons.clear();
        self.map(&[(0, MdsState::ACTIVE, true), (1, MdsState::ACTIVE, true), (2, MdsState::ACTIVE, true)]);
        self.look();
        for _ in 0..12 {
            self.take(Step::Pass(31_000));
            for rank in [R0, R1, Rank(2)] {
                self.take(Step::Ready(rank.0));
                self.take(Step::Opened(rank.0));
            }
            for (tid, rank) in std::mem::take(&mut self.there) {
                self.take(Step::Answer(rank.0, tid, true));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.heal();
        prop_assert_eq!(world.script.sessions.in_flight(), 0);
        let lost: Vec<_> = world.asked.difference(&world.ended).collect();
        prop_assert!(lost.is_empty(), "{:?} never ended", lost);
    }
}
