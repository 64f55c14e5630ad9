//! Timers that live on the client's runtime, whoever waits for them.

use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Sleep;

/// A timer of the runtime behind `handle`; may be polled anywhere.
pub(crate) fn sleep(handle: &Handle, duration: Duration) -> Sleep {
    let _inside = handle.enter();
    tokio::time::sleep(duration)
}
