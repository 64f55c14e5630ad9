//! The content of one directory, growing while it is being loaded.
//!
//! One loader fills it page by page; any number of readers wait for the entries they still need. Entries keep their
//! place once they have one, so an index is a stable offset for `readdir`: an object that turns out to be a directory as
//! well (`a` on one page, `a/…` on a later one) is changed in place.

use super::names::{Segment, segment};
use crate::inode::FileVersion;
use crate::ports::ListPage;
use indexmap::IndexMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use wasmount_types::{Blame, Error, ErrorKind, Name, Object};

/// What a name in a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// A directory: some key has its path and a slash as prefix.
    Directory,
    /// A file: one version of its bytes.
    File(FileVersion),
    /// A file whose bytes others may change at any time, as it was when somebody looked: without a version.
    Live(FileVersion),
}

impl Child {
    /// A file as the store describes it.
    pub(super) fn file(object: &Object) -> Self {
        Self::File(FileVersion {
            version: object.version.clone(),
            size: object.size,
            modified: object.modified,
        })
    }
}

/// One entry, and when the store was asked for it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What it is.
    pub child: Child,
    /// When the request that showed it was sent.
    pub at: Instant,
}

/// What a listing knows about a name.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// It is there.
    Found(Listed),
    /// It is not, as of then.
    Absent(Instant),
    /// Not yet decided, and the listing is being loaded: pages so far.
    Pending(usize),
    /// The listing failed and never will know.
    Unknown,
}

/// Objects without a name of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// Objects `a` beside keys `a/…`.
    pub(super) behind_directories: u64,
    /// Keys that are no paths.
    pub(super) no_path: u64,
}

/// What a page has brought.
#[derive(Debug)]
pub(super) struct Progress {
    /// Entries so far.
    pub(super) entries: usize,
    /// Whether the listing is further than before.
    pub(super) advanced: bool,
}

#[derive(Debug)]
enum Status {
    Loading,
    Complete,
    Failed(Error),
}

#[derive(Debug)]
struct State {
    entries: IndexMap<Name, Listed>,
    /// The greatest key or prefix so far.
    last: String,
    /// Entries from the front that nothing can change any more.
    settled: usize,
    pages: usize,
    hidden: Hidden,
    bytes: u64,
    status: Status,
}

/// The content of one directory.
#[derive(Debug)]
pub struct Listing {
    prefix: String,
    ordered: bool,
    /// When its first page was asked for.
    pub(crate) started: Instant,
    /// Somebody has wanted to know what is in it.
    wanted: AtomicBool,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

impl Listing {
    pub(crate) fn new(prefix: String, ordered: bool, started: Instant) -> Self {
        let state = State {
            entries: IndexMap::new(),
            last: String::new(),
            settled: 0,
            pages: 0,
            hidden: Hidden::default(),
            bytes: 0,
            status: Status::Loading,
        };
        let changed = watch::Sender::new(());
        Self { prefix, ordered, started, wanted: AtomicBool::new(false), state: Mutex::new(state), changed }
    }

    /// Somebody wants to know what is in it: whether that is the first time.
    pub(super) fn is_wanted_first(&self) -> bool {
        !self.wanted.load(Ordering::Relaxed) && !self.wanted.swap(true, Ordering::Relaxed)
    }

    /// Adds a page that was asked for at `at`.
    ///
    /// # Errors
    /// `corrupt` when the store answered with keys that were not asked for.
    pub(super) fn absorb(&self, page: &ListPage, at: Instant) -> Result<Progress, Error> {
        let mut state = self.lock();
        let state = &mut *state;
        state.pages += 1;
        let before = state.last.clone();
        for prefix in &page.prefixes {
            self.add(state, prefix, None, at)?;
        }
        for object in &page.objects {
            self.add(state, object.key.as_str(), Some(object), at)?;
        }
        // In an unordered store the very last page may bring `a/…`: nothing is settled before.
        if self.ordered {
            while let Some((name, listed)) = state.entries.get_index(state.settled) {
                if matches!(listed.child, Child::File(_)) && !passed(&self.prefix, &state.last, name) {
                    break;
                }
                state.settled += 1;
            }
        }
        self.changed.send_replace(());
        let brought_any = !page.objects.is_empty() || !page.prefixes.is_empty();
        let advanced = if self.ordered { state.last > before } else { brought_any };
        Ok(Progress { entries: state.entries.len(), advanced })
    }

    fn add(&self, state: &mut State, key: &str, object: Option<&Object>, at: Instant) -> Result<(), Error> {
        let Some(segment) = segment(&self.prefix, key) else {
            let message =
                format!("a listing of {:?} answered with {key:?}, which is not below it", self.prefix);
            return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
        };
        if key > state.last.as_str() {
            key.clone_into(&mut state.last);
        }
        match (segment, object) {
            (Segment::Marker, _) => {}
            (Segment::Hidden, _) => state.hidden.no_path += 1,
            (Segment::Directory(name), _) => {
                if let Some(old) = state.entries.insert(name, Listed { child: Child::Directory, at })
                    && let Child::File(file) = old.child
                {
                    state.hidden.behind_directories += 1;
                    state.bytes = state.bytes.saturating_sub(file.size);
                }
            }
            (Segment::File(name), Some(object)) => match state.entries.get(&name) {
                Some(Listed { child: Child::Directory, .. }) => state.hidden.behind_directories += 1,
                // The second time is a later state of the same object, or a store that repeats itself.
                Some(Listed { child: Child::File(_) | Child::Live(_), .. }) => {}
                None => {
                    state.bytes = state.bytes.saturating_add(object.size);
                    state.entries.insert(name, Listed { child: Child::file(object), at });
                }
            },
            (Segment::File(_), None) => {
                let message = format!("a listing folded {key:?}, which does not end with the delimiter");
                return Err(Error::new(ErrorKind::Corrupt, Blame::Plugin, message));
            }
        }
        Ok(())
    }

    /// Adds an entry of a directory that has no others below it: nothing can change it any more. Later ones of the same name are ignored.
    pub(crate) fn push(&self, name: Name, listed: Listed) {
        let mut state = self.lock();
        let state = &mut *state;
        if let Child::File(file) | Child::Live(file) = &listed.child {
            state.bytes = state.bytes.saturating_add(file.size);
        }
        state.entries.entry(name).or_insert(listed);
        state.settled = state.entries.len();
        self.changed.send_replace(());
    }

    /// Ends loading.
    pub(crate) fn finish(&self, outcome: Result<(), Error>) {
        let mut state = self.lock();
        state.status = match outcome {
            Ok(()) => {
                state.settled = state.entries.len();
                Status::Complete
            }
            Err(error) => Status::Failed(error),
        };
        self.changed.send_replace(());
    }

    /// Whether everything is there.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.lock().status, Status::Complete)
    }

    /// Whether more may come.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.lock().status, Status::Loading)
    }

    /// Entries, bytes and hidden objects so far, and pages.
    pub(crate) fn totals(&self) -> (usize, u64, Hidden, usize) {
        let state = self.lock();
        (state.entries.len(), state.bytes, state.hidden, state.pages)
    }

    /// At most `limit` entries from index `from`; waits for them if need be, empty at the end.
    ///
    /// # Errors
    /// What the store said instead of a page; entries before it are delivered first.
    pub async fn entries(&self, from: usize, limit: usize) -> Result<Vec<(Name, Listed)>, Error> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let state = self.lock();
                if from < state.settled {
                    let until = state.settled.min(from.saturating_add(limit));
                    let range = state.entries.get_range(from..until);
                    return Ok(range.into_iter().flatten().map(|(n, l)| (n.clone(), l.clone())).collect());
                }
                match &state.status {
                    Status::Complete => return Ok(Vec::new()),
                    Status::Failed(error) => return Err(error.clone()),
                    Status::Loading => {}
                }
            }
            if changed.changed().await.is_err() {
                // Cannot be: the sender is part of `self`.
                return Ok(Vec::new());
            }
        }
    }

    /// The place of a name among the entries that nothing can change any more.
    pub(crate) fn place(&self, name: &Name) -> Option<usize> {
        let state = self.lock();
        state.entries.get_index_of(name).filter(|place| *place < state.settled)
    }

    /// The entries at these places, as far as nothing can change them any more.
    pub(crate) fn settled(&self, places: std::ops::Range<usize>) -> Vec<(Name, Child)> {
        let state = self.lock();
        let end = places.end.min(state.settled);
        let range = state.entries.get_range(places.start.min(end)..end);
        range.into_iter().flatten().map(|(name, listed)| (name.clone(), listed.child.clone())).collect()
    }

    /// What is known about a name now.
    pub(crate) fn peek(&self, name: &Name) -> Seen {
        let state = self.lock();
        let decided = match &state.status {
            Status::Complete => true,
            Status::Loading => self.ordered && passed(&self.prefix, &state.last, name),
            Status::Failed(_) => return Seen::Unknown,
        };
        match state.entries.get(name) {
            Some(listed) if decided || listed.child == Child::Directory => Seen::Found(listed.clone()),
            None if decided => Seen::Absent(self.started),
            _ => Seen::Pending(state.pages),
        }
    }

    /// What is known about a name, waiting while it is pending and fewer than `pages` pages have come.
    pub(super) async fn wait_for(&self, name: &Name, pages: usize) -> Seen {
        let mut changed = self.changed.subscribe();
        loop {
            match self.peek(name) {
                Seen::Pending(so_far) if so_far < pages => {}
                seen => return seen,
            }
            if changed.changed().await.is_err() {
                return Seen::Unknown;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an ordered listing that has reached `last` can still bring `name` or anything below it.
fn passed(prefix: &str, last: &str, name: &Name) -> bool {
    // Everything of interest is at most `prefix/name/`, which sorts after `prefix/name`.
    let Some(rest) = last.strip_prefix(prefix) else { return false };
    let mut wanted = name.as_bytes().to_vec();
    wanted.push(b'/');
    rest.as_bytes() > wanted.as_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_types::ObjectKey;

    fn page(objects: &[&str], prefixes: &[&str]) -> ListPage {
        let object =
            |key: &&str| Object { key: ObjectKey::new(*key), size: 1, version: None, modified: None };
        ListPage {
            objects: objects.iter().map(object).collect(),
            prefixes: prefixes.iter().map(|p| (*p).to_owned()).collect(),
            next: None,
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn an_object_that_becomes_a_directory_is_one_entry() {
        let listing = Listing::new("d/".into(), true, Instant::now());
        listing.absorb(&page(&["d/a", "d/a-"], &[]), Instant::now()).unwrap();
        assert!(matches!(listing.peek(&name("a")), Seen::Pending(1)), "`a/` may still come");
        listing.absorb(&page(&["d/a.b"], &["d/a/"]), Instant::now()).unwrap();
        assert!(matches!(listing.peek(&name("a")), Seen::Found(Listed { child: Child::Directory, .. })));
        assert!(matches!(listing.peek(&name("A")), Seen::Absent(_)));
        assert!(matches!(listing.peek(&name("b")), Seen::Pending(2)));
        listing.finish(Ok(()));
        let names = listing.entries(0, 10).await.unwrap().into_iter().map(|(n, _)| n.to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["a", "a-", "a.b"]);
        assert_eq!(listing.totals().2, Hidden { behind_directories: 1, no_path: 0 });
    }

    #[tokio::test]
    async fn entries_before_a_failure_are_delivered() {
        let listing = Listing::new(String::new(), true, Instant::now());
        listing.absorb(&page(&["a", "b"], &[]), Instant::now()).unwrap();
        listing.finish(Err(Error::timed_out(Blame::Origin, "page 2")));
        assert_eq!(listing.entries(0, 9).await.unwrap().len(), 1, "`b/` was still possible");
        assert!(listing.entries(1, 9).await.is_err());
    }

    #[test]
    fn foreign_keys_are_refused() {
        let listing = Listing::new("d/".into(), true, Instant::now());
        assert_eq!(
            listing.absorb(&page(&["e/a"], &[]), Instant::now()).unwrap_err().kind,
            ErrorKind::Corrupt
        );
    }
}
