//! Bytes and invalidations sent to the kernel's page cache.
//!
//! Writing such a message may block: the kernel waits for the lock of a page, which a READ holds that has not been
//! answered yet. So it is done by a thread of its own and never by one that serves, with a bounded queue before it.
//!
//! It waits in a way that no signal ends, which is why bytes are stored only where the kernel gives up a connection that does
//! not answer: [`crate::patience`] has the story.

use crate::device::Device;
use bytes::Bytes;
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use wasmount_types::Ino;

/// Bytes that may wait. Some milliseconds of work: whoever is that far behind had better not start.
const MAX_BYTES: usize = 8 << 20;

/// Messages that may wait, which bounds what invalidations and tiny files cost.
const MAX_NOTES: usize = 16 * 1024;

/// The kernel's page cache, as far as messages to it may have to wait. Each says whether the kernel knows the node.
pub(crate) trait PageCache: Send + Sync + 'static {
    /// Puts bytes into it.
    fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<bool>;
    /// Drops attributes and pages, all or those of a range.
    fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> io::Result<bool>;
}

impl PageCache for Device {
    fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        Device::store(self, ino, offset, bytes)
    }

    fn drop_pages(&self, ino: Ino, range: Option<Range<u64>>) -> io::Result<bool> {
        Device::drop_pages(self, ino, range)
    }
}

enum Note {
    Store { ino: Ino, offset: u64, bytes: Bytes, _held: Option<Arc<dyn Any + Send + Sync>> },
    Invalidate { ino: Ino },
}

impl Note {
    fn size(&self) -> usize {
        match self {
            Self::Store { bytes, .. } => bytes.len(),
            Self::Invalidate { .. } => 0,
        }
    }

    fn ino(&self) -> Ino {
        match self {
            Self::Store { ino, .. } | Self::Invalidate { ino } => *ino,
        }
    }
}

#[derive(Default)]
struct Queue {
    notes: VecDeque<Note>,
    /// Bytes in `notes` and in the message that is being written.
    bytes: usize,
    /// Whose message is being written.
    writing: Option<Ino>,
    /// How many have been written.
    written: u64,
    /// The thread waits to be woken.
    idle: bool,
    ended: bool,
}

/// What waits to be written. Keeps neither the thread nor the connection alive.
#[derive(Default)]
pub(crate) struct Notes {
    queue: Mutex<Queue>,
    more: Condvar,
    told: Condvar,
}

impl Notes {
    /// Queues bytes, or drops them.
    pub(crate) fn store(
        &self,
        ino: Ino,
        offset: u64,
        bytes: Bytes,
        held: Option<Arc<dyn Any + Send + Sync>>,
    ) {
        if !bytes.is_empty() {
            self.push(Note::Store { ino, offset, bytes, _held: held });
        }
    }

    /// Queues an invalidation, after what was stored before it.
    pub(crate) fn invalidate(&self, ino: Ino) {
        self.push(Note::Invalidate { ino });
    }

    /// From now on nothing reaches the kernel that was queued for this node before. Waits for what is being written.
    pub(crate) fn withdraw(&self, ino: Ino) {
        let mut queue = self.queue();
        let (dropped, kept): (VecDeque<Note>, _) =
            std::mem::take(&mut queue.notes).into_iter().partition(|note| note.ino() == ino);
        queue.notes = kept;
        queue.bytes -= dropped.iter().map(Note::size).sum::<usize>();
        let written = queue.written;
        drop(queue);
        drop(dropped);
        let mut queue = self.queue();
        while queue.writing == Some(ino) && queue.written == written {
            queue = self.told.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock leaves the queue half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing from now on, and drops what waits.
    fn end(&self) {
        let mut queue = self.queue();
        queue.ended = true;
        let dropped = std::mem::take(&mut queue.notes);
        drop(queue);
        self.more.notify_one();
        drop(dropped);
    }

    fn push(&self, note: Note) {
        let mut queue = self.queue();
        let bytes = queue.bytes + note.size();
        if queue.ended || bytes > MAX_BYTES || queue.notes.len() >= MAX_NOTES {
            drop(queue);
            tracing::trace!("the kernel's page cache is not told: too much waits already");
            return;
        }
        queue.bytes = bytes;
        queue.notes.push_back(note);
        if std::mem::take(&mut queue.idle) {
            drop(queue);
            self.more.notify_one();
        }
    }

    /// The next note, when there is one; `done` bytes have been written.
    fn next(&self, done: usize) -> Option<Note> {
        let mut queue = self.queue();
        queue.bytes -= done;
        if queue.writing.take().is_some() {
            queue.written += 1;
            self.told.notify_all();
        }
        loop {
            if queue.ended {
                return None;
            }
            if let Some(note) = queue.notes.pop_front() {
                queue.writing = Some(note.ino());
                return Some(note);
            }
            queue.idle = true;
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The thread that writes. Dropping this ends it, without waiting.
pub(crate) struct PageWriter {
    notes: Arc<Notes>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for PageWriter {
    fn drop(&mut self) {
        self.notes.end();
    }
}

impl PageWriter {
    /// Starts it.
    pub(crate) fn start(kernel: Arc<impl PageCache>) -> io::Result<Self> {
        let notes = Arc::new(Notes::default());
        let theirs = notes.clone();
        let thread = std::thread::Builder::new()
            .name("fuse-pages".to_owned())
            .spawn(move || write_all(&theirs, &*kernel))?;
        Ok(Self { notes, thread: Some(thread) })
    }

    /// Where to put what it writes.
    pub(crate) fn notes(&self) -> Arc<Notes> {
        self.notes.clone()
    }

    /// Ends it. Waits for the message that is being written, which is over at the latest with the connection.
    pub(crate) fn end(mut self) {
        self.notes.end();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed, and nothing depends on it.
            let _ = thread.join();
        }
    }
}

/// Writes until the end of the queue or of the connection.
fn write_all(notes: &Notes, kernel: &impl PageCache) {
    let mut done = 0;
    while let Some(note) = notes.next(done) {
        let result = match &note {
            Note::Store { ino, offset, bytes, .. } => kernel.store(*ino, *offset, bytes),
            Note::Invalidate { ino } => kernel.drop_pages(*ino, None),
        };
        done = note.size();
        if let Err(error) = result {
            use rustix::io::Errno;
            let errno = Errno::from_io_error(&error);
            if matches!(errno, Some(Errno::NODEV | Errno::NOTCONN | Errno::CONNABORTED | Errno::NOSYS)) {
                notes.end();
                continue;
            }
            tracing::debug!(%error, "the kernel's page cache did not take a message");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use std::sync::mpsc;

    /// Node, offset (`u64::MAX` for an invalidation) and length.
    type Message = (Ino, u64, usize);

    /// A kernel that tells what it got and takes its next message when it is let.
    struct Slow {
        got: mpsc::Sender<Message>,
        let_go: Mutex<mpsc::Receiver<io::Result<()>>>,
    }

    impl Slow {
        fn take(&self, message: Message) -> io::Result<bool> {
            self.got.send(message).unwrap();
            self.let_go.lock().unwrap().recv().unwrap().map(|()| true)
        }
    }

    impl PageCache for Slow {
        fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<bool> {
            self.take((ino, offset, bytes.len()))
        }

        fn drop_pages(&self, ino: Ino, _range: Option<Range<u64>>) -> io::Result<bool> {
            self.take((ino, u64::MAX, 0))
        }
    }

    fn slow() -> (PageWriter, mpsc::Receiver<Message>, mpsc::Sender<io::Result<()>>) {
        let (got, seen) = mpsc::channel();
        let (allow, let_go) = mpsc::channel();
        (PageWriter::start(Arc::new(Slow { got, let_go: Mutex::new(let_go) })).unwrap(), seen, allow)
    }

    #[test]
    fn in_order_and_never_more_than_the_bound() {
        let (writer, seen, allow) = slow();
        let pages = writer.notes();
        let held: Arc<dyn Any + Send + Sync> = Arc::new(());
        let block = Bytes::from(vec![0; MAX_BYTES / 4]);
        for n in 0..10 {
            pages.store(Ino(n), n, block.clone(), Some(held.clone()));
        }
        pages.invalidate(Ino(2));
        assert_eq!(Arc::strong_count(&held), 5, "four fit, the one being written included");
        for n in 0..4 {
            assert_eq!(seen.recv().unwrap(), (Ino(n), n, block.len()));
            allow.send(Ok(())).unwrap();
        }
        assert_eq!(
            seen.recv().unwrap(),
            (Ino(2), u64::MAX, 0),
            "an invalidation comes after the stores before it"
        );
        assert_eq!(Arc::strong_count(&held), 1, "what is written is held no longer");
        allow.send(Err(io::Error::other("odd"))).unwrap();
        pages.store(Ino(9), 0, block, None);
        assert_eq!(seen.recv().unwrap().0, Ino(9), "room again, and a failed message is not the end");
        allow.send(Ok(())).unwrap();
        writer.end();
    }

    #[test]
    fn the_end_drops_what_waits() {
        let (writer, seen, allow) = slow();
        let pages = writer.notes();
        let held: Arc<dyn Any + Send + Sync> = Arc::new(());
        for n in 0..5 {
            pages.store(Ino(n), 0, Bytes::from_static(b"x"), Some(held.clone()));
        }
        seen.recv().unwrap();
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| writer.end());
            // It ends while a message is being written: only that one is left.
            while Arc::strong_count(&held) > 2 {
                std::thread::yield_now();
            }
            allow.send(Err(rustix::io::Errno::NODEV.into())).unwrap();
            ending.join().unwrap();
        });
        assert_eq!(Arc::strong_count(&held), 1);
        pages.store(Ino(9), 0, Bytes::from_static(b"x"), Some(held.clone()));
        assert_eq!(Arc::strong_count(&held), 1, "nothing is taken after the end");
        assert!(seen.try_recv().is_err());
    }

    #[test]
    fn what_is_withdrawn_never_arrives_later() {
        let (writer, seen, allow) = slow();
        let pages = writer.notes();
        let held: Arc<dyn Any + Send + Sync> = Arc::new(());
        for n in [1, 2, 1, 2] {
            pages.store(Ino(n), 0, Bytes::from_static(b"x"), Some(held.clone()));
        }
        assert_eq!(seen.recv().unwrap().0, Ino(1));
        pages.withdraw(Ino(2));
        assert_eq!(Arc::strong_count(&held), 3, "two are gone, and nobody waited for the other node");
        std::thread::scope(|scope| {
            let withdrawing = scope.spawn(|| pages.withdraw(Ino(1)));
            while Arc::strong_count(&held) > 2 {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!withdrawing.is_finished(), "its message is being written");
            allow.send(Ok(())).unwrap();
            withdrawing.join().unwrap();
        });
        pages.store(Ino(3), 0, Bytes::from_static(b"x"), None);
        assert_eq!(seen.recv().unwrap().0, Ino(3), "nothing of what was withdrawn");
        allow.send(Ok(())).unwrap();
        writer.end();
    }
}
