//! Files that the kernel reads by itself, from a local file with the same bytes.
//!
//! The kernel asks that all opens of a node at one time are alike: all by passthrough and with one backing id, or none
//! (EIO otherwise). It leaves the mode of a node before it sends the RELEASE of the last open, so counting from the
//! answer to OPEN until RELEASE arrives is always on the safe side of what the kernel believes.

use fuser::BackingId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmount_core::fs::OpenFile;

/// What is given up without passthrough.
const SLOWER: &str = "cached files are read through this process and not by the kernel itself";

/// Whether the kernel reads cached files by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passthrough {
    /// It does where core has a file for it, as far as is known.
    On,
    /// It does not, and every read comes here.
    Off(NoPassthrough),
}

/// Why the kernel does not read cached files by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPassthrough {
    /// The mount's options say so.
    #[error("it is switched off for this mount")]
    Disabled,
    /// Its kernel has no passthrough.
    #[error("this kernel cannot (it takes Linux 6.9 with CONFIG_FUSE_PASSTHROUGH)")]
    Kernel,
    /// A capability is missing.
    #[error("this process lacks CAP_SYS_ADMIN in the initial user namespace; run the container privileged")]
    Privilege,
    /// The local file lies on too many stacked file systems.
    #[error(
        "the cache directory is on stacked file systems, such as an overlay of overlays; put it on a volume of its own"
    )]
    Stacked,
}

impl NoPassthrough {
    /// What an error of the registering `ioctl` says about all further ones; `None` if it is about this file only.
    fn for_good(error: &io::Error) -> Option<Self> {
        use rustix::io::Errno;
        match Errno::from_io_error(error)? {
            Errno::PERM => Some(Self::Privilege),
            Errno::LOOP => Some(Self::Stacked),
            Errno::NOTTY | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => Some(Self::Kernel),
            _ => None,
        }
    }

    /// Says it in the log, once in the life of the process: further mounts have the same reason.
    fn say_once(self) {
        static SAID: AtomicBool = AtomicBool::new(false);
        if self == Self::Disabled || SAID.swap(true, Ordering::Relaxed) {
            return;
        }
        // An older kernel is no fault of anybody's.
        if self == Self::Kernel {
            tracing::info!("{SLOWER}: {self}");
        } else {
            tracing::warn!("{SLOWER}: {self}");
        }
    }
}

/// How a node is open at present.
enum Mode<Id> {
    /// The kernel reads the local file. Core may drop its own hold of the file when the open it gave it to ends, and
    /// other opens go on with the same one, so it is held here.
    Kernel { id: Arc<Id>, _file: Arc<OwnedFd> },
    /// Every read comes here.
    Ordinary,
}

struct Opened<Id> {
    mode: Mode<Id>,
    opens: u64,
}

/// The open nodes of a mount. `Id` is the kernel's name of a local file, given back when dropped.
pub(crate) struct Backings<Id = BackingId> {
    state: Mutex<State<Id>>,
}

struct State<Id> {
    off: Option<NoPassthrough>,
    /// None was ever possible on this connection, so nothing needs counting.
    never: bool,
    nodes: HashMap<u64, Opened<Id>>,
}

impl<Id> Backings<Id> {
    /// Off until [`Self::negotiated`] says otherwise.
    pub(crate) fn new() -> Self {
        let state = State { off: Some(NoPassthrough::Disabled), never: true, nodes: HashMap::new() };
        Self { state: Mutex::new(state) }
    }

    /// What came out of INIT. Called before the first open.
    pub(crate) fn negotiated(&self, passthrough: Passthrough) {
        let mut state = self.state();
        state.never = passthrough != Passthrough::On;
        state.off = match passthrough {
            Passthrough::On => None,
            Passthrough::Off(reason) => Some(reason),
        };
        drop(state);
        if let Passthrough::Off(reason) = passthrough {
            reason.say_once();
        }
    }

    /// Whether files are handed to the kernel.
    pub(crate) fn passthrough(&self) -> Passthrough {
        self.state().off.map_or(Passthrough::On, Passthrough::Off)
    }

    /// Decides how one more open of a node is answered and counts it: with a backing id, or the ordinary way.
    /// [`Self::closed`] takes it back.
    ///
    /// Opens of one node come in turn, since the first decides for all: `register`, one short `ioctl`, runs under the lock.
    pub(crate) fn opened(
        &self,
        node: u64,
        file: &OpenFile,
        register: impl FnOnce(&OwnedFd) -> io::Result<Id>,
    ) -> Option<Arc<Id>> {
        let mut state = self.state();
        let State { off, never, nodes } = &mut *state;
        if *never {
            return None;
        }
        match nodes.entry(node) {
            Entry::Occupied(mut entry) => {
                let opened = entry.get_mut();
                opened.opens += 1;
                match &opened.mode {
                    Mode::Kernel { id, .. } => Some(id.clone()),
                    Mode::Ordinary => None,
                }
            }
            Entry::Vacant(entry) => {
                // What has no size yet has to be asked for byte by byte.
                let backing = file.backing.as_ref().filter(|_| off.is_none() && !file.direct_io);
                let (mode, id) = match backing.map(|backing| (backing, register(backing))) {
                    Some((backing, Ok(id))) => {
                        let id = Arc::new(id);
                        (Mode::Kernel { id: id.clone(), _file: backing.clone() }, Some(id))
                    }
                    Some((_, Err(error))) => {
                        *off = NoPassthrough::for_good(&error);
                        match off {
                            Some(reason) => reason.say_once(),
                            None => tracing::debug!(%error, "a cached file is not handed to the kernel"),
                        }
                        (Mode::Ordinary, None)
                    }
                    None => (Mode::Ordinary, None),
                };
                entry.insert(Opened { mode, opens: 1 });
                id
            }
        }
    }

    /// One open of a node has ended. True if it was by passthrough.
    pub(crate) fn closed(&self, node: u64) -> bool {
        let mut state = self.state();
        let Entry::Occupied(mut entry) = state.nodes.entry(node) else { return false };
        let opened = entry.get_mut();
        let passthrough = matches!(opened.mode, Mode::Kernel { .. });
        opened.opens -= 1;
        // Given back outside the lock.
        let last = (opened.opens == 0).then(|| entry.remove());
        drop(state);
        drop(last);
        passthrough
    }

    fn state(&self) -> MutexGuard<'_, State<Id>> {
        // Nothing that holds the lock leaves the table half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use rustix::io::Errno;
    use std::fs::File;
    use wasmount_types::Fh;

    fn backings() -> Backings<u32> {
        let backings = Backings::new();
        backings.negotiated(Passthrough::On);
        backings
    }

    fn file(backing: bool) -> OpenFile {
        let backing = backing.then(|| Arc::new(OwnedFd::from(File::open("/dev/null").unwrap())));
        OpenFile { fh: Fh(1), keep_cache: true, direct_io: false, backing }
    }

    #[test]
    fn the_first_open_decides_for_all_until_the_last_release() {
        let b = backings();
        let with = file(true);
        let id = b.opened(7, &with, |_| Ok(70)).unwrap();
        assert_eq!(b.opened(7, &file(false), |_| Ok(71)).as_deref(), Some(&70), "although core has none now");
        assert_eq!(b.opened(7, &file(true), |_| Ok(72)).as_deref(), Some(&70), "one id for all");
        assert!(b.opened(8, &file(false), |_| Ok(80)).is_none());
        assert!(b.opened(8, &with, |_| Ok(81)).is_none(), "open the ordinary way already");
        let backing = Arc::downgrade(with.backing.as_ref().unwrap());
        drop((id, with));
        assert!(b.closed(7) && b.closed(7));
        assert!(backing.upgrade().is_some(), "the local file is held until the last release");
        assert!(b.closed(7));
        assert!(backing.upgrade().is_none());
        assert!(b.opened(7, &file(false), |_| Ok(73)).is_none(), "after the last one it may switch");
        assert!(!b.closed(8) && !b.closed(8) && !b.closed(7));
        assert_eq!(b.opened(8, &file(true), |_| Ok(82)).as_deref(), Some(&82));
        assert!(b.closed(8) && !b.closed(8), "more releases than opens are ignored");
    }

    #[test]
    fn what_can_never_work_is_tried_once() {
        for (errno, reason) in [
            (Errno::PERM, NoPassthrough::Privilege),
            (Errno::NOTTY, NoPassthrough::Kernel),
            (Errno::INVAL, NoPassthrough::Kernel),
            (Errno::OPNOTSUPP, NoPassthrough::Kernel),
            (Errno::LOOP, NoPassthrough::Stacked),
        ] {
            let b = backings();
            b.opened(1, &file(true), |_| Ok(10)).unwrap();
            assert!(b.opened(2, &file(true), |_| Err(errno.into())).is_none());
            assert_eq!(b.passthrough(), Passthrough::Off(reason));
            let untried = |_: &OwnedFd| -> io::Result<u32> { panic!("tried again") };
            assert!(b.opened(3, &file(true), untried).is_none());
            assert_eq!(b.opened(1, &file(true), untried).as_deref(), Some(&10), "who has it keeps it");
        }
    }

    #[test]
    fn a_passing_failure_is_of_one_file() {
        let b = backings();
        assert!(b.opened(1, &file(true), |_| Err(Errno::NOMEM.into())).is_none());
        assert_eq!(b.passthrough(), Passthrough::On);
        assert!(b.opened(2, &file(true), |_| Ok(20)).is_some());
    }

    #[test]
    fn unsized_files_and_refused_connections_are_ordinary() {
        let b = backings();
        assert!(b.opened(1, &OpenFile { direct_io: true, ..file(true) }, |_| Ok(10)).is_none());
        b.negotiated(Passthrough::Off(NoPassthrough::Kernel));
        assert!(b.opened(2, &file(true), |_| Ok(20)).is_none());
        assert_eq!(b.passthrough(), Passthrough::Off(NoPassthrough::Kernel));
    }
}
