//! What is stored with inodes is let go of before there is too much of it, and is there when somebody wants it.

use super::{Command, FsClient};
use crate::cephfs::{Answer, Done, FsConfig, INODE_BYTES, Vino};
use crate::mds::{
    Caps, DirStat, Frag, InodeStat, LeaseStat, Rank, ReaddirEntry, ReaddirReply, Reply, ReplyCap, ReplyExtra,
    cap_flags, ino, name_hash, readdir_flags,
};
use crate::time::Now;
use std::collections::VecDeque;

const NOW: Now = Now { monotonic_ms: 1_000, wall: crate::types::UTime { seconds: 0, nanoseconds: 0 } };
const FILES: u64 = 100;
const WEIGHT: usize = 10_000;
/// For all the inodes, and what a fifth of them have stored.
const MEMORY: usize = FILES as usize * INODE_BYTES + FILES as usize / 5 * WEIGHT;

fn value(number: u64) -> Vec<u8> {
    vec![number as u8; WEIGHT]
}

/// A file as its MDS tells it, extended attribute included.
fn told(number: u64) -> Reply {
    let mut stat = InodeStat::new(0x1000 + number, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink, stat.xattr_version) = (1, 0o100_644, 1, 1);
    let part = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    stat.xattrs = [1u32.to_le_bytes().to_vec(), part(b"user.weight"), part(&value(number))].concat();
    let caps = Caps::PIN | Caps::ANY_SHARED;
    stat.cap = ReplyCap {
        caps,
        cap_id: number + 1,
        seq: 1,
        realm: 1,
        flags: cap_flags::AUTH,
        ..ReplyCap::default()
    };
    Reply { mdsmap_epoch: 1, safe: true, target: Some(stat), ..Reply::default() }
}

fn client(config: FsConfig) -> FsClient {
    let mut client = FsClient::new(config);
    client.resumed(Rank(0), NOW);
    client
}

fn request(client: &mut FsClient) -> Option<u64> {
    std::iter::from_fn(|| client.poll_command()).find_map(|command| match command {
        Command::Request { number, .. } => Some(number),
        _ => None,
    })
}

fn answer(client: &mut FsClient) -> Option<Answer> {
    std::iter::from_fn(|| client.poll_done()).find_map(|done| match done {
        Done::Call { result, .. } => Some(result.unwrap()),
        _ => None,
    })
}

#[test]
fn what_is_stored_keeps_to_its_memory_and_rights_stay() {
    let mut client = client(FsConfig { memory: MEMORY, ..FsConfig::default() });
    let vino = |number: u64| Vino::head(0x1000 + number);
    for number in 0..FILES {
        client.find(vino(number).ino, None, NOW);
        let asked = request(&mut client).unwrap();
        client.replied(asked, Rank(0), NOW.monotonic_ms, told(number), NOW);
        let Some(Answer::Found(entry)) = answer(&mut client) else { panic!("it is there") };
        assert_eq!(entry.attributes.xattrs.unwrap()[&b"user.weight"[..]], value(number));
        assert!(client.table.stored() <= MEMORY - client.table.len() * INODE_BYTES, "{number}");
    }
    assert_eq!(client.table.len() as u64, FILES);
    assert!(client.table.stored() > 5 * WEIGHT, "no more is let go of than has to be");
    // The oldest one is known, and may be kept: the MDS says if it changes.
    client.find(vino(0).ino, None, NOW);
    let Some(Answer::Found(entry)) = answer(&mut client) else { panic!("it is known") };
    assert!(entry.rights.attributes && request(&mut client).is_none());
    // Its value is not.
    for (number, known) in [(0, false), (FILES - 1, true)] {
        client.getattr(vino(number), Caps::XATTR_SHARED, None, NOW);
        let asked = request(&mut client);
        assert_eq!(asked.is_none(), known);
        if let Some(asked) = asked {
            client.replied(asked, Rank(0), NOW.monotonic_ms, told(number), NOW);
        }
        let Some(Answer::Attributes(attributes, _)) = answer(&mut client) else { panic!("{number}") };
        assert_eq!(attributes.xattrs.unwrap()[&b"user.weight"[..]], value(number));
    }
    // What goes is not counted any more.
    for number in 0..FILES {
        client.drop_inode(vino(number));
    }
    assert_eq!((client.table.stored(), client.table.len()), (0, 0));
}

#[test]
fn no_more_is_known_than_may_be_and_what_is_used_last_is_kept() {
    const ALL: usize = 32;
    let mut client = client(FsConfig { idle_inodes: ALL, all_inodes: ALL, ..FsConfig::default() });
    let mut tokens = VecDeque::new();
    let mut kept = 0;
    for number in 0..200 {
        client.find(0x1000 + number, None, NOW);
        let asked = request(&mut client).unwrap();
        client.replied(asked, Rank(0), NOW.monotonic_ms, told(number), NOW);
        while let Some(done) = client.poll_done() {
            match done {
                Done::Call { result: Ok(Answer::Found(entry)), .. } => {
                    kept += usize::from(entry.rights.attributes)
                }
                Done::Invalidate { token, .. } => tokens.push_back(token),
                other => panic!("{other:?}"),
            }
        }
        assert!(client.table.len() <= ALL, "{number}: {} are known", client.table.len());
        // The user takes its time.
        if number % 4 == 0 {
            tokens.drain(..).for_each(|token| client.invalidated(token, NOW));
        }
    }
    assert!((2 * ALL..200).contains(&kept), "{kept} of 200 may be kept");
}

/// Has the client look for a file that it does not know.
fn find(client: &mut FsClient, number: u64) {
    client.find(0x1000 + number, None, NOW);
    let asked = request(client).unwrap();
    client.replied(asked, Rank(0), NOW.monotonic_ms, told(number), NOW);
    while client.poll_done().is_some() {}
}

#[test]
fn what_is_in_use_is_not_walked_over_for_each_inode_that_comes() {
    const ALL: usize = 1_000;
    const MORE: usize = 200;
    for open in [false, true] {
        let mut client = client(FsConfig { idle_inodes: ALL, all_inodes: ALL, ..FsConfig::default() });
        for number in 0..ALL as u64 {
            find(&mut client, number);
            if open {
                let Some(inode) = client.table.get_mut(Vino::head(0x1000 + number)) else { continue };
                inode.opens = 1;
            }
        }
        client.table.walked.set(0);
        for number in 0..MORE as u64 {
            // The user forgets nothing.
            find(&mut client, ALL as u64 + number);
        }
        let walked = client.table.walked.get();
        assert!(walked < 3 * ALL + 16 * MORE, "open: {open}, {walked} steps");
        assert!(client.table.len() <= ALL + 1, "open: {open}, {} are known", client.table.len());
    }
}

#[test]
fn an_open_file_without_a_name_is_not_looked_at_until_it_is_closed() {
    let mut client = client(FsConfig::default());
    let mut unlinked = told(0);
    if let Some(stat) = unlinked.target.as_mut() {
        (stat.nlink, stat.cap.caps) = (0, stat.cap.caps | Caps::FILE_RD);
    }
    client.open(Vino::head(0x1000), false, None, NOW);
    let asked = request(&mut client).unwrap();
    client.replied(asked, Rank(0), NOW.monotonic_ms, unlinked, NOW);
    let Some(Answer::Opened { file, .. }) = answer(&mut client) else { panic!("it is open") };
    client.read_right(file, 1, None, NOW);
    assert!(matches!(answer(&mut client), Some(Answer::Read(_))) && client.unlinked.is_empty());
    let released = |client: &mut FsClient| {
        std::iter::from_fn(|| client.poll_command()).any(|command| matches!(command, Command::Release { .. }))
    };
    client.close(file, NOW);
    assert!(!released(&mut client), "it is being read");
    client.read_done(Vino::head(0x1000), NOW);
    // The user has kept bytes of it.
    while let Some(done) = client.poll_done() {
        if let Done::Invalidate { token, .. } = done {
            client.invalidated(token, NOW);
        }
    }
    assert!(released(&mut client));
}

#[test]
fn what_was_listed_is_told_with_its_attributes_however_little_may_be_known() {
    const PAGE: usize = 10;
    let mut client = client(FsConfig { idle_inodes: 60, all_inodes: 80, ..FsConfig::default() });
    let dir = Vino::head(ino::ROOT);
    let mut own = told(0).target.unwrap();
    (own.ino, own.mode, own.dir_layout.hash) = (ino::ROOT, 0o40_755, 2);
    let (listing, _) = client.open_directory(dir).unwrap();
    let mut hashed: Vec<_> =
        (0..FILES).map(|number| (name_hash(2, number.to_string().as_bytes()) & 0xff_ffff, number)).collect();
    hashed.sort_unstable();
    let (mut cookie, mut listed, mut next) = (0, 0, 0);
    loop {
        client.readdir(listing, cookie, PAGE, true, None, NOW);
        while let Some(asked) = request(&mut client) {
            let end = (next + 25).min(hashed.len());
            let mut reply = Reply { target: Some(own.clone()), ..told(0) };
            if client.table.get(dir).is_some_and(|inode| inode.directory.is_some()) || next > 0 {
                let entries = hashed[next..end].iter().map(|(_, number)| ReaddirEntry {
                    name: number.to_string().into_bytes(),
                    lease: LeaseStat::default(),
                    inode: told(*number).target.unwrap(),
                });
                let flags = readdir_flags::HASH_ORDER | readdir_flags::OFFSET_HASH;
                let flags = if end == hashed.len() { flags | readdir_flags::FRAG_END } else { flags };
                let part = DirStat { frag: Frag::WHOLE, auth: Rank(-1), replicas: Vec::new() };
                reply.extra =
                    ReplyExtra::Readdir(ReaddirReply { dir: part, flags, entries: entries.collect() });
                next = end;
            }
            client.replied(asked, Rank(0), NOW.monotonic_ms, reply, NOW);
        }
        let Some(Answer::Page { entries, end }) = answer(&mut client) else { panic!("a page") };
        for entry in &entries {
            assert!(entry.entry.is_some(), "{listed} were told, and then one without attributes");
            listed += 1;
        }
        assert!(client.table.len() <= 80 + PAGE + 25, "{}", client.table.len());
        let Some(last) = entries.last().filter(|_| !end) else { break };
        cookie = last.cookie;
    }
    assert_eq!(listed as u64, FILES);
    client.close_directory(listing);
    assert!(client.listed == 0 && client.table.iter().all(|inode| inode.listed == 0));
}
