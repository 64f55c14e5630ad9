//! The client against a model of metadata servers, in random orders of everything that can happen.
//!
//! The user keeps whatever it may, as a kernel does, and checks whenever something is changed that nobody can see the old any more: not
//! in what is kept, and not in a read under way. Whatever is answered must have been true at some moment of the call. In the end
//! everything must come to rest: no call, no change and no answer to a server may be left.

use super::model_mds::{Change, DIR, Group, Mds, ToClient};
use super::{Command, FsClient};
use crate::cephfs::{CallId, Done, FileId, FsConfig, Invalid, ListingId, Token, Vino};
use crate::mds::{CapOp, Caps, Rank};
use crate::time::Now;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[path = "model_user.rs"]
mod user;

const FILES: u64 = 3;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// How often each part of each inode has changed.
type Versions = BTreeMap<u64, BTreeMap<Group, u64>>;

/// A call of the user, and what was true when it began.
enum Asked {
    Lookup(String, u64),
    Getattr(u64, u32),
    Open(u64),
    Read(FileId, u64),
    List(ListingId),
}

/// A listing under way: how often each name had changed when it began, and what was seen.
#[derive(Default)]
struct Seen {
    names: BTreeMap<String, (Option<u64>, u64)>,
    listed: Vec<String>,
}

/// A session with a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Open,
    /// There is none, but the rank may believe that there is one because another rank has handed it something of the client.
    Closed,
    /// It has waited for the client for too long.
    Expired,
}

struct World {
    client: FsClient,
    mds: Mds,
    random: u64,
    now_ms: u64,
    calls: BTreeMap<CallId, (Asked, Versions)>,
    outstanding: BTreeMap<u64, Command>,
    /// How the client's session with each rank is.
    sessions: [Session; 2],
    files: Vec<(FileId, u64)>,
    /// Reads under way: of which file, and whether the right to it is still held.
    reading: Vec<(u64, bool)>,
    listings: BTreeMap<ListingId, Seen>,
    tokens: VecDeque<(Token, Vec<Invalid>)>,
    kept_attributes: BTreeSet<u64>,
    kept_pages: BTreeSet<u64>,
    kept_entries: BTreeSet<String>,
    /// Names that are kept until this moment.
    kept_leases: BTreeMap<String, u64>,
    kept_listing: bool,
    references: BTreeMap<u64, u64>,
    answered: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        // For some there is no room for all inodes.
        let all_inodes = if seed.is_multiple_of(2) { FILES as usize } else { 1_000 };
        let config = FsConfig {
            idle_inodes: 2,
            all_inodes,
            readdir_entries: 2,
            unwanted_after_ms: 300,
            ..FsConfig::default()
        };
        let mut client = FsClient::new(config);
        [Rank(0), Rank(1)].into_iter().for_each(|rank| client.resumed(rank, Now::default()));
        Self {
            client,
            mds: Mds::new(FILES, &NAMES),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now_ms: 1_000,
            calls: BTreeMap::new(),
            outstanding: BTreeMap::new(),
            sessions: [Session::Open; 2],
            files: Vec::new(),
            reading: Vec::new(),
            listings: BTreeMap::new(),
            tokens: VecDeque::new(),
            kept_attributes: BTreeSet::new(),
            kept_pages: BTreeSet::new(),
            kept_entries: BTreeSet::new(),
            kept_leases: BTreeMap::new(),
            kept_listing: false,
            references: BTreeMap::new(),
            answered: 0,
        }
    }

    fn number(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn now(&self) -> Now {
        Now { monotonic_ms: self.now_ms, ..Now::default() }
    }

    fn ino(&mut self) -> u64 {
        DIR + self.number(FILES + 1)
    }

    fn file(&mut self) -> u64 {
        DIR + 1 + self.number(FILES)
    }

    /// What the user is told.
    fn hear(&mut self) {
        while let Some(done) = self.client.poll_done() {
            match done {
                Done::Call { id, result } => {
                    let (asked, before) = self.calls.remove(&id).unwrap();
                    self.answered += 1;
                    self.check(asked, &before, result.unwrap());
                }
                Done::Invalidate { token, items } if items == [Invalid::Everything] => {
                    self.forget(&items);
                    self.client.invalidated(token, self.now());
                }
                Done::Invalidate { token, items } => self.tokens.push_back((token, items)),
                Done::Shrink { .. } => {}
            }
        }
        while let Some(command) = self.client.poll_command() {
            let rank = match &command {
                Command::Request { number, rank, .. } => {
                    self.outstanding.insert(*number, command.clone());
                    rank.unwrap_or_default()
                }
                Command::Caps { rank, .. } | Command::Release { rank, .. } | Command::Lease { rank, .. } => {
                    *rank
                }
                // Sooner or later.
                Command::Open { .. } => continue,
                Command::Reconnect { rank, caps, .. } => {
                    self.mds.take_over(rank.0 as usize, caps);
                    self.ask_again();
                    continue;
                }
            };
            let heard = self.sessions[rank.0 as usize] == Session::Open;
            if heard || matches!(command, Command::Request { .. }) {
                self.mds.from_client[rank.0 as usize].push_back(command);
            }
        }
    }

    fn others(&mut self) {
        match self.number(6) {
            0..=2 if self.mds.changes.len() < 2 => {
                let (ino, name) = (self.ino(), NAMES[self.number(5) as usize]);
                let group = [Group::Owner, Group::Xattrs, Group::Content][self.number(3) as usize];
                let target = (self.number(3) > 0).then(|| self.file());
                let entry = self.number(2) == 0 || (ino == DIR && group == Group::Content);
                let change = if entry {
                    Change::Entry(name.to_owned(), target)
                } else {
                    Change::Attributes(ino, group)
                };
                self.mds.begin(change);
            }
            3 => {
                let ino = self.ino();
                self.mds.adjust(ino, true);
            }
            4 => {
                let ino = self.file();
                let node = self.mds.nodes.get_mut(&ino).unwrap();
                node.mixed = !node.mixed;
                self.mds.adjust(ino, false);
            }
            _ => {
                // A rank gives an inode away only when its client has had all that was said before (`Migrator::export_sessions_flushed`).
                let ino = self.ino();
                if self.mds.is_flushed(ino) {
                    self.mds.migrate(ino);
                }
            }
        }
    }

    /// Others change something, if everybody has let go of it.
    fn change(&mut self) {
        let Some(change) = self.mds.apply(self.now_ms) else { return };
        match change {
            Change::Attributes(ino, group) => {
                assert!(!self.kept_attributes.contains(&ino), "{group:?} of {ino} is kept");
                if group == Group::Content {
                    assert!(!self.kept_pages.contains(&ino), "bytes of {ino} are kept");
                    let reads = self.reading.contains(&(ino, true));
                    assert!(self.mds.nodes[&ino].mixed || !reads, "{ino} is being read");
                }
            }
            Change::Entry(name, _) => {
                assert!(!self.kept_entries.contains(&name) && !self.kept_listing, "{name} is kept");
                let leased = self.kept_leases.get(&name).is_some_and(|until| *until > self.now_ms);
                assert!(!leased, "{name} is kept for a while");
            }
        }
    }

    fn deliver(&mut self, rank: usize) {
        let (Some(message), now) = (self.mds.to_client[rank].pop_front(), self.now()) else { return };
        let from = Rank(rank as i32);
        match message {
            ToClient::Reply(number, reply) => {
                self.outstanding.remove(&number);
                self.client.replied(number, from, 0, *reply, now);
            }
            ToClient::Caps(message) => self.client.caps(from, &message, now),
            ToClient::Lease(message) => self.client.lease_message(from, message, now),
        }
    }

    /// Requests that were not answered are sent again.
    fn ask_again(&mut self) {
        for (number, command) in &self.outstanding {
            let is_same =
                |other: &Command| matches!(other, Command::Request { number: of, .. } if of == number);
            let on_its_way = self.mds.from_client.iter().flatten().any(is_same)
                || self
                    .mds
                    .to_client
                    .iter()
                    .flatten()
                    .any(|m| matches!(m, ToClient::Reply(of, _) if of == number));
            if !on_its_way {
                self.mds.from_client[0].push_back(command.clone());
            }
        }
    }

    fn session(&mut self) {
        // Ranks tell each other of moves when one of them is replaced; this model does not.
        let moves = |message: &ToClient| matches!(message, ToClient::Caps(message) if matches!(message.op, CapOp::Export | CapOp::Import));
        if self.mds.to_client.iter().flatten().any(moves) {
            return;
        }
        let (number, now) = (self.number(2) as usize, self.now());
        let rank = Rank(number as i32);
        if self.sessions[number] != Session::Open {
            return;
        }
        match self.number(4) {
            0 => {
                self.mds.end_session(number);
                // A read that was under way when the right was lost cannot be taken back.
                self.reading.iter_mut().for_each(|(_, held)| *held = false);
                self.kept_leases.clear();
                self.client.closed(rank, now);
                self.sessions[number] = Session::Closed;
                self.hear();
                self.ask_again();
            }
            1 => {
                self.client.suspended(rank, false, now);
                self.hear();
                self.client.resumed(rank, now);
            }
            2 => {
                // What was on its way is lost, as the daemon is.
                self.mds.to_client[number].clear();
                self.kept_leases.clear();
                self.client.reconnect(rank, now);
            }
            _ => self.client.recall(rank, 1, now),
        }
    }

    /// A rank without a session waits for one as long as it waits, and then lets others have what the client should have given back; or there is one.
    fn sessionless(&mut self, number: usize) {
        let (rank, now, gives_up) = (Rank(number as i32), self.now(), self.number(2) == 0);
        match self.sessions[number] {
            Session::Open => {}
            // That takes longer than to forget what the client has heard that it has lost.
            Session::Closed
                if gives_up && self.tokens.is_empty() && self.mds.to_client[1 - number].is_empty() =>
            {
                self.mds.expire(number);
                self.reading.iter_mut().for_each(|(_, held)| *held = false);
                self.kept_leases.clear();
                self.sessions[number] = Session::Expired;
            }
            Session::Closed => {
                self.sessions[number] = Session::Open;
                self.client.resumed(rank, now);
            }
            Session::Expired => {
                self.client.closed(rank, now);
                self.sessions[number] = Session::Open;
                self.client.resumed(rank, now);
            }
        }
    }

    fn step(&mut self, wild: bool) {
        match self.number(20) {
            0..=2 if wild => self.call(),
            3 if wild => self.others(),
            4 if wild && self.number(12) == 0 => self.session(),
            5..=6 => self.user(),
            7..=9 => self.invalidate(),
            10..=12 => {
                let rank = self.number(2) as usize;
                if self.sessions[rank] == Session::Open {
                    self.mds.receive(rank, self.now_ms);
                }
            }
            13..=16 => {
                let rank = self.number(2) as usize;
                if self.sessions[rank] == Session::Open {
                    self.deliver(rank);
                }
            }
            17..=18 => self.change(),
            _ if self.number(4) == 0 => {
                let rank = self.number(2) as usize;
                self.sessionless(rank);
            }
            _ => {
                self.now_ms += self.number(60);
                if self.client.next_timer().is_some_and(|at| at <= self.now_ms) {
                    self.client.on_time(self.now());
                }
            }
        }
        self.hear();
        assert_eq!(self.overlooked(), []);
    }

    /// What both sides believe of what a change waits for.
    fn client_side(&self, change: &Change) -> String {
        let ino = match change {
            Change::Attributes(ino, _) => *ino,
            Change::Entry(..) => DIR,
        };
        let client = self.client.table.get(Vino::head(ino));
        let caps: Option<Vec<_>> = client.map(|inode| inode.caps.iter().collect());
        let rest = client.map(|inode| (inode.told, inode.holds.len(), inode.readers, inode.opens));
        format!("{change:?}: MDS {:?}, client {caps:?}, {rest:?}", self.mds.nodes[&ino])
    }

    /// Nobody has a file open any more.
    fn nothing_is_wanted(&self, seed: u64) {
        for (ino, node) in &self.mds.nodes {
            let cap = node.cap.as_ref().filter(|cap| !cap.forgotten);
            let wanted = cap.map_or(Caps::NONE, |cap| cap.wanted) - Caps::PIN;
            let client = self.client.table.get(Vino::head(*ino)).map(|inode| &inode.caps);
            assert!(wanted.is_empty(), "seed {seed}, {ino}: {wanted:?} is wanted: {node:?}, {client:?}");
        }
    }

    /// Inodes that can be forgotten, and are not looked at by who looks for some.
    fn overlooked(&self) -> Vec<Vino> {
        let spare = |inode: &&crate::cephfs::inode::Inode| {
            let noted = self.client.table.oldest_spare_from(inode.used);
            self.client.is_spare(inode.vino()) && noted != Some((inode.used, inode.vino()))
        };
        self.client.table.iter().filter(spare).map(crate::cephfs::inode::Inode::vino).collect()
    }

    fn rests(&self) -> bool {
        self.calls.is_empty()
            && self.mds.changes.is_empty()
            && self.tokens.is_empty()
            && self.reading.is_empty()
            && self.outstanding.is_empty()
            && self.mds.to_client.iter().all(VecDeque::is_empty)
            && self.mds.from_client.iter().all(VecDeque::is_empty)
    }
}

fn run(seed: u64, steps: usize) -> usize {
    let mut world = World::new(seed);
    for _ in 0..steps {
        world.step(true);
    }
    for node in world.mds.nodes.values_mut() {
        node.mixed = false;
    }
    for _ in 0..20_000 {
        if world.rests() {
            let now = world.now();
            world.files.drain(..).for_each(|(file, _)| world.client.close(file, now));
            if world.client.next_timer().is_none() && world.rests() {
                world.nothing_is_wanted(seed);
                return world.answered;
            }
        }
        world.step(false);
        if world.number(50) == 0 {
            // Servers give again what is wanted when nothing stands against it.
            (DIR..=DIR + FILES).for_each(|ino| world.mds.adjust(ino, true));
        }
    }
    let held: Vec<_> = world.mds.changes.iter().map(|change| world.client_side(change)).collect();
    let waiting: Vec<String> = world.calls.keys().filter_map(|id| world.client.waits_for(*id)).collect();
    panic!(
        "seed {seed} does not come to rest: calls {waiting:?}, changes {held:?}, {} tokens, {} reads",
        world.tokens.len(),
        world.reading.len()
    );
}

#[test]
fn nothing_old_is_seen_and_nobody_waits_for_ever() {
    let seeds = std::env::var("CEPHFS_MODEL_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let answered: usize = (0..seeds).map(|seed| run(seed, 400)).sum();
    // The model must not stand still.
    assert!(answered > seeds as usize * 10, "{answered} answers");
}
