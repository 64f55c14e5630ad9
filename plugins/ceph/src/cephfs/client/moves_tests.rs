//! Inodes that move from one rank to another: what the old one says late, and what the new one gives before there is a session with it.

use super::{Command, FsClient};
use crate::cephfs::{Answer, Done, EntryRight, FsConfig, Invalid, Vino};
use crate::mds::{
    CapOp, CapPeer, Caps, CapsMessage, DirStat, Frag, InodeStat, LeaseStat, Rank, ReaddirEntry, ReaddirReply,
    Reply, ReplyCap, ReplyExtra, TraceDentry, cap_flags, ino, lease_mask, readdir_flags,
};
use crate::time::Now;
use crate::types::UTime;

const A: Rank = Rank(0);
const B: Rank = Rank(1);
const D: Vino = Vino::ROOT;
const NOW: Now = Now { monotonic_ms: 1_000, wall: UTime { seconds: 0, nanoseconds: 0 } };
/// All that a directory gives but the right to its names.
const BUT_NAMES: Caps = Caps(Caps::PIN.0 | Caps::ANY_SHARED.0 & !Caps::FILE_SHARED.0);
const ALL: Caps = Caps(Caps::PIN.0 | Caps::ANY_SHARED.0);

fn client(sessions: &[Rank]) -> FsClient {
    let mut client = FsClient::new(FsConfig::default());
    sessions.iter().for_each(|rank| client.resumed(*rank, NOW));
    client
}

fn file(number: u64) -> Vino {
    Vino::head(0x1000 + number)
}

fn cap(id: u64, caps: Caps, seq: u32, mseq: u32) -> ReplyCap {
    ReplyCap { caps, cap_id: id, seq, mseq, realm: 1, flags: cap_flags::AUTH, ..ReplyCap::default() }
}

/// An inode as it is told: its version, and who owns it.
fn stat(vino: Vino, version: u64, uid: u32, cap: ReplyCap) -> InodeStat {
    let mut stat = InodeStat::new(vino.ino, ino::NO_SNAP);
    stat.mode = if vino == D { 0o040_755 } else { 0o100_644 };
    (stat.version, stat.uid, stat.nlink, stat.cap) = (version, uid, 1, cap);
    (stat.xattr_version, stat.xattrs, stat.dir_layout.hash) = (1, vec![0; 4], 2);
    stat
}

fn reply(target: Option<InodeStat>) -> Reply {
    Reply { mdsmap_epoch: 1, safe: true, target, ..Reply::default() }
}

/// The answer to a look-up in D, which is told with it.
fn looked_up(dir: InodeStat, target: Option<InodeStat>) -> Reply {
    let lease = LeaseStat { mask: lease_mask::VALID, duration_ms: 30_000, seq: 1, ..LeaseStat::default() };
    let result = if target.is_some() { 0 } else { -2 };
    let dentry = TraceDentry { dir, frag: DirStat::default(), name: Vec::new(), lease };
    Reply { result, dentry: Some(dentry), ..reply(target) }
}

/// The answer to a listing of D: names and the files they lead to.
fn listed(dir: InodeStat, names: &[(&str, InodeStat)]) -> Reply {
    let entry = |(name, inode): &(&str, InodeStat)| ReaddirEntry {
        name: name.as_bytes().to_vec(),
        lease: LeaseStat::default(),
        inode: inode.clone(),
    };
    let mut entries: Vec<_> = names.iter().map(entry).collect();
    entries.sort_by_key(|entry| crate::mds::name_hash(2, &entry.name) & 0xff_ffff);
    let flags = readdir_flags::HASH_ORDER | readdir_flags::OFFSET_HASH | readdir_flags::FRAG_END;
    let frag = DirStat { frag: Frag::WHOLE, auth: Rank(-1), replicas: Vec::new() };
    let extra = ReplyExtra::Readdir(ReaddirReply { dir: frag, flags, entries });
    Reply { extra, ..reply(Some(dir)) }
}

fn message(op: CapOp, vino: Vino, id: u64, caps: Caps, seq: u32) -> CapsMessage {
    let mut message = CapsMessage::new(op, vino.ino, id);
    (message.caps, message.seq, message.realm) = (caps, seq, 1);
    (message.mode, message.nlink) = (if vino == D { 0o040_755 } else { 0o100_644 }, 1);
    message
}

/// The inode has moved to B, where its capability is number 20. At A it was number 7.
fn import(vino: Vino, flags: u8) -> CapsMessage {
    let peer = CapPeer { cap_id: 7, seq: 1, mseq: 0, rank: A, flags };
    let mut import = message(CapOp::Import, vino, 20, ALL, 1);
    (import.migrate_seq, import.peer) = (1, Some(peer));
    import
}

/// A says that it has moved there.
fn export(vino: Vino) -> CapsMessage {
    let mut export = message(CapOp::Export, vino, 7, Caps::NONE, 0);
    export.peer = Some(CapPeer { cap_id: 20, seq: 1, mseq: 1, rank: B, flags: cap_flags::AUTH });
    export
}

fn commands(client: &mut FsClient) -> Vec<Command> {
    std::iter::from_fn(|| client.poll_command()).collect()
}

/// The number of the only request that is being made.
fn asked(client: &mut FsClient) -> Option<u64> {
    let number = |command| match command {
        Command::Request { number, .. } => Some(number),
        _ => None,
    };
    let numbers: Vec<u64> = commands(client).into_iter().filter_map(number).collect();
    assert!(numbers.len() < 2, "{numbers:?}");
    numbers.first().copied()
}

fn answers(client: &mut FsClient) -> Vec<Answer> {
    let answer = |done| match done {
        Done::Call { result, .. } => Some(result.unwrap()),
        _ => None,
    };
    std::iter::from_fn(|| client.poll_done()).filter_map(answer).collect()
}

/// Forgets all that is to be forgotten.
fn forget(client: &mut FsClient) -> Vec<Invalid> {
    let mut forgotten = Vec::new();
    while let Some(done) = client.poll_done() {
        if let Done::Invalidate { token, items } = done {
            client.invalidated(token, NOW);
            forgotten.extend(items);
        }
    }
    forgotten
}

/// The only answer.
fn answer(client: &mut FsClient) -> Option<Answer> {
    let mut answers = answers(client);
    assert!(answers.len() < 2, "{answers:?}");
    answers.pop()
}

/// Asks for attributes of D or a file, and has them told.
fn told(client: &mut FsClient, rank: Rank, stat: InodeStat) {
    client.getattr(Vino::head(stat.ino), Caps::ANY_SHARED, None, NOW);
    let number = asked(client).unwrap();
    client.replied(number, rank, NOW.monotonic_ms, reply(Some(stat)), NOW);
    assert!(matches!(answer(client), Some(Answer::Attributes(..))));
}

/// Who owns it, if that is known without asking.
fn owner(client: &mut FsClient, vino: Vino) -> Option<u32> {
    let call = client.getattr(vino, Caps::ANY_SHARED, None, NOW);
    let answer = answer(client);
    client.give_up(call, NOW);
    match answer {
        Some(Answer::Attributes(attributes, _)) => Some(attributes.uid),
        other => {
            assert!(other.is_none(), "{other:?}");
            None
        }
    }
}

/// What a name leads to, if that is known without asking: an inode or none.
fn leads_to(client: &mut FsClient, name: &str) -> Option<Option<Vino>> {
    let call = client.lookup(D, name.as_bytes(), None, NOW);
    let answer = answer(client);
    client.give_up(call, NOW);
    match answer {
        Some(Answer::Found(entry)) => Some(Some(entry.attributes.vino)),
        Some(Answer::Absent(_)) => Some(None),
        other => {
            assert!(other.is_none(), "{other:?}");
            None
        }
    }
}

/// Begins to look up x and y and to list D; the numbers of the requests.
fn questions(client: &mut FsClient) -> [u64; 3] {
    client.lookup(D, b"x", None, NOW);
    let x = asked(client).unwrap();
    client.lookup(D, b"y", None, NOW);
    let y = asked(client).unwrap();
    let (listing, _) = client.open_directory(D).unwrap();
    client.readdir(listing, 0, 100, true, None, NOW);
    [x, y, asked(client).unwrap()]
}

/// D moves to B, others change what is in it, and the client lists it there: x leads to the second file, and y to the third.
fn moved_and_listed(client: &mut FsClient) {
    client.caps(B, &import(D, cap_flags::AUTH), NOW);
    client.caps(B, &message(CapOp::Revoke, D, 20, BUT_NAMES, 2), NOW);
    assert!(matches!(commands(client)[..], [Command::Caps { rank: B, .. }]));
    let (listing, _) = client.open_directory(D).unwrap();
    client.readdir(listing, 0, 100, true, None, NOW);
    let number = asked(client).unwrap();
    let names =
        [("x", stat(file(2), 1, 1, cap(22, ALL, 1, 0))), ("y", stat(file(3), 1, 1, cap(23, ALL, 1, 0)))];
    let here = stat(D, 20, 1, cap(20, ALL, 3, 1));
    client.replied(number, B, NOW.monotonic_ms, listed(here, &names), NOW);
    assert!(matches!(answer(client), Some(Answer::Page { .. })));
    assert_eq!(leads_to(client, "x"), Some(Some(file(2))));
    // What is told with a capability has no version.
    let mut grant = message(CapOp::Grant, D, 20, ALL, 4);
    grant.uid = 9;
    client.caps(B, &grant, NOW);
}

fn entry_right(client: &mut FsClient) -> (Option<Vino>, EntryRight) {
    match answer(client) {
        Some(Answer::Found(entry)) => (Some(entry.attributes.vino), entry.rights.entry),
        Some(Answer::Absent(right)) => (None, right),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_rank_is_said_to_give_counts_only_in_a_session_with_it() {
    let mut client = client(&[A]);
    told(&mut client, A, stat(file(1), 5, 1, cap(7, ALL, 1, 0)));
    client.caps(A, &export(file(1)), NOW);
    assert!(matches!(commands(&mut client)[..], [Command::Open { rank: B }]));
    assert_eq!(forget(&mut client), [Invalid::Attributes(file(1))]);
    assert_eq!(owner(&mut client, file(1)), None);
    // B cannot say yet that it takes back what it gave; as soon as it can, it counts.
    client.resumed(B, NOW);
    assert_eq!(owner(&mut client, file(1)), Some(1));
    commands(&mut client);
    client.caps(B, &message(CapOp::Revoke, file(1), 20, Caps::PIN, 1), NOW);
    forget(&mut client);
    assert_eq!(owner(&mut client, file(1)), None);
    assert!(matches!(commands(&mut client)[..], [Command::Caps { rank: B, .. }]));
}

#[test]
fn what_was_to_be_had_in_a_session_that_did_not_come_about_is_void() {
    let mut client = client(&[A]);
    told(&mut client, A, stat(file(1), 5, 1, cap(7, ALL, 1, 0)));
    client.caps(A, &export(file(1)), NOW);
    forget(&mut client);
    client.closed(B, NOW);
    client.resumed(B, NOW);
    assert_eq!(owner(&mut client, file(1)), None);
}

#[test]
fn what_the_former_rank_says_late_is_not_believed() {
    let mut client = client(&[A, B]);
    told(&mut client, A, stat(D, 19, 1, cap(7, Caps::PIN, 1, 0)));
    let [x, y, _] = questions(&mut client);
    moved_and_listed(&mut client);
    // Answers that A had given before all that.
    let then = || stat(D, 21, 1, cap(7, ALL, 2, 0));
    let target = stat(file(1), 1, 1, cap(71, ALL, 1, 0));
    client.replied(x, A, NOW.monotonic_ms, looked_up(then(), Some(target)), NOW);
    assert_eq!(entry_right(&mut client), (Some(file(1)), EntryRight::No));
    assert_eq!(leads_to(&mut client, "x"), Some(Some(file(2))));
    client.replied(y, A, NOW.monotonic_ms, looked_up(then(), None), NOW);
    assert_eq!(entry_right(&mut client), (None, EntryRight::No));
    assert_eq!(leads_to(&mut client, "y"), Some(Some(file(3))));
    assert_eq!(owner(&mut client, D), Some(9));
}

#[test]
fn a_listing_that_the_former_rank_tells_late_is_not_complete() {
    let mut client = client(&[A, B]);
    told(&mut client, A, stat(D, 19, 1, cap(7, Caps::PIN, 1, 0)));
    let [x, _, list] = questions(&mut client);
    client.caps(B, &import(D, cap_flags::AUTH), NOW);
    client.caps(B, &message(CapOp::Revoke, D, 20, BUT_NAMES, 2), NOW);
    client.caps(B, &message(CapOp::Grant, D, 20, ALL, 3), NOW);
    let then = || stat(D, 21, 1, cap(7, ALL, 2, 0));
    let target = || stat(file(1), 1, 1, cap(71, ALL, 1, 0));
    client.replied(list, A, NOW.monotonic_ms, listed(then(), &[("x", target())]), NOW);
    answers(&mut client);
    assert_eq!(leads_to(&mut client, "new"), None);
    // Nor is the lease that A gave: B knows of none.
    client.replied(x, A, NOW.monotonic_ms, looked_up(then(), Some(target())), NOW);
    answers(&mut client);
    assert_eq!(leads_to(&mut client, "x"), None);
}

#[test]
fn an_older_target_has_not_the_right_of_the_newer_one() {
    let mut client = client(&[A, B]);
    told(&mut client, A, stat(D, 19, 1, cap(7, Caps::PIN, 1, 0)));
    let [x, y, _] = questions(&mut client);
    moved_and_listed(&mut client);
    // A has told them without giving anything.
    let then = || stat(D, 19, 1, ReplyCap::default());
    let target = stat(file(1), 1, 1, cap(71, ALL, 1, 0));
    client.replied(x, A, NOW.monotonic_ms, looked_up(then(), Some(target)), NOW);
    assert_eq!(entry_right(&mut client), (Some(file(1)), EntryRight::No));
    client.replied(y, A, NOW.monotonic_ms, looked_up(then(), None), NOW);
    assert_eq!(entry_right(&mut client), (None, EntryRight::No));
    assert_eq!(leads_to(&mut client, "x"), Some(Some(file(2))));
}

#[test]
fn a_rank_that_gives_little_changes_nothing_that_another_one_vouches_for() {
    let mut client = client(&[A, B]);
    let seconds = |seconds| UTime { seconds, nanoseconds: 0 };
    let mut here = stat(file(1), 20, 9, cap(7, ALL, 1, 0));
    here.mtime = seconds(50);
    told(&mut client, A, here);
    // B has a copy, and believes that it knows more.
    client.open(file(1), false, None, NOW);
    let number = asked(&mut client).unwrap();
    let mut copy = stat(file(1), 21, 1, cap(30, Caps::PIN | Caps::FILE_RD, 1, 0));
    (copy.cap.flags, copy.mtime) = (0, seconds(40));
    client.replied(number, B, NOW.monotonic_ms, reply(Some(copy)), NOW);
    answers(&mut client);
    assert_eq!(owner(&mut client, file(1)), Some(9));
    let mut grant = message(CapOp::Grant, file(1), 30, Caps::PIN | Caps::FILE_RD, 2);
    grant.body.mtime = seconds(40);
    client.caps(B, &grant, NOW);
    client.getattr(file(1), Caps::ANY_SHARED, None, NOW);
    let Some(Answer::Attributes(attributes, _)) = answer(&mut client) else { panic!("not known") };
    assert_eq!((attributes.uid, attributes.mtime), (9, seconds(50)));
}

#[test]
fn what_a_rank_asks_back_it_may_give_again() {
    let mut client = client(&[A, B]);
    told(&mut client, A, stat(D, 19, 1, cap(7, ALL, 1, 0)));
    // Only who is responsible has changed; A's own capability lives on until it is given back.
    client.caps(B, &import(D, cap_flags::AUTH | cap_flags::RELEASE), NOW);
    let given_back = commands(&mut client);
    let [Command::Release { rank: A, release }] = &given_back[..] else { panic!("{given_back:?}") };
    assert_eq!(release.items[0].cap_id, 7);
    client.caps(B, &message(CapOp::Revoke, D, 20, Caps::PIN, 2), NOW);
    forget(&mut client);
    client.getattr(D, Caps::ANY_SHARED, None, NOW);
    let number = asked(&mut client).unwrap();
    let anew = ReplyCap { flags: 0, ..cap(7, Caps::PIN | Caps::AUTH_SHARED, 2, 0) };
    client.replied(number, A, NOW.monotonic_ms, reply(Some(stat(D, 20, 1, anew))), NOW);
    assert!(client.table.get(D).unwrap().caps.get(A).is_some_and(|cap| cap.id == 7));
    commands(&mut client);
    client.caps(A, &message(CapOp::Revoke, D, 7, Caps::PIN, 3), NOW);
    assert!(matches!(commands(&mut client)[..], [Command::Caps { rank: A, .. }]));
}

#[test]
fn what_was_void_comes_back_with_the_inode() {
    let mut client = client(&[A, B]);
    told(&mut client, A, stat(file(1), 19, 1, cap(7, ALL, 1, 0)));
    client.caps(B, &import(file(1), cap_flags::AUTH), NOW);
    let mut back = message(CapOp::Import, file(1), 7, ALL, 1);
    back.migrate_seq = 2;
    back.peer = Some(CapPeer { cap_id: 20, seq: 1, mseq: 1, rank: B, flags: cap_flags::AUTH });
    client.caps(A, &back, NOW);
    let caps = &client.table.get(file(1)).unwrap().caps;
    assert_eq!((caps.issued(), caps.authority(), caps.iter().count()), (ALL, Some(A), 1));
}
