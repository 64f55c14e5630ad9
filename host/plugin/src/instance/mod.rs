//! A running plugin: one Store, one task that owns it, any number of calls in flight.
//!
//! [`actor`] is the task, [`call`] the callers' side with deadlines, [`calls`] ties the two together,
//! [`limiter`] bounds memory and time, [`slot`] replaces an instance that died.

mod actor;
mod call;
mod calls;
mod limiter;
mod slot;
mod state;

pub(crate) use actor::{Instance, Job, Start};
pub(crate) use call::{Failure, call, invoke};
pub(crate) use calls::CallState;
pub(crate) use slot::{BoxOpen, Opener, Slot};
pub(crate) use state::{FuelMeter, GuestState, HasGuest, Rights};
