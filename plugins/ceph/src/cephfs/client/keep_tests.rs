//! Who wants to keep bytes that others write asks until it may, and not as fast as an MDS answers.

use super::{Command, FsClient};
use crate::cephfs::inode::PAGES;
use crate::cephfs::{Answer, Done, FsConfig, Vino};
use crate::mds::{Caps, InodeStat, Op, Rank, Reply, ReplyCap, cap_flags, ino};
use crate::time::Now;

const R0: Rank = Rank(0);
const FILE: Vino = Vino { ino: 0x1000, snap: ino::NO_SNAP };

fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } }
}

/// The file as its MDS tells it, with these capabilities beside those to its attributes.
fn told(caps: Caps, seq: u32) -> Reply {
    let mut stat = InodeStat::new(FILE.ino, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink, stat.size) = (1, 0o100_644, 1, 5000);
    stat.cap = ReplyCap {
        caps: Caps::PIN | Caps::FILE_RD | caps,
        wanted: PAGES,
        cap_id: 1,
        seq,
        realm: 1,
        flags: cap_flags::AUTH,
        ..ReplyCap::default()
    };
    Reply { mdsmap_epoch: 1, safe: true, target: Some(stat), ..Reply::default() }
}

fn request(client: &mut FsClient) -> Option<(u64, Op)> {
    std::iter::from_fn(|| client.poll_command()).find_map(|command| match command {
        Command::Request { number, op, .. } => Some((number, op)),
        _ => None,
    })
}

fn pages(client: &mut FsClient) -> Option<bool> {
    std::iter::from_fn(|| client.poll_done()).find_map(|done| match done {
        Done::Call { result: Ok(Answer::Opened { pages, .. }), .. } => Some(pages),
        _ => None,
    })
}

/// A client that has opened the file at this moment, and wants to keep what it reads. With the answer it may read, and for more it asks at once.
fn opening(now: u64) -> FsClient {
    let mut client = FsClient::new(FsConfig::default());
    client.resumed(R0, at(now));
    client.open(FILE, true, None, at(now));
    let (number, op) = request(&mut client).unwrap();
    assert!(matches!(op, Op::Open { .. }), "{op:?}");
    client.replied(number, R0, now, told(Caps::NONE, 1), at(now));
    client
}

/// Answers without the right until the call ends; how often that was, and when it was over.
fn refuse(client: &mut FsClient, mut now: u64, times: u32) -> (u32, u64) {
    for answered in 0..times {
        let Some((number, _)) = request(client) else { return (answered, now) };
        client.replied(number, R0, now, told(Caps::NONE, answered + 2), at(now));
        // Others read it meanwhile.
        client.read_done(FILE, at(now));
        assert!(request(client).is_none(), "it asks again at once");
        if let Some(next) = client.next_timer() {
            now = next;
            client.on_time(at(now));
        }
    }
    (times, now)
}

#[test]
fn an_mds_that_still_waits_for_another_one_is_asked_after_a_pause() {
    let mut client = opening(1_000);
    let (times, now) = refuse(&mut client, 1_000, 8);
    assert_eq!((times, now), (8, 1_000 + 1 + 2 + 4 + 8 + 16 + 32 + 50 + 50));
    let (number, op) = request(&mut client).unwrap();
    assert!(matches!(op, Op::Getattr { .. }), "{op:?}");
    client.replied(number, R0, now, told(PAGES, 10), at(now));
    assert_eq!(pages(&mut client), Some(true));
    assert_eq!((client.calls(), client.next_timer()), (0, None));
}

#[test]
fn it_ends_some_time_with_a_file_that_is_open_without_the_right() {
    let mut client = opening(0);
    let (times, now) = refuse(&mut client, 0, 1_000);
    assert_eq!(times, super::read::KEEP_ASKED);
    assert!((14_000..16_000).contains(&now), "{now} ms");
    assert_eq!(pages(&mut client), Some(false));
}
