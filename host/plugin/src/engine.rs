//! The WebAssembly engine, the clock that interrupts guests, and the threads guests run on.
//!
//! Epochs are counted up by an OS thread every [`TICK`]; guest code notices at loop heads and function entries,
//! gives its thread back once per tick and is trapped when its CPU budget is spent (see `instance::budget`).
//! Guests run on a tokio runtime of their own, so that a spinning one takes its time from other guests at
//! most, never from FUSE, the network or this host's own work; that work runs on a third, small runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::{Config, Engine};

/// Time between two epochs: how long a guest may hold its thread.
pub const TICK: Duration = Duration::from_millis(10);

/// Fuel given to a guest when fuel is counted: never used up.
pub(crate) const FUEL: u64 = u64::MAX / 2;

/// Engine, ticker and runtimes, shared by all plugins of a process.
pub(crate) struct Machine {
    /// Compiles and runs.
    pub(crate) engine: Engine,
    /// Whether stores count fuel (tests only).
    pub(crate) count_fuel: bool,
    guests: Option<Runtime>,
    control: Option<Runtime>,
    stop: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Other, Blame::Host, format!("{what}: {error}"))
}

impl Machine {
    /// Starts the threads.
    pub(crate) fn start(guest_threads: usize, count_fuel: bool) -> Result<Self, Error> {
        let mut config = Config::new();
        config.wasm_component_model(true).wasm_component_model_async(true).epoch_interruption(true);
        config.consume_fuel(count_fuel);
        let engine = Engine::new(&config).map_err(|e| failed("the WebAssembly engine does not start", e))?;
        let runtime = |name: &'static str, threads: usize| {
            Builder::new_multi_thread()
                .worker_threads(threads.max(1))
                .thread_name(name)
                .enable_all()
                .build()
                .map_err(|e| failed("threads for plugins cannot be started", e))
        };
        let guests = runtime("wasmount-guest", guest_threads)?;
        let control = runtime("wasmount-plugin", 1)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (ticking, stopping) = (engine.clone(), stop.clone());
        let ticker = std::thread::Builder::new()
            .name("wasmount-epoch".into())
            .spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    std::thread::sleep(TICK);
                    ticking.increment_epoch();
                }
            })
            .map_err(|e| failed("the epoch thread cannot be started", e))?;
        Ok(Self {
            engine,
            count_fuel,
            guests: Some(guests),
            control: Some(control),
            stop,
            ticker: Some(ticker),
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
        self.stop.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker.take() {
            // Within one tick; it cannot panic.
            let _ = ticker.join();
        }
    }
}
