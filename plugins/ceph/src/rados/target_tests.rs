use super::*;
use crate::osd::{Extent, MapMessage, Op};
use bytes::Bytes;

/// The cluster's maps at the named moments of the story (`tests/fixtures/maps`).
pub(in crate::rados) fn story(until: &str) -> OsdMap {
    map_at(epoch_of(until))
}

fn map_at(last: Epoch) -> OsdMap {
    let message = MapMessage::decode(4, STORY).unwrap();
    let mut map = OsdMap::decode(message.full[0].1).unwrap();
    for (epoch, change) in message.incrementals {
        if epoch <= last {
            map.apply(change).unwrap();
        }
    }
    map
}

pub(in crate::rados) const STORY: &[u8] = include_bytes!("../../tests/fixtures/maps/story.mosdmap");

/// The epoch of a moment of the story.
pub(in crate::rados) fn epoch_of(moment: &str) -> Epoch {
    let text = include_str!("../../tests/fixtures/maps/story.txt");
    let line = text.lines().find_map(|line| line.strip_suffix(moment)?.strip_suffix(' '));
    line.unwrap().parse().unwrap()
}

fn read(map: &OsdMap, object: &str) -> OpRequest<Bytes> {
    let (pool, _) = map.pool_by_name("story").unwrap();
    OpRequest::new(pool, object, vec![Op::Read(Extent::new(0, 1))])
}

fn target(map: &OsdMap, request: &OpRequest<Bytes>, request_flags: u32) -> Target {
    Target::of(map, &mut Placements::default(), request, request_flags, None).unwrap()
}

/// Objects of which the two maps disagree who must be asked, and all objects of which `must_resend` says so.
fn moved(before: &OsdMap, after: &OsdMap) -> (Vec<u32>, Vec<u32>) {
    let (mut other_primary, mut resent) = (Vec::new(), Vec::new());
    for number in 0..64 {
        let request = read(before, &format!("object-{number}"));
        let (old, new) = (target(before, &request, flags::READ), target(after, &request, flags::READ));
        if old.primary != new.primary {
            other_primary.push(number);
        }
        if old.must_resend(&new, after.pool(new.object.pool)) {
            resent.push(number);
        }
    }
    (other_primary, resent)
}

#[test]
fn only_what_moves_is_sent_again() {
    let (base, unpaused) = (story("base"), story("unpaused"));
    assert_eq!(moved(&base, &unpaused), (Vec::new(), Vec::new()));
    let (other_primary, resent) = moved(&unpaused, &story("down-1"));
    assert!(!resent.is_empty() && resent.len() < 64, "osd.1 has some of them");
    assert_eq!(resent, other_primary);
}

#[test]
fn a_split_sends_the_whole_pool_again() {
    let groups = |map: &OsdMap| map.pool_by_name("story").map(|(_, pool)| pool.pg_num);
    let changes = epoch_of("base")..epoch_of("overlay");
    let before = changes.map(map_at).find(|map| groups(map) != groups(&map_at(map.epoch + 1))).unwrap();
    let (_, resent) = moved(&before, &map_at(before.epoch + 1));
    assert_eq!(resent.len(), 64);
}

#[test]
fn tiers_take_requests_over() {
    let (before, tiered, after) = (story("split"), story("overlay"), story("no-overlay"));
    let request = read(&before, "object");
    let (cache, _) = tiered.pool_by_name("cache").unwrap();
    let [old, there, back] = [&before, &tiered, &after].map(|map| target(map, &request, flags::READ));
    assert_eq!((old.object.pool, there.object.pool, back.object.pool), (request.pool, cache, request.pool));
    assert_eq!(target(&tiered, &request, flags::READ | flags::IGNORE_OVERLAY).object.pool, request.pool);
    // A request to the same pool again, but OSDs drop those from before the change.
    assert!(old.must_resend(&back, after.pool(back.object.pool)));
}

#[test]
fn a_redirect_replaces_name_and_place() {
    let map = story("base");
    let request = read(&map, "object");
    let locator =
        crate::osd::Locator { pool: request.pool, key: b"key".to_vec(), namespace: b"ns".to_vec(), hash: -1 };
    for (name, expected) in [("other", "other"), ("", "object")] {
        let redirect = Redirect { locator: locator.clone(), object: name.into() };
        let target =
            Target::of(&map, &mut Placements::default(), &request, flags::READ, Some(&redirect)).unwrap();
        assert_eq!(target.object.name, expected.as_bytes());
        assert_eq!((&target.object.key[..], &target.object.namespace[..]), (&b"key"[..], &b"ns"[..]));
        let (raw, _) = map.object_pg(request.pool, b"ns", b"key").unwrap();
        assert_eq!(target.object.hash, raw.hash, "the key is hashed, not the name");
    }
}

#[test]
fn a_pool_that_is_gone_is_missing() {
    let map = story("base");
    let request = read(&map, "object");
    let removed = story("removed");
    let result = Target::of(&removed, &mut Placements::default(), &request, flags::READ, None);
    assert_eq!(result, Err(NoTarget::PoolMissing { pool: request.pool }));
}

#[test]
fn flags_say_what_waits() {
    let full = Pool::FULL_QUOTA;
    assert_eq!(pause(map_flags::PAUSE_READ, 0, flags::READ), Some(Pause::Reads));
    assert_eq!(pause(map_flags::PAUSE_READ, full, flags::WRITE), Some(Pause::PoolFull));
    assert_eq!(pause(map_flags::PAUSE_WRITE, 0, flags::READ), None);
    assert_eq!(pause(map_flags::PAUSE_WRITE, 0, flags::READ | flags::WRITE), Some(Pause::Writes));
    assert_eq!(pause(map_flags::FULL, full, flags::READ), None, "reading needs no room");
    assert_eq!(pause(map_flags::FULL, 0, flags::WRITE), Some(Pause::ClusterFull));
    assert_eq!(pause(map_flags::FULL, full, flags::WRITE | flags::FULL_TRY), None);
}
