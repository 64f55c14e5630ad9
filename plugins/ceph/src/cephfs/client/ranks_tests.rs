//! A directory whose fragments are at two ranks.

use super::{Command, FsClient};
use crate::cephfs::{Answer, Done, FsConfig, Vino};
use crate::mds::{
    Caps, DirStat, Frag, FragTree, InodeStat, LeaseStat, Op, Rank, ReaddirEntry, ReaddirReply, Reply,
    ReplyCap, ReplyExtra, cap_flags, ino, name_hash, readdir_flags,
};
use crate::time::Now;

const R0: Rank = Rank(0);
const R1: Rank = Rank(1);
const NOW: Now = Now { monotonic_ms: 1_000, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } };

/// A map of extended attributes with nothing in it.
const NO_XATTRS: [u8; 4] = [0; 4];

fn halves() -> [Frag; 2] {
    [Frag::new(0, 1), Frag::new(0x80_0000, 1)]
}

fn hash(name: &str) -> u32 {
    name_hash(2, name.as_bytes()) & 0xff_ffff
}

/// Names in one half, in order.
fn names(half: usize) -> Vec<String> {
    let mut names: Vec<String> =
        (0..40).map(|n| format!("name-{n}")).filter(|name| halves()[half].contains(hash(name))).collect();
    names.sort_by_key(|name| hash(name));
    names
}

fn cap(rank: Rank, caps: Caps) -> ReplyCap {
    let flags = if rank == R0 { cap_flags::AUTH } else { 0 };
    ReplyCap {
        caps,
        cap_id: 10 + u64::from(rank.0.unsigned_abs()),
        seq: 1,
        realm: 1,
        flags,
        ..ReplyCap::default()
    }
}

/// The directory as a rank tells it. Rank 0 is responsible for it, and gives all there is.
fn directory(rank: Rank) -> InodeStat {
    let mut stat = InodeStat::new(ino::ROOT, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink, stat.dir_layout.hash) = (1, 0o040_755, 1, 2);
    (stat.xattr_version, stat.xattrs) = (1, NO_XATTRS.to_vec());
    stat.frag_tree = FragTree::new([(Frag::WHOLE, 1)]);
    stat.cap = cap(rank, if rank == R0 { Caps::PIN | Caps::ANY_SHARED } else { Caps::PIN });
    stat
}

fn reply(target: InodeStat, extra: ReplyExtra) -> Reply {
    Reply { mdsmap_epoch: 1, safe: true, target: Some(target), extra, ..Reply::default() }
}

/// All of one half, as its rank lists it.
fn listed(half: usize, rank: Rank) -> Reply {
    let entries = names(half).into_iter().enumerate().map(|(number, name)| {
        let mut inode = InodeStat::new(0x1000 + 100 * half as u64 + number as u64, ino::NO_SNAP);
        (inode.version, inode.mode, inode.nlink) = (1, 0o100_644, 1);
        (inode.xattr_version, inode.xattrs) = (1, NO_XATTRS.to_vec());
        inode.cap = cap(rank, Caps::PIN | Caps::ANY_SHARED);
        ReaddirEntry { name: name.into_bytes(), lease: LeaseStat::default(), inode }
    });
    // A rank names itself where the fragment is not where the directory is.
    let auth = if rank == R0 { Rank(-1) } else { rank };
    let dir = DirStat { frag: halves()[half], auth, replicas: Vec::new() };
    let flags = readdir_flags::HASH_ORDER | readdir_flags::OFFSET_HASH | readdir_flags::FRAG_END;
    reply(directory(rank), ReplyExtra::Readdir(ReaddirReply { dir, flags, entries: entries.collect() }))
}

/// The only request that is being made: its number, which fragment it asks for, and which rank.
fn asked(client: &mut FsClient) -> (u64, Option<Frag>, Option<Rank>) {
    let mut requests = std::iter::from_fn(|| client.poll_command()).filter_map(|command| match command {
        Command::Request { number, op: Op::Readdir(args), rank, .. } => Some((number, Some(args.frag), rank)),
        Command::Request { number, rank, .. } => Some((number, None, rank)),
        _ => None,
    });
    let request = requests.next().unwrap();
    assert!(requests.next().is_none());
    request
}

fn answer(client: &mut FsClient) -> Option<Answer> {
    std::iter::from_fn(|| client.poll_done()).find_map(|done| match done {
        Done::Call { result, .. } => Some(result.unwrap()),
        _ => None,
    })
}

/// Lists everything; `expected` says which rank is asked for each half.
fn list(client: &mut FsClient, expected: [Rank; 2]) {
    let (listing, _) = client.open_directory(Vino::ROOT).unwrap();
    let (mut seen, mut cookie) = (Vec::new(), 0);
    for (half, rank) in expected.into_iter().enumerate() {
        client.readdir(listing, cookie, 1_000, true, None, NOW);
        let (number, frag, asked) = asked(client);
        assert_eq!((frag, asked), (Some(halves()[half]), Some(rank)));
        // Who is asked and is not responsible sends it on.
        let serves = if half == 0 { R0 } else { R1 };
        client.replied(number, serves, NOW.monotonic_ms, listed(half, serves), NOW);
        let Some(Answer::Page { entries, end }) = answer(client) else { panic!("no page") };
        assert_eq!(end, half == 1);
        cookie = entries.last().unwrap().cookie;
        seen.extend(entries.into_iter().map(|entry| String::from_utf8(entry.name.to_vec()).unwrap()));
    }
    client.close_directory(listing);
    assert_eq!(seen, [names(0), names(1)].concat());
}

#[test]
fn each_fragment_is_asked_where_it_is_and_all_of_them_are_one_directory() {
    let mut client = FsClient::new(FsConfig::default());
    [R0, R1].into_iter().for_each(|rank| client.resumed(rank, NOW));
    client.getattr(Vino::ROOT, Caps::ANY_SHARED, None, NOW);
    let (number, ..) = asked(&mut client);
    client.replied(number, R0, NOW.monotonic_ms, reply(directory(R0), ReplyExtra::None), NOW);
    assert!(matches!(answer(&mut client), Some(Answer::Attributes(..))));
    // At first nobody knows where the second one is.
    list(&mut client, [R0, R0]);
    // The right of the one rank vouches for the names that the other one has listed.
    client.lookup(Vino::ROOT, b"there-is-none", None, NOW);
    assert!(matches!(answer(&mut client), Some(Answer::Absent(_))));
    for name in [&names(0)[0], &names(1)[0]] {
        client.lookup(Vino::ROOT, name.as_bytes(), None, NOW);
        assert!(matches!(answer(&mut client), Some(Answer::Found(_))), "{name}");
    }
    // Without it each name is asked for where it is.
    client.suspended(R0, true, NOW);
    client.resumed(R0, NOW);
    for (half, rank) in [R0, R1].into_iter().enumerate() {
        client.lookup(Vino::ROOT, names(half)[0].as_bytes(), None, NOW);
        let (number, _, asked_of) = asked(&mut client);
        assert_eq!(asked_of, Some(rank), "half {half}");
        client.failed(number, &crate::cephfs::FsError::Stale, NOW);
        while client.poll_done().is_some() {}
    }
    list(&mut client, [R0, R1]);
}
