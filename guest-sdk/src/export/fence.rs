//! Answers that meet an invalidation on their way.
//!
//! [`notify::invalidate`](crate::notify::invalidate) returns when the host has forgotten what it was told. The host may ask again before the
//! plugin knows that, and an answer from before the change would then stay. So an answer about something that is being invalidated, or was while
//! the answer was made, gives no rights; and bytes that are older than the return of an invalidation of them are read again.

use crate::files::{
    self, AttributesAnswer, CachePolicy, DirectoryPage, Handle, Node, Opened, Resolution, Validity,
};
use crate::notify::Invalidation;
use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

/// Returned invalidations that are remembered. A call that is still under way after so many is taken to have met one.
const REMEMBERED: usize = 4096;

/// What an invalidation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum About {
    /// Names in a directory, or attributes.
    Node(Node),
    /// Bytes of a file.
    Data(Node),
    /// All.
    Everything,
}

/// Begun invalidations, and those that have returned lately.
#[derive(Debug, Default)]
struct Fence {
    /// How often each is being invalidated now.
    running: HashMap<About, u32>,
    /// What has been invalidated, with a number that only grows.
    returned: VecDeque<(u64, About)>,
    last: u64,
    /// What is open, to know whose bytes are read, and how often: a plugin may give the same handle twice.
    open: HashMap<(Of, Handle), (Node, u32)>,
}

/// What a handle is of. A file and a directory may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// A file.
    File,
    /// A directory.
    Directory,
}

thread_local!(static FENCE: RefCell<Fence> = RefCell::default());

fn with<R>(work: impl FnOnce(&mut Fence) -> R) -> R {
    FENCE.with_borrow_mut(work)
}

impl Fence {
    fn begin(&mut self, abouts: &HashSet<About>) {
        for about in abouts {
            *self.running.entry(*about).or_default() += 1;
        }
    }

    fn end(&mut self, abouts: &HashSet<About>) {
        for about in abouts {
            self.last += 1;
            self.returned.push_back((self.last, *about));
            if let Some(count) = self.running.get_mut(about) {
                *count -= 1;
                if *count == 0 {
                    self.running.remove(about);
                }
            }
        }
        let over = self.returned.len().saturating_sub(REMEMBERED);
        self.returned.drain(..over);
    }

    fn node(&self, of: Of, handle: Handle) -> Option<Node> {
        self.open.get(&(of, handle)).map(|(node, _)| *node)
    }

    fn is_running(&self, about: About) -> bool {
        self.running.contains_key(&about) || self.running.contains_key(&About::Everything)
    }

    /// Whether one has returned after `mark`.
    fn has_returned(&self, about: About, mark: Mark) -> bool {
        let forgotten = self.returned.front().map_or(self.last, |(first, _)| first - 1);
        let later = self.returned.iter().rev().take_while(|(number, _)| *number > mark.0);
        mark.0 < forgotten
            || later.into_iter().any(|(_, found)| *found == about || *found == About::Everything)
    }

    fn met(&self, about: About, mark: Mark) -> bool {
        self.is_running(about) || self.has_returned(about, mark)
    }
}

/// An invalidation that has begun, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(HashSet<About>);

impl Running {
    pub(crate) fn begin(items: &[Invalidation]) -> Self {
        let abouts: HashSet<About> = items
            .iter()
            .map(|item| match item {
                Invalidation::Attributes(node) | Invalidation::Directory(node) => About::Node(*node),
                Invalidation::Entry(key) => About::Node(key.parent),
                Invalidation::Data(key) => About::Data(key.node),
                Invalidation::Geometry(handle) => About::Data(*handle),
                Invalidation::Everything => About::Everything,
            })
            .collect();
        with(|fence| fence.begin(&abouts));
        Self(abouts)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        with(|fence| fence.end(&self.0));
    }
}

/// A moment, by what had returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn now() -> Self {
        Self(with(|fence| fence.last))
    }

    /// Whether names or attributes of this node, or its bytes, may be about to change, or have since.
    fn met(self, node: Node) -> bool {
        with(|fence| fence.met(About::Node(node), self) || fence.met(About::Data(node), self))
    }

    /// Whether bytes of an open file that were asked for at this moment are too old to be answered.
    pub(super) fn is_before_a_change_of(self, handle: Handle) -> bool {
        with(|fence| {
            let node = fence.node(Of::File, handle);
            node.is_some_and(|node| fence.has_returned(About::Data(node), self))
        })
    }

    pub(super) fn resolution(self, parent: Node, answer: &mut Resolution) {
        match answer {
            Resolution::Found(entry) => self.entry(parent, entry),
            Resolution::Absent(ms) if self.met(parent) => *ms = 0,
            Resolution::Absent(_) => {}
        }
    }

    fn entry(self, parent: Node, entry: &mut files::Entry) {
        if self.met(entry.node) {
            entry.validity = Validity::none();
            entry.attributes.data_version = None;
        } else if self.met(parent) {
            entry.validity.entry_ms = 0;
        }
    }

    pub(super) fn attributes(self, node: Node, answer: &mut AttributesAnswer) {
        if self.met(node) {
            answer.attributes_ms = 0;
            answer.attributes.data_version = None;
        }
    }

    pub(super) fn opened(self, node: Node, answer: &mut Opened) {
        if self.met(node) && !answer.cache.contains(CachePolicy::IMMUTABLE) {
            answer.cache &= CachePolicy::BYPASS;
        }
    }

    pub(super) fn directory_page(self, handle: Handle, answer: &mut DirectoryPage) {
        let directory = with(|fence| fence.node(Of::Directory, handle)).unwrap_or_default();
        for entry in answer.entries.iter_mut().filter_map(|named| named.entry.as_mut()) {
            self.entry(directory, entry);
        }
    }
}

/// Whether bytes of an open file are being invalidated.
pub(super) fn is_changing(handle: Handle) -> bool {
    with(|fence| {
        let node = fence.node(Of::File, handle);
        node.is_some_and(|node| fence.is_running(About::Data(node)))
    })
}

/// A file or directory was opened.
pub(super) fn opened(of: Of, handle: Handle, node: Node) {
    with(|fence| fence.open.entry((of, handle)).or_insert((node, 0)).1 += 1);
}

/// It was closed.
pub(super) fn closed(of: Of, handle: Handle) {
    with(|fence| {
        if let Entry::Occupied(mut open) = fence.open.entry((of, handle)) {
            open.get_mut().1 -= 1;
            if open.get().1 == 0 {
                open.remove();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Attributes, NodeKind};
    use crate::notify::{of_data, of_entry};

    fn found(node: Node) -> Resolution {
        let attributes =
            Attributes { data_version: Some(1), ..Attributes::new(node, NodeKind::Regular, 0o644) };
        Resolution::Found(files::Entry {
            node,
            generation: 0,
            attributes,
            validity: Validity::until_invalidated(),
        })
    }

    /// The rights that are left of an answer that was begun at `mark`.
    fn rights(mark: Mark, parent: Node, node: Node) -> (u32, u32, Option<u64>) {
        let mut answer = found(node);
        mark.resolution(parent, &mut answer);
        let Resolution::Found(entry) = answer else { panic!("it was found") };
        (entry.validity.entry_ms, entry.validity.attributes_ms, entry.attributes.data_version)
    }

    const ALL: (u32, u32, Option<u64>) = (u32::MAX, u32::MAX, Some(1));

    #[test]
    fn an_answer_that_meets_an_invalidation_gives_no_rights() {
        let before = Mark::now();
        assert_eq!(rights(before, 1, 7), ALL);
        let running = Running::begin(&[of_data(7)]);
        assert_eq!(rights(Mark::now(), 1, 7), (0, 0, None));
        assert_eq!(rights(Mark::now(), 1, 8), ALL, "another file keeps its own");
        let mut absent = Resolution::Absent(1000);
        before.resolution(7, &mut absent);
        assert!(matches!(absent, Resolution::Absent(0)));
        drop(running);
        assert_eq!(rights(before, 1, 7), (0, 0, None), "it returned meanwhile");
        assert_eq!(rights(Mark::now(), 1, 7), ALL, "what began afterwards knows the new");
    }

    #[test]
    fn a_name_that_changes_leaves_its_node_alone() {
        let _running = Running::begin(&[of_entry(1, "a")]);
        assert_eq!(rights(Mark::now(), 1, 7), (0, u32::MAX, Some(1)));
        assert_eq!(rights(Mark::now(), 2, 7), ALL);
        let mut directory = Opened { handle: 5, cache: CachePolicy::KEEP };
        Mark::now().opened(1, &mut directory);
        assert!(directory.cache.is_empty());
    }

    #[test]
    fn bytes_are_too_old_once_their_invalidation_has_returned() {
        opened(Of::Directory, 3, 1);
        opened(Of::File, 3, 30);
        opened(Of::File, 3, 30);
        let asked = Mark::now();
        let running = Running::begin(&[of_data(30)]);
        assert!(is_changing(3) && !asked.is_before_a_change_of(3));
        drop(running);
        assert!(!is_changing(3) && asked.is_before_a_change_of(3));
        assert!(!Mark::now().is_before_a_change_of(3));
        let asked = Mark::now();
        drop(Running::begin(&[Invalidation::Attributes(30)]));
        assert!(!asked.is_before_a_change_of(3), "attributes are no bytes");
        drop(Running::begin(&[Invalidation::Everything]));
        assert!(asked.is_before_a_change_of(3));
        closed(Of::File, 3);
        assert!(asked.is_before_a_change_of(3), "it is open still");
        closed(Of::File, 3);
        assert!(!asked.is_before_a_change_of(3));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_errs_on_the_safe_side() {
        let before = Mark::now();
        for node in 1000..1000 + REMEMBERED as u64 + 10 {
            drop(Running::begin(&[Invalidation::Attributes(node)]));
        }
        assert_eq!(with(|fence| fence.returned.len()), REMEMBERED);
        assert_eq!(rights(before, 1, 7), (0, 0, None));
        assert_eq!(rights(Mark::now(), 1, 7), ALL);
        assert!(with(|fence| fence.running.is_empty()));
    }
}
