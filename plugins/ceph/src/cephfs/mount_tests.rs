//! A mount whose rights move to a rank with which there is no session.

use super::FsMount;
use crate::auth::testing::{Counting, at};
use crate::cephfs::{Answer, Done, FsConfig, Vino};
use crate::mds::{
    CapOp, CapPeer, Caps, CapsMessage, FileSystemId, FsMapUser, Gid, InodeStat, MdsInfo, MdsMap,
    MdsMapMessage, MdsState, Rank, Reply, ReplyCap, SessionConfig, SessionMessage, SessionOp, cap_flags, ino,
};
use crate::mon::parse_mon_host;
use crate::msgr::{Aead, AeadFactory, Message, NONCE_LEN};
use crate::rados::{Config, Machine};
use crate::time::Now;
use crate::types::{AddrVec, EntityAddr, Fsid, UTime};
use bytes::Bytes;
use std::collections::BTreeSet;

const A: Rank = Rank(0);
const B: Rank = Rank(1);
const OWN: Caps = Caps(Caps::PIN.0 | Caps::ANY_SHARED.0);

/// Nothing is encrypted here.
#[derive(Clone)]
struct NoCiphers;

impl Aead for NoCiphers {
    fn open(&self, _: &[u8; NONCE_LEN], _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn seal(&self, _: &[u8; NONCE_LEN], _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

impl AeadFactory for NoCiphers {
    type Aead = Self;

    fn aes128_gcm(&self, _: &[u8; 16]) -> Option<Self> {
        None
    }
}

/// Two ranks that serve.
fn map() -> MdsMap {
    let info = |rank: Rank| MdsInfo {
        gid: Gid(4100 + u64::from(rank.0.unsigned_abs())),
        name: format!("d{}", rank.0),
        rank,
        incarnation: 1,
        state: MdsState::ACTIVE,
        addrs: AddrVec(vec![EntityAddr::msgr2("192.0.2.1:6800".parse().unwrap(), 1)]),
        laggy_since: UTime::default(),
        export_targets: Vec::new(),
    };
    let daemons = [info(A), info(B)];
    MdsMap {
        epoch: 5,
        flags: 0x12,
        session_timeout: 60,
        session_autoclose: 300,
        max_file_size: 1 << 40,
        max_mds: 2,
        up: daemons.iter().map(|daemon| (daemon.rank, daemon.gid)).collect(),
        ranks: BTreeSet::from([A, B]),
        daemons: daemons.into_iter().map(|daemon| (daemon.gid, daemon)).collect(),
        data_pools: vec![2],
        metadata_pool: 1,
        failed: BTreeSet::new(),
        damaged: BTreeSet::new(),
        enabled: true,
        name: "cephfs".to_owned(),
        required_client_features: Default::default(),
    }
}

struct Mounted {
    mount: FsMount<Bytes, NoCiphers>,
    now: Now,
}

impl Mounted {
    /// With a session with A, which ranks give for 60 s.
    fn new() -> Self {
        let now = at(1_000);
        let config = Config::new(parse_mon_host("192.0.2.9").unwrap(), "client.tst1", None);
        let sessions = SessionConfig::new("/", "tst1");
        let entropy = Box::new(Counting(0));
        let mount = FsMount::new(config, sessions, FsConfig::default(), NoCiphers, entropy, now).unwrap();
        let mut mounted = Self { mount, now };
        let file_systems = [(FileSystemId(1), "cephfs".to_owned())].into();
        let names = FsMapUser { epoch: 1, default: Some(FileSystemId(1)), file_systems };
        mounted.mount.sessions.fs_map(&names.encode(), now).unwrap();
        let map = MdsMapMessage { fsid: Fsid::default(), epoch: 5, map: map() };
        mounted.mount.sessions.mds_map(&map.encode(), now).unwrap();
        mounted.session(A);
        mounted
    }

    /// The connection to a rank stands, and the rank opens the session.
    fn session(&mut self, rank: Rank) {
        self.mount.sessions.peer_ready(rank, self.now);
        self.says(rank, SessionMessage::new(SessionOp::Open, 0).into_message());
    }

    fn says(&mut self, rank: Rank, message: Message<Bytes>) {
        self.mount.take_from_mds(rank, &message, self.now);
        self.mount.settle(self.now);
    }

    /// Who owns the root, if it is known without asking.
    fn owner(&mut self) -> Option<u32> {
        let call = self.mount.fs_mut().getattr(Vino::ROOT, Caps::ANY_SHARED, None, self.now);
        self.mount.settle(self.now);
        let owner = self.told();
        self.mount.fs_mut().give_up(call, self.now);
        owner
    }

    fn told(&mut self) -> Option<u32> {
        std::iter::from_fn(|| self.mount.poll_done()).find_map(|done| match done {
            Done::Call { result: Ok(Answer::Attributes(attributes, _)), .. } => Some(attributes.uid),
            _ => None,
        })
    }
}

#[test]
fn what_moves_to_a_rank_counts_when_there_is_a_session_with_it() {
    let mut mounted = Mounted::new();
    // The one with the other rank has just ended.
    mounted.mount.sessions.open(B, mounted.now);
    mounted.mount.settle(mounted.now);
    mounted.session(B);
    mounted.says(B, SessionMessage::new(SessionOp::Close, 0).into_message());
    mounted.mount.fs_mut().getattr(Vino::ROOT, Caps::ANY_SHARED, None, mounted.now);
    mounted.mount.settle(mounted.now);
    let mut stat = InodeStat::new(ino::ROOT, ino::NO_SNAP);
    (stat.version, stat.mode, stat.nlink, stat.uid) = (1, 0o040_755, 1, 9);
    (stat.xattr_version, stat.xattrs) = (1, vec![0; 4]);
    stat.cap =
        ReplyCap { caps: OWN, cap_id: 7, seq: 1, realm: 1, flags: cap_flags::AUTH, ..ReplyCap::default() };
    let reply = Reply { op: 0x101, mdsmap_epoch: 5, safe: true, target: Some(stat), ..Reply::default() };
    mounted.says(A, reply.to_message(1, false));
    assert_eq!((mounted.told(), mounted.owner()), (Some(9), Some(9)));
    let mut export = CapsMessage::new(CapOp::Export, ino::ROOT, 7);
    export.peer = Some(CapPeer { cap_id: 20, seq: 1, mseq: 1, rank: B, flags: cap_flags::AUTH });
    mounted.says(A, export.to_message(12, false));
    assert_eq!(mounted.owner(), None);
    mounted.now = at(2_000);
    mounted.mount.on_time(mounted.now);
    assert!(mounted.mount.sessions().has_session(B), "it is asked for when the pause is over");
    assert_eq!(mounted.owner(), None);
    mounted.session(B);
    assert_eq!(mounted.owner(), Some(9));
}
