//! What a rank wants to have back it gets, although the user is asked bit by bit.

use super::{Command, FsClient};
use crate::cephfs::{Done, FsConfig, Token};
use crate::mds::{Caps, InodeStat, Rank, Reply, ReplyCap, cap_flags, ino};
use crate::time::Now;

const R0: Rank = Rank(0);
const NOW: Now = Now { monotonic_ms: 1_000, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } };
const FILES: usize = 5_000;
const KEPT: usize = 500;

fn told(number: u64) -> Reply {
    let mut stat = InodeStat::new(number, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink) = (1, 0o100_644, 1);
    stat.cap = ReplyCap {
        caps: Caps::PIN | Caps::ANY_SHARED | Caps::FILE_RD | Caps::FILE_CACHE,
        cap_id: number,
        seq: 1,
        realm: 1,
        flags: cap_flags::AUTH,
        ..ReplyCap::default()
    };
    Reply { mdsmap_epoch: 1, safe: true, target: Some(stat), ..Reply::default() }
}

/// A client that knows many files, whose user has kept attributes of all of them.
fn knowing() -> FsClient {
    let mut client = FsClient::new(FsConfig { idle_inodes: FILES, ..FsConfig::default() });
    client.resumed(R0, NOW);
    for number in 0..FILES as u64 {
        client.find(0x1000 + number, None, NOW);
        let asked = std::iter::from_fn(|| client.poll_command()).find_map(|command| match command {
            Command::Request { number, .. } => Some(number),
            _ => None,
        });
        client.replied(asked.unwrap(), R0, NOW.monotonic_ms, told(0x1000 + number), NOW);
        while client.poll_done().is_some() {}
    }
    client
}

/// What the user is told to forget: the names of it, and how much.
fn asked(client: &mut FsClient) -> (Vec<Token>, usize) {
    let (mut tokens, mut items) = (Vec::new(), 0);
    while let Some(done) = client.poll_done() {
        if let Done::Invalidate { token, items: of } = done {
            tokens.push(token);
            items += of.len();
        }
    }
    (tokens, items)
}

fn released(client: &mut FsClient) -> usize {
    let commands = std::iter::from_fn(|| client.poll_command());
    commands
        .map(|command| if let Command::Release { release, .. } = command { release.items.len() } else { 0 })
        .sum()
}

#[test]
fn all_that_is_too_much_is_given_back_bit_by_bit() {
    let mut client = knowing();
    client.recall(R0, KEPT as u64, NOW);
    let (mut all, mut rounds) = (0, 0);
    loop {
        let (tokens, items) = asked(&mut client);
        if tokens.is_empty() {
            break;
        }
        assert!(items <= 1_024, "{items} at once");
        rounds += 1;
        tokens.into_iter().for_each(|token| client.invalidated(token, NOW));
        all += released(&mut client);
    }
    assert_eq!(all, FILES - KEPT, "after {rounds} rounds");
    assert_eq!((client.recalls.len(), client.taken.len(), client.holds.len()), (0, 0, 0));
    let held = client.table.iter().filter(|inode| inode.caps.iter().next().is_some()).count();
    assert_eq!(held, KEPT);
}

#[test]
fn what_the_user_forgets_by_itself_counts() {
    let mut client = knowing();
    client.recall(R0, KEPT as u64, NOW);
    let (tokens, items) = asked(&mut client);
    // It does as it was told, and lets go of much else besides, which is then forgotten here for another reason.
    for number in 0..FILES as u64 - KEPT as u64 {
        client.forget(crate::cephfs::Vino::head(0x1000 + number), 1, NOW);
    }
    client.config.idle_inodes = KEPT;
    tokens.into_iter().for_each(|token| client.invalidated(token, NOW));
    let (tokens, more) = asked(&mut client);
    tokens.into_iter().for_each(|token| client.invalidated(token, NOW));
    let held = client.table.iter().filter(|inode| inode.caps.iter().next().is_some()).count();
    assert!(held >= KEPT && items + more < FILES - KEPT, "{held} are held, {items} and {more} were taken");
}

#[test]
fn nothing_is_taken_for_a_rank_that_is_gone() {
    let mut client = knowing();
    client.recall(R0, KEPT as u64, NOW);
    let (tokens, _) = asked(&mut client);
    client.closed(R0, NOW);
    tokens.into_iter().for_each(|token| client.invalidated(token, NOW));
    let everything = 1;
    assert_eq!((client.recalls.len(), asked(&mut client).1), (0, everything));
}
