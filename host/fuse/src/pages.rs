//! Bytes and invalidations sent to the kernel's page cache.
//!
//! Writing such a message may block: the kernel waits for the lock of a page, which a READ holds that has not been
//! answered yet. So it is done by a thread of its own and never by one that serves, with a bounded queue before it.
//!
//! It waits in a way that no signal ends. If this process is killed at that moment, the READ is never answered, so the thread never ends,
//! and so `/dev/fuse` stays open and the kernel never gives the connection up: readers, this process and its container
//! hang until somebody forces the unmount. Therefore bytes are stored only where the kernel itself gives up a connection that does not
//! answer, which since Linux 6.14 it does when the sysctl `fs.fuse.default_request_timeout` or `fs.fuse.max_request_timeout` is not 0.

use bytes::Bytes;
use fuser::{INodeNo, Notifier};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use wasmount_core::ports::KernelPages;
use wasmount_types::Ino;

/// Bytes that may wait. Some milliseconds of work: whoever is that far behind had better not start.
const MAX_BYTES: usize = 8 << 20;

/// Messages that may wait, which bounds what invalidations and tiny files cost.
const MAX_NOTES: usize = 16 * 1024;

/// Sysctls with the seconds after which the kernel gives up a connection that has not answered a request; 0: never.
const REQUEST_TIMEOUTS: [&str; 2] =
    ["/proc/sys/fs/fuse/default_request_timeout", "/proc/sys/fs/fuse/max_request_timeout"];

/// Whether a connection that is opened now is given up by the kernel when it does not answer.
pub(crate) fn gives_up() -> bool {
    REQUEST_TIMEOUTS.iter().any(|path| {
        let seconds = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        seconds.is_some_and(|seconds| seconds > 0)
    })
}

/// The kernel's side, as far as this module needs it.
trait Kernel: Send + 'static {
    fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn invalidate(&self, ino: Ino) -> io::Result<()>;
}

// A node that the kernel does not know (any more) is no error of these.
impl Kernel for Notifier {
    fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Notifier::store(self, INodeNo(ino.0), offset, bytes)
    }

    fn invalidate(&self, ino: Ino) -> io::Result<()> {
        // Length 0 is up to the end.
        self.inval_inode(INodeNo(ino.0), 0, 0)
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
}

#[derive(Default)]
struct Queue {
    notes: VecDeque<Note>,
    /// Bytes in `notes` and in the message that is being written.
    bytes: usize,
    /// The thread waits to be woken.
    idle: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

impl Shared {
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
        loop {
            if queue.ended {
                return None;
            }
            if let Some(note) = queue.notes.pop_front() {
                return Some(note);
            }
            queue.idle = true;
            queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The queue's end for core. Keeps neither the thread nor the connection alive.
struct Pages {
    shared: Arc<Shared>,
    takes: bool,
}

impl KernelPages for Pages {
    fn takes_pages(&self) -> bool {
        self.takes
    }

    fn store(&self, ino: Ino, offset: u64, bytes: Bytes, held: Option<Arc<dyn Any + Send + Sync>>) {
        if self.takes && !bytes.is_empty() {
            self.shared.push(Note::Store { ino, offset, bytes, _held: held });
        }
    }

    fn invalidate(&self, ino: Ino) {
        self.shared.push(Note::Invalidate { ino });
    }
}

/// The thread that writes. Dropping this ends it, without waiting.
pub(crate) struct PageWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for PageWriter {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl PageWriter {
    /// Starts it.
    pub(crate) fn start(notifier: Notifier) -> io::Result<Self> {
        Self::start_with(notifier)
    }

    fn start_with(kernel: impl Kernel) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("fuse-pages".to_owned()).spawn(move || {
            write_all(&theirs, &kernel);
            theirs.end();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What core gets; `takes`: it may store bytes.
    pub(crate) fn pages(&self, takes: bool) -> Arc<dyn KernelPages> {
        Arc::new(Pages { shared: self.shared.clone(), takes })
    }

    /// Ends it. Waits for the message that is being written, which is over at the latest with the connection.
    pub(crate) fn end(mut self) {
        self.shared.end();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed, and nothing depends on it.
            let _ = thread.join();
        }
    }
}

/// Writes until the end of the queue or of the connection.
fn write_all(shared: &Shared, kernel: &impl Kernel) {
    let mut done = 0;
    while let Some(note) = shared.next(done) {
        let result = match &note {
            Note::Store { ino, offset, bytes, .. } => kernel.store(*ino, *offset, bytes),
            Note::Invalidate { ino } => kernel.invalidate(*ino),
        };
        done = note.size();
        if let Err(error) = result {
            use rustix::io::Errno;
            let errno = Errno::from_io_error(&error);
            if matches!(errno, Some(Errno::NODEV | Errno::NOTCONN | Errno::CONNABORTED | Errno::NOSYS)) {
                return;
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
        let_go: mpsc::Receiver<io::Result<()>>,
    }

    impl Kernel for Slow {
        fn store(&self, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.got.send((ino, offset, bytes.len())).unwrap();
            self.let_go.recv().unwrap()
        }

        fn invalidate(&self, ino: Ino) -> io::Result<()> {
            self.got.send((ino, u64::MAX, 0)).unwrap();
            self.let_go.recv().unwrap()
        }
    }

    fn slow() -> (PageWriter, mpsc::Receiver<Message>, mpsc::Sender<io::Result<()>>) {
        let (got, seen) = mpsc::channel();
        let (allow, let_go) = mpsc::channel();
        (PageWriter::start_with(Slow { got, let_go }).unwrap(), seen, allow)
    }

    #[test]
    fn in_order_and_never_more_than_the_bound() {
        let (writer, seen, allow) = slow();
        let pages = writer.pages(true);
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
        let pages = writer.pages(true);
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
}
