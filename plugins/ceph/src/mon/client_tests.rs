use super::*;
use crate::auth::KeyType;
use crate::auth::testing::{Cluster, Counting, admin, at, key};
use crate::encoding::{Decoder, Encoder};
use crate::mon::messages::{Usage, kind};
use crate::mon::parse_mon_host;
use crate::types::{AddrVec, EntityAddr, Fsid};
use bytes::Bytes;

const FSID: Fsid = Fsid([7; 16]);

/// A client, the cluster it belongs to, and a clock.
struct Scene {
    client: MonClient<Bytes>,
    cluster: Cluster,
    entropy: Counting,
    clock: u64,
}

impl Scene {
    fn new(hosts: &str) -> Self {
        Self::with(hosts, |_| {})
    }

    fn with(hosts: &str, change: impl FnOnce(&mut MonConfig)) -> Self {
        let mut config = MonConfig::new(parse_mon_host(hosts).unwrap());
        config.hostname = "node".to_owned();
        change(&mut config);
        let cluster = Cluster::new(key(KeyType::Aes, 1));
        let cephx = admin(&cluster.user);
        let mut scene =
            Self { client: MonClient::new(config, cephx), cluster, entropy: Counting(0), clock: 0 };
        scene.client.start(at(0), &mut scene.entropy);
        scene
    }

    fn actions(&mut self) -> Vec<MonAction<Bytes>> {
        std::iter::from_fn(|| self.client.poll_action()).collect()
    }

    /// Where it wants to connect now; nothing else may be wanted.
    fn connects(&mut self) -> Vec<(MonLink, String)> {
        let actions = self.actions();
        let connects = actions.into_iter().map(|action| match action {
            MonAction::Connect { link, address } => (link, address.to_string()),
            other => panic!("{other:?}"),
        });
        connects.collect()
    }

    /// A monitor accepts the client.
    fn accept(&mut self, link: MonLink) {
        self.cluster.authenticate(&mut self.client.cephx().monitor(), at(self.clock)).unwrap();
        self.client.ready(link, at(self.clock), &mut self.entropy);
    }

    fn fail(&mut self, link: MonLink, why: &str) {
        self.client.failed(link, LinkFailure::Broken(why.to_owned()), at(self.clock), &mut self.entropy);
    }

    fn refuse(&mut self, link: MonLink, error: AuthError) {
        self.client.failed(link, LinkFailure::Auth(error), at(self.clock), &mut self.entropy);
    }

    fn message(&mut self, link: MonLink, kind: u16, front: Vec<u8>) {
        self.client.received(link, Message::new(kind, 2, 1, front), at(self.clock), &mut self.entropy);
    }

    /// Time goes on to the next timer, which must be in the future.
    fn wait(&mut self) -> u64 {
        let timer = self.client.next_timer().expect("a timer");
        assert!(timer > self.clock, "a timer that does not wait: {timer}, now {}", self.clock);
        let waited = timer - self.clock;
        self.clock = timer;
        self.client.on_time(at(self.clock), &mut self.entropy);
        waited
    }

    /// A session with the first of the monitors, which has sent its map.
    fn settled(hosts: &str) -> (Self, MonLink) {
        let mut scene = Self::new(hosts);
        let (link, _) = scene.connects()[0].clone();
        scene.accept(link);
        scene.message(link, kind::MON_MAP, mon_map(1, 0, &["10.0.0.1:3300", "10.0.0.2:3300"]));
        scene.actions();
        (scene, link)
    }
}

/// An `MMonMap` of the newest version.
fn mon_map(epoch: u32, auth_epoch: u32, addresses: &[&str]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.framed(|message| {
        message.section(10, 6, |map| {
            map.raw(&FSID.0).u32(epoch).zeros(16);
            for _ in 0..2 {
                map.section(1, 1, |features| {
                    features.u64(0);
                });
            }
            map.list(addresses.iter(), |map, address| {
                map.blob(address).section(6, 1, |mon| {
                    mon.blob(address);
                    AddrVec(vec![EntityAddr::msgr2(address.parse().unwrap(), 0)]).encode(mon);
                    mon.u16(0).u16(0).u32(0).u64(0);
                });
            });
            map.u32(0).u8(20).u32(0).u8(1).u32(0).u8(0).u32(0).u32(0);
            map.u32(auth_epoch).u32(2).u32(0);
        });
    });
    encoder.finish()
}

/// The names in a subscription, with their first versions.
fn subscribed(message: &Message<Bytes>) -> Vec<(String, u64)> {
    assert_eq!(message.kind, kind::MON_SUBSCRIBE);
    let mut decoder = Decoder::new("test", &message.front);
    let items = decoder
        .list(|d| {
            let item = (d.string()?, d.u64()?);
            d.skip(1)?;
            Ok(item)
        })
        .unwrap();
    assert_eq!(decoder.string().unwrap(), "node");
    items
}

fn named(name: &str, start: u64) -> (String, u64) {
    (name.to_owned(), start)
}

#[test]
fn several_monitors_are_asked_and_one_is_kept() {
    let mut scene = Scene::new("a,b,c,d");
    scene.client.subscribe("osdmap", 0, Repeat::Once);
    let connects = scene.connects();
    assert_eq!(connects.len(), 3);
    let (link, _) = connects[1];
    scene.accept(link);
    let actions = scene.actions();
    let closed = actions.iter().filter(|action| matches!(action, MonAction::Close(_))).count();
    assert_eq!(closed, 2);
    assert!(matches!(actions[2], MonAction::Session { is_new: false }));
    let MonAction::Send(to, message) = &actions[3] else { panic!("{actions:?}") };
    assert_eq!((*to, subscribed(message)), (link, vec![named("monmap", 0), named("osdmap", 0)]));
    assert_eq!(actions.len(), 4);
    // What the losers still say does not matter.
    scene.message(connects[0].0, kind::MON_MAP, mon_map(9, 0, &[]));
    scene.fail(connects[2].0, "closed");
    assert!(scene.actions().is_empty() && scene.client.has_session());
}

#[test]
fn a_round_without_success_is_reported_with_every_reason() {
    let mut scene = Scene::new("a:6789,b");
    let connects = scene.connects();
    let mut names: Vec<_> = connects.iter().map(|(_, name)| name.clone()).collect();
    names.sort();
    assert_eq!(names, ["a:3300 (tried because a:6789 is the port of the old protocol)", "b:3300"]);
    let of = |name: &str| connects.iter().find(|(_, other)| other.starts_with(name)).unwrap().0;
    scene.fail(of("a"), "connection refused");
    assert!(scene.actions().is_empty(), "the other one may do");
    assert_eq!(scene.wait(), 3_000, "and has its time");
    let actions = scene.actions();
    assert!(matches!(actions[0], MonAction::Close(link) if link == of("b")));
    let MonAction::Trouble(error) = &actions[1] else { panic!("{actions:?}") };
    assert_eq!(
        error.to_string(),
        "no monitor can be reached: a:3300 (tried because a:6789 is the port of the old protocol): connection refused; b:3300: no answer"
    );
    assert!(!error.is_permanent());
}

#[test]
fn the_search_goes_on_with_growing_patience() {
    let mut scene = Scene::new("a");
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let (link, _) = scene.connects()[0];
        scene.fail(link, "connection refused");
        assert!(matches!(scene.actions()[..], [MonAction::Trouble(MonError::Unreachable(_))]));
        pauses.push(scene.wait());
    }
    assert!((2_250..3_750).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause < 37_500) && pauses[11] > 22_000, "{pauses:?}");
    let (link, _) = scene.connects()[0];
    scene.accept(link);
    assert!(scene.client.has_session());
}

#[test]
fn a_refusal_is_permanent_and_named_when_all_have_answered() {
    let mut scene = Scene::new("a,b");
    let connects = scene.connects();
    let refused = AuthError::Refused { entity: "client.admin".to_owned(), key_type: None };
    scene.refuse(connects[0].0, refused.clone());
    scene.fail(connects[1].0, "connection refused");
    let actions = scene.actions();
    let [MonAction::Trouble(error)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*error, MonError::Auth(refused));
    assert!(error.is_permanent());
}

#[test]
fn a_search_can_be_hurried_and_a_session_is_left_alone() {
    let mut scene = Scene::new("a");
    let refused = AuthError::Refused { entity: "client.admin".to_owned(), key_type: None };
    let link = scene.connects()[0].0;
    scene.client.hurry(at(scene.clock), &mut scene.entropy);
    assert!(scene.connects().is_empty(), "it is under way");
    scene.refuse(link, refused);
    assert!(matches!(scene.actions()[..], [MonAction::Trouble(_)]));
    scene.client.hurry(at(scene.clock), &mut scene.entropy);
    let again = scene.connects();
    assert_eq!(again.len(), 1, "without a pause");
    scene.accept(again[0].0);
    scene.actions();
    scene.client.hurry(at(scene.clock), &mut scene.entropy);
    assert!(scene.actions().is_empty() && scene.client.has_session());
}

#[test]
fn another_cluster_is_left_at_once_and_gets_no_questions() {
    let expected = Fsid([1; 16]);
    let mut scene = Scene::with("a", |config| config.fsid = Some(expected));
    scene.client.subscribe("osdmap", 0, Repeat::Once);
    scene.client.get_version("osdmap", at(0));
    let (link, _) = scene.connects()[0];
    scene.accept(link);
    let actions = scene.actions();
    let [MonAction::Session { .. }, MonAction::Send(_, message)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(subscribed(message), [named("monmap", 0)]);
    scene.message(link, kind::MON_MAP, mon_map(1, 0, &["10.0.0.1:3300"]));
    let actions = scene.actions();
    let [MonAction::Close(_), MonAction::Trouble(error)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*error, MonError::WrongFsid { expected, found: FSID });
    assert!(error.is_permanent() && error.to_string().contains("07070707-0707-0707-0707-070707070707"));
    assert_eq!(scene.wait(), 30_000);
    assert_eq!(scene.connects().len(), 1);
}

#[test]
fn the_right_cluster_gets_its_questions_after_its_map() {
    let mut scene = Scene::with("a", |config| config.fsid = Some(FSID));
    scene.client.subscribe("osdmap", 0, Repeat::Once);
    let (link, _) = scene.connects()[0];
    scene.accept(link);
    scene.actions();
    scene.message(link, kind::MON_MAP, mon_map(1, 0, &["10.0.0.1:3300"]));
    let actions = scene.actions();
    let [MonAction::MonMap, MonAction::Send(_, message)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(subscribed(message), [named("osdmap", 0)]);
}

#[test]
fn the_next_monitor_is_told_and_asked_what_the_last_one_knew() {
    let (mut scene, link) = Scene::settled("10.0.0.9");
    scene.client.subscribe("osdmap", 0, Repeat::Always);
    let request = scene.client.get_version("osdmap", at(0));
    scene.client.got("osdmap", 41);
    scene.actions();
    scene.clock = 60_000;
    scene.fail(link, "connection reset");
    let actions = scene.actions();
    let MonAction::Lost(why) = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(why, "session with the monitor at 10.0.0.9:3300 ended: connection reset");
    // Those of the map, in any order, then the configured one.
    let connects: Vec<_> = actions[1..]
        .iter()
        .map(|action| match action {
            MonAction::Connect { link, address } => (*link, address.to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    let mut known = [connects[0].1.as_str(), connects[1].1.as_str()];
    known.sort_unstable();
    assert_eq!(known, ["10.0.0.1:3300", "10.0.0.2:3300"]);
    assert_eq!(connects[2].1, "10.0.0.9:3300");
    let before = scene.client.cephx().global_id();
    scene.accept(connects[0].0);
    assert_eq!(scene.client.cephx().global_id(), before);
    let actions = scene.actions();
    assert!(matches!(actions[2], MonAction::Session { is_new: false }), "{actions:?}");
    let MonAction::Send(_, message) = &actions[3] else { panic!("{actions:?}") };
    assert_eq!(subscribed(message), [named("monmap", 2), named("osdmap", 42)]);
    let MonAction::Send(to, message) = &actions[4] else { panic!("{actions:?}") };
    assert_eq!((message.kind, &message.front[..8]), (kind::MON_GET_VERSION, &request.0.to_le_bytes()[..]));
    let mut reply = Encoder::new();
    reply.u64(request.0).u64(50).u64(3);
    let (to, reply) = (*to, reply.finish());
    scene.message(to, kind::MON_GET_VERSION_REPLY, reply.clone());
    assert!(matches!(
        scene.actions()[..],
        [MonAction::Version { request: answered, newest: 50, oldest: 3 }] if answered == request
    ));
    scene.message(to, kind::MON_GET_VERSION_REPLY, reply);
    assert!(scene.actions().is_empty(), "answered once only");
}

#[test]
fn a_monitor_that_does_not_answer_is_left() {
    let (mut scene, link) = Scene::settled("a");
    scene.client.get_version("osdmap", at(0));
    scene.actions();
    assert_eq!(scene.wait(), 15_000);
    let actions = scene.actions();
    assert!(
        matches!(&actions[0], MonAction::Lost(why) if why.ends_with("it does not answer")),
        "{actions:?}"
    );
    assert!(matches!(actions[1], MonAction::Close(old) if old == link));
    assert!(matches!(actions[2], MonAction::Connect { .. }));
}

#[test]
fn a_cancelled_question_is_not_waited_for() {
    let (mut scene, _) = Scene::settled("a");
    let request = scene.client.get_version("osdmap", at(0));
    scene.client.cancel(request);
    assert_eq!(scene.client.next_timer(), scene.client.cephx().next_renewal());
}

#[test]
fn a_monitor_that_accepts_and_hangs_up_is_not_asked_without_pause() {
    let mut scene = Scene::new("a");
    let mut connects = 0;
    while scene.clock < 60_000 {
        for action in scene.actions() {
            if let MonAction::Connect { link, .. } = action {
                connects += 1;
                scene.accept(link);
                scene.fail(link, "connection reset");
            }
        }
        scene.wait();
    }
    assert!((10..40).contains(&connects), "{connects} in a minute");
}

#[test]
fn tickets_are_renewed_over_the_session() {
    let (mut scene, link) = Scene::settled("a");
    assert_eq!(scene.wait(), 2_700_000);
    let actions = scene.actions();
    let [MonAction::Send(to, message)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((*to, message.kind), (link, kind::AUTH));
    let mut decoder = Decoder::new("MAuth", &message.front);
    assert_eq!((decoder.u64().unwrap(), decoder.i16().unwrap(), decoder.u64().unwrap()), (0, -1, 0));
    assert_eq!(decoder.u32().unwrap(), 2);
    let tickets = scene.cluster.renew(decoder.blob().unwrap());
    assert_eq!(decoder.u32().unwrap(), 1, "epoch of the map of monitors");
    let mut reply = Encoder::new();
    reply.u32(2).i32(0).u64(4001).blob(tickets).blob("");
    scene.message(link, kind::AUTH_REPLY, reply.finish());
    assert!(matches!(scene.actions()[..], [MonAction::Tickets]));
    assert_eq!(scene.wait(), 2_700_000);
}

#[test]
fn when_no_tickets_are_given_the_key_is_shown_again() {
    let (mut scene, link) = Scene::settled("a");
    scene.wait();
    scene.actions();
    let mut reply = Encoder::new();
    reply.u32(2).i32(-13).u64(4001).blob("").blob("");
    scene.message(link, kind::AUTH_REPLY, reply.finish());
    let actions = scene.actions();
    assert!(
        matches!(&actions[0], MonAction::Lost(why) if why.contains("it gives no tickets")),
        "{actions:?}"
    );
    let MonAction::Connect { link, .. } = actions[2] else { panic!("{actions:?}") };
    scene.accept(link);
    assert_eq!(scene.client.cephx().global_id(), 4001);
}

#[test]
fn the_session_itself_is_renewed_by_a_new_connection_with_the_same_identity() {
    let (mut scene, _) = Scene::settled("a");
    scene.clock = 54 * 3_600_000;
    scene.client.on_time(at(scene.clock), &mut scene.entropy);
    let actions = scene.actions();
    assert!(matches!(&actions[0], MonAction::Lost(why) if why.contains("authenticated anew")), "{actions:?}");
    let MonAction::Connect { link, .. } = actions[2] else { panic!("{actions:?}") };
    scene.accept(link);
    let actions = scene.actions();
    assert!(
        actions.iter().any(|action| matches!(action, MonAction::Session { is_new: false })),
        "{actions:?}"
    );
    assert_eq!(scene.client.cephx().global_id(), 4001);
    assert_eq!(scene.wait(), 2_700_000);
}

#[test]
fn a_session_that_no_monitor_accepts_is_begun_anew() {
    let (mut scene, link) = Scene::settled("10.0.0.1");
    scene.clock = 60_000;
    scene.fail(link, "connection reset");
    scene.cluster.rotating = key(KeyType::Aes, 99);
    let connects = &scene.actions()[1..];
    assert_eq!(connects.len(), 2);
    for action in connects {
        let MonAction::Connect { link, .. } = *action else { panic!("{action:?}") };
        let lost = scene.cluster.authenticate(&mut scene.client.cephx().monitor(), at(60_000)).unwrap_err();
        assert_eq!(scene.client.cephx().global_id(), 4001, "not before all have said so");
        scene.refuse(link, lost);
    }
    let (link, _) = scene.connects()[0];
    scene.accept(link);
    let actions = scene.actions();
    assert!(
        actions.iter().any(|action| matches!(action, MonAction::Session { is_new: true })),
        "{actions:?}"
    );
    assert_eq!(scene.client.cephx().global_id(), 4002);
}

#[test]
fn one_monitor_astray_does_not_cost_the_session() {
    let (mut scene, link) = Scene::settled("10.0.0.1");
    scene.clock = 60_000;
    scene.fail(link, "connection reset");
    let actions = scene.actions();
    let [_, MonAction::Connect { link: astray, .. }, MonAction::Connect { link: good, .. }] = actions[..]
    else {
        panic!("{actions:?}")
    };
    scene.refuse(astray, AuthError::SessionLost { entity: "client.admin".to_owned() });
    scene.accept(good);
    let actions = scene.actions();
    assert!(
        actions.iter().any(|action| matches!(action, MonAction::Session { is_new: false })),
        "{actions:?}"
    );
    assert_eq!(scene.client.cephx().global_id(), 4001);
}

#[test]
fn a_monitor_that_leaves_the_cluster_is_left_and_wiped_keys_end_the_session() {
    let (mut scene, link) = Scene::settled("10.0.0.1");
    scene.message(link, kind::MON_MAP, mon_map(2, 0, &["10.0.0.1:3300", "10.0.0.3:3300"]));
    assert!(matches!(scene.actions()[..], [MonAction::MonMap]));
    scene.clock = 60_000;
    scene.message(link, kind::MON_MAP, mon_map(3, 0, &["10.0.0.3:3300"]));
    let actions = scene.actions();
    assert!(
        matches!(&actions[1], MonAction::Lost(why) if why.ends_with("it has left the cluster")),
        "{actions:?}"
    );
    let MonAction::Connect { link, ref address } = actions[3] else { panic!("{actions:?}") };
    assert_eq!(address.to_string(), "10.0.0.3:3300");
    scene.accept(link);
    scene.actions();
    scene.message(link, kind::MON_MAP, mon_map(4, 1, &["10.0.0.3:3300"]));
    let actions = scene.actions();
    assert!(matches!(&actions[1], MonAction::Lost(why) if why.contains("tickets void")), "{actions:?}");
    assert!(!scene.client.cephx().has_ticket(4, at(scene.clock)));
}

#[test]
fn commands_wait_for_the_map_and_return_their_output() {
    let mut scene = Scene::new("a");
    let request = scene.client.command("{\"prefix\": \"df\"}", at(0));
    let (link, _) = scene.connects()[0];
    scene.accept(link);
    scene.actions();
    scene.message(link, kind::MON_MAP, mon_map(1, 0, &["10.0.0.1:3300"]));
    let actions = scene.actions();
    let [MonAction::MonMap, MonAction::Send(_, message)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((message.kind, message.tid), (kind::MON_COMMAND, request.0));
    assert_eq!(message.front[18..34], FSID.0);
    let mut ack = Encoder::new();
    ack.u64(0).i16(-1).u64(0).i32(-2).blob("no such thing").u32(0);
    let mut ack = Message::new(kind::MON_COMMAND_ACK, 1, 1, ack.finish());
    ack.tid = request.0;
    ack.data.push(crate::msgr::Chunk::Payload(Bytes::from_static(b"{}")));
    scene.client.received(link, ack, at(1), &mut Counting(0));
    let actions = scene.actions();
    let [MonAction::CommandDone { request: done, result: -2, status, output: Some(output) }] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!((*done, status.as_str(), &output[..]), (request, "no such thing", &b"{}"[..]));
}

#[test]
fn the_room_of_a_pool_is_asked_for_and_told() {
    let mut scene = Scene::new("a");
    let request = scene.client.usage(Some(3), at(0));
    let (link, _) = scene.connects()[0];
    scene.accept(link);
    scene.actions();
    scene.message(link, kind::MON_MAP, mon_map(1, 0, &["10.0.0.1:3300"]));
    let actions = scene.actions();
    let [MonAction::MonMap, MonAction::Send(_, message)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((message.kind, message.version, message.tid), (kind::STATFS, 2, request.0));
    assert_eq!(message.front[18..34], FSID.0);
    assert_eq!(message.front[34..], [1, 3, 0, 0, 0, 0, 0, 0, 0]);
    let mut reply = Encoder::new();
    reply.raw(&FSID.0).u64(9).u64(100).u64(30).u64(35).u64(7);
    let mut reply = Message::new(kind::STATFS_REPLY, 1, 1, reply.finish());
    reply.tid = request.0;
    scene.client.received(link, reply, at(1), &mut Counting(0));
    let actions = scene.actions();
    let [MonAction::Usage { request: done, usage }] = &actions[..] else { panic!("{actions:?}") };
    let expected = Usage { total_kib: 100, used_kib: 30, available_kib: 35, objects: 7 };
    assert_eq!((*done, *usage), (request, expected));
}

#[test]
fn what_is_malformed_ends_the_session_and_what_is_foreign_is_delivered() {
    let (mut scene, link) = Scene::settled("a");
    scene.message(link, 41, vec![1, 2, 3]);
    assert!(matches!(&scene.actions()[..], [MonAction::Deliver(message)] if message.kind == 41));
    scene.message(link, kind::CONFIG, vec![]);
    assert!(scene.actions().is_empty());
    scene.message(link, kind::MON_SUBSCRIBE_ACK, vec![4, 0, 0, 0]);
    assert_eq!(scene.wait(), 2_000);
    let actions = scene.actions();
    assert!(
        matches!(&actions[..], [MonAction::Send(_, message)] if subscribed(message) == [named("monmap", 2)])
    );
    scene.message(link, kind::MON_MAP, vec![9, 9]);
    let actions = scene.actions();
    assert!(matches!(&actions[0], MonAction::Lost(why) if why.contains("malformed")), "{actions:?}");
}
