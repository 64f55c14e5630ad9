//! How long the kernel waits for an answer before it ends the connection.
//!
//! By itself it waits for ever. That is dangerous when this process is killed in the middle of a message to the page cache:
//! such a message waits for the lock of a page, which a READ holds, and no signal ends that wait. The READ is never
//! answered, so the thread never ends, so `/dev/fuse` stays open, so the kernel never sees that nobody is there: readers,
//! this process and its container hang until somebody forces the unmount. Since Linux 6.14 a server can ask at INIT for an end
//! of the connection when a request has been waiting for so many seconds (`FUSE_REQUEST_TIMEOUT`), and an operator can
//! demand it (`fs.fuse.max_request_timeout`) or make it the default (`fs.fuse.default_request_timeout`).
//!
//! It ends the whole mount, so no request that is merely slow may ever come near. Requests are answered by their
//! deadline, and they do not wait for their turn in the kernel: it creates a request when it may be sent (a read-ahead beyond
//! `max_background` waits before it is one), and what it sends is read at once, since no thread that reads waits for anything.
//! What does count is a process that is stopped: by a debugger, `SIGSTOP` or the freezer of its cgroup. Hence minutes.

use std::num::NonZeroU16;
use std::time::Duration;

/// Unless requests may take longer. Long enough for a short stop of the process, short enough for a node to get rid of a
/// container that was killed.
pub(crate) const DEFAULT: Duration = Duration::from_secs(300);

/// The kernel looks only so often, and takes no shorter time than that (`FUSE_TIMEOUT_TIMER_FREQ`).
const SHORTEST: Duration = Duration::from_secs(15);

/// A request gets at most this part of the time: what is left is for a machine that is short of processors.
const PART: u32 = 2;

const DIRECTORY: &str = "/proc/sys/fs/fuse";

/// What the operator has set for all FUSE mounts; zero is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sysctls {
    /// Of connections that ask for nothing.
    default: Duration,
    /// Of all connections.
    max: Duration,
}

impl Sysctls {
    fn read() -> Self {
        let seconds = |name: &str| {
            let text = std::fs::read_to_string(format!("{DIRECTORY}/{name}")).ok();
            Duration::from_secs(text.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
        };
        Self { default: seconds("default_request_timeout"), max: seconds("max_request_timeout") }
    }
}

/// The kernel's patience with one mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// To be asked for, in seconds.
    pub(crate) ask: Option<NonZeroU16>,
    /// What it will be, if the kernel knows of it, when asked and when not.
    asked: Option<Duration>,
    unasked: Option<Duration>,
    /// Deadline of requests: what was wanted, unless the operator's patience is less.
    pub(crate) deadline: Duration,
}

impl Patience {
    /// For requests that may take `deadline`; `wanted`: at least so long, `None`: the kernel is not asked.
    pub(crate) fn new(wanted: Option<Duration>, deadline: Duration) -> Self {
        Self::with(wanted, deadline, Sysctls::read())
    }

    fn with(wanted: Option<Duration>, deadline: Duration, sysctls: Sysctls) -> Self {
        let ask = wanted.and_then(|wanted| {
            let needed = wanted.max(deadline.saturating_mul(PART)).max(SHORTEST);
            // Whole seconds, rounded up. Who wants more than the kernel can count (18 hours) goes without.
            let seconds = needed.as_secs().saturating_add(u64::from(needed.subsec_nanos() > 0));
            NonZeroU16::new(u16::try_from(seconds).ok()?)
        });
        let set = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let limited = |patience: Option<Duration>| match (patience, set(sysctls.max)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let asked =
            limited(ask.map(|seconds| Duration::from_secs(seconds.get().into())).or(set(sysctls.default)));
        let unasked = limited(set(sysctls.default));
        // A kernel that has the sysctls can be asked.
        let least = if ask.is_some() { asked } else { unasked }.map(|least| least.max(SHORTEST));
        let allowed = least.map_or(deadline, |least| deadline.min(least / PART));
        Self { ask, asked, unasked, deadline: allowed }
    }

    /// How long the kernel waits, if `asked`; `None`: for ever.
    pub(crate) fn of_kernel(&self, asked: bool) -> Option<Duration> {
        let patience = if asked { self.asked } else { self.unasked };
        patience.map(|patience| patience.max(SHORTEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    const UNSET: Sysctls = Sysctls { default: Duration::ZERO, max: Duration::ZERO };

    #[test]
    fn twice_the_deadline_at_least() {
        let patience = Patience::with(Some(DEFAULT), seconds(60), UNSET);
        assert_eq!(patience.ask, NonZeroU16::new(300));
        assert_eq!((patience.of_kernel(true), patience.of_kernel(false)), (Some(seconds(300)), None));
        assert_eq!(patience.deadline, seconds(60));
        let patience = Patience::with(Some(DEFAULT), Duration::from_millis(200_500), UNSET);
        assert_eq!(patience.ask, NonZeroU16::new(401));
        assert_eq!(Patience::with(Some(seconds(1)), seconds(1), UNSET).ask, NonZeroU16::new(15));
    }

    #[test]
    fn who_does_not_want_it_does_not_get_it() {
        for (wanted, deadline) in [(None, 60), (Some(DEFAULT), 40_000), (Some(Duration::MAX), 60)] {
            let patience = Patience::with(wanted, seconds(deadline), UNSET);
            assert_eq!((patience.ask, patience.of_kernel(false)), (None, None));
            assert_eq!(patience.deadline, seconds(deadline));
        }
    }

    #[test]
    fn the_operators_word_shortens_deadlines() {
        let strict = Sysctls { max: seconds(40), ..UNSET };
        let patience = Patience::with(Some(DEFAULT), seconds(60), strict);
        assert_eq!((patience.of_kernel(true), patience.deadline), (Some(seconds(40)), seconds(20)));
        let patience = Patience::with(None, seconds(60), strict);
        assert_eq!((patience.of_kernel(false), patience.deadline), (Some(seconds(40)), seconds(20)));

        let default = Sysctls { default: seconds(40), ..UNSET };
        let patience = Patience::with(None, seconds(60), default);
        assert_eq!((patience.of_kernel(false), patience.deadline), (Some(seconds(40)), seconds(20)));
        let patience = Patience::with(Some(DEFAULT), seconds(60), default);
        assert_eq!(
            (patience.of_kernel(true), patience.deadline),
            (Some(DEFAULT), seconds(60)),
            "a default only"
        );
        // Below what the kernel looks at, it looks when it looks.
        let patience = Patience::with(None, seconds(60), Sysctls { max: seconds(1), ..UNSET });
        assert_eq!(
            (patience.of_kernel(false), patience.deadline),
            (Some(seconds(15)), Duration::from_millis(7500))
        );
    }
}
