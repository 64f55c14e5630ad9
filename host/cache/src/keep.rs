//! One thread keeps house: sums, eviction, lists of names, probes of a sick disk.

use crate::cache::Shared;
use crate::entry::write_all;
use crate::health::Health;
use crate::root::FILE_MODE;
use crate::scan::survey;
use crate::stats::add;
use rustix::fs::{Advice, AtFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_secs(1);
/// However often it is woken, it looks no more often than this.
const PAUSE: Duration = Duration::from_millis(10);
/// What a probe writes.
static PROBE: [u8; 64 << 10] = [0x5a; 64 << 10];
/// A walk that freed too little, because so much is in use, is not repeated before this many times its own duration.
const REST: u32 = 20;

#[derive(Default)]
struct State {
    woken: bool,
    no_space: bool,
    stopped: bool,
}

/// The way to the housekeeping thread.
#[derive(Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    wake: Condvar,
}

/// What the thread remembers from one round to the next.
struct Round {
    evict_again: Instant,
}

impl Keeper {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is to be done now.
    pub(crate) fn wake(&self) {
        let mut state = self.lock();
        if !state.woken {
            state.woken = true;
            self.wake.notify_all();
        }
    }

    /// The file system is full.
    pub(crate) fn no_space(&self) {
        self.lock().no_space = true;
        self.wake();
    }

    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.wake();
    }

    fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The thread.
    pub(crate) fn work(&self, shared: &Shared) {
        let mut round = Round { evict_again: Instant::now() };
        loop {
            let mut state = self.lock();
            if state.stopped {
                return;
            }
            let no_space = std::mem::take(&mut state.no_space);
            drop(state);
            round.turn(shared, no_space);
            std::thread::sleep(PAUSE);
            let state = self.lock();
            let mut state = self
                .wake
                .wait_timeout_while(state, TICK, |s| !s.woken && !s.stopped)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.woken = false;
        }
    }
}

impl Round {
    fn turn(&mut self, shared: &Shared, no_space: bool) {
        if shared.index.unread() {
            shared.index.refresh(&shared.root.top());
        }
        if shared.condition.get() != Health::Sick {
            let _ = shared.space.sync(&shared.root);
        }
        // After a full disk as much has to go as makes room for a while, whatever the limits say.
        let least = if no_space { (shared.space.bytes() / 16).max(1 << 20) } else { 0 };
        let excess = shared.space.excess().max(least);
        let unsure = shared.space.needs_scan();
        if shared.condition.get() != Health::Sick
            && (excess > 0 || unsure)
            && Instant::now() >= self.evict_again
        {
            let freed = self.evict(shared, excess, no_space);
            if freed > 0 && shared.condition.get() == Health::Full && shared.space.has_room() {
                shared.condition.recover();
            }
        }
        if shared.condition.writes() && !shared.space.has_room() {
            shared.condition.worsen(
                Health::Full,
                &"its limit or the free space to be left is reached, and what is in it is in use",
            );
        }
        if shared.condition.probe_due() {
            probe(shared);
        }
        shared.index.refresh(&shared.root.top());
    }

    /// Corrects the sums and, if `least` is not 0, evicts what is too much, or that many bytes if there is no space at all. Bytes that were removed.
    fn evict(&mut self, shared: &Shared, least: u64, no_space: bool) -> u64 {
        let top = shared.root.top();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(lock) = rustix::fs::openat(top.as_ref(), "evict.lock", flags, FILE_MODE) else { return 0 };
        // Another process is at it: its sums are there a second later.
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return 0;
        }
        let begun = Instant::now();
        let stop = || shared.keeper.stopped();
        let before = shared.space.begin_scan(&shared.root);
        let freed = survey(&top, least > 0, stop).and_then(|survey| {
            if stop() {
                return Ok(0);
            }
            shared.space.correct(&shared.root, before, survey.bytes, survey.entries)?;
            // Now that the sums are right: how much is it really?
            let excess = if no_space { least } else { shared.space.excess() };
            let (bytes, entries) = survey.evict(&top, excess, stop)?;
            add(&shared.counters.evicted_files, entries);
            add(&shared.counters.evicted_bytes, bytes);
            shared.space.add(-(bytes as i64), -(entries as i64));
            // For the free space of the file system, too.
            shared.space.sync(&shared.root)?;
            Ok(bytes)
        });
        let freed = freed.unwrap_or_else(|error| {
            tracing::debug!(%error, "cache walk");
            0
        });
        let enough = shared.space.excess() == 0;
        self.evict_again =
            Instant::now() + if enough { Duration::ZERO } else { (begun.elapsed() * REST).max(TICK) };
        freed
    }
}

/// Asks a full or sick disk whether it works again.
fn probe(shared: &Shared) {
    let was = shared.condition.get();
    if shared.root.heal().is_err() {
        return;
    }
    match try_out(&shared.root.top()) {
        Ok(()) => {}
        // What was in use when room was sought may no longer be.
        Err(Errno::NOSPC | Errno::DQUOT) => return shared.keeper.no_space(),
        Err(_) => return,
    }
    let _ = shared.space.sync(&shared.root);
    if was == Health::Full && !shared.space.has_room() {
        return;
    }
    shared.condition.recover();
}

fn try_out(top: &OwnedFd) -> Result<(), Errno> {
    let name = format!("probe.{}", std::process::id());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(top, &*name, flags, FILE_MODE)?;
    // At once, so that nothing stays behind. Processes in containers may have the same number: the name may be gone already.
    match rustix::fs::unlinkat(top, &*name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    write_all(&fd, &PROBE, 0).and_then(|()| rustix::fs::fdatasync(&fd)).and_then(|()| {
        let _ = rustix::fs::fadvise(&fd, 0, None, Advice::DontNeed);
        let mut back = vec![0; PROBE.len()];
        let got = crate::entry::read_up_to(&fd, &mut back, 0)?;
        if got == back.len() && back == PROBE { Ok(()) } else { Err(Errno::IO) }
    })
}

/// Runs a thread's work with less right to the processor than those who read.
pub(crate) fn with_nice(nice: i32, work: impl FnOnce()) {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), nice);
    work();
}
