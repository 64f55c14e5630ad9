//! The client of a mounted file system, as a machine that is told what metadata servers say, and tells what to say to them.

mod absent;
mod calls;
mod caps;
mod command;
#[cfg(test)]
mod keep_tests;
#[cfg(test)]
mod lease_tests;
mod listing;
#[cfg(test)]
mod model_mds;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod moves_tests;
#[cfg(test)]
mod ranks_tests;
mod read;
mod recall;
#[cfg(test)]
mod recall_tests;
mod replies;
mod rights;
mod sessions;
mod steps;
mod trim;
#[cfg(test)]
mod trim_tests;
#[cfg(test)]
mod uncovered_tests;
#[cfg(test)]
mod wanted_tests;

use super::answer::{Answer, Done};
use super::config::FsConfig;
use super::error::FsError;
use super::ids::{CallId, FileId, ListingId, Token, Vino};
use super::realm::Realms;
use super::table::Table;
use crate::mds::{CapItem, Caps, FilePath, Rank};
use crate::time::Now;
use crate::types::Epoch;
use absent::Absent;
pub use command::Command;
use listing::{Listing, PageWanted};
use recall::Recall;
use rights::{Hold, NameHold};
use sessions::OpenRanks;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// What a call wants.
#[derive(Clone, Debug)]
enum Task {
    Lookup {
        parent: Vino,
        name: Arc<[u8]>,
    },
    Getattr {
        vino: Vino,
        mask: Caps,
    },
    Readdir(PageWanted),
    /// `keep`: the right to keep its bytes is to be had, if only for a moment.
    Open {
        vino: Vino,
        keep: bool,
    },
    Read {
        file: FileId,
        end: u64,
    },
    Find {
        ino: u64,
    },
    Path {
        path: FilePath,
    },
}

/// A call under way.
#[derive(Debug)]
struct Call {
    task: Task,
    deadline_ms: Option<u64>,
    waits: Waits,
    /// It is among those that look again when there are rights on this inode.
    wakes: Option<Vino>,
    /// The inode was looked for by its number already.
    found: bool,
    /// How often a question was answered that this call needs beside its own.
    asked: u32,
    /// What `asked` was when the call paused last, in order not to ask for the same again at once.
    paused: u32,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Nothing: it is about to be looked at.
    Nothing,
    /// This request.
    Request(u64),
    /// Rights, or this moment: then it counts as forgotten that they are wanted.
    Caps(u64),
    /// Rights, or this moment: then it asks again.
    Pause(u64),
}

/// A question to a metadata server. Calls with the same question share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Lookup(Vino, Arc<[u8]>),
    Getattr(Vino, u32),
    Open(Vino),
    Readdir(ListingId),
    Ino(u64),
    Path(u64, Vec<u8>),
}

/// A question that is being asked.
#[derive(Debug)]
struct InFlight {
    ask: Ask,
    /// Who waits, and whether it did when the question was asked. For others the answer may be too old: what they have to see may have
    /// happened while it was on its way.
    waiters: Vec<(CallId, bool)>,
    /// When it was asked: calls of the same moment wait for the same.
    tick: u64,
    sent_ms: u64,
    /// The path that was asked about.
    path: FilePath,
    /// The directory it is about, and its period.
    period: Option<(Vino, u64)>,
}

/// How a call goes on.
enum Step {
    Done(Result<Answer, FsError>),
    Ask(Ask),
    /// Until rights on this inode change.
    Wait(Vino),
}

/// The client of a mounted file system: what it knows of its inodes, which rights it holds, and who of its user asks for what.
///
/// **Rights.** Metadata servers give *capabilities*: as long as one is held, what it covers does not change. The client answers from
/// what it knows while it holds the right to, and its user may keep what it was told with the rights of an answer. When a server takes
/// a right back, the user is told what to forget ([`Done::Invalidate`]), and only when it has ([`invalidated`](Self::invalidated)) does
/// the client answer the server. Until then the right is held, and calls are answered under it: nobody waits for a server that waits for
/// this client.
///
/// **Use.** Each function but [`poll_done`](Self::poll_done) and [`poll_command`](Self::poll_command) may lead to both.
/// [`on_time`](Self::on_time) is to be called at [`next_timer`](Self::next_timer).
#[derive(Debug)]
pub struct FsClient {
    config: FsConfig,
    table: Table,
    realms: Realms,
    calls: BTreeMap<CallId, Call>,
    last_call: u64,
    /// Calls to look at.
    ready: VecDeque<CallId>,
    /// Calls that wait for rights.
    waiting: BTreeMap<Vino, Vec<CallId>>,
    /// Deadlines of calls, and when they look again.
    timers: BTreeSet<(u64, CallId)>,
    requests: BTreeMap<u64, InFlight>,
    asked: BTreeMap<Ask, u64>,
    last_request: u64,
    files: HashMap<FileId, Vino>,
    listings: HashMap<ListingId, Listing>,
    /// Entries in them that inodes are kept for.
    listed: usize,
    last_handle: u64,
    /// What the user has to forget before something is said to a server.
    holds: HashMap<u64, Hold>,
    last_hold: u64,
    /// Names that are not known any more, and that the user has not forgotten yet.
    names: HashMap<(Vino, Arc<[u8]>), NameHold>,
    /// Those of the holds that nobody but this client has begun.
    taken: BTreeSet<u64>,
    tokens: BTreeMap<Token, Vec<u64>>,
    last_token: u64,
    /// Capabilities to give back.
    releases: BTreeMap<Rank, Vec<CapItem>>,
    /// Files that are not open any more, and when they are not wanted any more.
    unwanted: BTreeSet<(u64, Vino)>,
    /// Inodes that servers may believe to be wanted more than they are.
    unneeded: Vec<Vino>,
    /// Inodes without names that may have come out of use: then their capabilities are given back.
    unlinked: BTreeSet<Vino>,
    /// Names that do not exist.
    absent: Absent,
    /// They are looked through when there are so many.
    absent_again: usize,
    /// What ranks want to have back.
    recalls: BTreeMap<Rank, Recall>,
    /// Of the inodes that were used before this moment nothing more is to be taken from the user.
    taken_to: u64,
    open_ranks: OpenRanks,
    /// Idle inodes are looked for when so many are known.
    trim_again: usize,
    barrier: Epoch,
    commands: VecDeque<Command>,
    done: VecDeque<Done>,
    /// Counts what is told to the client.
    tick: u64,
    /// The last moment that it was told.
    seen_ms: u64,
}

impl FsClient {
    /// A client that knows nothing yet.
    #[must_use]
    pub fn new(config: FsConfig) -> Self {
        Self {
            config,
            table: Table::default(),
            realms: Realms::default(),
            calls: BTreeMap::new(),
            last_call: 0,
            ready: VecDeque::new(),
            waiting: BTreeMap::new(),
            timers: BTreeSet::new(),
            requests: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_request: 0,
            files: HashMap::new(),
            listings: HashMap::new(),
            listed: 0,
            last_handle: 0,
            holds: HashMap::new(),
            last_hold: 0,
            names: HashMap::new(),
            taken: BTreeSet::new(),
            tokens: BTreeMap::new(),
            last_token: 0,
            releases: BTreeMap::new(),
            unwanted: BTreeSet::new(),
            unneeded: Vec::new(),
            unlinked: BTreeSet::new(),
            absent: Absent::default(),
            absent_again: 0,
            recalls: BTreeMap::new(),
            taken_to: 0,
            open_ranks: OpenRanks::default(),
            trim_again: 0,
            barrier: 0,
            commands: VecDeque::new(),
            done: VecDeque::new(),
            tick: 0,
            seen_ms: 0,
        }
    }

    /// What is to be said to metadata servers next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// What the user is to be told next.
    pub fn poll_done(&mut self) -> Option<Done> {
        self.done.pop_front()
    }

    /// Follows a name. [`Answer::Found`] or [`Answer::Absent`].
    pub fn lookup(&mut self, parent: Vino, name: &[u8], deadline_ms: Option<u64>, now: Now) -> CallId {
        self.begin(Task::Lookup { parent, name: name.into() }, deadline_ms, now)
    }

    /// The attributes that these capabilities cover, as they are now ([`Answer::Attributes`]); with [`Caps::RSTAT`] also the recursive
    /// statistics of a directory as its MDS knows them now. Otherwise they are as old as the last answer.
    pub fn getattr(&mut self, vino: Vino, mask: Caps, deadline_ms: Option<u64>, now: Now) -> CallId {
        self.begin(Task::Getattr { vino, mask }, deadline_ms, now)
    }

    /// The live inode of this number, wherever its names are ([`Answer::Found`]).
    pub fn find(&mut self, ino: u64, deadline_ms: Option<u64>, now: Now) -> CallId {
        self.begin(Task::Find { ino }, deadline_ms, now)
    }

    /// What a path leads to ([`Answer::Found`]): the root of a mount, or what [`snapshot_path`](Self::snapshot_path) said.
    pub fn find_path(&mut self, path: FilePath, deadline_ms: Option<u64>, now: Now) -> CallId {
        self.begin(Task::Path { path }, deadline_ms, now)
    }

    /// Entries of a directory after `cookie` (0: from the beginning), at most `limit` ([`Answer::Page`]).
    pub fn readdir(
        &mut self,
        listing: ListingId,
        cookie: u64,
        limit: usize,
        with_attributes: bool,
        deadline_ms: Option<u64>,
        now: Now,
    ) -> CallId {
        let wanted = PageWanted { listing, cookie, limit: limit.max(1), with_attributes };
        self.begin(Task::Readdir(wanted), deadline_ms, now)
    }

    /// Opens a file to read it ([`Answer::Opened`]).
    ///
    /// `keep`: with the right to keep its bytes, also where others have it open for writing. They have to let go of it for that, which takes as long as
    /// they take, and will soon have it back. If it is not to be had all the same, the file is open without it.
    pub fn open(&mut self, vino: Vino, keep: bool, deadline_ms: Option<u64>, now: Now) -> CallId {
        self.begin(Task::Open { vino, keep }, deadline_ms, now)
    }

    /// Waits for the right to read bytes before `end`, and holds it until [`read_done`](Self::read_done) ([`Answer::Read`]).
    pub fn read_right(&mut self, file: FileId, end: u64, deadline_ms: Option<u64>, now: Now) -> CallId {
        self.begin(Task::Read { file, end }, deadline_ms, now)
    }

    /// Nobody waits for this call any more. What it has begun at a server goes on; its answer is used, but not told.
    pub fn give_up(&mut self, id: CallId, now: Now) {
        self.tick += 1;
        self.end_call(id);
        self.settle(now);
    }

    /// How an MDS finds an inode of a snapshot, for [`find_path`](Self::find_path) in a later life; `None`: it is not one, or is not known.
    #[must_use]
    pub fn snapshot_path(&self, vino: Vino) -> Option<FilePath> {
        self.table.get(vino)?.path.clone()
    }

    /// Calls under way.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Inodes that are known.
    #[must_use]
    pub fn inodes(&self) -> usize {
        self.table.len()
    }
}
