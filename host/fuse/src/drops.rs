//! Pages dropped from the kernel's cache, with word of when that is done.
//!
//! The kernel waits for the locks of the pages, which READs hold that have not been answered, and a provider may be slow to
//! answer one. So each message has a thread for itself, up to a limit: a file that nobody answers for holds up
//! nobody else.

use crate::pages::{Notes, PageCache};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmount_types::Ino;

/// Messages at a time; further ones wait where they cost nothing but the future that stands for them. Enough that the files of one storage system
/// that hangs do not hold up those of the others soon: the threads are there only while they wait.
const MAX_THREADS: usize = 64;

/// A thread that has had nothing to do for so long ends. One always stays.
const IDLE: Duration = Duration::from_secs(10);

/// One message.
struct Job {
    ino: Ino,
    range: Option<Range<u64>>,
    done: oneshot::Sender<bool>,
    _permit: OwnedSemaphorePermit,
}

struct State<K> {
    /// `None` after the end.
    kernel: Option<Arc<K>>,
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// Drops pages. Holds the connection until [`DropWriter::end`].
pub(crate) struct Drops<K> {
    state: Mutex<State<K>>,
    more: Condvar,
    fewer: Condvar,
    permits: Arc<Semaphore>,
    notes: Arc<Notes>,
}

/// The threads. Dropping this ends them, without waiting.
pub(crate) struct DropWriter<K: PageCache>(Arc<Drops<K>>);

impl<K: PageCache> Drop for DropWriter<K> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<K: PageCache> DropWriter<K> {
    /// Starts the first one. `notes`: what may be on its way into the same page cache.
    pub(crate) fn start(kernel: Arc<K>, notes: Arc<Notes>) -> io::Result<Self> {
        let state = State { kernel: Some(kernel), jobs: VecDeque::new(), threads: 0, idle: 0 };
        let drops = Arc::new(Drops {
            state: Mutex::new(state),
            more: Condvar::new(),
            fewer: Condvar::new(),
            permits: Arc::new(Semaphore::new(MAX_THREADS)),
            notes,
        });
        drops.spawn(&mut drops.state())?;
        Ok(Self(drops))
    }

    /// Where to ask.
    pub(crate) fn drops(&self) -> Arc<Drops<K>> {
        self.0.clone()
    }

    /// Ends them. Waits for the messages that are being written, which are over at the latest with the connection.
    pub(crate) fn end(self) {
        self.0.close();
        let mut state = self.0.state();
        while state.threads > 0 {
            state = self.0.fewer.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<K: PageCache> Drops<K> {
    /// The connection, for messages that wait for nothing; `None` after the end.
    pub(crate) fn kernel(&self) -> Option<Arc<K>> {
        self.state().kernel.clone()
    }

    /// Drops pages of a node, all or those of a range, and bytes that are on their way to it. Whether the kernel knows the node.
    pub(crate) async fn drop_pages(self: Arc<Self>, ino: Ino, range: Option<Range<u64>>) -> bool {
        // Closed, or never answered: the connection is over, and nobody has any pages.
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return false };
        let (done, told) = oneshot::channel();
        self.submit(Job { ino, range, done, _permit: permit });
        told.await.unwrap_or(false)
    }

    fn submit(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        if state.kernel.is_none() {
            return;
        }
        state.jobs.push_back(job);
        if state.jobs.len() <= state.idle {
            drop(state);
            self.more.notify_one();
        } else if state.threads == MAX_THREADS {
            // One of them has done its work, or there would have been no permit: it looks for more before it sleeps.
        } else if let Err(error) = self.spawn(&mut state) {
            // The next thread that is free takes it.
            tracing::debug!(%error, "no further thread to drop pages");
        }
    }

    fn spawn(self: &Arc<Self>, state: &mut State<K>) -> io::Result<()> {
        let shared = self.clone();
        std::thread::Builder::new().name("fuse-drops".to_owned()).spawn(move || {
            while let Some((job, kernel)) = shared.next() {
                shared.notes.withdraw(job.ino);
                let known = kernel.drop_pages(job.ino, job.range).unwrap_or_else(|error| {
                    tracing::debug!(%error, "the kernel's page cache did not take a message");
                    false
                });
                // Nobody may be waiting any more.
                let _ = job.done.send(known);
            }
        })?;
        state.threads += 1;
        Ok(())
    }

    /// The next message and where to send it; `None` for a thread that is to end, and no longer counts.
    fn next(&self) -> Option<(Job, Arc<K>)> {
        let mut state = self.state();
        // Nothing comes after the end.
        while let Some(kernel) = state.kernel.clone() {
            if let Some(job) = state.jobs.pop_front() {
                return Some((job, kernel));
            }
            drop(kernel);
            state.idle += 1;
            let (woken, waited) = self.more.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() && state.idle > 0 {
                break;
            }
        }
        state.threads -= 1;
        self.fewer.notify_all();
        None
    }

    /// Lets the connection go and leaves what has not begun.
    fn close(&self) {
        self.permits.close();
        let mut state = self.state();
        let kernel = state.kernel.take();
        let left = std::mem::take(&mut state.jobs);
        drop(state);
        self.more.notify_all();
        drop((kernel, left));
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        // Nothing that holds the lock leaves the state half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use crate::pages::PageWriter;
    use std::collections::HashSet;
    use tokio::runtime::Runtime;
    use tokio::time::{sleep, timeout};

    /// A kernel that is stuck with some nodes, and knows none above 100.
    #[derive(Default)]
    struct Sticky {
        stuck: Mutex<HashSet<u64>>,
        freed: Condvar,
        got: Mutex<Vec<u64>>,
    }

    impl Sticky {
        fn stick(&self, nodes: impl IntoIterator<Item = u64>) {
            self.stuck.lock().unwrap().extend(nodes);
        }

        fn free(&self) {
            self.stuck.lock().unwrap().clear();
            self.freed.notify_all();
        }
    }

    impl PageCache for Sticky {
        fn store(&self, _ino: Ino, _offset: u64, _bytes: &[u8]) -> io::Result<bool> {
            Ok(true)
        }

        fn drop_pages(&self, ino: Ino, _range: Option<Range<u64>>) -> io::Result<bool> {
            self.got.lock().unwrap().push(ino.0);
            let mut stuck = self.stuck.lock().unwrap();
            while stuck.contains(&ino.0) {
                stuck = self.freed.wait(stuck).unwrap();
            }
            match ino.0 {
                0 => Err(io::Error::other("odd")),
                n => Ok(n <= 100),
            }
        }
    }

    /// A kernel, and what writes to it; the last one is to be held.
    fn start() -> (Arc<Sticky>, DropWriter<Sticky>, Runtime, PageWriter) {
        let kernel = Arc::new(Sticky::default());
        let writer = PageWriter::start(kernel.clone()).unwrap();
        let drops = DropWriter::start(kernel.clone(), writer.notes()).unwrap();
        (kernel, drops, Runtime::new().unwrap(), writer)
    }

    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn who_is_stuck_holds_up_nobody_else_until_there_are_too_many() {
        let (kernel, writer, runtime, _pages) = start();
        let drops = writer.drops();
        let most = MAX_THREADS as u64;
        kernel.stick(1..=most);
        runtime.block_on(async {
            let first: Vec<_> =
                (1..most).map(|n| tokio::spawn(drops.clone().drop_pages(Ino(n), None))).collect();
            assert!(timeout(LONG, drops.clone().drop_pages(Ino(100), None)).await.unwrap());
            assert!(!timeout(LONG, drops.clone().drop_pages(Ino(101), Some(0..1))).await.unwrap(), "unknown");
            assert!(!timeout(LONG, drops.clone().drop_pages(Ino(0), None)).await.unwrap(), "refused");

            let last = tokio::spawn(drops.clone().drop_pages(Ino(most), None));
            // In whatever order their threads come to run.
            let all_begun = || {
                let got = kernel.got.lock().unwrap();
                (1..=most).all(|n| got.contains(&n))
            };
            while !all_begun() {
                sleep(Duration::from_millis(1)).await;
            }
            let further = tokio::spawn(drops.clone().drop_pages(Ino(50), None));
            sleep(SHORT).await;
            assert!(!further.is_finished(), "there are no more threads");
            assert_eq!(drops.state().threads, MAX_THREADS);
            kernel.free();
            for task in first.into_iter().chain([last, further]) {
                assert!(timeout(LONG, task).await.unwrap().unwrap());
            }
        });
        writer.end();
        assert_eq!(Arc::strong_count(&kernel), 2, "the test's and the other writer's");
    }

    #[test]
    fn a_caller_that_goes_away_changes_nothing() {
        let (kernel, writer, runtime, _pages) = start();
        let drops = writer.drops();
        kernel.stick([1]);
        runtime.block_on(async {
            let stuck = tokio::spawn(drops.clone().drop_pages(Ino(1), None));
            while *kernel.got.lock().unwrap() != [1] {
                sleep(Duration::from_millis(1)).await;
            }
            stuck.abort();
            assert!(stuck.await.unwrap_err().is_cancelled());
            kernel.free();
            assert!(timeout(LONG, drops.clone().drop_pages(Ino(2), None)).await.unwrap());
        });
        writer.end();
        assert_eq!(*kernel.got.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn everybody_is_answered_at_the_end() {
        let (kernel, writer, runtime, _pages) = start();
        let drops = writer.drops();
        const ALL: u64 = MAX_THREADS as u64 + 24;
        kernel.stick(1..=ALL);
        runtime.block_on(async {
            let all: Vec<_> =
                (1..=ALL).map(|n| tokio::spawn(drops.clone().drop_pages(Ino(n), None))).collect();
            while kernel.got.lock().unwrap().len() < MAX_THREADS {
                sleep(Duration::from_millis(1)).await;
            }
            let ending = std::thread::spawn(move || writer.end());
            // Those that had not begun are told at once.
            let waiting = || all.iter().filter(|task| !task.is_finished()).count();
            timeout(LONG, async {
                while waiting() > MAX_THREADS {
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await
            .unwrap();
            sleep(SHORT).await;
            assert_eq!(waiting(), MAX_THREADS);
            assert!(!ending.is_finished(), "messages are being written");
            kernel.free();
            for task in all {
                timeout(LONG, task).await.unwrap().unwrap();
            }
            ending.join().unwrap();
            assert!(drops.kernel().is_none());
            assert!(!timeout(LONG, drops.clone().drop_pages(Ino(1), None)).await.unwrap());
        });
    }
}
