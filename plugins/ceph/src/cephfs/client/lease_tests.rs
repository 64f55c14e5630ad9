//! A name that an MDS has leased is given back when the user has forgotten it, whatever has become here of what it leads to.

use super::{Command, FsClient};
use crate::cephfs::{Answer, Done, EntryRight, FsConfig, Invalid, Token, Vino};
use crate::mds::{
    Caps, DirStat, InodeStat, LeaseAction, LeaseMessage, LeaseStat, Rank, Reply, ReplyCap, TraceDentry,
    cap_flags, ino, lease_mask,
};
use crate::time::Now;

const R0: Rank = Rank(0);
const DIR: Vino = Vino::ROOT;
const ALL: usize = 32;
const LEASE_MS: u32 = 30_000;

fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } }
}

fn told(ino: u64, mode: u32, caps: Caps) -> InodeStat {
    let mut stat = InodeStat::new(ino, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink) = (1, mode, 1);
    stat.cap = ReplyCap {
        caps: Caps::PIN | caps,
        cap_id: ino,
        seq: 1,
        realm: 1,
        flags: cap_flags::AUTH,
        ..ReplyCap::default()
    };
    stat
}

fn file(number: u64) -> Vino {
    Vino::head(0x1000 + number)
}

/// A name in a directory in which others make and remove names all the time: it is leased, and so is its absence.
fn answer_to(name: &str, target: Option<Vino>) -> Reply {
    let dir = told(DIR.ino, 0o040_755, Caps::ANY_SHARED - Caps::FILE_SHARED);
    let lease =
        LeaseStat { mask: lease_mask::VALID, duration_ms: LEASE_MS, seq: 1, alternate_name: Vec::new() };
    Reply {
        mdsmap_epoch: 1,
        safe: true,
        result: if target.is_some() { 0 } else { -2 },
        dentry: Some(TraceDentry { dir, frag: DirStat::default(), name: name.into(), lease }),
        target: target.map(|vino| told(vino.ino, 0o100_644, Caps::ANY_SHARED)),
        ..Reply::default()
    }
}

fn client(config: FsConfig) -> FsClient {
    let mut client = FsClient::new(config);
    client.resumed(R0, at(0));
    client
}

/// Looks a name up, and what the user has to forget meanwhile.
fn look_up(
    client: &mut FsClient,
    name: &str,
    target: Option<Vino>,
    now: Now,
) -> (EntryRight, Vec<(Token, Vec<Invalid>)>) {
    client.lookup(DIR, name.as_bytes(), None, now);
    let asked = std::iter::from_fn(|| client.poll_command()).find_map(|command| match command {
        Command::Request { number, .. } => Some(number),
        _ => None,
    });
    client.replied(asked.unwrap(), R0, now.monotonic_ms, answer_to(name, target), now);
    let (mut right, mut tokens) = (None, Vec::new());
    while let Some(done) = client.poll_done() {
        match done {
            Done::Call { result: Ok(Answer::Found(entry)), .. } => right = Some(entry.rights.entry),
            Done::Call { result: Ok(Answer::Absent(absent)), .. } => right = Some(absent),
            Done::Invalidate { token, items } => tokens.push((token, items)),
            other => panic!("{other:?}"),
        }
    }
    (right.unwrap(), tokens)
}

/// Others want to rename it.
fn revoke(client: &mut FsClient, name: &str, now: Now) {
    let message = LeaseMessage {
        action: LeaseAction::Revoke,
        mask: 1,
        ino: DIR.ino,
        first: 0,
        last: ino::NO_SNAP,
        seq: 1,
        duration_ms: 0,
        name: name.into(),
    };
    client.lease_message(R0, message, now);
}

/// How often it was said that the lease is given back.
fn given_back(client: &mut FsClient) -> usize {
    let commands = std::iter::from_fn(|| client.poll_command());
    commands.filter(|command| matches!(command, Command::Lease { .. })).count()
}

#[test]
fn a_leased_name_whose_inode_was_forgotten_is_given_back_when_the_user_has_forgotten_it() {
    let mut client = client(FsConfig { idle_inodes: ALL, all_inodes: ALL, ..FsConfig::default() });
    let (right, _) = look_up(&mut client, "first", Some(file(0)), at(1));
    assert_eq!(right, EntryRight::For(LEASE_MS.into()));
    let first = Invalid::Entry(DIR, b"first".as_slice().into());
    let mut names = Vec::new();
    for number in 1..100 {
        let (_, tokens) = look_up(&mut client, &format!("name-{number}"), Some(file(number)), at(2));
        for (token, items) in tokens {
            // Only attributes are forgotten soon.
            if items.iter().all(|item| matches!(item, Invalid::Attributes(_))) {
                client.invalidated(token, at(2));
            } else {
                names.push((token, items));
            }
        }
    }
    while let Some(done) = client.poll_done() {
        if let Done::Invalidate { token, items } = done {
            names.push((token, items));
        }
    }
    assert!(client.table.get(file(0)).is_none(), "it is forgotten for the sake of others");
    while client.poll_command().is_some() {}
    revoke(&mut client, "first", at(3));
    assert_eq!(given_back(&mut client), 0, "the user has kept it still");
    let (with, without): (Vec<_>, Vec<_>) = names.into_iter().partition(|(_, items)| items.contains(&first));
    assert_eq!(with.len(), 1);
    without.into_iter().for_each(|(token, _)| client.invalidated(token, at(4)));
    assert_eq!(given_back(&mut client), 0);
    with.into_iter().for_each(|(token, _)| client.invalidated(token, at(5)));
    assert_eq!((given_back(&mut client), client.names.len()), (1, 0));
    // What is not known at all is given back at once.
    revoke(&mut client, "first", at(6));
    assert_eq!(given_back(&mut client), 1);
}

#[test]
fn the_user_is_leased_nothing_while_there_is_no_room() {
    let mut client = client(FsConfig { idle_inodes: ALL, all_inodes: ALL, ..FsConfig::default() });
    let mut leased = 0;
    for number in 0..100 {
        // It never says that it has forgotten anything.
        let (right, _) = look_up(&mut client, &format!("name-{number}"), Some(file(number)), at(1));
        leased += usize::from(right != EntryRight::No);
    }
    assert!(leased <= ALL, "{leased}");
    assert!(client.table.len() <= ALL + 1 && client.names.is_empty());
}

#[test]
fn names_of_a_directory_that_was_forgotten_are_given_back_when_the_user_has_forgotten_them() {
    let mut client = client(FsConfig::default());
    look_up(&mut client, "name", Some(file(0)), at(1));
    client.drop_inode(DIR);
    let Some(Done::Invalidate { token, items }) = client.poll_done() else { panic!("nothing is told") };
    assert_eq!(items, [Invalid::Entry(DIR, b"name".as_slice().into())]);
    revoke(&mut client, "name", at(2));
    assert_eq!(given_back(&mut client), 0);
    client.invalidated(token, at(3));
    assert_eq!(given_back(&mut client), 1);
    // The lease of another has ended.
    look_up(&mut client, "other", Some(file(1)), at(10));
    client.forget(file(1), 1, at(10 + u64::from(LEASE_MS)));
    client.drop_inode(DIR);
    assert_eq!((client.poll_done(), client.names.len()), (None, 0));
}

#[test]
fn absences_that_were_leased_are_few_and_end() {
    const ABSENT: usize = 32;
    let mut client = client(FsConfig { absent_names: ABSENT, ..FsConfig::default() });
    let mut leased = 0;
    for number in 0..10 * ABSENT {
        let (right, _) = look_up(&mut client, &format!("none-{number}"), None, at(1));
        leased += usize::from(right != EntryRight::No);
    }
    assert!((ABSENT..ABSENT + ABSENT / 8).contains(&leased), "{leased}");
    assert!(client.absent.all() <= ABSENT + ABSENT / 8, "{} are known", client.absent.all());
    // All of these leases have ended, so there is room for others.
    let now = at(2 + u64::from(LEASE_MS));
    let before = client.absent.all();
    let rights: Vec<_> =
        (0..ABSENT).map(|number| look_up(&mut client, &format!("later-{number}"), None, now).0).collect();
    assert!(rights.iter().filter(|right| **right != EntryRight::No).count() > ABSENT / 2, "{before}");
}
