//! What belongs to one instance on the host's side: the data of its Store.

use super::calls::CallTable;
use super::limiter::{Budget, Limiter};
use super::memory::{GuestMemory, Tenant};
use super::meter::Meter;
use crate::imports::{BufferBudget, Events, LogSink};
use crate::limits::Limits;
use crate::wasi;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;
use wasmount_net::MountNet;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// What an instance may use. Cheap to clone: each replacement of an instance gets the same.
#[derive(Clone)]
pub(crate) struct Rights {
    /// Its limits.
    pub(crate) limits: Arc<Limits>,
    /// The network as its mount may see it; none while a plugin is only described.
    pub(crate) net: Option<Arc<MountNet>>,
    /// Where its log lines go.
    pub(crate) log: Arc<LogSink>,
    /// Who hears what the plugin says is no longer true.
    pub(crate) events: Arc<Events>,
    /// What all instances of the process may use together.
    pub(crate) memory: Arc<GuestMemory>,
    /// Counts what the mount's instances do.
    pub(crate) meter: Arc<Meter>,
    /// Becomes true when the mount is taken away.
    pub(crate) ending: watch::Receiver<bool>,
    /// Measures calls, in tests.
    pub(crate) fuel: Option<Arc<FuelMeter>>,
}

/// Fuel that the last finished call of any instance used.
#[derive(Debug, Default)]
pub(crate) struct FuelMeter(AtomicU64);

impl FuelMeter {
    pub(crate) fn set(&self, fuel: u64) {
        self.0.store(fuel, Ordering::SeqCst);
    }

    pub(crate) fn last(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Data of a Store.
pub(crate) struct GuestState {
    pub(crate) rights: Rights,
    pub(crate) table: ResourceTable,
    pub(crate) buffers: Arc<BufferBudget>,
    pub(crate) calls: CallTable,
    pub(crate) budget: Arc<Budget>,
    pub(crate) limiter: Limiter,
    /// One of those who share the memory.
    pub(crate) tenant: Tenant,
    /// Becomes true when the instance is being closed.
    pub(crate) closing: watch::Receiver<bool>,
    /// Zero of the guest's monotonic clock.
    pub(crate) started: Instant,
    wasi: WasiCtx,
    wasi_table: ResourceTable,
}

impl GuestState {
    /// A fresh state.
    pub(crate) fn new(rights: Rights, budget: Arc<Budget>, closing: watch::Receiver<bool>) -> Self {
        let table = || {
            let mut table = ResourceTable::new();
            table.set_max_capacity(rights.limits.handles);
            table
        };
        Self {
            table: table(),
            wasi_table: table(),
            buffers: BufferBudget::new(
                &rights.limits,
                rights.memory.passing(rights.meter.buffers.clone()),
                rights.memory.lasting(rights.meter.buffers.clone()),
            ),
            calls: CallTable::default(),
            budget,
            limiter: Limiter::new(&rights.limits, rights.memory.lasting(rights.meter.memory.clone())),
            tenant: rights.memory.tenant(),
            closing,
            started: Instant::now(),
            wasi: wasi::empty(&rights.log),
            rights,
        }
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.wasi_table }
    }
}

/// Tells the generated code where the imports' data is.
pub(crate) struct HasGuest;

impl HasData for HasGuest {
    type Data<'a> = &'a mut GuestState;
}
