//! What nobody has open is not wanted for long: as long as an MDS believes that it is, writers may not keep what they write.

use super::{Command, FsClient};
use crate::cephfs::inode::PAGES;
use crate::cephfs::{Answer, Done, FileId, FsConfig, Vino};
use crate::mds::{CapOp, CapPeer, Caps, CapsMessage, InodeStat, Rank, Reply, ReplyCap, cap_flags, ino};
use crate::time::Now;

const R0: Rank = Rank(0);
const R1: Rank = Rank(1);
const FILE: Vino = Vino { ino: 0x1000, snap: ino::NO_SNAP };

fn at(monotonic_ms: u64) -> Now {
    Now { monotonic_ms, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } }
}

/// The answer to an open.
fn told(cap_id: u64) -> Reply {
    let mut stat = InodeStat::new(FILE.ino, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink, stat.size) = (1, 0o100_644, 1, 5000);
    stat.cap = ReplyCap {
        caps: Caps::PIN | Caps::ANY_SHARED | PAGES,
        wanted: PAGES,
        cap_id,
        seq: 1,
        realm: 1,
        flags: cap_flags::AUTH,
        ..ReplyCap::default()
    };
    Reply { mdsmap_epoch: 1, safe: true, target: Some(stat), ..Reply::default() }
}

fn client() -> FsClient {
    let mut client = FsClient::new(FsConfig::default());
    client.resumed(R0, at(0));
    client.resumed(R1, at(0));
    client
}

fn request(client: &mut FsClient) -> u64 {
    let mut commands = std::iter::from_fn(|| client.poll_command());
    let number = commands.find_map(|command| match command {
        Command::Request { number, .. } => Some(number),
        _ => None,
    });
    number.unwrap()
}

fn opened(client: &mut FsClient) -> FileId {
    client.open(FILE, false, None, at(1));
    let number = request(client);
    client.replied(number, R0, 1, told(1), at(1));
    let file = std::iter::from_fn(|| client.poll_done()).find_map(|done| match done {
        Done::Call { result: Ok(Answer::Opened { file, .. }), .. } => Some(file),
        _ => None,
    });
    file.unwrap()
}

/// What ranks are told to be wanted after some time.
fn wanted_later(client: &mut FsClient) -> Vec<(Rank, Caps)> {
    while client.poll_command().is_some() {}
    while let Some(next) = client.next_timer().filter(|next| *next < 60_000) {
        client.on_time(at(next));
    }
    let commands = std::iter::from_fn(|| client.poll_command());
    let said = commands.filter_map(|command| match command {
        Command::Caps { rank, message } => Some((rank, message.wanted)),
        _ => None,
    });
    said.collect()
}

#[test]
fn a_file_that_is_open_stays_wanted() {
    let mut client = client();
    let file = opened(&mut client);
    assert_eq!(wanted_later(&mut client), []);
    client.close(file, at(10_000));
    assert_eq!(wanted_later(&mut client), [(R0, Caps::NONE)]);
    assert_eq!(wanted_later(&mut client), []);
}

#[test]
fn an_open_that_was_given_up_before_its_answer_leaves_nothing_wanted() {
    let mut client = client();
    let call = client.open(FILE, false, None, at(1));
    let number = request(&mut client);
    client.give_up(call, at(1));
    client.replied(number, R0, 1, told(1), at(2));
    assert_eq!(wanted_later(&mut client), [(R0, Caps::NONE)]);
}

#[test]
fn a_file_that_is_closed_while_it_moves_is_not_wanted_where_it_arrives() {
    let mut client = client();
    let file = opened(&mut client);
    let mut export = CapsMessage::new(CapOp::Export, FILE.ino, 1);
    export.peer = Some(CapPeer { cap_id: 7, seq: 1, mseq: 1, rank: R1, flags: cap_flags::AUTH });
    client.caps(R0, &export, at(2));
    client.close(file, at(3));
    let mut import = CapsMessage::new(CapOp::Import, FILE.ino, 7);
    (import.seq, import.migrate_seq, import.caps) = (1, 1, Caps::PIN | Caps::ANY_SHARED | PAGES);
    (import.wanted, import.mode, import.nlink) = (PAGES, 0o100_644, 1);
    import.peer = Some(CapPeer { cap_id: 1, seq: 1, mseq: 0, rank: R0, flags: 0 });
    client.caps(R1, &import, at(4));
    assert_eq!(wanted_later(&mut client), [(R1, Caps::NONE)]);
}

#[test]
fn a_file_that_is_closed_before_a_read_has_opened_it_again_is_not_wanted() {
    let mut client = client();
    let file = opened(&mut client);
    client.closed(R0, at(2));
    client.resumed(R0, at(2));
    let read = client.read_right(file, 1, None, at(3));
    let number = request(&mut client);
    client.give_up(read, at(3));
    client.close(file, at(4));
    client.replied(number, R0, 3, told(2), at(5));
    assert_eq!(wanted_later(&mut client), [(R0, Caps::NONE)]);
}
