//! Work that goes on between calls: background loops, and calls that wait for them.
//!
//! A task that was spawned runs interleaved with all others, also after the call that spawned it has returned. Spawn long-lived ones while
//! [`open`](crate::BlockStore::open) runs: a task belongs to the call that spawned it, and until that call has returned, giving the call up
//! ends the task's requests to the host too.
//!
//! # The end of a background loop
//! When the instance is being closed, every request to the host that waits fails as `interrupted`, and sleeps end early. A loop returns
//! on that error and checks a stop flag of its own after each sleep.

use crate::bindings::wasmount::plugin::system;
use crate::{Error, ErrorKind, Result};
use futures::future::{Either, select};
use std::future::Future;
use std::pin::pin;

/// Longer than any call lasts.
const FOREVER_MS: u64 = 24 * 60 * 60 * 1000;

/// Runs `work` in the background, beginning when the current task waits next.
pub fn spawn(work: impl Future<Output = ()> + 'static) {
    wit_bindgen::spawn_local(work);
}

/// Runs `work`, a call that waits for something inside the plugin (a background loop, another call) rather than for the host, and ends it
/// when the host gives the call up.
///
/// The host ends a call by failing the requests to the host that the call is waiting for. A call that waits for none would not notice, and
/// have its instance replaced.
///
/// # Errors
/// Those of `work`; `interrupted`: the call was given up, and `work` dropped.
pub async fn until_given_up<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let given_up = pin!(system::sleep(FOREVER_MS));
    match select(pin!(work), given_up).await {
        Either::Left((done, _)) => done,
        Either::Right(((), _)) => Err(Error::new(ErrorKind::Interrupted, "the host has given this call up")),
    }
}
