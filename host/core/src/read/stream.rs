//! One run of reads: a stream of parts, fetched ahead of its reader.
//!
//! A stream begins with a read that fits to no other. From the start of the file it is taken to be sequential; from
//! anywhere else only what was asked is fetched, until two more reads continue there. A sequential stream fetches
//! ahead in parts that double, over several requests at once, and never further than a few times what was read. Where the files before were read
//! as a whole, it begins with a large part.
//!
//! Parts belong to the file. A stream holds on to those its reader still needs, and lets go of them after.

use super::blocks::{BLOCK, PAGE};
use super::config::ReadConfig;
use super::content::Taking;
use super::file::{Budget, Drive, File, State};
use super::kept::Worth;
use super::part::Part;
use super::plan;
use super::runs::Run;
use super::stride::Stride;
use crate::ports::CachedFile;
use std::num::NonZeroU64;
use std::sync::Arc;
use wasmount_pipe::Pipes;

/// A read that begins this close behind a single read is taken to continue it.
const NEAR: u64 = 128 * 1024;
/// A first read that is smaller than this looks at a header: nobody who reads a whole file begins so.
const GLANCE: u64 = 64 * 1024;
/// First part of a file that is expected to be read as a whole, and how far such a stream fetches ahead from the start: a request costs the store about a
/// millisecond, and the reader its way there and back.
const EAGER: (u64, u64) = (8 << 20, 16 << 20);
/// Largest part that the reader who waits for it fetches itself, without a task. It answers only when all of it is there.
const DRIVEN: u64 = 128 * 1024;

/// Pieces in flight in the place of one part.
const PIECES: usize = 2;

/// Where the bytes of a read are.
pub(super) enum Found {
    /// In these parts, in order and without a gap; what has to be run for the one that does not run by itself.
    Parts(Vec<Arc<Part>>, Option<Drive>),
    /// In the disk cache.
    Disk(Arc<dyn CachedFile>),
}

/// A run of reads of one handle.
pub(super) struct Stream {
    /// Sorted, not overlapping.
    pub(super) parts: Vec<Arc<Part>>,
    /// Where its first read began.
    pub(super) origin: u64,
    /// End of the furthest read.
    pub(super) stands: u64,
    /// End of what was fetched in one run.
    pub(super) next: u64,
    /// Size of the next part; 0: a small one.
    part: u64,
    /// How far behind a multiple of a block its largest reads begin. The kernel's read-ahead grows up to a block and stays wherever it is by then: blocks that
    /// begin there too are shown as they are, all others have to be copied together.
    phase: u64,
    /// Its reads have become whole blocks, and may be answered with pipes.
    blocks: bool,
    /// Once it has run for a while: what others of the file take note of.
    run: Option<Arc<Run>>,
    pub(super) reads: u64,
    /// Bytes that these asked for.
    pub(super) asked: u64,
    pub(super) sequential: bool,
    /// It is expected to reach the end of the file: it begins as others go on.
    eager: bool,
    pub(super) used: u64,
}

/// What a stream may do at the moment.
pub(super) struct Means<'a> {
    pub(super) file: &'a Arc<File>,
    pub(super) config: &'a ReadConfig,
    /// Bytes that it may have in flight and unread.
    pub(super) share: u64,
    /// What is best asked for at once ([`Source::piece`](super::source::Source::piece)), in whole blocks.
    pub(super) piece: Option<NonZeroU64>,
}

impl Means<'_> {
    fn part_max(&self) -> u64 {
        self.config
            .part_max
            .min((self.share / 4 * 3).max(self.config.part_min))
            .min(self.piece.map_or(u64::MAX, NonZeroU64::get))
    }

    /// Parts in flight at once: about as many bytes, however large parts are.
    fn parallel(&self) -> usize {
        if self.piece.is_some() { self.config.parallel.saturating_mul(PIECES) } else { self.config.parallel }
    }
}

/// The disk cache, if it has all of `from..to` and that fits in a block.
fn on_disk(file: &File, from: u64, to: u64) -> Option<Arc<dyn CachedFile>> {
    file.on_disk(from, to).filter(|_| to - from <= BLOCK)
}

impl Stream {
    /// A stream that begins with this read. `whole`: who begins to read a file is expected to read all of it.
    pub(super) fn new(from: u64, to: u64, config: &ReadConfig, whole: bool) -> Self {
        let glance = from == 0 && to < GLANCE;
        let part = if glance { NEAR.min(config.part_min) } else { config.part_min };
        Self {
            parts: Vec::new(),
            origin: from,
            stands: from,
            next: from,
            part: part.max(to - from).min(config.part_max),
            phase: 0,
            blocks: false,
            run: None,
            reads: 0,
            asked: 0,
            sequential: from == 0,
            eager: whole && from == 0 && !glance,
            used: 0,
        }
    }

    /// Whether a read that begins at `from` belongs here.
    pub(super) fn takes(&self, from: u64, to: u64, config: &ReadConfig) -> bool {
        // The more was read in one run, the further a read may be off and still belong to it.
        let run = if self.sequential { self.stands - self.origin } else { 0 };
        let near = NEAR.max(run).max((to - from).saturating_mul(4)).min(config.slack);
        let low = if self.sequential { self.stands.saturating_sub(near).min(self.next) } else { self.origin };
        (low <= from && from <= self.next.saturating_add(near))
            || self.parts.iter().any(|part| part.start <= from && from < part.end)
    }

    /// Takes over what another stream has.
    pub(super) fn join(&mut self, other: Self) {
        for part in other.parts {
            self.add(part);
        }
        if other.origin < self.origin {
            (self.origin, self.run) = (other.origin, other.run);
        }
        self.stands = self.stands.max(other.stands);
        self.next = self.next.max(other.next);
        self.part = self.part.max(other.part);
        if other.blocks {
            (self.blocks, self.phase) = (true, other.phase);
        }
        self.reads += other.reads;
        self.asked += other.asked;
        self.sequential |= other.sequential;
    }

    /// Learns where blocks had better begin, from a read that continues where the stream stands.
    pub(super) fn align(&mut self, from: u64, to: u64, taking: Taking) {
        if to - from == BLOCK && from == self.stands && from.is_multiple_of(PAGE) {
            self.phase = from % BLOCK;
            self.blocks = taking == Taking::Any;
        }
    }

    /// Pipes for a part that begins here, if its blocks are what will be read.
    fn pipes<'a>(&self, file: &'a File, start: u64) -> Option<&'a Arc<Pipes>> {
        file.pipes().filter(|_| self.blocks && start % BLOCK == self.phase)
    }

    /// Is sequential from here on.
    pub(super) fn run_on(&mut self, from: u64) {
        self.sequential = true;
        self.next = self.next.max(from / PAGE * PAGE);
    }

    /// Lets parts go that were read, that lie far behind, or that failed before this read came.
    pub(super) fn drop_useless(&mut self, file: &File, from: u64, to: u64, config: &ReadConfig) {
        let behind = self.stands.min(from).saturating_sub(config.slack);
        let stands = self.stands;
        let useless = |part: &mut Arc<Part>| {
            let needed = part.start < to && from < part.end;
            let read = part.end <= stands && part.is_delivered();
            part.is_failed() || (!needed && (read || part.end <= behind))
        };
        for part in self.parts.extract_if(.., useless) {
            file.reading.memory.keep(part, Worth::Passed);
        }
    }

    pub(super) fn close(self, file: &File) {
        let worth = if file.version.size <= file.reading.config.whole { Worth::Again } else { Worth::Passed };
        for part in self.parts {
            file.reading.memory.keep(part, worth);
        }
    }

    /// A file that is fetched as a whole.
    pub(super) fn whole(&mut self, file: &Arc<File>, from: u64, to: u64) -> Found {
        let size = file.version.size;
        let mut state = file.lock();
        if let Some(parts) = state.covering(from, to) {
            for part in &parts {
                self.add(part.clone());
            }
            return Found::Parts(parts, None);
        }
        if let Some(cached) = on_disk(file, from, to) {
            return Found::Disk(cached);
        }
        let drive = if size <= DRIVEN && state.overlapping(0, size).is_empty() {
            let (part, drive) = state.begin(file, 0, size, None);
            self.add(part);
            Some(drive)
        } else {
            for part in state.claim(file, 0, size, Budget::Wait) {
                self.add(part);
            }
            None
        };
        Found::Parts(self.covering(&mut state, from, to), drive)
    }

    /// The parts that hold `from..to`, after those that were missing have been started. One of them may have failed already:
    /// then our own, so that the reader learns why.
    fn covering(&self, state: &mut State, from: u64, to: u64) -> Vec<Arc<Part>> {
        state.covering(from, to).unwrap_or_else(|| {
            self.parts.iter().filter(|part| part.start < to && from < part.end).cloned().collect()
        })
    }

    /// The bytes of a large file.
    pub(super) fn find(&mut self, means: &Means<'_>, stride: &Stride, from: u64, to: u64) -> Found {
        let file = means.file;
        let mut state = file.lock();
        let there = state.covering(from, to);
        if !self.sequential && stride.distance().is_none() {
            state.scatter.hit(to - from);
        }
        if let Some(parts) = there {
            if self.sequential {
                for part in &parts {
                    self.add(part.clone());
                }
            }
            return Found::Parts(parts, None);
        }
        // A part that has given away other bytes is not found by others any more.
        let has = |part: &&Arc<Part>| {
            part.start <= from && to <= part.end && !part.is_failed() && !part.is_given_away(from, to)
        };
        if let Some(own) = self.parts.iter().find(has) {
            return Found::Parts(vec![own.clone()], None);
        }
        // A running stream reads the disk ahead as well, in parts.
        if (!self.sequential || self.reads <= 2)
            && let Some(cached) = on_disk(file, from, to)
        {
            return Found::Disk(cached);
        }
        if self.sequential {
            self.cover(means, &mut state, from, to);
            return Found::Parts(self.covering(&mut state, from, to), None);
        }
        let found = scattered(means, &mut state, stride, from, to);
        drop(state);
        if file.may_grow() {
            file.consider_fill(from, to);
        }
        found
    }

    /// Makes sure of parts for `from..to`, and of all up to there.
    pub(super) fn cover(&mut self, means: &Means<'_>, state: &mut State, from: u64, to: u64) {
        let (file, config, size) = (means.file, means.config, means.file.version.size);
        let until =
            self.bound(state, means).map_or(size, |bound| bound.max(to.next_multiple_of(PAGE)).min(size));
        // One run of parts up to here: the reads in between are on their way.
        while self.next < to {
            let part = self.part(means);
            let end = plan::part_end(self.next, part, until, self.phase, means.piece);
            let pipes = self.pipes(file, self.next);
            for part in state.claim_with(file, self.next, end, Budget::Wait, pipes) {
                self.add(part);
            }
            self.part = part.saturating_mul(2).min(means.part_max());
            self.next = end;
        }
        let spans = state.overlapping(from, to).iter().map(|part| (part.start, part.end)).collect::<Vec<_>>();
        for (start, end) in plan::gaps(from, to, spans.into_iter()) {
            let (low, high) = state.space(start, end, size);
            // In a run of reads more will be wanted: a hole is what a failed or given-up part has left.
            let end = end.max(start.saturating_add(config.part_min)).min(high);
            let (start, end) = plan::exact(start, end, low, high);
            for part in state.claim(file, start, end, Budget::Wait) {
                self.add(part);
            }
            self.next = self.next.max(end);
        }
    }

    /// Starts what will be read next, as far as memory is free.
    pub(super) fn fetch_ahead(&mut self, means: &Means<'_>) {
        let (file, config, size) = (means.file, means.config, means.file.version.size);
        let eager = self.is_eager(file);
        if self.reads < 2 && !eager {
            return;
        }
        let most = config.ahead.min(means.share);
        let limit = plan::ahead(self.stands - self.origin, config.part_min, most);
        let limit = if eager { limit.max(EAGER.1.min(most)) } else { limit };
        let until = self.bound(&mut file.lock(), means).unwrap_or(size);
        let mut in_flight = self.parts.iter().filter(|part| part.is_in_flight()).count();
        while in_flight < means.parallel()
            && self.next < until
            && self.next.saturating_sub(self.stands) < limit
        {
            let part = self.part(means).max(config.part_min);
            let end = plan::part_end(self.next, part, until, self.phase, means.piece);
            let pipes = self.pipes(file, self.next);
            let parts = file.lock().claim_with(file, self.next, end, Budget::Free, pipes);
            let Some(got) = parts.last().map(|part| part.end) else { break };
            for part in parts {
                in_flight += usize::from(part.is_in_flight());
                self.add(part);
            }
            self.part = part.saturating_mul(2).min(means.part_max());
            self.next = got.max(self.next);
            if got < end {
                break;
            }
        }
    }

    /// Whether it begins as others go on. Not as long as that would go through memory because nobody knows yet where blocks begin.
    fn is_eager(&self, file: &File) -> bool {
        self.eager && (self.blocks || file.pipes().is_none())
    }

    /// Whether all of a file of so many bytes was read, but for what the kernel may have had.
    pub(super) fn has_read_all(&self, size: u64) -> bool {
        self.origin == 0 && self.stands >= size && self.asked >= size / 2
    }

    /// What was fetched ahead is gone: goes on from where the reader is, and begins small.
    pub(super) fn begin_again(&mut self) {
        self.next = self.parts.last().map_or(self.stands, |part| part.end.max(self.stands));
        (self.part, self.eager) = (0, false);
    }

    /// Size of the next part.
    fn part(&self, means: &Means<'_>) -> u64 {
        let part = match self.part {
            0 => means.config.part_min,
            part if self.is_eager(means.file) => part.max(EAGER.0),
            part => part,
        };
        part.min(means.part_max())
    }

    /// Where the next stream of the file has begun, of those that have run for a while and go on. A multiple of a page.
    fn bound(&mut self, state: &mut State, means: &Means<'_>) -> Option<u64> {
        let now = means.file.reading.clock.now();
        match &self.run {
            Some(run) => run.read_at(now),
            None if self.stands - self.origin < means.config.part_min => {}
            None => self.run = Some(state.runs.begin(self.origin, now)),
        }
        // One that has begun where this one has is no other stretch.
        let bound = state.runs.first_from(self.stands.max(self.origin + 1), now)?;
        Some(bound.next_multiple_of(PAGE).min(means.file.version.size))
    }

    pub(super) fn add(&mut self, part: Arc<Part>) {
        let at = self.parts.partition_point(|p| p.start < part.start);
        if self.parts.get(at).is_none_or(|own| !Arc::ptr_eq(own, &part)) {
            self.parts.insert(at, part);
        }
    }
}

/// The parts of a scattered read, which are not all there: what was asked for, or a block around it.
fn scattered(means: &Means<'_>, state: &mut State, stride: &Stride, from: u64, to: u64) -> Found {
    let (file, size) = (means.file, means.file.version.size);
    let (low, high) = state.space(from, to, size);
    let exact = plan::exact(from, to, low, high);
    let mut range = exact;
    // What is around a hit is worth fetching where it can be kept.
    if file.may_grow() && stride.distance().is_none() {
        let (room, on_disk) = (file.room(from, to), file.blocks_on_disk());
        let (start, end) = state.scatter.range((from, to), size, room, means.config, on_disk);
        if start < exact.0 || end > exact.1 {
            range = (start.min(exact.0), end.max(exact.1));
        }
    }
    if range != exact {
        // Held, so that they are there when they are looked for.
        let _new = state.grow(file, range.0, range.1);
        if let Some(parts) = state.covering(from, to) {
            return Found::Parts(parts, None);
        }
    }
    if exact.1 - exact.0 <= DRIVEN && state.overlapping(exact.0, exact.1).is_empty() {
        let (part, drive) = state.begin(file, exact.0, exact.1, None);
        return Found::Parts(vec![part], Some(drive));
    }
    let mut parts = state.claim(file, exact.0, exact.1, Budget::Wait);
    parts.retain(|part| part.start < to && from < part.end);
    Found::Parts(parts, None)
}
