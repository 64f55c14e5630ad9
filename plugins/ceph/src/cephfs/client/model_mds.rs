//! A small model of metadata servers: one directory of files, two ranks, one client, and others who change things.
//!
//! It gives capabilities as freely as it may, takes them back before something changes, and changes nothing before they were given back.

use super::Command;
use crate::mds::{
    CapOp, CapPeer, Caps, CapsMessage, DirStat, FilePath, Frag, InodeStat, LeaseAction, LeaseMessage,
    LeaseStat, Op, Rank, ReaddirEntry, ReaddirReply, Reply, ReplyCap, ReplyExtra, TraceDentry, cap_flags,
    ino, lease_mask, name_hash, readdir_flags,
};
use std::collections::{BTreeMap, VecDeque};

pub(super) const DIR: u64 = 1;
const FILE_BITS: Caps = Caps(Caps::FILE_SHARED.0 | Caps::FILE_CACHE.0 | Caps::FILE_RD.0);
const HASH: u8 = 2;
const LEASE_MS: u32 = 400;

/// What of an inode others change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Owner,
    Xattrs,
    Content,
}

/// A capability as its rank sees it.
#[derive(Clone, Debug)]
pub(super) struct MdsCap {
    id: u64,
    pending: Caps,
    /// What the client may hold: what it said, and what was sent since.
    pub(super) issued: Caps,
    sent: Vec<(u32, Caps)>,
    seq: u32,
    last_issue: u32,
    mseq: u32,
    pub(super) wanted: Caps,
    /// It was given anew to a client that had just given it back, and did not know any more what it had said to be wanted.
    pub(super) forgotten: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) versions: BTreeMap<Group, u64>,
    version: u64,
    auth: usize,
    pub(super) cap: Option<MdsCap>,
    /// Others read and write it without regard for each other.
    pub(super) mixed: bool,
    pub(super) names: Vec<String>,
}

/// A change that waits until nobody may see the old any more.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Attributes(u64, Group),
    Entry(String, Option<u64>),
}

pub(super) enum ToClient {
    Reply(u64, Box<Reply>),
    Caps(Box<CapsMessage>),
    Lease(LeaseMessage),
}

pub(super) struct Mds {
    pub(super) nodes: BTreeMap<u64, Node>,
    /// Names in the directory, and how often each has changed.
    pub(super) entries: BTreeMap<String, (Option<u64>, u64)>,
    leases: BTreeMap<String, (u32, u64)>,
    pub(super) changes: Vec<Change>,
    pub(super) from_client: [VecDeque<Command>; 2],
    pub(super) to_client: [VecDeque<ToClient>; 2],
    last_id: u64,
    last_lease: u32,
}

impl Mds {
    pub(super) fn new(files: u64, names: &[&str]) -> Self {
        let node = || Node {
            versions: [(Group::Owner, 1), (Group::Xattrs, 1), (Group::Content, 1)].into(),
            version: 1,
            auth: 0,
            cap: None,
            mixed: false,
            names: Vec::new(),
        };
        let nodes = (DIR..=DIR + files).map(|ino| (ino, node())).collect();
        let entries = names.iter().map(|name| ((*name).to_owned(), (None, 1))).collect();
        Self {
            nodes,
            entries,
            leases: BTreeMap::new(),
            changes: Vec::new(),
            from_client: Default::default(),
            to_client: Default::default(),
            last_id: 0,
            last_lease: 0,
        }
    }

    /// What a change needs taken back.
    fn needs(change: &Change) -> (u64, Caps) {
        match change {
            Change::Attributes(ino, Group::Owner) => (*ino, Caps::AUTH_SHARED),
            Change::Attributes(ino, Group::Xattrs) => (*ino, Caps::XATTR_SHARED),
            Change::Attributes(ino, Group::Content) => (*ino, FILE_BITS),
            Change::Entry(..) => (DIR, Caps::FILE_SHARED),
        }
    }

    fn allowed(&self, ino: u64) -> Caps {
        let node = &self.nodes[&ino];
        let mut allowed = Caps::PIN | Caps::ANY_SHARED;
        if ino != DIR {
            allowed |= FILE_BITS;
        }
        if node.mixed {
            allowed -= Caps::FILE_SHARED | Caps::FILE_CACHE;
        }
        for change in &self.changes {
            let (of, bits) = Self::needs(change);
            let reads_on = node.mixed && matches!(change, Change::Attributes(_, Group::Content));
            if of == ino {
                allowed -= if reads_on { bits - Caps::FILE_RD } else { bits };
            }
        }
        allowed
    }

    fn say(&mut self, ino: u64, op: CapOp) {
        let stat = self.stat(ino, None);
        let node = self.nodes.get_mut(&ino).unwrap();
        let cap = node.cap.as_ref().unwrap();
        let mut message = CapsMessage::new(op, ino, cap.id);
        (message.seq, message.migrate_seq, message.caps, message.wanted) =
            (cap.seq, cap.mseq, cap.pending, cap.wanted);
        (message.uid, message.mode, message.nlink) = (stat.uid, stat.mode, stat.nlink);
        (message.xattr_version, message.xattrs) = (stat.xattr_version, stat.xattrs);
        (message.body.size, message.body.layout) = (stat.size, stat.layout);
        self.to_client[node.auth].push_back(ToClient::Caps(Box::new(message)));
    }

    /// Takes back what may not be had, and gives what may, if `generous`.
    pub(super) fn adjust(&mut self, ino: u64, generous: bool) {
        let allowed = self.allowed(ino);
        let node = self.nodes.get_mut(&ino).unwrap();
        let Some(cap) = &mut node.cap else { return };
        let pending = if generous { allowed } else { cap.pending & allowed };
        if pending == cap.pending {
            return;
        }
        let op = if (cap.pending - pending).is_empty() { CapOp::Grant } else { CapOp::Revoke };
        cap.pending = pending;
        cap.issued |= pending;
        cap.seq += 1;
        cap.sent.push((cap.seq, pending));
        self.say(ino, op);
    }

    pub(super) fn begin(&mut self, change: Change) {
        if let Change::Entry(name, _) = &change
            && let Some((seq, _)) = self.leases.get(name)
        {
            let message = LeaseMessage {
                action: LeaseAction::Revoke,
                mask: 1,
                ino: DIR,
                first: 0,
                last: ino::NO_SNAP,
                seq: *seq,
                duration_ms: 0,
                name: name.clone().into_bytes(),
            };
            let auth = self.nodes[&DIR].auth;
            self.to_client[auth].push_back(ToClient::Lease(message));
        }
        let (ino, _) = Self::needs(&change);
        self.changes.push(change);
        self.adjust(ino, false);
    }

    /// Makes the first change that can be made.
    pub(super) fn apply(&mut self, now_ms: u64) -> Option<Change> {
        let ready = |change: &Change| {
            let (ino, bits) = Self::needs(change);
            let node = &self.nodes[&ino];
            let bits = if node.mixed { bits - Caps::FILE_RD } else { bits };
            let leased = match change {
                Change::Entry(name, _) => self.leases.get(name).is_some_and(|(_, until)| *until > now_ms),
                Change::Attributes(..) => false,
            };
            !leased && node.cap.as_ref().is_none_or(|cap| !cap.issued.intersects(bits))
        };
        let at = self.changes.iter().position(ready)?;
        let change = self.changes.remove(at);
        let (ino, _) = Self::needs(&change);
        let node = self.nodes.get_mut(&ino).unwrap();
        node.version += 1;
        match &change {
            Change::Attributes(_, group) => *node.versions.get_mut(group).unwrap() += 1,
            Change::Entry(name, target) => {
                self.leases.remove(name);
                let entry = self.entries.get_mut(name).unwrap();
                let old = std::mem::replace(&mut entry.0, *target);
                entry.1 += 1;
                if let Some(old) = old {
                    self.nodes.get_mut(&old).unwrap().names.retain(|other| other != name);
                }
                if let Some(target) = target {
                    self.nodes.get_mut(target).unwrap().names.push(name.clone());
                }
            }
        }
        Some(change)
    }

    /// An inode as it is; with a capability if it is told by the rank that is responsible.
    fn stat(&mut self, ino: u64, by: Option<usize>) -> InodeStat {
        let allowed = self.allowed(ino);
        let node = self.nodes.get_mut(&ino).unwrap();
        let mut stat = InodeStat::new(ino, ino::NO_SNAP);
        stat.version = node.version;
        stat.mode = if ino == DIR { 0o040_755 } else { 0o100_644 };
        stat.uid = node.versions[&Group::Owner] as u32;
        stat.nlink = 1;
        stat.size = node.versions[&Group::Content];
        stat.dir_layout.hash = HASH;
        let xattrs = node.versions[&Group::Xattrs];
        stat.xattr_version = xattrs;
        stat.xattrs = [&[1, 0, 0, 0, 1, 0, 0, 0][..], b"a", &[8, 0, 0, 0], &xattrs.to_le_bytes()].concat();
        if by == Some(node.auth) {
            let last = &mut self.last_id;
            let cap = node.cap.get_or_insert_with(|| {
                *last += 1;
                MdsCap {
                    id: *last,
                    pending: Caps::PIN,
                    issued: Caps::PIN,
                    sent: Vec::new(),
                    seq: 0,
                    last_issue: 0,
                    mseq: 0,
                    wanted: Caps::NONE,
                    forgotten: false,
                }
            });
            cap.pending |= allowed;
            cap.issued |= allowed;
            cap.seq += 1;
            cap.last_issue = cap.seq;
            cap.sent.push((cap.seq, cap.pending));
            stat.cap = ReplyCap {
                caps: cap.pending,
                wanted: cap.wanted,
                cap_id: cap.id,
                seq: cap.seq,
                mseq: cap.mseq,
                realm: 1,
                flags: cap_flags::AUTH,
            };
        }
        stat
    }

    /// Takes the next message of the client to a rank; `false`: it cannot be handled yet, because of a change that waits.
    pub(super) fn receive(&mut self, rank: usize, now_ms: u64) -> bool {
        let Some(command) = self.from_client[rank].pop_front() else { return true };
        match command {
            Command::Request { number, ref op, ref path, ref path2, .. } => {
                let auth = self.nodes[&path.ino].auth;
                if auth != rank {
                    // Sent on.
                    self.from_client[auth].push_back(command);
                    return true;
                }
                if self.must_wait(op, path) {
                    // Later messages are not held up by it.
                    self.from_client[rank].push_back(command);
                    return false;
                }
                let reply = self.answer(rank, op, path, &path2.path, now_ms);
                self.to_client[rank].push_back(ToClient::Reply(number, Box::new(reply)));
            }
            Command::Caps { message, .. } => self.acknowledged(&message, rank),
            Command::Release { release, .. } => {
                for item in release.items {
                    let node = self.nodes.get_mut(&item.ino).unwrap();
                    let is_this = |cap: &&mut MdsCap| cap.id == item.cap_id && item.migrate_seq >= cap.mseq;
                    let Some(cap) = node.cap.as_mut().filter(is_this).filter(|_| node.auth == rank) else {
                        continue;
                    };
                    if item.seq >= cap.last_issue {
                        node.cap = None;
                        continue;
                    }
                    cap.forgotten = true;
                    // It was given anew meanwhile; of what was given before nothing is left (`Capability::clean_revoke_from`).
                    cap.sent.retain(|(seq, _)| *seq > item.seq);
                    cap.issued = cap.sent.iter().fold(Caps::NONE, |all, (_, caps)| all | *caps);
                }
            }
            Command::Lease { message, .. } => {
                let name = String::from_utf8(message.name).unwrap();
                if self.leases.get(&name).is_some_and(|(seq, _)| *seq == message.seq) {
                    self.leases.remove(&name);
                }
            }
            Command::Reconnect { .. } | Command::Open { .. } => {}
        }
        true
    }

    /// Whether a question is about what is just being changed.
    fn must_wait(&self, op: &Op, path: &FilePath) -> bool {
        self.changes.iter().any(|change| match (op, change) {
            (Op::Getattr { mask }, _) => {
                let (ino, bits) = Self::needs(change);
                ino == path.ino && mask.intersects(bits)
            }
            (Op::Lookup { .. }, Change::Entry(name, _)) => name.as_bytes() == path.path,
            (Op::Lookup { .. }, Change::Attributes(ino, _)) => {
                let target =
                    self.entries.get(std::str::from_utf8(&path.path).unwrap()).and_then(|entry| entry.0);
                target == Some(*ino)
            }
            (Op::Readdir(_), Change::Entry(..)) => true,
            _ => false,
        })
    }

    fn acknowledged(&mut self, message: &CapsMessage, rank: usize) {
        let node = self.nodes.get_mut(&message.ino).unwrap();
        let Some(cap) = node.cap.as_mut().filter(|cap| cap.id == message.cap_id && node.auth == rank) else {
            return;
        };
        assert!(message.seq <= cap.seq, "a number that was never sent");
        cap.sent.retain(|(seq, _)| *seq > message.seq);
        cap.issued = cap.sent.iter().fold(message.caps, |all, (_, caps)| all | *caps);
        if cap.sent.is_empty() {
            cap.pending &= message.caps;
        }
        cap.wanted = message.wanted;
    }

    fn answer(&mut self, rank: usize, op: &Op, path: &FilePath, after: &[u8], now_ms: u64) -> Reply {
        let mut reply = Reply { op: op.code(), mdsmap_epoch: 1, safe: true, ..Reply::default() };
        match op {
            Op::Lookup { .. } => {
                let name = String::from_utf8(path.path.clone()).unwrap();
                let target = self.entries.get(&name).and_then(|entry| entry.0);
                let dir = self.stat(DIR, Some(rank));
                let lease = if dir.cap.caps.contains(Caps::FILE_SHARED) || !self.entries.contains_key(&name) {
                    LeaseStat::default()
                } else {
                    self.last_lease += 1;
                    self.leases.insert(name, (self.last_lease, now_ms + u64::from(LEASE_MS)));
                    let mask = lease_mask::VALID;
                    LeaseStat {
                        mask,
                        duration_ms: LEASE_MS,
                        seq: self.last_lease,
                        alternate_name: Vec::new(),
                    }
                };
                reply.dentry =
                    Some(TraceDentry { dir, frag: DirStat::default(), name: path.path.clone(), lease });
                match target {
                    Some(target) => reply.target = Some(self.stat(target, Some(rank))),
                    None => reply.result = -2,
                }
            }
            Op::Readdir(args) => {
                let hash = |name: &str| name_hash(HASH, name.as_bytes()) & 0xff_ffff;
                let present = self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), entry.0?)));
                let mut names: Vec<_> = present.map(|(name, target)| (hash(&name), name, target)).collect();
                names.sort();
                let start = if after.is_empty() {
                    (args.offset_hash, String::new())
                } else {
                    let after = std::str::from_utf8(after).unwrap();
                    (hash(after), after.to_owned())
                };
                names.retain(|(hash, name, _)| (*hash, name.as_str()) > (start.0, start.1.as_str()));
                let limit = args.max_entries as usize;
                let mut flags = readdir_flags::HASH_ORDER | readdir_flags::OFFSET_HASH;
                if names.len() <= limit {
                    flags |= readdir_flags::FRAG_END;
                }
                names.truncate(limit);
                let entry = |(_, name, target): (u32, String, u64)| ReaddirEntry {
                    name: name.into_bytes(),
                    lease: LeaseStat::default(),
                    inode: self.stat(target, Some(rank)),
                };
                let entries = names.into_iter().map(entry).collect();
                let dir = DirStat { frag: Frag::WHOLE, auth: Rank(-1), replicas: Vec::new() };
                reply.extra = ReplyExtra::Readdir(ReaddirReply { dir, flags, entries });
                reply.target = Some(self.stat(DIR, Some(rank)));
            }
            Op::Open { .. } => {
                let stat = self.stat(path.ino, Some(rank));
                if let Some(cap) = self.nodes.get_mut(&path.ino).unwrap().cap.as_mut() {
                    cap.wanted |= FILE_BITS;
                }
                reply.target = Some(stat);
                if let Some(stat) = reply.target.as_mut() {
                    stat.cap.wanted |= FILE_BITS;
                }
            }
            _ => reply.target = Some(self.stat(path.ino, Some(rank))),
        }
        reply
    }

    /// Whether the client has had all that the rank of an inode has said.
    pub(super) fn is_flushed(&self, ino: u64) -> bool {
        self.to_client[self.nodes[&ino].auth].is_empty()
    }

    /// Another rank becomes responsible for an inode. What the old one was taking back is given again, to be taken back by the new one.
    pub(super) fn migrate(&mut self, ino: u64) {
        let node = self.nodes.get_mut(&ino).unwrap();
        let (from, to) = (node.auth, 1 - node.auth);
        node.auth = to;
        let Some(old) = node.cap.take() else { return };
        self.last_id += 1;
        let caps = old.issued | old.pending;
        let new = MdsCap {
            id: self.last_id,
            pending: caps,
            issued: caps,
            sent: vec![(1, caps)],
            seq: 1,
            last_issue: 1,
            mseq: old.mseq + 1,
            wanted: old.wanted,
            forgotten: false,
        };
        let mut export = CapsMessage::new(CapOp::Export, ino, old.id);
        (export.seq, export.migrate_seq) = (old.seq, old.mseq);
        let there = CapPeer { cap_id: new.id, seq: new.seq, mseq: new.mseq, rank: Rank(to as i32), flags: 1 };
        export.peer = Some(there);
        self.to_client[from].push_back(ToClient::Caps(Box::new(export)));
        let here =
            CapPeer { cap_id: old.id, seq: old.seq, mseq: old.mseq, rank: Rank(from as i32), flags: 1 };
        node.cap = Some(new);
        self.say(ino, CapOp::Import);
        if let Some(ToClient::Caps(import)) = self.to_client[to].back_mut() {
            import.peer = Some(here);
        }
        self.adjust(ino, false);
    }

    /// The session with a rank has ended: nothing of it is left.
    pub(super) fn end_session(&mut self, rank: usize) {
        self.to_client[rank].clear();
        self.from_client[rank].clear();
        for node in self.nodes.values_mut().filter(|node| node.auth == rank) {
            node.cap = None;
        }
        if self.nodes[&DIR].auth == rank {
            self.leases.clear();
        }
    }

    /// A rank has waited for a session in vain: nothing is left of what was handed to it. Leases run out by themselves.
    pub(super) fn expire(&mut self, rank: usize) {
        self.to_client[rank].clear();
        for node in self.nodes.values_mut().filter(|node| node.auth == rank) {
            node.cap = None;
        }
    }

    /// Another daemon takes a rank over, and is told what the client holds.
    pub(super) fn take_over(&mut self, rank: usize, caps: &[crate::mds::ReconnectCap]) {
        self.end_session(rank);
        for told in caps {
            let node = self.nodes.get_mut(&told.ino).unwrap();
            if node.auth != rank {
                // Nobody knows how it came to be held here; the client hears that it is not.
                let message = CapsMessage::new(CapOp::Export, told.ino, told.cap_id);
                self.to_client[rank].push_back(ToClient::Caps(Box::new(message)));
                continue;
            }
            node.cap = Some(MdsCap {
                id: told.cap_id,
                pending: told.issued,
                issued: told.issued,
                sent: Vec::new(),
                seq: 0,
                last_issue: 0,
                mseq: 0,
                wanted: told.wanted,
                forgotten: false,
            });
        }
        for ino in self.nodes.keys().copied().collect::<Vec<_>>() {
            if self.nodes[&ino].auth == rank {
                self.adjust(ino, false);
            }
        }
    }
}
