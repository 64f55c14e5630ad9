//! A mount from `mounted` to the end of the process.
//!
//! wasmount may be PID 1 of a container, for which the kernel has no default action on signals: what is not handled
//! here would be ignored.

use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wasmount_fuse::Mounted;

/// How long users of the mount may finish after it has been taken from its place. Kubernetes kills after 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// The signals that mean `stop`.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on they end nothing by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one and names it.
    ///
    /// # Cancellation safety
    /// No signal is lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

/// Serves until a signal or an umount from outside; returns when the process may end.
///
/// # Errors
/// When the session broke off or the mount could not be taken away.
pub(crate) async fn until_end(mounted: &Mounted, signals: &mut Signals) -> anyhow::Result<()> {
    tokio::select! {
        ended = mounted.ended() => {
            ended?;
            tracing::info!(target_path = %mounted.target().display(), "unmounted from outside; done");
            return Ok(());
        }
        name = signals.next() => tracing::info!(signal = name, "unmounting"),
    }
    mounted.unmount()?;
    tokio::select! {
        ended = mounted.ended() => {
            // Whatever the session ended with, the mount is gone as wanted.
            if let Err(error) = ended {
                tracing::debug!(%error, "the session ended");
            }
            tracing::info!("unmounted; done");
        }
        () = tokio::time::sleep(PATIENCE) => {
            tracing::warn!("unmounted, but still in use; whoever uses it gets ENOTCONN from now on");
        }
        name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
    }
    Ok(())
}
