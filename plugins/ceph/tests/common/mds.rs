//! What metadata servers and their clients say, read and written again.

use bytes::Bytes;
use std::collections::BTreeMap;
use wasmount_ceph::encoding::Decoder;
use wasmount_ceph::mds::{
    CapRelease, CapsMessage, LeaseMessage, MdsMapMessage, MdsState, QuotaMessage, Rank, Reply,
    RequestMessage, SessionMessage, SnapMessage, decode_xattrs, ino, kind,
};
use wasmount_ceph::msgr::frame::Frame;
use wasmount_ceph::msgr::{Chunk, Message, MessageHeader};

/// The message in a frame.
pub fn message(frame: Frame<Bytes>) -> Message<Bytes> {
    let header = MessageHeader::decode(&frame.head).unwrap();
    Message {
        tid: header.tid,
        middle: frame.middle,
        data: frame.data.into_iter().map(Chunk::Payload).collect(),
        ..Message::new(header.kind, header.version, header.compat, frame.front)
    }
}

/// How many messages of a kind and version were seen.
pub type Census = BTreeMap<(u16, u16), usize>;

/// Reads everything, writes again what can be written, and counts. `new`: the MDS tells snapshot realms in the form of Ceph 18.
pub fn read_all<'a>(messages: impl IntoIterator<Item = &'a Message<Bytes>>, new: bool) -> Census {
    let mut census = Census::new();
    for message in messages {
        let Message { kind, version, front, .. } = message;
        let (kind, version) = (*kind, *version);
        match kind {
            kind::CLIENT_SESSION => {
                let session = SessionMessage::decode(version, front).unwrap();
                assert_eq!(session.encode(version), *front, "{session:?}");
            }
            kind::CLIENT_REQUEST => {
                let request = RequestMessage::decode(version, front).unwrap();
                assert_eq!(request.encode(version), *front, "{request:?}");
            }
            kind::CLIENT_REPLY => reply(message, new),
            kind::CLIENT_CAPS => {
                let caps = CapsMessage::decode(message, new).unwrap();
                let again = caps.to_message::<Bytes>(version, new);
                assert_eq!(again.front, *front, "{caps:?}");
                assert_eq!((again.middle, again.tid), (message.middle.clone(), message.tid));
            }
            kind::CLIENT_CAPRELEASE => {
                let release = CapRelease::decode(version, front).unwrap();
                assert_eq!(release.into_message::<Bytes>().front, *front);
            }
            kind::CLIENT_LEASE => {
                let lease = LeaseMessage::decode(front).unwrap();
                assert_eq!(lease.into_message::<Bytes>().front, *front);
            }
            kind::CLIENT_SNAP => {
                let snap = SnapMessage::decode(front, new).unwrap();
                assert_eq!(snap.into_message::<Bytes>(new).front, *front);
            }
            kind::CLIENT_QUOTA => {
                let quota = QuotaMessage::decode(front).unwrap();
                assert_eq!(quota.into_message::<Bytes>().front, *front);
            }
            kind::MDS_MAP => {
                let map = MdsMapMessage::decode(front).unwrap();
                assert_eq!((map.map.epoch, map.map.name.as_str()), (map.epoch, "cephfs"));
                assert!(map.map.active().eq([Rank(0)]));
                let daemon = map.map.daemon(Rank(0)).unwrap();
                assert_eq!(daemon.state, MdsState::ACTIVE);
                assert!(daemon.address().is_some());
                assert_eq!((map.map.session_timeout, map.map.session_autoclose), (60, 300));
                assert_eq!(MdsMapMessage::decode(&map.encode()).unwrap(), map);
            }
            _ => continue,
        }
        *census.entry((kind, version)).or_default() += 1;
    }
    census
}

/// Reads a reply: to the end of its three parts, and what is in them survives being written as by another release.
fn reply(message: &Message<Bytes>, new: bool) {
    let front = &message.front;
    let reply = Reply::decode(front, new).unwrap();
    let mut d = Decoder::new("reply", front);
    d.skip(15).unwrap();
    for _ in 0..3 {
        d.blob().unwrap();
    }
    assert!(d.is_empty());
    assert_eq!(Reply::decode(&reply.to_message::<Bytes>(0, new).front, new).unwrap(), reply);
    assert!(reply.safe || reply.op & 0x1000 != 0);
    for stat in reply.target.iter().chain(reply.dentry.as_ref().map(|dentry| &dentry.dir)) {
        assert!(stat.ino >= ino::ROOT && stat.mode != 0, "{stat:?}");
        // Snapshots of the past have no pool of their own to be missing.
        assert!(stat.layout.pool >= 0 || stat.mode & 0o170_000 == 0o040_000, "{stat:?}");
        if !stat.xattrs.is_empty() {
            decode_xattrs(&stat.xattrs).unwrap();
        }
    }
}
