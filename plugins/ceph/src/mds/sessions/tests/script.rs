//! A stage: what monitors and MDSs say is put in, and what comes out is told in short lines.

use crate::mds::sessions::{Request, SessionConfig, SessionEvent, Sessions};
use crate::mds::{
    Caps, CapsMessage, FeatureSet, FilePath, FileSystemId, FsMapUser, Gid, InodeStat, MdsInfo, MdsMap,
    MdsMapMessage, MdsState, Op, Rank, ReconnectMessage, Reply, RequestForward, RequestMessage,
    SessionMessage, SessionOp, ino, kind, request_flags,
};
use crate::msgr::{Chunk, Message};
use crate::time::Now;
use crate::types::{AddrVec, EntityAddr, Fsid, UTime};
use bytes::Bytes;
use std::collections::BTreeSet;

pub(super) const R0: Rank = Rank(0);
pub(super) const R1: Rank = Rank(1);

pub(super) struct Script {
    pub(super) sessions: Sessions<Bytes>,
    pub(super) now: Now,
    /// What the next answer to a request for a session says the MDS can do.
    pub(super) features: FeatureSet,
}

impl Script {
    /// Nothing has happened.
    pub(super) fn new() -> Self {
        Self::with(SessionConfig::new("/dir", "tst1"))
    }

    pub(super) fn with(config: SessionConfig) -> Self {
        let now = Now { monotonic_ms: 1_000, wall: UTime { seconds: 9, nanoseconds: 0 } };
        Self { sessions: Sessions::new(config), now, features: FeatureSet::supported() }
    }

    /// One rank, and an open session with it.
    pub(super) fn open() -> Self {
        let mut script = Self::new();
        script.fs(1, &["cephfs"], Some(1));
        script.map(5, &[(0, 4100, MdsState::ACTIVE)]);
        script.sessions.peer_ready(R0, script.now);
        script.opened(R0);
        script.events();
        script
    }

    /// A map of file systems.
    pub(super) fn fs(&mut self, epoch: u32, names: &[&str], default: Option<i32>) {
        let ids = (1..).map(FileSystemId).zip(names.iter().map(|name| (*name).to_owned()));
        let map = FsMapUser { epoch, default: default.map(FileSystemId), file_systems: ids.collect() };
        self.sessions.fs_map(&map.encode(), self.now).unwrap();
    }

    /// A map of daemons.
    pub(super) fn map(&mut self, epoch: u32, daemons: &[(i32, u64, MdsState)]) {
        self.map_with(epoch, daemons, &[], |_| {});
    }

    /// A map of daemons, where these ranks have none.
    pub(super) fn map_with(
        &mut self,
        epoch: u32,
        daemons: &[(i32, u64, MdsState)],
        failed: &[i32],
        change: impl FnOnce(&mut MdsMap),
    ) {
        let mut map = map_of(epoch, daemons, failed);
        change(&mut map);
        let message = MdsMapMessage { fsid: Fsid::default(), epoch, map };
        self.sessions.mds_map(&message.encode(), self.now).unwrap();
    }

    /// A rank says something.
    pub(super) fn says(&mut self, rank: Rank, message: Message<Bytes>) {
        self.sessions.message(rank, &message, self.now).unwrap();
    }

    /// About the session.
    pub(super) fn session(&mut self, rank: Rank, op: SessionOp, seq: u64) {
        self.says(rank, SessionMessage::new(op, seq).into_message());
    }

    /// It is open.
    pub(super) fn opened(&mut self, rank: Rank) {
        let message =
            SessionMessage { features: self.features.clone(), ..SessionMessage::new(SessionOp::Open, 0) };
        self.says(rank, message.into_message());
    }

    /// It is refused.
    pub(super) fn reject(&mut self, rank: Rank, error: &str, flags: u32) {
        let mut message = SessionMessage::new(SessionOp::Reject, 0);
        message.metadata.insert("error_string".to_owned(), error.as_bytes().to_vec());
        message.flags = flags;
        self.says(rank, message.into_message());
    }

    /// Asks for the attributes of the root.
    pub(super) fn ask(&mut self) -> u64 {
        self.ask_with(|_| {})
    }

    pub(super) fn ask_with(&mut self, change: impl FnOnce(&mut Request)) -> u64 {
        let mut request = Request::new(Op::Getattr { mask: Caps::STAT }, FilePath::new(ino::ROOT, b""));
        change(&mut request);
        self.sessions.request(request, self.now).0
    }

    /// A rank answers a request.
    pub(super) fn answer(&mut self, rank: Rank, tid: u64) {
        self.says(rank, reply(true).to_message(tid, true));
    }

    pub(super) fn forward(&mut self, rank: Rank, tid: u64, to: Rank, forwards: u32) {
        self.says(rank, RequestForward { rank: to, forwards }.into_message(tid));
    }

    pub(super) fn ready(&mut self, rank: Rank) {
        self.sessions.peer_ready(rank, self.now);
    }

    /// So many milliseconds pass, with every timer on the way.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        let end = self.now.after(milliseconds);
        for _ in 0..10_000 {
            match self.sessions.next_timer() {
                Some(at) if at <= end => {
                    self.now.monotonic_ms = at.max(self.now.monotonic_ms);
                    self.sessions.on_time(self.now);
                }
                _ => {
                    self.now.monotonic_ms = end;
                    return;
                }
            }
        }
        panic!("a timer that does not pass");
    }

    /// What has come of it all, but for lines of the log.
    pub(super) fn events(&mut self) -> Vec<String> {
        let events = std::iter::from_fn(|| self.sessions.poll_event());
        events.filter_map(|event| tell(&event)).collect()
    }
}

/// A map of daemons.
pub(super) fn map_of(epoch: u32, daemons: &[(i32, u64, MdsState)], failed: &[i32]) -> MdsMap {
    let info = |&(rank, gid, state): &(i32, u64, MdsState)| MdsInfo {
        gid: Gid(gid),
        name: format!("d{gid}"),
        rank: Rank(rank),
        incarnation: 1,
        state,
        addrs: AddrVec(vec![EntityAddr::msgr2("192.0.2.1:6800".parse().unwrap(), gid as u32)]),
        laggy_since: UTime::default(),
        export_targets: Vec::new(),
    };
    let ranks: BTreeSet<Rank> =
        daemons.iter().map(|d| Rank(d.0)).chain(failed.iter().copied().map(Rank)).collect();
    MdsMap {
        epoch,
        flags: 0x12,
        session_timeout: 60,
        session_autoclose: 300,
        max_file_size: 1 << 40,
        max_mds: 1,
        daemons: daemons.iter().map(|daemon| (Gid(daemon.1), info(daemon))).collect(),
        data_pools: vec![2],
        metadata_pool: 1,
        ranks,
        up: daemons.iter().map(|daemon| (Rank(daemon.0), Gid(daemon.1))).collect(),
        failed: failed.iter().copied().map(Rank).collect(),
        damaged: BTreeSet::new(),
        enabled: true,
        name: "cephfs".to_owned(),
        required_client_features: FeatureSet::default(),
    }
}

pub(super) fn reply(safe: bool) -> Reply {
    Reply {
        op: 0x101,
        mdsmap_epoch: 5,
        safe,
        target: Some(InodeStat::new(1, ino::NO_SNAP)),
        ..Reply::default()
    }
}

/// The last message that was sent to a rank.
pub(super) fn last_sent(sessions: &mut Sessions<Bytes>) -> Message<Bytes> {
    let mut last = None;
    while let Some(event) = sessions.poll_event() {
        if let SessionEvent::Send { message, .. } = event {
            last = Some(message);
        }
    }
    last.expect("something is sent")
}

fn sent(rank: Rank, message: &Message<Bytes>) -> String {
    match message.kind {
        kind::CLIENT_SESSION => {
            let session = SessionMessage::decode(message.version, &message.front).unwrap();
            format!("to {rank}: {:?} {}", session.op, session.seq)
        }
        kind::CLIENT_REQUEST => {
            let request = RequestMessage::decode(message.version, &message.front).unwrap();
            let replay = if request.flags & request_flags::REPLAY != 0 { " replay" } else { "" };
            let forwards =
                if request.forwards > 0 { format!(" forwarded {}", request.forwards) } else { String::new() };
            let retries =
                if request.retries > 0 { format!(" retry {}", request.retries) } else { String::new() };
            format!("to {rank}: #{} {}{retries}{forwards}{replay}", message.tid, request.op.name())
        }
        kind::CLIENT_RECONNECT => {
            let [Chunk::Bytes(data)] = &message.data[..] else { panic!("one chunk") };
            let reconnect = ReconnectMessage::decode(message.version, data).unwrap();
            let more = if reconnect.more { " and more" } else { "" };
            format!(
                "to {rank}: reconnect, {} caps, {} realms{more}",
                reconnect.caps.len(),
                reconnect.realms.len()
            )
        }
        other => format!("to {rank}: kind {other:#x}"),
    }
}

/// An event in short; `None`: for the log.
fn tell(event: &SessionEvent<Bytes>) -> Option<String> {
    Some(match event {
        SessionEvent::Subscribe { what, start, once } => {
            assert_eq!(*once, what == "osdmap");
            format!("subscribe {what} from {start}")
        }
        SessionEvent::Unsubscribe { what } => format!("unsubscribe {what}"),
        SessionEvent::Got { what, epoch } => format!("got {what} {epoch}"),
        SessionEvent::Connect { rank, gid, address } => {
            assert_eq!(u64::from(address.nonce), gid.0);
            format!("connect {rank} {gid}")
        }
        SessionEvent::Disconnect { rank } => format!("disconnect {rank}"),
        SessionEvent::Send { rank, message } => sent(*rank, message),
        SessionEvent::Opened { rank, .. } => format!("opened {rank}"),
        SessionEvent::Stale { rank, revoked: true } => format!("stale {rank}, says the MDS"),
        SessionEvent::Stale { rank, revoked: false } => format!("stale {rank}"),
        SessionEvent::Renewed { rank, until_ms } => format!("renewed {rank} until {until_ms}"),
        SessionEvent::Closed { rank, reason, .. } => format!("closed {rank} {reason:?}"),
        SessionEvent::WantReconnect { rank } => format!("want reconnect {rank}"),
        SessionEvent::Reconnected { rank } => format!("reconnected {rank}"),
        SessionEvent::Recall { rank, max_caps } => format!("recall {rank} {max_caps}"),
        SessionEvent::ReadOnly { rank } => format!("read-only {rank}"),
        SessionEvent::Caps { rank, message } => format!("caps {rank} {:?} {:#x}", message.op, message.ino),
        SessionEvent::Lease { rank, message } => format!("lease {rank} {:?}", message.action),
        SessionEvent::Snap { rank, message } => format!("snap {rank} {:?}", message.op),
        SessionEvent::Quota { rank, message } => format!("quota {rank} {:#x}", message.ino),
        SessionEvent::Reply { id, rank, reply, .. } => {
            format!("#{} answered by {rank}{}", id.0, if reply.safe { "" } else { " unsafe" })
        }
        SessionEvent::Failed { id, error } => format!("#{} failed: {error}", id.0),
        SessionEvent::OsdBarrier(epoch) => format!("osd barrier {epoch}"),
        SessionEvent::Log { .. } => return None,
    })
}

/// A message about a capability.
pub(super) fn caps(barrier: u32) -> Message<Bytes> {
    let mut message = CapsMessage::new(crate::mds::CapOp::Grant, 0x10, 1);
    message.osd_epoch_barrier = barrier;
    message.to_message(12, true)
}
