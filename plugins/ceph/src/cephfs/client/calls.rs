//! Calls of the user, and the questions that are asked on their behalf.

use super::{Ask, Call, Command, FsClient, InFlight, Step, Task, Vino, Waits};
use crate::cephfs::answer::{Answer, Done};
use crate::cephfs::error::FsError;
use crate::cephfs::ids::CallId;
use crate::cephfs::inode::Inode;
use crate::mds::Caps;
use crate::time::Now;

/// Longest pause between two questions of the same call, in milliseconds.
const PAUSE_MAX_MS: u64 = 50;

/// How long a call pauses that was answered so often and has not got what it wants.
fn pause_ms(asked: u32) -> u64 {
    1_u64.checked_shl(asked.saturating_sub(1)).unwrap_or(PAUSE_MAX_MS).min(PAUSE_MAX_MS)
}

impl Waits {
    /// The moment of its timer.
    fn until(self) -> Option<u64> {
        match self {
            Self::Caps(at) | Self::Pause(at) => Some(at),
            Self::Nothing | Self::Request(_) => None,
        }
    }
}

impl FsClient {
    pub(super) fn begin(&mut self, task: Task, deadline_ms: Option<u64>, now: Now) -> CallId {
        self.tick += 1;
        self.last_call += 1;
        let id = CallId(self.last_call);
        if self.calls.len() >= self.config.calls {
            let result = Err(FsError::TooMany(format!("more than {} calls at a time", self.config.calls)));
            self.done.push_back(Done::Call { id, result });
            return id;
        }
        if let Some(at) = deadline_ms {
            self.timers.insert((at, id));
        }
        self.calls.insert(
            id,
            Call { task, deadline_ms, waits: Waits::Nothing, wakes: None, found: false, asked: 0, paused: 0 },
        );
        self.ready.push_back(id);
        self.settle(now);
        id
    }

    /// Looks at calls that may go on, and then at what may be given back.
    pub(super) fn settle(&mut self, now: Now) {
        self.seen_ms = now.monotonic_ms;
        while let Some(id) = self.ready.pop_front() {
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if matches!(call.waits, Waits::Pause(_)) {
                // It has been looked at already: what wakes it ends the pause first.
                continue;
            }
            call.waits = Waits::Nothing;
            let (task, found, asked, paused) = (call.task.clone(), call.found, call.asked, call.paused);
            match self.step(&task, asked, now) {
                Step::Done(result) => self.answer(id, result),
                Step::Ask(ask) if found && matches!(ask, Ask::Ino(_)) => self.answer(id, Err(FsError::Stale)),
                // The MDS answers at once while it waits for somebody else, perhaps another MDS, and would be asked as fast as it answers.
                Step::Ask(_) if matches!(task, Task::Open { keep: true, .. }) && asked > paused => {
                    let Task::Open { vino, .. } = task else { continue };
                    let again = now.after(pause_ms(asked));
                    self.wait_until(id, vino, Waits::Pause(again), again);
                    if let Some(call) = self.calls.get_mut(&id) {
                        call.paused = asked;
                    }
                }
                Step::Ask(ask) => {
                    self.ask(id, ask, now);
                    // Whoever wants a right must not go on waiting for an answer when it is there: the MDS may soon take it back, before it
                    // answers, and whoever gives it back has to wait for the reader.
                    let wants_right_to = match task {
                        Task::Read { file, .. } => self.files.get(&file).copied(),
                        Task::Open { vino, keep: true } => Some(vino),
                        _ => None,
                    };
                    if let Some(vino) = wants_right_to {
                        self.wake_later(id, vino);
                    }
                }
                Step::Wait(vino) => {
                    let again = now.after(self.config.ask_again_ms);
                    self.wait_until(id, vino, Waits::Caps(again), again);
                }
            }
        }
        self.trim(now);
        self.plan_to_want_less(now);
        self.flush_releases();
    }

    /// The call looks again at this moment, or when there are rights on this inode.
    fn wait_until(&mut self, id: CallId, vino: Vino, waits: Waits, at: u64) {
        self.timers.insert((at, id));
        self.wake_later(id, vino);
        if let Some(call) = self.calls.get_mut(&id) {
            call.waits = waits;
        }
    }

    /// Ends a call.
    pub(super) fn answer(&mut self, id: CallId, result: Result<Answer, FsError>) {
        if self.end_call(id) {
            self.done.push_back(Done::Call { id, result });
        }
    }

    pub(super) fn end_call(&mut self, id: CallId) -> bool {
        self.wake_never(id);
        let Some(call) = self.calls.remove(&id) else { return false };
        for at in call.deadline_ms.into_iter().chain(call.waits.until()) {
            self.timers.remove(&(at, id));
        }
        true
    }

    /// Asks a question on behalf of a call, or joins one that is being asked.
    pub(super) fn ask(&mut self, id: CallId, ask: Ask, now: Now) {
        let number = match self.asked.get(&ask) {
            Some(number) => *number,
            None => match self.send(ask, now) {
                Ok(number) => number,
                Err(error) => return self.answer(id, Err(error)),
            },
        };
        let Some(request) = self.requests.get_mut(&number) else { return };
        request.waiters.push((id, request.tick == self.tick));
        if let Some(call) = self.calls.get_mut(&id) {
            call.waits = Waits::Request(number);
        }
    }

    /// Asks a question.
    fn send(&mut self, ask: Ask, now: Now) -> Result<u64, FsError> {
        if self.requests.len() >= self.config.calls {
            return Err(FsError::TooMany(format!("more than {} requests at a time", self.config.calls)));
        }
        let (op, path, path2, rank) = self.question(&ask)?;
        let period = self.period_of(&ask);
        self.last_request += 1;
        let number = self.last_request;
        self.asked.insert(ask.clone(), number);
        let sent_ms = now.monotonic_ms;
        let in_flight =
            InFlight { ask, waiters: Vec::new(), tick: self.tick, sent_ms, path: path.clone(), period };
        self.requests.insert(number, in_flight);
        self.commands.push_back(Command::Request { number, op, path, path2, rank });
        Ok(number)
    }

    /// When [`on_time`](Self::on_time) wants to be called, on the monotonic clock.
    #[must_use]
    pub fn next_timer(&self) -> Option<u64> {
        let call = self.timers.first().map(|(at, _)| *at);
        let unwanted = self.unwanted.first().map(|(at, _)| *at);
        call.into_iter().chain(unwanted).min()
    }

    /// Time has passed.
    pub fn on_time(&mut self, now: Now) {
        self.tick += 1;
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| now.reached(*at)) {
            self.timers.remove(&(at, id));
            let Some(call) = self.calls.get_mut(&id) else { continue };
            if call.deadline_ms == Some(at) {
                let waits_for = self.waits_for(id).unwrap_or_default();
                self.answer(id, Err(FsError::TimedOut(waits_for)));
            } else if call.waits == Waits::Pause(at) {
                self.end_pause(id);
            } else if call.waits == Waits::Caps(at)
                && let Some(vino) = call.wakes
            {
                // Perhaps the server has forgotten that this is wanted.
                if let Some(inode) = self.table.get_mut(vino) {
                    inode.caps.iter_mut().for_each(|(_, cap)| cap.wanted = Caps::NONE);
                }
                self.wake(vino);
            }
        }
        self.on_unwanted(now);
        self.settle(now);
    }

    /// What a call waits for, in words; `None`: it has ended.
    #[must_use]
    pub fn waits_for(&self, id: CallId) -> Option<String> {
        let call = self.calls.get(&id)?;
        Some(match call.waits {
            Waits::Nothing => "nothing".to_owned(),
            Waits::Caps(_) | Waits::Pause(_) => {
                let vino = call.wakes.unwrap_or(Vino::ROOT);
                format!("the MDS gives no right to read {vino}: another client writes it")
            }
            Waits::Request(number) => match self.requests.get(&number).map(|request| &request.ask) {
                Some(Ask::Lookup(dir, name)) => {
                    format!("the MDS does not answer a look-up of {} in {dir}", String::from_utf8_lossy(name))
                }
                Some(Ask::Getattr(vino, mask)) => {
                    format!("the MDS does not tell the attributes {} of {vino}", Caps(*mask))
                }
                Some(Ask::Open(vino)) => format!("the MDS does not answer an open of {vino}"),
                Some(Ask::Readdir(_)) => "the MDS does not list the directory".to_owned(),
                Some(Ask::Ino(ino)) => format!("the MDS does not look for inode {ino:#x}"),
                Some(Ask::Path(ino, path)) => {
                    format!("the MDS does not look up {} from {ino:#x}", String::from_utf8_lossy(path))
                }
                None => "an answer of the MDS".to_owned(),
            },
        })
    }

    /// The call looks again when there are rights on this inode.
    fn wake_later(&mut self, id: CallId, vino: Vino) {
        if self.calls.get(&id).is_none_or(|call| call.wakes == Some(vino)) {
            return;
        }
        self.wake_never(id);
        if let Some(call) = self.calls.get_mut(&id) {
            call.wakes = Some(vino);
            self.waiting.entry(vino).or_default().push(id);
        }
    }

    /// Rights on an inode are nothing to the call any more.
    fn wake_never(&mut self, id: CallId) {
        let Some(vino) = self.calls.get_mut(&id).and_then(|call| call.wakes.take()) else { return };
        if let Some(waiting) = self.waiting.get_mut(&vino) {
            waiting.retain(|other| *other != id);
            if waiting.is_empty() {
                self.waiting.remove(&vino);
                self.let_alone(vino);
            }
        }
    }

    /// It asks again.
    fn end_pause(&mut self, id: CallId) {
        self.wake_never(id);
        if let Some(call) = self.calls.get_mut(&id) {
            call.waits = Waits::Nothing;
            self.ready.push_back(id);
        }
    }

    /// Calls that wait for rights on an inode look again; those that pause only if what they want is there. Others read the file all the time meanwhile,
    /// and the end of each read comes here.
    pub(super) fn wake(&mut self, vino: Vino) {
        let there = self.table.get(vino).is_none_or(Inode::pages_may_be_kept);
        let paused = |call: &Call| matches!(call.waits, Waits::Pause(_)) && !there;
        let waiting = self.waiting.remove(&vino).unwrap_or_default();
        let (stay, go): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|id| self.calls.get(id).is_some_and(paused));
        if !stay.is_empty() {
            self.waiting.insert(vino, stay);
        } else if !go.is_empty() {
            self.let_alone(vino);
        }
        for id in go {
            if let Some(call) = self.calls.get_mut(&id) {
                if let Some(again) = call.waits.until() {
                    self.timers.remove(&(again, id));
                }
                (call.waits, call.wakes) = (Waits::Nothing, None);
                self.ready.push_back(id);
            }
        }
    }
}
