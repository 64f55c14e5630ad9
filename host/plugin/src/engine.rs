//! The WebAssembly engine, the clock that interrupts guests, and the threads guests run on.
//!
//! Epochs are counted up by an OS thread every [`TICK`]; guest code notices at loop heads and function entries,
//! gives its thread back once per tick and is trapped when its CPU budget is spent (see `instance::limiter`).
//! Guests that do not give their thread back in time run on a tokio runtime of their own (see `instance::residence`), so
//! that a spinning one takes its time from others of its kind, not from FUSE, the network or this host's own work; the part
//! of that work that watches over guests runs on a third, small runtime.

use crate::host::PluginHostConfig;
use crate::instance::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::{Config, Engine};

/// Time between two epochs: how long a guest may hold its thread.
pub const TICK: Duration = Duration::from_millis(10);

/// Fuel given to a guest when fuel is counted: never used up.
pub(crate) const FUEL: u64 = u64::MAX / 2;

/// Ticks without any guest after which the clock stops: starting it again costs more than a few ticks do.
const REST_AFTER: u32 = 100;

/// The clock of the guests. It stands still while none has run for a while, so that an idle host does not wake up.
#[derive(Debug, Default)]
pub(crate) struct Ticker {
    /// Guests that run at this moment.
    running: AtomicUsize,
    /// One has run since the last tick.
    used: AtomicBool,
    resting: AtomicBool,
    stop: AtomicBool,
    thread: OnceLock<Thread>,
}

/// A guest runs while this is there.
pub(crate) struct Running<'a>(&'a Ticker);

impl Ticker {
    /// One that nothing drives.
    #[cfg(test)]
    pub(crate) fn idle() -> Arc<Self> {
        Arc::default()
    }

    /// A guest is about to run.
    pub(crate) fn run(&self) -> Running<'_> {
        // Written before the other flag is read, as the ticker does: one of the two sees the other.
        self.running.fetch_add(1, Ordering::SeqCst);
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        if self.resting.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
        Running(self)
    }

    /// Ticks until it is stopped. `tick` is called every [`TICK`] while there are guests.
    fn drive(&self, tick: impl Fn()) {
        let _ = self.thread.set(std::thread::current());
        let mut idle = 0;
        while !self.stop.load(Ordering::SeqCst) {
            std::thread::sleep(TICK);
            tick();
            let used = self.used.swap(false, Ordering::Relaxed) || self.running.load(Ordering::SeqCst) > 0;
            idle = if used { 0 } else { idle + 1 };
            if idle < REST_AFTER {
                continue;
            }
            self.resting.store(true, Ordering::SeqCst);
            while self.running.load(Ordering::SeqCst) == 0
                && !self.used.load(Ordering::SeqCst)
                && !self.stop.load(Ordering::SeqCst)
            {
                std::thread::park();
            }
            self.resting.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Engine, ticker and runtimes, shared by all plugins of a process.
pub(crate) struct Machine {
    /// Compiles and runs.
    pub(crate) engine: Engine,
    /// Whether stores count fuel (tests only).
    pub(crate) count_fuel: bool,
    guests: Option<Runtime>,
    control: Option<Runtime>,
    /// Told when guests run.
    pub(crate) ticker: Arc<Ticker>,
    ticking: Option<JoinHandle<()>>,
    /// Told when all instances have to end.
    pub(crate) shutdown: Arc<Shutdown>,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Other, Blame::Host, format!("{what}: {error}"))
}

impl Machine {
    /// Starts the threads.
    pub(crate) fn start(host: &PluginHostConfig) -> Result<Self, Error> {
        let count_fuel = host.count_fuel;
        let mut config = Config::new();
        config.wasm_component_model(true).wasm_component_model_async(true).epoch_interruption(true);
        config.consume_fuel(count_fuel);
        let engine = Engine::new(&config).map_err(|e| failed("the WebAssembly engine does not start", e))?;
        let runtime = |name: &'static str, threads: usize, on_start: fn()| {
            Builder::new_multi_thread()
                .worker_threads(threads.max(1))
                .thread_name(name)
                .on_thread_start(on_start)
                .enable_all()
                .build()
                .map_err(|e| failed("threads for plugins cannot be started", e))
        };
        let guests = runtime("wasmount-guest", host.guest_threads, host.guest_thread_start)?;
        let control = runtime("wasmount-plugin", 1, || {})?;
        let ticker = Arc::<Ticker>::default();
        let (clock, epochs) = (ticker.clone(), engine.clone());
        let ticking = std::thread::Builder::new()
            .name("wasmount-epoch".into())
            .spawn(move || clock.drive(|| epochs.increment_epoch()))
            .map_err(|e| failed("the epoch thread cannot be started", e))?;
        Ok(Self {
            engine,
            count_fuel,
            guests: Some(guests),
            control: Some(control),
            ticker,
            ticking: Some(ticking),
            shutdown: Shutdown::new(),
        })
    }

    fn handle(runtime: &Option<Runtime>) -> Result<Handle, Error> {
        // Only `drop` takes the runtimes out.
        runtime.as_ref().map(|r| r.handle().clone()).ok_or_else(|| {
            Error::new(ErrorKind::Interrupted, Blame::Host, "the plugin host is being stopped")
        })
    }

    /// Where guest code runs.
    pub(crate) fn guests(&self) -> Result<Handle, Error> {
        Self::handle(&self.guests)
    }

    /// Where the host watches over guests.
    pub(crate) fn control(&self) -> Result<Handle, Error> {
        Self::handle(&self.control)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A runtime must not be waited for inside another one, and this may be dropped anywhere.
        if let Some(runtime) = self.guests.take() {
            runtime.shutdown_background();
        }
        if let Some(runtime) = self.control.take() {
            runtime.shutdown_background();
        }
        self.ticker.stop();
        if let Some(ticking) = self.ticking.take() {
            // Within one tick; it cannot panic.
            let _ = ticking.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn the_clock_rests_without_guests_and_goes_on_with_them() {
        let (ticker, ticks) = (Ticker::idle(), Arc::new(AtomicUsize::new(0)));
        let (clock, count) = (ticker.clone(), ticks.clone());
        let thread = std::thread::spawn(move || clock.drive(|| _ = count.fetch_add(1, Ordering::SeqCst)));
        let wait = |reached: &dyn Fn() -> bool| {
            let begin = Instant::now();
            while !reached() {
                assert!(begin.elapsed() < Duration::from_secs(30), "not in time");
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        for _ in 0..2 {
            wait(&|| ticker.resting.load(Ordering::SeqCst));
            let before = ticks.load(Ordering::SeqCst);
            std::thread::sleep(TICK * 5);
            assert_eq!(ticks.load(Ordering::SeqCst), before);
            let running = ticker.run();
            // However long a guest runs in one go.
            wait(&|| ticks.load(Ordering::SeqCst) > before + 2 * REST_AFTER as usize);
            drop(running);
        }
        ticker.stop();
        thread.join().unwrap();
    }
}
