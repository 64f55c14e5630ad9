//! Whose turn it is with an OSD: requests that it holds back, and limits on what is in flight.

use super::*;

#[test]
fn an_osd_may_ask_to_hold_back() {
    let mut world = World::at(Some("base"));
    let object = world.object_of(2);
    world.read(&object);
    let pg = world.objecter.operations[&1].target.as_ref().unwrap().pg;
    let (_, first) = world.sent.remove(0);
    world.backoff(2, BackoffKind::Block, pg, (HObject::min(), HObject::max()));
    let (_, message) = world.sent.remove(0);
    let acknowledged = Backoff::decode(&message.front).unwrap();
    assert_eq!((acknowledged.kind, acknowledged.id), (BackoffKind::AckBlock, 9));
    // Else an OSD may take a request first that was sent after it, and drop that.
    assert!(message.priority > first.priority && message.priority == u16::from(u8::MAX));
    world.read(&object);
    assert!(world.sent.is_empty(), "neither the new one nor the old one");
    assert!(
        world.objecter.waiting_for(1, world.now).contains("back"),
        "{}",
        world.objecter.waiting_for(1, world.now)
    );
    world.backoff(2, BackoffKind::Unblock, pg, (HObject::min(), HObject::max()));
    let attempts: Vec<_> = world.sent.iter().map(|(_, message)| (message.tid, attempt(message).0)).collect();
    assert_eq!(attempts, [(1, 1), (2, 0)], "in order");
    assert_eq!(first.tid, 1);
}

#[test]
fn what_is_held_back_makes_room_for_others() {
    let mut world = World::with_limits(Some("base"), Limits { requests: 1, bytes: 100 });
    let blocked = world.object_of(1);
    let pg = world.target(&blocked);
    let free = world.object_that(|world, object| {
        world.primary(world.objecter.map().unwrap(), object) == Some(1) && world.target(object) != pg
    });
    world.read(&blocked);
    world.read(&free);
    assert_eq!(world.sent.len(), 1, "one at a time");
    let pg = world.objecter.operations[&1].target.as_ref().unwrap().pg;
    world.backoff(1, BackoffKind::Block, pg, (HObject::min(), HObject::max()));
    let kinds: Vec<u16> = world.sent.iter().map(|(_, message)| message.kind).collect();
    assert_eq!(kinds, [kind::OSD_OP, kind::OSD_BACKOFF, kind::OSD_OP], "acknowledged first");
    assert_eq!(world.sent[2].1.tid, 2);
}

#[test]
fn what_ends_with_a_map_makes_room_for_others() {
    let mut world = World::with_limits(Some("late-pool"), Limits { requests: 1, bytes: 100 });
    let map = story("late-pool");
    let late = map.pool_by_name("late").unwrap().0;
    let (object, osd) = ("object", world.primary(&map, "object"));
    let other = world.object_that(|_, other| {
        let (_, pg) = map.object_pg(late, b"", other.as_bytes()).unwrap();
        map.place(pg).acting_primary == osd
    });
    let ends = world.read(object);
    let stays = world.request(&other);
    world.submit(OpRequest { pool: late, ..stays });
    assert_eq!(world.sent.len(), 1, "one at a time");
    world.advance("removed");
    assert_eq!(world.done.iter().map(|(op, _)| *op).collect::<Vec<_>>(), [ends]);
    let sent: Vec<_> = world.sent.iter().map(|(to, message)| (message.tid, Some(*to))).collect();
    assert_eq!(sent, [(1, osd), (2, osd)]);
}

#[test]
fn what_is_held_back_goes_with_the_connection() {
    let mut world = World::at(Some("base"));
    let object = world.object_of(2);
    world.read(&object);
    let pg = world.objecter.operations[&1].target.as_ref().unwrap().pg;
    world.backoff(2, BackoffKind::Block, pg, (HObject::min(), HObject::max()));
    world.sent.clear();
    world.objecter.lost(2, "reset", world.now);
    world.pass(10);
    assert_eq!(world.sent.len(), 1, "the next connection knows nothing of it");
}

#[test]
fn backoffs_without_end_are_refused() {
    let mut world = World::at(Some("base"));
    let object = world.object_of(2);
    world.read(&object);
    let pg = SpgId { pg: PgId { pool: 1, seed: 0 }, shard: -1 };
    let mut refused = false;
    for id in 0..10_000 {
        let (begin, end) = (HObject::min(), HObject::min());
        let backoff = Backoff { pg, epoch: 1, kind: BackoffKind::Block, id, begin, end };
        let message = Message::new(kind::OSD_BACKOFF, 1, 1, backoff.encode());
        refused |= world.objecter.message_from(2, message, world.now).is_err();
    }
    assert!(refused);
}

#[test]
fn limits_hold_requests_back_in_order() {
    let mut world = World::with_limits(Some("base"), Limits { requests: 2, bytes: 10 });
    let object = world.object_of(2);
    for _ in 0..4 {
        world.read(&object);
    }
    assert_eq!(world.sent.len(), 2, "two requests at once");
    world.answer(0, b"1");
    world.answer(0, b"2");
    assert_eq!(world.sent.len(), 2);
    let big = OpRequest { ops: vec![Op::Read(Extent::new(0, 100))], ..world.request(&object) };
    world.submit(big);
    world.answer(0, b"3");
    assert_eq!(world.sent.len(), 1, "too many bytes beside another");
    world.answer(0, b"4");
    assert_eq!(world.sent.len(), 1, "but alone it goes");
    assert_eq!(world.sent[0].1.tid, 5);
}

#[test]
fn who_is_not_let_in_is_told_so_at_once() {
    let mut world = World::with_limits(Some("base"), Limits { requests: 1, bytes: 10 });
    let object = world.object_of(2);
    let (sent, queued) = (world.read(&object), world.read(&object));
    world.objecter.denied(2);
    world.objecter.lost(2, "no capabilities", world.now);
    world.settle();
    for op in [sent, queued] {
        assert!(world.done.iter().any(|(done, result)| *done == op && *result == Err(RadosError::Denied)));
    }
    assert!(world.objecter.sessions.is_empty(), "nobody waits for it");
    world.connecting.clear();
    world.read(&object);
    assert_eq!(world.connecting, [2], "the user may have been given capabilities");
}
