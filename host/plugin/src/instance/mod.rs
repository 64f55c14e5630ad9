//! A running plugin: one Store, one task that owns it, any number of calls in flight.
//!
//! [`actor`] is the task, [`call`] the callers' side with deadlines, [`calls`] ties the two together,
//! [`limiter`] and [`memory`] bound memory and time, [`residence`] says on which threads it runs, [`slot`] replaces an
//! instance that died, [`meter`] counts.

mod actor;
mod call;
mod calls;
mod limiter;
mod memory;
mod meter;
mod residence;
mod shutdown;
mod slot;
mod state;

pub(crate) use actor::{Instance, Job, Start};
pub(crate) use call::{Failure, call, invoke, invoke_all};
pub(crate) use calls::CallState;
pub(crate) use limiter::Budget;
pub(crate) use memory::{Admitted, GuestMemory, Share};
pub(crate) use meter::Meter;
pub use meter::PluginStats;
pub(crate) use residence::processor_time;
pub(crate) use shutdown::Shutdown;
pub(crate) use slot::{BoxOpen, Opener, Slot};
pub(crate) use state::{FuelMeter, GuestState, HasGuest, Rights};
