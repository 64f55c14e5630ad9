//! What a handle is expected to read next: a few streams, and reads at a constant distance.

use super::blocks::{BLOCK, PAGE};
use super::config::ReadConfig;
use super::content::Taking;
use super::file::{Budget, File};
use super::part::Part;
use super::plan;
use super::stream::{Found, Means, Stream};
use super::stride::Stride;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The streams of a handle.
#[derive(Default)]
pub(super) struct Window {
    streams: Vec<Stream>,
    stride: Stride,
    /// What was fetched for reads expected at a constant distance.
    expected: Vec<Arc<Part>>,
    /// Reads so far.
    tick: u64,
}

impl Window {
    /// Where the bytes `from..to` are; starts fetching what is missing and what comes next. `share`: bytes that this reader
    /// may have in flight and unread.
    pub(super) fn find(&mut self, file: &Arc<File>, from: u64, to: u64, share: u64, taking: Taking) -> Found {
        let config = &file.reading.config;
        let size = file.version.size;
        let piece = file.source.piece().and_then(|piece| NonZeroU64::new(piece / BLOCK * BLOCK));
        let means = Means { file, config, share, piece };
        self.tick += 1;
        let tick = self.tick;
        self.let_idle_go(file, tick, config);
        self.stride.note(from, to);
        let index = match self.fitting(from, to, config) {
            Some(index) => index,
            None => {
                self.make_room(file, config.streams);
                self.streams.push(Stream::new(from, to, config, file.reading.expects_whole()));
                self.streams.len() - 1
            }
        };
        let Self { streams, stride, expected, .. } = self;
        let Some(stream) = streams.get_mut(index) else { return Found::Parts(Vec::new(), None) };
        stream.used = tick;
        stream.reads += 1;
        stream.asked += to - from;
        stream.drop_useless(file, from, to, config);
        stream.align(from, to, taking);
        let found = if size <= config.whole {
            stream.whole(file, from, to)
        } else {
            let near = |distance: i64| distance > 0 && distance.unsigned_abs() <= config.part_min;
            if !stream.sequential && stride.distance().is_some_and(near) {
                // The gaps are cheaper than requests for what is between them.
                stream.run_on(from);
            }
            stream.find(&means, stride, from, to)
        };
        stream.stands = stream.stands.max(to);
        // From a page on, so that what is fetched can be cached; only the end of the file lies inside one.
        stream.next = stream.next.max(if to == size { to } else { to / PAGE * PAGE });
        if size > config.whole {
            if stream.sequential {
                stream.fetch_ahead(&means);
                expected.clear();
            } else {
                expect(file, stride, expected);
            }
        }
        // Two reads side by side may be chance; the third finds the stream running.
        stream.sequential |= stream.reads > 1;
        found
    }

    /// Drops what nobody waits for; pages that this frees.
    pub(super) fn shrink(&mut self) -> u64 {
        let mut freed = 0;
        for stream in &mut self.streams {
            let before = stream.parts.len();
            stream.parts.retain(|part| {
                let last = Arc::strong_count(part) == 1;
                freed += if last { part.pages() } else { 0 };
                // One that is complete has nobody waiting for it: it may be another handle's as well, which is asked too.
                !last && !part.is_complete()
            });
            if stream.parts.len() < before {
                stream.begin_again();
            }
        }
        freed += self.expected.drain(..).map(|part| part.pages()).sum::<u64>();
        freed
    }

    /// Lets everything go: what is complete may be kept, what is on its way is cancelled.
    pub(super) fn close(&mut self, file: &File) {
        self.expected.clear();
        let size = file.version.size;
        if size > file.reading.config.whole && !self.streams.is_empty() {
            file.reading.was_read(self.streams.iter().any(|stream| stream.has_read_all(size)));
        }
        for stream in self.streams.drain(..) {
            stream.close(file);
        }
    }

    fn let_idle_go(&mut self, file: &File, tick: u64, config: &ReadConfig) {
        for stream in self.streams.extract_if(.., |stream| stream.used + config.idle_reads < tick) {
            stream.close(file);
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
        if self.streams.len() == 1 {
            return Some(index);
        }
        let mut chosen = self.streams.swap_remove(index);
        let joins = |other: &mut Stream| {
            other.stands.abs_diff(stands) <= config.slack && other.takes(from, to, config)
        };
        for other in self.streams.extract_if(.., joins) {
            chosen.join(other);
        }
        self.streams.push(chosen);
        Some(self.streams.len() - 1)
    }

    fn make_room(&mut self, file: &File, streams: usize) {
        while self.streams.len() >= streams.max(1) {
            let oldest = self.streams.iter().enumerate().min_by_key(|(_, stream)| stream.used);
            let Some((oldest, _)) = oldest else { break };
            self.streams.swap_remove(oldest).close(file);
        }
    }
}

/// Fetches what is expected at a constant distance, and no longer what is not.
fn expect(file: &Arc<File>, stride: &Stride, expected: &mut Vec<Arc<Part>>) {
    let size = file.version.size;
    let ranges = stride.expected(size);
    let mut parts = Vec::new();
    let mut state = file.lock();
    for (from, end) in ranges {
        let (low, high) = state.space(from, end, size);
        let (start, end) = plan::exact(from, end, low, high);
        if end > start && file.on_disk(start, end).is_none() {
            parts.extend(state.claim(file, start, end, Budget::Free));
        }
    }
    drop(state);
    // Those of the last time that are wanted no more are cancelled here, except for the ones being read.
    *expected = parts;
}
