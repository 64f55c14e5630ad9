//! On whose threads an instance runs.
//!
//! Next to its callers and its sockets, while it behaves: a request then passes from its caller through the guest to the
//! socket and back without a change of threads, which would cost more than the guest does. A guest that holds such a
//! thread for long, in one go or again and again, is moved to the guests' own threads for a while. So what a spinning guest can take
//! from FUSE, the network and other mounts is a tenth of one thread, in pieces of a [`TICK`](crate::TICK), or of one call of a
//! function of the host, where no tick finds it.
//!
//! What counts is the processor time that the thread has used, not the clock: on a busy machine a thread that was taken off its processor
//! in the middle of a poll would look like a guest that held it, and guests would have to leave just when changes of threads cost most.

use super::meter::Meter;
use crate::engine::Ticker;
use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt as _};
use rustix::time::{ClockId, clock_gettime};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// What a guest may do in one go without it being held against it: twenty times what a request needs.
const FREE: Duration = Duration::from_millis(1);

/// How much may be held against it before it has to leave: twice as long as a guest that spins holds a thread until the next tick.
const TOLERANCE: Duration = Duration::from_millis(20);

/// What is held against it is forgotten at this fraction of the time that passes, and it stays away until all of it is.
const FORGET: u32 = 10;

/// The task of an instance.
pub(super) struct Resident {
    work: BoxFuture<'static, ()>,
    /// Where its callers and sockets are.
    home: Handle,
    /// The guests' own threads.
    away: Handle,
    meter: Arc<Meter>,
    ticker: Arc<Ticker>,
    conduct: Conduct,
}

/// How a guest has treated the threads it ran on.
struct Conduct {
    /// Held against it, as of `at`.
    debt: Duration,
    at: Instant,
    is_away: bool,
}

impl Conduct {
    fn new(now: Instant) -> Self {
        Self { debt: Duration::ZERO, at: now, is_away: false }
    }

    /// It has held its thread for so long, up to `now`. Returns whether it has to move.
    fn held(&mut self, took: Duration, now: Instant) -> bool {
        let forgotten = now.saturating_duration_since(self.at) / FORGET;
        self.debt = self.debt.saturating_sub(forgotten) + took.saturating_sub(FREE);
        self.at = now;
        let was_away = self.is_away;
        self.is_away = if was_away { !self.debt.is_zero() } else { self.debt > TOLERANCE };
        was_away != self.is_away
    }
}

impl Resident {
    /// Begins at home. The handle stops it wherever it is.
    pub(super) fn settle(
        work: impl Future<Output = ()> + Send + 'static,
        home: Handle,
        away: Handle,
        meter: Arc<Meter>,
        ticker: Arc<Ticker>,
    ) -> AbortHandle {
        let (stop, stopped) = AbortHandle::new_pair();
        let work = Abortable::new(work, stopped).map(|_ended| ()).boxed();
        Self { work, home, away, meter, ticker, conduct: Conduct::new(Instant::now()) }.stay();
        stop
    }

    /// Runs where it belongs until it has ended or has to move.
    fn stay(self) {
        let place = if self.conduct.is_away { self.away.clone() } else { self.home.clone() };
        let mut resident = Some(self);
        place.spawn(async move {
            let moves = poll_fn(|cx| {
                let Some(mut here) = resident.take() else { return Poll::Ready(None) };
                let begin = processor_time();
                let running = here.ticker.run();
                let ended = here.work.as_mut().poll(cx).is_ready();
                drop(running);
                let took = processor_time().saturating_sub(begin);
                here.meter.ran(took);
                if ended {
                    return Poll::Ready(None);
                }
                if here.conduct.held(took, Instant::now()) {
                    return Poll::Ready(Some(here));
                }
                resident = Some(here);
                Poll::Pending
            });
            // It is polled there at once, so that no wake-up is lost on the way.
            if let Some(moved) = moves.await {
                moved.stay();
            }
        });
    }
}

/// What this thread has used so far.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::TICK;
    use tokio::runtime::{Builder, Runtime};

    fn runtime(name: &'static str) -> Runtime {
        Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
    }

    #[test]
    fn only_who_holds_threads_again_and_again_has_to_leave() {
        let ms = Duration::from_millis;
        // Polls of a length, so much time apart: after how many does it leave?
        let leaves = |took: Duration, apart: Duration| {
            let mut now = Instant::now();
            let mut conduct = Conduct::new(now);
            (1..=1000).find(|_| {
                now += took + apart;
                conduct.held(took, now)
            })
        };
        assert_eq!(leaves(TICK, ms(0)), Some(3), "a guest that spins");
        assert_eq!(leaves(TICK - ms(2), ms(0)), Some(4), "one that knows the tick");
        assert_eq!(leaves(FREE, ms(0)), None, "one that works a lot in small pieces");
        assert_eq!(leaves(ms(9), ms(80)), None, "one that was interrupted now and then");
        assert_eq!(leaves(ms(160), ms(0)), Some(1), "one that hides in a function of the host");
        let mut conduct = Conduct::new(Instant::now());
        let now = conduct.at + ms(51);
        assert!(conduct.held(ms(51), now) && conduct.is_away);
        assert!(!conduct.held(ms(0), now + ms(400)) && conduct.is_away);
        assert!(conduct.held(ms(0), now + ms(600)) && !conduct.is_away);
    }

    fn hold(time: Duration) {
        let begin = processor_time();
        while processor_time() - begin < time {}
    }

    /// However long a poll lasts: waiting is not held against anybody.
    #[test]
    fn who_waits_for_the_processor_may_stay() {
        let (home, away) = (runtime("home"), runtime("away"));
        let (done, ended) = std::sync::mpsc::channel();
        let work = async move {
            let mut elsewhere = 0;
            for _ in 0..20 {
                std::thread::sleep(TICK);
                tokio::task::yield_now().await;
                elsewhere += usize::from(std::thread::current().name() != Some("home"));
            }
            let _ = done.send(elsewhere);
        };
        let handles = (home.handle().clone(), away.handle().clone());
        let _stop = Resident::settle(work, handles.0, handles.1, Arc::default(), Ticker::idle());
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)).unwrap(), 0);
    }

    #[test]
    fn it_moves_away_and_comes_back() {
        let (home, away) = (runtime("home"), runtime("away"));
        let meter = Arc::<Meter>::default();
        let (done, ended) = std::sync::mpsc::channel();
        let work = async move {
            let mut seen = Vec::new();
            while seen.len() < 3 {
                let name = std::thread::current().name().unwrap_or_default().to_owned();
                if seen.last() != Some(&name) {
                    seen.push(name);
                }
                if seen.len() == 1 {
                    hold(TICK);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let _ = done.send(seen);
        };
        let handles = (home.handle().clone(), away.handle().clone());
        let _stop = Resident::settle(work, handles.0, handles.1, meter.clone(), Ticker::idle());
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)).unwrap(), ["home", "away", "home"]);
        assert!(meter.stats().cpu >= TICK * 2);
    }

    #[test]
    fn it_is_stopped_wherever_it_is() {
        struct Ended(std::sync::mpsc::Sender<()>);
        impl Drop for Ended {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let (home, away) = (runtime("home"), runtime("away"));
        let (done, ended) = std::sync::mpsc::channel();
        let (started, begun) = std::sync::mpsc::channel();
        let end = Ended(done);
        let work = async move {
            let _end = end;
            loop {
                hold(TICK * 2);
                let _ = started.send(());
                tokio::task::yield_now().await;
            }
        };
        let handles = (home.handle().clone(), away.handle().clone());
        let stop = Resident::settle(work, handles.0, handles.1, Arc::default(), Ticker::idle());
        for _ in 0..3 {
            begun.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        stop.abort();
        ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}
