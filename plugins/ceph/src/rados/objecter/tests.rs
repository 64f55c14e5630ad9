mod turns;

use super::*;
use crate::encoding::Encoder;
use crate::osd::{Backoff, BackoffKind, Extent, HObject, MapMessage, Output, kind};
use crate::osdmap::{PgId, SpgId};
use crate::rados::error::EAGAIN;
use crate::rados::target::tests::{STORY, epoch_of, story};
use crate::types::UTime;
use bytes::Bytes;

/// An objecter with a clock, and what it did so far.
struct World {
    objecter: Objecter<Bytes>,
    now: Now,
    done: Vec<(OpId, Result<OpReply<Bytes>, RadosError>)>,
    /// Requests on their way: OSD and message.
    sent: Vec<(i32, Message<Bytes>)>,
    /// OSDs to which a connection is wanted.
    connecting: Vec<i32>,
    disconnected: Vec<i32>,
    wanted: Vec<Epoch>,
    asked_newest: usize,
    blocklisted: Vec<String>,
    /// Connections are made at once.
    connects: bool,
}

impl World {
    /// With the map of this moment of the story, or none.
    fn at(moment: Option<&str>) -> Self {
        Self::with_limits(moment, Limits::default())
    }

    fn with_limits(moment: Option<&str>, limits: Limits) -> Self {
        let mut world = Self {
            objecter: Objecter::new(limits, 0, 7),
            now: Now { monotonic_ms: 1_000, wall: UTime::default() },
            done: Vec::new(),
            sent: Vec::new(),
            connecting: Vec::new(),
            disconnected: Vec::new(),
            wanted: Vec::new(),
            asked_newest: 0,
            blocklisted: Vec::new(),
            connects: true,
        };
        if let Some(moment) = moment {
            world.advance(moment);
        }
        world
    }

    /// All changes up to this moment of the story, as a monitor sends them.
    fn advance(&mut self, moment: &str) {
        let mut message = MapMessage::decode(4, STORY).unwrap();
        let from = self.objecter.map().map_or(0, |map| map.epoch);
        message.incrementals.retain(|(epoch, _)| *epoch > from && *epoch <= epoch_of(moment));
        if from > 0 {
            message.full.clear();
        }
        self.objecter.maps(&message, self.now).unwrap();
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(event) = self.objecter.poll_event() {
            match event {
                Event::Connect { osd, .. } => {
                    self.connecting.push(osd);
                    if self.connects {
                        self.objecter.ready(osd, self.now);
                    }
                }
                Event::Disconnect { osd } => self.disconnected.push(osd),
                Event::Send { osd, message } => self.sent.push((osd, message)),
                Event::Done { op, result } => self.done.push((op, result)),
                Event::WantMaps { after } => self.wanted.push(after),
                Event::WantNewest => self.asked_newest += 1,
                Event::Blocklisted { address } => self.blocklisted.push(address),
            }
        }
    }

    fn pass(&mut self, milliseconds: u64) {
        self.now.monotonic_ms += milliseconds;
        self.objecter.on_time(self.now);
        self.settle();
    }

    fn request(&self, object: &str) -> OpRequest<Bytes> {
        let (pool, _) = story("base").pool_by_name("story").map(|(id, pool)| (id, pool.clone())).unwrap();
        OpRequest::new(pool, object, vec![Op::Read(Extent::new(0, 4))])
    }

    fn submit(&mut self, request: OpRequest<Bytes>) -> OpId {
        let op = self.objecter.submit(request, self.now);
        self.settle();
        op
    }

    fn read(&mut self, object: &str) -> OpId {
        let request = self.request(object);
        self.submit(request)
    }

    /// The placement group of an object.
    fn target(&self, object: &str) -> PgId {
        self.objecter.map().unwrap().object_pg(self.request("").pool, b"", object.as_bytes()).unwrap().1
    }

    /// An object whose primary is this OSD.
    fn object_of(&self, osd: i32) -> String {
        self.object_that(|world, object| world.primary(world.objecter.map().unwrap(), object) == Some(osd))
    }

    /// The OSD that is asked for an object under this map.
    fn primary(&self, map: &OsdMap, object: &str) -> Option<i32> {
        let (_, pg) = map.object_pg(self.request("").pool, b"", object.as_bytes()).unwrap();
        map.place(pg).acting_primary
    }

    fn object_that(&self, is: impl Fn(&Self, &str) -> bool) -> String {
        (0..999).map(|number| format!("object-{number}")).find(|object| is(self, object)).unwrap()
    }

    /// The OSD answers the oldest request on its way.
    fn answer(&mut self, result: i32, data: &'static [u8]) {
        let (osd, message) = self.sent.remove(0);
        self.answer_to(osd, &message, result, data);
    }

    fn answer_to(&mut self, osd: i32, request: &Message<Bytes>, result: i32, data: &'static [u8]) {
        let mut message = Message::new(kind::OSD_OPREPLY, 8, 2, reply(request, result, data.len()));
        message.tid = request.tid;
        message.data = vec![crate::msgr::Chunk::Payload(Bytes::from_static(data))];
        self.objecter.message_from(osd, message, self.now).unwrap();
        self.settle();
    }

    fn backoff(&mut self, osd: i32, asked: BackoffKind, pg: SpgId, range: (HObject, HObject)) {
        let backoff = Backoff { pg, epoch: 1, kind: asked, id: 9, begin: range.0, end: range.1 };
        let message = Message::new(kind::OSD_BACKOFF, 1, 1, backoff.encode());
        self.objecter.message_from(osd, message, self.now).unwrap();
        self.settle();
    }
}

/// Attempt and flags of a request.
fn attempt(message: &Message<Bytes>) -> (i32, u32) {
    let front = &message.front;
    let number = |at: usize| u32::from_le_bytes(front[at..at + 4].try_into().unwrap());
    // The last field but one, and the one behind placement group, hash and epoch.
    (number(front.len() - 12) as i32, number(24 + 8))
}

/// The front of an answer to one read.
fn reply(request: &Message<Bytes>, result: i32, length: usize) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.blob("");
    PgId { pool: 1, seed: 0 }.encode(&mut encoder);
    encoder.u64(0).i32(result).zeros(12).u32(1);
    encoder.u32(1).zeros(34).length(length).i32(attempt(request).0).i32(0);
    encoder.zeros(12).u64(5).bool(false).zeros(24);
    encoder.finish()
}

fn timed_out(result: &Result<OpReply<Bytes>, RadosError>) -> &str {
    match result {
        Err(RadosError::TimedOut { waiting }) => waiting,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_waits_for_the_first_map_and_is_answered() {
    let mut world = World::at(None);
    let op = world.read("object");
    assert_eq!((world.wanted.as_slice(), world.sent.len()), (&[0][..], 0));
    world.advance("base");
    assert_eq!((world.connecting.len(), world.sent.len()), (1, 1));
    world.answer(0, b"data");
    let (answered, result) = world.done.pop().unwrap();
    let reply = result.unwrap();
    assert_eq!((answered, reply.version), (op, 5));
    assert_eq!(reply.results[0].output, Output::Payload(Some(Bytes::from_static(b"data"))));
    assert_eq!((world.objecter.in_flight(), world.objecter.next_timer()), (0, None), "nothing is left");
}

#[test]
fn requests_follow_when_their_osd_goes_down() {
    let mut world = World::at(Some("unpaused"));
    let object = world.object_of(1);
    world.read(&object);
    let (osd, first) = world.sent.pop().unwrap();
    assert_eq!((osd, attempt(&first)), (1, (0, flags::READ | flags::ONDISK | flags::KNOWN_REDIR)));
    world.advance("down-1");
    let (osd, second) = world.sent.pop().unwrap();
    assert_ne!(osd, 1);
    assert_eq!(attempt(&second), (1, flags::READ | flags::ONDISK | flags::KNOWN_REDIR | flags::RETRY));
    assert_eq!((second.tid, world.disconnected.as_slice()), (first.tid, &[1][..]));
    // The first OSD answers after all: nobody listens. Nor to the second about the first attempt.
    world.answer_to(1, &second, 0, b"late");
    world.answer_to(osd, &first, 0, b"late");
    assert!(world.done.is_empty());
    world.answer_to(osd, &second, 0, b"good");
    assert!(world.done[0].1.is_ok());
}

#[test]
fn an_osd_that_comes_back_elsewhere_gets_its_requests_again() {
    let mut world = World::at(Some("unpaused"));
    let object = world.object_of(1);
    world.read(&object);
    assert_eq!(world.sent.remove(0).0, 1);
    // Down and up again in one message: the same primary before and after.
    world.advance("settled-1");
    let places: Vec<i32> = world.sent.iter().map(|(osd, _)| *osd).collect();
    assert_eq!((places.last(), world.disconnected.as_slice()), (Some(&1), &[1][..]));
    assert_eq!(world.connecting.iter().filter(|&&osd| osd == 1).count(), 2);
}

#[test]
fn what_did_not_move_is_not_sent_again() {
    let mut world = World::at(Some("unpaused"));
    let object = world.object_of(2);
    world.read(&object);
    world.advance("down-1");
    world.advance("settled-1");
    assert_eq!(world.sent.len(), 1);
    world.advance("out-2");
    let places: Vec<i32> = world.sent.iter().map(|(osd, _)| *osd).collect();
    assert_eq!(places.len(), 2, "its OSD was emptied at last");
    assert_ne!(places[1], 2);
}

#[test]
fn a_lost_connection_is_made_again_ever_more_slowly() {
    let mut world = World::at(Some("base"));
    world.connects = false;
    let object = world.object_of(2);
    world.read(&object);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        world.objecter.lost(2, "connection refused", world.now);
        world.settle();
        let at = world.objecter.sessions[&2].retry_at().unwrap();
        pauses.push(at - world.now.monotonic_ms);
        world.pass(at - world.now.monotonic_ms);
    }
    assert_eq!(world.connecting, [2; 10]);
    assert_eq!(pauses[0], 0, "the first time at once");
    for (index, pause) in pauses[1..].iter().enumerate() {
        let middle = (100 << index).min(5_000);
        assert!((middle * 3 / 4..=middle * 5 / 4).contains(pause), "{pauses:?}");
    }
    assert!(world.sent.is_empty());
    world.objecter.ready(2, world.now);
    world.settle();
    world.objecter.lost(2, "reset", world.now);
    world.pass(6_000);
    world.objecter.ready(2, world.now);
    world.settle();
    let attempts: Vec<i32> = world.sent.iter().map(|(_, message)| attempt(message).0).collect();
    assert_eq!(attempts, [0, 1], "what the OSD may have lost is sent again");
}

#[test]
fn an_idle_connection_may_end() {
    let mut world = World::at(Some("base"));
    let object = world.object_of(2);
    world.read(&object);
    world.answer(0, b"");
    world.objecter.lost(2, "closed", world.now);
    world.settle();
    assert_eq!((world.connecting.len(), world.objecter.next_timer()), (1, None));
    world.read(&object);
    assert_eq!((world.connecting.len(), world.sent.len()), (2, 1));
}

#[test]
fn try_again_is_tried_again() {
    let mut world = World::at(Some("base"));
    world.read("object");
    world.answer(-EAGAIN, b"");
    assert_eq!(world.sent[0].1.tid, 2, "at once, under a new number");
    world.answer(-EAGAIN, b"");
    assert!(world.sent.is_empty(), "but then not without a pause");
    world.pass(10);
    world.answer(0, b"data");
    assert!(world.done[0].1.is_ok());
}

#[test]
fn deadlines_name_what_was_missing() {
    let mut world = World::at(None);
    let waiting = |world: &mut World, request: OpRequest<Bytes>| {
        let deadline = world.now.monotonic_ms + 100;
        world.submit(request.deadline(deadline));
        world.pass(100);
        timed_out(&world.done.pop().unwrap().1).to_owned()
    };
    let request = world.request("object");
    assert!(waiting(&mut world, request.clone()).contains("no monitor"));
    world.objecter.set_trouble(Some("no monitor can be reached: a".into()));
    assert!(waiting(&mut world, request.clone()).ends_with("reached: a"));
    world.advance("base");
    assert!(waiting(&mut world, request.clone()).contains("did not answer"));
    world.advance("paused");
    assert!(waiting(&mut world, request.clone()).contains("paused"));
    world.advance("unpaused");
    let object = world.object_of(1);
    let request = world.request(&object);
    world.connects = false;
    world.objecter.lost(1, "connection refused", world.now);
    let text = waiting(&mut world, request);
    assert!(text.contains("osd.1 at 127.0.0.1:") && text.contains("cannot be reached"), "{text}");
    assert_eq!(world.objecter.in_flight(), 0);
}

#[test]
fn reads_wait_while_they_are_paused() {
    let mut world = World::at(Some("paused"));
    world.read("object");
    assert_eq!((world.sent.len(), world.wanted.len()), (0, 1), "a newer map may end it");
    world.advance("unpaused");
    assert_eq!(world.sent.len(), 1);
}

#[test]
fn what_an_osd_had_before_a_pause_is_sent_again() {
    let mut world = World::at(Some("base"));
    world.read("object");
    let (osd, first) = world.sent.remove(0);
    world.advance("paused");
    assert!(world.sent.is_empty());
    world.advance("unpaused");
    let (again, second) = world.sent.remove(0);
    assert_eq!((again, second.tid), (osd, first.tid));
    assert_eq!((attempt(&first).0, attempt(&second).0), (0, 1));
    assert!(world.sent.is_empty());
}

#[test]
fn behind_a_barrier_nothing_is_sent_with_older_maps() {
    let mut world = World::at(Some("base"));
    world.connects = false;
    let osd = world.objecter.map().unwrap().place(world.target("object")).acting_primary.unwrap();
    world.read("object");
    // Nothing new for who has the map already.
    world.objecter.set_barrier(epoch_of("base"), world.now);
    world.settle();
    assert!(world.wanted.is_empty());
    world.objecter.set_barrier(epoch_of("unpaused"), world.now);
    world.settle();
    assert_eq!(world.wanted.last(), Some(&epoch_of("base")));
    assert!(world.objecter.waiting_for(1, world.now).contains(&format!("map {}", epoch_of("unpaused"))));
    world.objecter.ready(osd, world.now);
    world.read("object");
    // A barrier is never lowered.
    world.objecter.set_barrier(1, world.now);
    world.advance("paused");
    assert!(world.sent.is_empty());
    world.connects = true;
    world.advance("unpaused");
    if world.sent.is_empty() {
        world.objecter.ready(osd, world.now);
        world.settle();
    }
    let epochs =
        world.sent.iter().map(|(_, message)| u32::from_le_bytes(message.front[28..32].try_into().unwrap()));
    assert_eq!(epochs.collect::<Vec<_>>(), [epoch_of("unpaused"); 2]);
}

#[test]
fn an_unknown_pool_is_asked_for_before_it_is_missed() {
    let mut world = World::at(Some("unblocklisted"));
    let late = story("late-pool").pool_by_name("late").unwrap().0;
    world.submit(OpRequest::new(late, "object", vec![Op::Stat]));
    assert_eq!((world.asked_newest, world.done.len()), (1, 0));
    world.objecter.newest(Some(epoch_of("late-pool")));
    world.settle();
    assert_eq!((world.done.len(), world.wanted.last()), (0, Some(&epoch_of("unblocklisted"))));
    world.advance("late-pool");
    assert_eq!(world.sent.len(), 1, "there it is");

    let never = world.submit(OpRequest::new(99, "object", vec![Op::Stat]));
    world.objecter.newest(Some(epoch_of("late-pool")));
    world.settle();
    assert_eq!(world.done.pop(), Some((never, Err(RadosError::PoolNotFound { pool: 99 }))));
}

#[test]
fn requests_end_with_their_pool() {
    let mut world = World::at(Some("late-pool"));
    let pool = world.request("").pool;
    let op = world.read("object");
    world.advance("removed");
    assert_eq!(world.done, [(op, Err(RadosError::PoolNotFound { pool }))]);
}

#[test]
fn a_client_that_is_locked_out_knows_at_once() {
    let mut world = World::at(Some("no-overlay"));
    world.objecter.known_as(EntityAddr::msgr2("192.0.2.7:0".parse().unwrap(), 77));
    let op = world.read("object");
    world.advance("blocklisted");
    let blocklisted = Err(RadosError::Blocklisted { address: "192.0.2.7:0/77".into() });
    assert_eq!(world.done.pop(), Some((op, blocklisted.clone())));
    let op = world.read("object");
    assert_eq!(world.done.pop(), Some((op, blocklisted)));
    assert_eq!(std::mem::take(&mut world.blocklisted), ["192.0.2.7:0/77"], "once");
    world.advance("unblocklisted");
    world.read("object");
    assert!(world.done.is_empty());
}

#[test]
fn an_osd_may_be_the_first_to_say_that_a_client_is_locked_out() {
    let mut world = World::at(Some("no-overlay"));
    world.objecter.known_as(EntityAddr::msgr2("192.0.2.7:0".parse().unwrap(), 77));
    world.read("object");
    world.read("object");
    world.answer(-108, b"");
    world.answer(-108, b"");
    assert!(matches!(world.done.pop(), Some((_, Err(RadosError::Blocklisted { .. })))));
    world.advance("blocklisted");
    assert_eq!(world.blocklisted.len(), 1);
    // Under another name it is another client.
    world.objecter.rename();
    world.objecter.known_as(EntityAddr::msgr2("192.0.2.7:0".parse().unwrap(), 78));
    world.done.clear();
    world.read("object");
    assert!(world.done.is_empty());
}

#[test]
fn what_is_cancelled_ends_without_a_word_and_makes_room() {
    let mut world = World::with_limits(Some("base"), Limits { requests: 1, bytes: 100 });
    let object = world.object_of(2);
    let first = world.read(&object);
    world.read(&object);
    assert_eq!(world.sent.len(), 1);
    world.objecter.cancel(first, world.now);
    world.settle();
    assert_eq!((world.sent.len(), world.done.len()), (2, 0));
    world.answer(0, b"of the first");
    assert!(world.done.is_empty());
}

#[test]
fn a_gap_in_the_maps_is_asked_for() {
    let mut world = World::at(Some("base"));
    let mut message = MapMessage::decode(4, STORY).unwrap();
    message.incrementals.retain(|(epoch, _)| *epoch > epoch_of("unpaused"));
    message.full.clear();
    world.objecter.maps(&message, world.now).unwrap();
    world.settle();
    assert_eq!(
        (world.wanted.as_slice(), world.objecter.map().unwrap().epoch),
        (&[epoch_of("base")][..], epoch_of("base"))
    );
}

#[test]
fn a_change_that_cannot_be_read_costs_the_map() {
    let mut world = World::at(Some("base"));
    let next = epoch_of("base") + 1;
    let fsid = world.objecter.map().unwrap().fsid;
    let message = MapMessage {
        fsid,
        incrementals: vec![(next, b"nonsense")],
        full: Vec::new(),
        oldest: 1,
        newest: next,
    };
    world.objecter.maps(&message, world.now).unwrap();
    world.settle();
    assert_eq!((world.wanted.as_slice(), world.objecter.map()), (&[0][..], None));
    let message = MapMessage { incrementals: Vec::new(), full: vec![(next, b"nonsense")], ..message };
    let error = world.objecter.maps(&message, world.now).unwrap_err();
    assert!(error.to_string().contains(&format!("map {next}")), "{error}");
}

#[test]
fn requests_that_make_no_sense_are_not_sent() {
    let mut world = World::at(Some("base"));
    let long = Op::Call { class: "c".repeat(256), method: String::new(), input: Vec::new() };
    for ops in [Vec::new(), vec![long], vec![Op::Stat; OPS_MAX + 1]] {
        let request = OpRequest { ops, ..world.request("object") };
        world.submit(request);
        assert_eq!(world.done.pop().unwrap().1, Err(RadosError::Unsupported));
    }
    let late = world.request("object").deadline(world.now.monotonic_ms);
    world.submit(late);
    timed_out(&world.done.pop().unwrap().1);
}

#[test]
fn an_answer_that_cannot_be_read_ends_its_request() {
    let mut world = World::at(Some("base"));
    world.read("object");
    let (osd, request) = world.sent.remove(0);
    let mut message = Message::new(kind::OSD_OPREPLY, 8, 2, b"nonsense".to_vec());
    message.tid = request.tid;
    world.objecter.message_from(osd, message, world.now).unwrap();
    world.settle();
    assert!(matches!(world.done[0].1, Err(RadosError::Malformed(_))));
}
