//! What a handle has in memory or under way: a few streams, each a run of parts.
//!
//! A stream begins with a read that fits to no other. From the start of the file it is taken to be sequential; from
//! anywhere else only what was asked is fetched, until two more reads continue there. A sequential stream fetches
//! ahead in parts that double, over several requests at once, and never further than a few times what was read.

use super::config::ReadConfig;
use super::flight::Source;
use super::part::Part;
use super::plan;
use std::sync::Arc;

/// A read that begins this close behind a single read is taken to continue it.
const NEAR: u64 = 128 * 1024;

struct Stream {
    /// Sorted, not overlapping.
    parts: Vec<Arc<Part>>,
    /// Where its first read began.
    origin: u64,
    /// End of the furthest read.
    stands: u64,
    /// End of what was fetched in one run.
    next: u64,
    /// Size of the next part.
    part: u64,
    reads: u64,
    sequential: bool,
    used: u64,
}

/// The streams of a handle.
#[derive(Default)]
pub(super) struct Window {
    streams: Vec<Stream>,
    /// Reads so far.
    tick: u64,
}

impl Window {
    /// The parts that hold `from..to`, in order and without a gap; starts what is missing and what comes next.
    pub(super) fn parts(&mut self, source: &Arc<Source>, from: u64, to: u64) -> Vec<Arc<Part>> {
        let config = source.config.clone();
        let size = source.file.size;
        self.tick += 1;
        let tick = self.tick;
        self.streams.retain(|stream| stream.used + config.idle_reads >= tick);
        let index = match self.fitting(from, to, &config) {
            Some(index) => index,
            None => {
                self.make_room(config.streams);
                self.streams.push(Stream::new(from, to, &config));
                self.streams.len() - 1
            }
        };
        let Some(stream) = self.streams.get_mut(index) else { return Vec::new() };
        stream.used = tick;
        stream.reads += 1;
        stream.drop_useless(from, to, &config);
        if size <= config.whole {
            if stream.parts.is_empty() {
                stream.add(source.fetch(0, size, None));
            }
        } else {
            stream.cover(source, from, to);
        }
        stream.stands = stream.stands.max(to);
        let wanted = stream.parts.iter().filter(|part| part.start < to && from < part.end).cloned().collect();
        if size > config.whole {
            stream.fetch_ahead(source);
        }
        // Two reads side by side may be chance; the third finds the stream running.
        stream.sequential |= stream.reads > 1;
        wanted
    }

    /// Forgets a part that failed, so that the next read tries again.
    pub(super) fn forget(&mut self, failed: &Arc<Part>) {
        for stream in &mut self.streams {
            stream.parts.retain(|part| !Arc::ptr_eq(part, failed));
        }
    }

    /// Drops what nobody waits for.
    pub(super) fn shrink(&mut self) {
        for stream in &mut self.streams {
            stream.parts.retain(|part| Arc::strong_count(part) > 1);
            // What was fetched ahead is gone: go on from where the reader is, and begin small.
            stream.next = stream.parts.last().map_or(stream.stands, |part| part.end.max(stream.stands));
            stream.part = 0;
        }
    }

    /// The stream that a read belongs to. Where one has fetched ahead into another's stretch, the one that stands nearest
    /// goes on; those that stand close together are one stream whose reads came in another order, and become one.
    fn fitting(&mut self, from: u64, to: u64, config: &ReadConfig) -> Option<usize> {
        let fits = |(_, stream): &(usize, &Stream)| stream.takes(from, to, config);
        let fitting = self.streams.iter().enumerate().filter(fits);
        let (index, stands) = fitting
            .map(|(index, stream)| (index, stream.stands))
            .min_by_key(|(_, stands)| stands.abs_diff(from))?;
        let mut chosen = self.streams.swap_remove(index);
        let mut others = std::mem::take(&mut self.streams);
        for other in others.drain(..) {
            if other.stands.abs_diff(stands) <= config.slack && other.takes(from, to, config) {
                chosen.join(other);
            } else {
                self.streams.push(other);
            }
        }
        self.streams.push(chosen);
        Some(self.streams.len() - 1)
    }

    fn make_room(&mut self, streams: usize) {
        while self.streams.len() >= streams.max(1) {
            let oldest = self.streams.iter().enumerate().min_by_key(|(_, stream)| stream.used);
            let Some((oldest, _)) = oldest else { break };
            self.streams.swap_remove(oldest);
        }
    }
}

impl Stream {
    fn new(from: u64, to: u64, config: &ReadConfig) -> Self {
        Self {
            parts: Vec::new(),
            origin: from,
            stands: from,
            next: from,
            part: config.part_min.max(to - from).min(config.part_max),
            reads: 0,
            sequential: from == 0,
            used: 0,
        }
    }

    /// Whether a read that begins at `from` belongs here.
    fn takes(&self, from: u64, to: u64, config: &ReadConfig) -> bool {
        // The more was read in one run, the further a read may be off and still belong to it.
        let run = if self.sequential { self.stands - self.origin } else { 0 };
        let near = NEAR.max(run).max((to - from).saturating_mul(4)).min(config.slack);
        let low = if self.sequential { self.stands.saturating_sub(near).min(self.next) } else { self.origin };
        (low <= from && from <= self.next.saturating_add(near))
            || self.parts.iter().any(|part| part.start <= from && from < part.end)
    }

    /// Takes over what another stream has.
    fn join(&mut self, other: Self) {
        for part in other.parts {
            if self.parts.iter().all(|own| own.end <= part.start || part.end <= own.start) {
                self.add(part);
            }
        }
        self.origin = self.origin.min(other.origin);
        self.stands = self.stands.max(other.stands);
        self.next = self.next.max(other.next);
        self.part = self.part.max(other.part);
        self.reads += other.reads;
        self.sequential |= other.sequential;
    }

    /// Drops parts that were read, that lie far behind, or that failed before this read came.
    fn drop_useless(&mut self, from: u64, to: u64, config: &ReadConfig) {
        let behind = self.stands.min(from).saturating_sub(config.slack);
        self.parts.retain(|part| {
            let needed = part.start < to && from < part.end;
            part.error().is_none() && (needed || !(part.is_delivered() || part.end <= behind))
        });
    }

    /// Makes `parts` cover `from..to`.
    fn cover(&mut self, source: &Arc<Source>, from: u64, to: u64) {
        let (config, size) = (&source.config, source.file.size);
        if self.sequential {
            // One run of parts up to here: the reads in between are on their way.
            while self.next < to {
                let part = self.part.max(config.part_min);
                let end = plan::part_end(self.next, part, size);
                self.add(source.fetch(self.next, end, None));
                self.part = part.saturating_mul(2).min(config.part_max);
                self.next = end;
            }
        }
        let spans = self.parts.iter().map(|part| (part.start, part.end)).collect::<Vec<_>>();
        for (start, end) in plan::gaps(from, to, spans.iter().copied()) {
            let low = spans.iter().filter(|s| s.1 <= start).map(|s| s.1).max().unwrap_or(0);
            let high = spans.iter().filter(|s| s.0 >= end).map(|s| s.0).min().unwrap_or(size);
            // In a run of reads more will be wanted: a hole is what a failed or given-up part has left.
            let end = if self.sequential { end.max(start.saturating_add(config.part_min)) } else { end };
            let (start, end) = plan::exact(start, end.min(high), low, high.min(size));
            self.add(source.fetch(start, end, None));
            self.next = self.next.max(end);
        }
    }

    /// Starts what will be read next, as far as memory is free.
    fn fetch_ahead(&mut self, source: &Arc<Source>) {
        let (config, size) = (&source.config, source.file.size);
        if !self.sequential || self.reads < 2 {
            return;
        }
        let limit = plan::ahead(self.stands - self.origin, config.part_min, config.ahead);
        let mut in_flight = self.parts.iter().filter(|part| part.is_in_flight()).count();
        while in_flight < config.parallel && self.next < size && self.next.saturating_sub(self.stands) < limit
        {
            let part = self.part.max(config.part_min);
            let end = plan::part_end(self.next, part, size);
            let Some(grant) = source.memory.try_reserve(self.next, end) else { break };
            self.add(source.fetch(self.next, end, Some(grant)));
            self.part = part.saturating_mul(2).min(config.part_max);
            self.next = end;
            in_flight += 1;
        }
    }

    fn add(&mut self, part: Arc<Part>) {
        let at = self.parts.partition_point(|p| p.start < part.start);
        self.parts.insert(at, part);
    }
}
