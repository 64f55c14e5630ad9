//! What Ceph's own clients and MDSs said to each other: all of it is read to its end, and written again byte for byte where this crate
//! writes it too.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::Bytes;
use common::frames::{BANNER_LEN, Side};
use common::mds::{Census, message, read_all};
use common::pcap::recordings;
use wasmount_ceph::mds::{
    CapOp, Caps, CapsMessage, FilePath, Op, Reply, ReplyExtra, RequestMessage, SessionMessage, SessionOp,
    feature, ino, kind, name_hash, readdir_flags,
};
use wasmount_ceph::msgr::Message;
use wasmount_ceph::msgr::frame::Tag;

/// A message, and whether the client sent it.
struct Said {
    by_client: bool,
    message: Message<Bytes>,
}

/// What was said on the connection with the MDS, each side in its order, the client first.
fn said(fixture: &str) -> Vec<Said> {
    let mut said = Vec::new();
    for recording in recordings(fixture) {
        let all = [(true, &recording.to_server), (false, &recording.to_client)];
        let messages = all.map(|(by_client, stream)| messages(by_client, stream));
        said.extend(messages.into_iter().flatten());
    }
    said
}

fn messages(by_client: bool, stream: &[u8]) -> Vec<Said> {
    let mut side = Side::new();
    let mut rest = Bytes::copy_from_slice(&stream[BANNER_LEN..]);
    let mut found = Vec::new();
    while let Some(frame) = side.read(&mut rest).unwrap() {
        if frame.tag == Tag::Message {
            found.push(Said { by_client, message: message(frame) });
        }
    }
    found
}

#[test]
fn a_session_of_ceph_16() {
    let said = said("fuse-crc.pcap.gz");
    let census = read_all(said.iter().map(|said| &said.message), false);
    let expected: Census = [
        ((kind::MDS_MAP, 2), 1),
        ((kind::CLIENT_SESSION, 1), 7),
        ((kind::CLIENT_SESSION, 5), 2),
        ((kind::CLIENT_REQUEST, 5), 72),
        ((kind::CLIENT_REPLY, 1), 85),
        ((kind::CLIENT_CAPS, 11), 49),
        ((kind::CLIENT_SNAP, 1), 5),
        ((kind::CLIENT_CAPRELEASE, 2), 2),
    ]
    .into();
    assert_eq!(census, expected);
    what_the_session_is_about(&said);
}

/// What a person sees who looks at the recording: the opening, a name that is not UTF-8, the hash of names, a revocation.
fn what_the_session_is_about(said: &[Said]) {
    let open = said.iter().find(|s| s.by_client && s.message.kind == kind::CLIENT_SESSION).unwrap();
    let open = SessionMessage::decode(open.message.version, &open.message.front).unwrap();
    assert_eq!(open.op, SessionOp::RequestOpen);
    assert_eq!((&open.metadata["root"][..], &open.metadata["entity_id"][..]), (&b"/"[..], &b"admin"[..]));
    assert!(open.features.has(feature::REPLY_ENCODING) && !open.features.has(feature::NEW_SNAPREALM_INFO));

    let replies: Vec<Reply> = said
        .iter()
        .filter(|s| s.message.kind == kind::CLIENT_REPLY)
        .map(|s| Reply::decode(&s.message.front, false).unwrap())
        .collect();
    let entries = replies.iter().filter_map(|reply| match &reply.extra {
        ReplyExtra::Readdir(entries) => Some((entries, reply.target.as_ref())),
        _ => None,
    });
    let mut listed = 0;
    for (entries, target) in entries {
        let hash = target.map_or(2, |target| target.dir_layout.hash);
        let hashes: Vec<u32> =
            entries.entries.iter().map(|entry| name_hash(hash, &entry.name) & 0xff_ffff).collect();
        if entries.flags & readdir_flags::HASH_ORDER != 0 {
            assert!(hashes.is_sorted(), "{hashes:x?}");
            assert!(hashes.iter().all(|hash| entries.dir.frag.contains(*hash)));
        }
        listed += entries.entries.len();
    }
    assert!(listed > 20, "{listed}");
    let requests: Vec<RequestMessage> = said
        .iter()
        .filter(|s| s.message.kind == kind::CLIENT_REQUEST)
        .map(|s| RequestMessage::decode(s.message.version, &s.message.front).unwrap())
        .collect();
    assert!(requests.iter().any(|request| matches!(request.op, Op::Lookup { .. })));
    let revoked = said.iter().filter(|s| s.message.kind == kind::CLIENT_CAPS).any(|s| {
        let caps = CapsMessage::decode(&s.message, false).unwrap();
        caps.op == CapOp::Revoke && !caps.caps.contains(Caps::ANY_RD)
    });
    assert!(revoked);
}

#[test]
fn a_session_of_ceph_20() {
    let said = said("fuse-crc-tentacle.pcap.gz");
    let census = read_all(said.iter().map(|said| &said.message), true);
    for (kind, version) in [
        (kind::MDS_MAP, 2),
        (kind::CLIENT_SESSION, 7),
        (kind::CLIENT_REQUEST, 6),
        (kind::CLIENT_REPLY, 1),
        (kind::CLIENT_CAPS, 12),
    ] {
        assert!(census.contains_key(&(kind, version)), "{kind} {census:?}");
    }
    let opened = said
        .iter()
        .filter(|s| !s.by_client && s.message.kind == kind::CLIENT_SESSION)
        .map(|s| SessionMessage::decode(s.message.version, &s.message.front).unwrap())
        .find(|session| session.op == SessionOp::Open)
        .unwrap();
    assert!(opened.features.has(feature::NEW_SNAPREALM_INFO));
    assert!(opened.cap_auths.iter().any(|auth| auth.readable && auth.writeable), "{:?}", opened.cap_auths);
}

#[test]
fn a_request_of_ours_is_like_one_of_theirs() {
    let said = said("fuse-crc.pcap.gz");
    let theirs = said
        .iter()
        .filter(|s| s.message.kind == kind::CLIENT_REQUEST)
        .map(|s| RequestMessage::decode(s.message.version, &s.message.front).unwrap())
        .find(|request| matches!(request.op, Op::Getattr { .. }))
        .unwrap();
    assert_eq!(theirs.path, FilePath::new(ino::ROOT, b""));
    // The same in the version that we write is longer by two empty fields.
    assert_eq!(theirs.encode(6).len(), theirs.encode(5).len() + 8);
    let message = theirs.clone().into_message::<Bytes>(3);
    assert_eq!(RequestMessage::decode(6, &message.front).unwrap(), theirs);
}
