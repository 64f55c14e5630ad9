//! A mount from `mounted` to the end of the process.
//!
//! wasmount may be PID 1 of a container, for which the kernel has no default action on signals: what is not handled
//! here would be ignored.

use rustix::process::{WaitOptions, getpid, wait};
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wasmount_fuse::Mounted;

/// How long users of the mount may finish after it has been taken from its place. Kubernetes kills after 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// The signals that mean `stop`.
pub(crate) struct Signals {
    /// One that came when it could not be acted upon yet.
    pending: Option<&'static str>,
    terminate: Signal,
    interrupt: Signal,
    /// `None` when whoever started us had it ignored, as `nohup` does.
    hang_up: Option<Signal>,
}

impl Signals {
    /// From now on they end nothing by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            pending: None,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: match is_ignored(SignalKind::hangup()) {
                true => None,
                false => Some(signal(SignalKind::hangup())?),
            },
        })
    }

    /// Waits for the next one and names it.
    ///
    /// # Cancellation safety
    /// No signal is lost.
    pub(crate) async fn next(&mut self) -> &'static str {
        if let Some(name) = self.pending.take() {
            return name;
        }
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hang_up => "SIGHUP",
        }
    }
}

/// Whether a signal is ignored at this moment, as `/proc/self/status` says (`SigIgn`, a mask in hexadecimal).
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

/// Waits for the mount to be made. A signal does not interrupt that, or it might leave a mount that nobody serves; but
/// a target that hangs (a dead network file system above it) must not keep the process from ending: `None` then.
pub(crate) async fn or_stopped<T>(
    mut mounting: tokio::task::JoinHandle<T>,
    signals: &mut Signals,
) -> Option<Result<T, tokio::task::JoinError>> {
    let name = tokio::select! {
        mounted = &mut mounting => return Some(mounted),
        name = signals.next() => name,
    };
    tokio::select! {
        mounted = &mut mounting => {
            signals.pending = Some(name);
            Some(mounted)
        }
        () = tokio::time::sleep(PATIENCE) => {
            tracing::warn!(signal = name, "stopping although mounting has not come to an end: the target hangs");
            None
        }
        again = signals.next() => {
            tracing::warn!(signal = again, "stopping at once, while mounting");
            None
        }
    }
}

/// The first process of a container inherits those whose parents have ended, such as what a hook has left behind, and has to take note of their
/// end. Anywhere else somebody else does, and here there may be children of our own whose end others wait for.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    if getpid().as_raw_nonzero().get() == 1 {
        let mut ended = signal(SignalKind::child())?;
        tokio::spawn(async move {
            reap();
            while ended.recv().await.is_some() {
                reap();
            }
        });
    }
    Ok(())
}

/// Takes note of all children that have ended.
fn reap() -> usize {
    let ended = || wait(WaitOptions::NOHANG).ok().flatten();
    std::iter::from_fn(ended).count()
}

/// Serves until a signal or an umount from outside; returns when the process may end.
///
/// # Errors
/// When the session broke off or the mount could not be taken away.
pub(crate) async fn until_end(mounted: &Mounted, signals: &mut Signals) -> anyhow::Result<()> {
    tokio::select! {
        ended = mounted.ended() => {
            if ended.is_err() {
                // Nobody serves it any more. What is still in the way then is detached at the next start.
                let _ = mounted.unmount();
            }
            ended?;
            tracing::info!(target_path = %mounted.target().display(), "unmounted from outside; done");
            return Ok(());
        }
        name = signals.next() => tracing::info!(signal = name, "unmounting"),
    }
    let gone = async {
        mounted.unmounted().await?;
        // Whatever the session ended with, the mount is gone as wanted.
        if let Err(error) = mounted.ended().await {
            tracing::debug!(%error, "the session ended");
        }
        anyhow::Ok(())
    };
    tokio::select! {
        gone = gone => {
            gone?;
            tracing::info!("unmounted; done");
        }
        () = tokio::time::sleep(PATIENCE) => {
            tracing::warn!("unmounted, but still in use; whoever uses it gets ENOTCONN from now on");
        }
        name = signals.next() => tracing::warn!(signal = name, "stopping at once"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal as Number, getpid, kill_process};

    #[test]
    fn what_is_ignored() {
        assert!(is_ignored(SignalKind::pipe()), "Rust's runtime ignores SIGPIPE");
        assert!(!is_ignored(SignalKind::terminate()));
    }

    #[test]
    fn children_that_have_ended_are_taken_note_of() {
        // Not waited for by anybody else.
        let child = std::process::Command::new("true").spawn().unwrap().id();
        let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).ok();
        while state().is_some_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(state().is_some(), "a zombie");
        assert!(reap() >= 1);
        assert!(state().is_none());
        assert_eq!(reap(), 0);
    }

    #[tokio::test]
    async fn a_signal_while_mounting_waits_for_the_mount_and_a_second_one_does_not() {
        let mut signals = Signals::install().unwrap();
        signals.pending = Some("SIGTERM");
        let soon = tokio::spawn(tokio::time::sleep(Duration::from_millis(50)));
        assert!(or_stopped(soon, &mut signals).await.unwrap().is_ok());
        assert_eq!(signals.next().await, "SIGTERM", "it is not lost");

        signals.pending = Some("SIGTERM");
        kill_process(getpid(), Number::TERM).unwrap();
        let never = tokio::spawn(std::future::pending::<()>());
        let stopped = tokio::time::timeout(PATIENCE / 2, or_stopped(never, &mut signals));
        assert!(stopped.await.unwrap().is_none());
    }
}
