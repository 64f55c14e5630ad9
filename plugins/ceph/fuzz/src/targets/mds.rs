//! What metadata servers and the monitors that know of them say, and what sessions make of it.

use anyhow::Result;
use bytes::Bytes;
use wasmount_ceph::Now;
use wasmount_ceph::mds::{
    CapRelease, Caps, CapsMessage, FilePath, FileSystemId, FragTree, FsMapUser, LeaseMessage, MdsMapMessage,
    Op, QuotaMessage, Rank, ReconnectMessage, Reply, ReplyExtra, Request, RequestForward, RequestMessage,
    SessionConfig, SessionEvent, SessionMessage, SessionOp, Sessions, SnapMessage, Target, decode_xattrs,
    kind,
};
use wasmount_ceph::msgr::Message;

use crate::input::{Input, pieces};
use crate::seeds::fixture;

/// A map of daemons.
pub(super) fn mdsmap(input: &[u8]) {
    let Ok(message) = MdsMapMessage::decode(input) else { return };
    std::hint::black_box((message.map.trouble(), message.map.active().count()));
    // What was read can be written, and read again as the same.
    assert_eq!(MdsMapMessage::decode(&message.encode()), Ok(message));
}

pub(super) fn mdsmap_seeds() -> Result<Vec<Vec<u8>>> {
    ["16", "20"].iter().map(|release| fixture(&format!("mds/mdsmap-{release}.bin"))).collect()
}

/// An answer to a request. The first byte says which form snapshot realms have.
pub(super) fn reply(input: &[u8]) {
    let mut input = Input(input);
    let new = input.byte() & 1 != 0;
    let Ok(reply) = Reply::decode(input.rest(), new) else { return };
    let entries = match &reply.extra {
        ReplyExtra::Readdir(entries) => entries.entries.iter().map(|entry| &entry.inode).collect(),
        _ => Vec::new(),
    };
    for stat in entries.into_iter().chain(&reply.target) {
        std::hint::black_box(decode_xattrs(&stat.xattrs).is_ok());
        leaves(&stat.frag_tree);
    }
}

/// Fragments of a directory, as many as a client would ask for one after the other.
fn leaves(tree: &FragTree) {
    let mut last = None;
    for leaf in tree.leaves().take(100) {
        assert!(last < Some(leaf), "{leaf} after {last:?}");
        last = Some(leaf);
    }
}

pub(super) fn reply_seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (release, new) in [("16", 0_u8), ("20", 1)] {
        for what in ["reply", "reply-readdir"] {
            seeds.push([vec![new], fixture(&format!("mds/{what}-{release}.bin"))?].concat());
        }
    }
    Ok(seeds)
}

/// Everything else that is said about capabilities and sessions. The first byte chooses what.
pub(super) fn messages(input: &[u8]) {
    let mut input = Input(input);
    let (which, flags) = (input.byte() % 10, input.byte());
    let (version, new) = (u16::from(flags >> 1), flags & 1 != 0);
    match which {
        0 => {
            let middle = input.piece().to_vec();
            let message = Message::<Bytes>::new(kind::CLIENT_CAPS, version, 1, input.rest().to_vec());
            drop(CapsMessage::decode(&Message { middle, ..message }, new));
        }
        1 => drop(SnapMessage::decode(input.rest(), new)),
        2 => drop(SessionMessage::decode(version, input.rest())),
        3 => drop(LeaseMessage::decode(input.rest())),
        4 => drop(QuotaMessage::decode(input.rest())),
        5 => drop(RequestForward::decode(input.rest())),
        6 => drop(FsMapUser::decode(input.rest())),
        // What clients say, which tests read.
        7 => drop(RequestMessage::decode(version, input.rest())),
        8 => drop(CapRelease::decode(version, input.rest())),
        _ => drop(ReconnectMessage::decode(version, input.rest())),
    }
}

pub(super) fn messages_seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (release, new, caps, session) in [("16", 0, 11, 5), ("20", 1, 12, 7)] {
        let caps_front = fixture(&format!("mds/caps-{release}.bin"))?;
        seeds.push([&[0, caps << 1 | new][..], &pieces([&[][..]]), &caps_front].concat());
        seeds.push([&[2, session << 1][..], &fixture(&format!("mds/session-open-{release}.bin"))?].concat());
    }
    seeds.push([&[1, 0][..], &fixture("mds/snap-16.bin")?].concat());
    seeds.push([&[6, 0][..], &file_systems().encode()].concat());
    Ok(seeds)
}

fn file_systems() -> FsMapUser {
    let file_systems = [(FileSystemId(1), "cephfs".to_owned())].into();
    FsMapUser { epoch: 1, default: Some(FileSystemId(1)), file_systems }
}

/// Steps of one session fuzzing takes at most, and requests it asks: what one byte can cause is limited by them.
const STEPS: usize = 128;
const REQUESTS: usize = 4;

/// Sessions to which anything happens.
pub(super) fn sessions(input: &[u8]) {
    let mut input = Input(input);
    let mut now = Now { monotonic_ms: 1, ..Now::default() };
    let mut sessions = Sessions::<Bytes>::new(SessionConfig::new("/", "fuzz"));
    drop(sessions.fs_map(&file_systems().encode(), now));
    let mut asked = 0;
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let (step, rank) = (input.byte() % 12, Rank(i32::from(input.byte() % 3)));
        match step {
            0 if asked < REQUESTS => {
                asked += 1;
                let op = Op::Getattr { mask: Caps::STAT };
                let target = [Target::Random, Target::Auth(rank), Target::Any(rank)][asked % 3];
                let deadline_ms = (asked == 1).then(|| now.after(10_000));
                let request = Request { target, deadline_ms, ..Request::new(op, FilePath::new(1, b"")) };
                sessions.request(request, now);
            }
            1 => sessions.peer_ready(rank, now),
            2 => sessions.peer_reset(rank, now),
            3 => sessions.peer_lost(rank, "lost", false, now),
            4 => sessions.open(rank, now),
            5 => {
                now.monotonic_ms += u64::from(input.number());
                sessions.on_time(now);
            }
            6 => drop(sessions.mds_map(input.piece(), now)),
            7 => drop(sessions.fs_map(input.piece(), now)),
            _ => {
                let kinds = [
                    kind::CLIENT_SESSION,
                    kind::CLIENT_REPLY,
                    kind::CLIENT_REQUEST_FORWARD,
                    kind::CLIENT_CAPS,
                    kind::CLIENT_SNAP,
                ];
                let which = input.byte();
                let (kind, version) = (kinds[usize::from(which) % kinds.len()], u16::from(which >> 4));
                let message = Message::<Bytes>::new(kind, version, 1, input.piece().to_vec());
                let tid = u64::from(which >> 4);
                drop(sessions.message(rank, &Message { tid, ..message }, now));
            }
        }
        while let Some(event) = sessions.poll_event() {
            if let SessionEvent::WantReconnect { rank } = event {
                sessions.reconnect(rank, Vec::new(), Vec::new(), now);
            }
        }
        std::hint::black_box((sessions.status(), sessions.next_timer()));
    }
}

pub(super) fn sessions_seeds() -> Result<Vec<Vec<u8>>> {
    let map = fixture("mds/mdsmap-16.bin")?;
    let opened = SessionMessage::new(SessionOp::Open, 0).encode(1);
    let seed = [
        &[0, 0, 6, 0][..],
        &pieces([&map[..]]),
        // Ready; the session is open; the answer to the first request; a forward of a second one; time.
        &[1, 0, 8, 0, 0x10],
        &pieces([&opened[..]]),
        &[8, 0, 0x12 - 1],
        &pieces([&fixture("mds/reply-16.bin")?[..]]),
        &[0, 1, 8, 0, 0x20 + 2],
        &pieces([&[1, 0, 0, 0, 1, 0, 0, 0, 1][..]]),
        &[5, 0, 0xff, 0xff, 2, 0, 5, 0, 0xff, 0xff],
    ]
    .concat();
    Ok(vec![seed])
}
