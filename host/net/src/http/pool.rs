//! Connections that are kept.
//!
//! A permit stands for one connection in use. A new connection is only made when no idle one is left, so idle and used ones
//! together never exceed the number of permits.

use super::outgoing::Outgoing;
use crate::limits::NetLimits;
use hyper::client::conn::http1::SendRequest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// How long the newest idle connection may take to finish its last exchange: its task has only to notice.
const SETTLE: Duration = Duration::from_millis(100);

/// What may share connections: one origin, reached in one way with one identity under one policy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// Digest of TLS identity, proxy and reach policy.
    pub(super) realm: [u8; 32],
}

/// All origins of a client.
#[derive(Default)]
pub(super) struct Pool {
    origins: Mutex<HashMap<Key, Arc<Origin>>>,
}

/// The connections to one origin.
pub(super) struct Origin {
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    keep: usize,
    keep_for: Duration,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// One connection; dropping it closes it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Outgoing>,
    /// The task that drives it.
    driver: AbortHandle,
}

impl Connection {
    pub(super) fn new(sender: SendRequest<Outgoing>, driver: AbortHandle) -> Self {
        Self { sender, driver }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A connection in use, and its place in the count.
pub(super) struct Lease {
    pub(super) connection: Connection,
    origin: Arc<Origin>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(super) fn new(connection: Connection, origin: Arc<Origin>, permit: OwnedSemaphorePermit) -> Self {
        Self { connection, origin, _permit: permit }
    }

    /// The exchange is over: keeps the connection if it is still good.
    pub(super) fn give_back(self) {
        let Self { connection, origin, _permit } = self;
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = origin.idle();
        let oldest = (idle.len() >= origin.keep && !idle.is_empty()).then(|| idle.remove(0));
        if origin.keep > 0 {
            idle.push(Idle { connection, since: Instant::now() });
        }
        // Closing runs outside the lock.
        drop(idle);
        drop(oldest);
    }
}

impl Pool {
    /// The entry of an origin.
    pub(super) fn origin(&self, key: Key, limits: &NetLimits) -> Arc<Origin> {
        let make = || {
            Arc::new(Origin {
                permits: Arc::new(Semaphore::new(
                    limits.connections_per_origin.clamp(1, Semaphore::MAX_PERMITS),
                )),
                idle: Mutex::new(Vec::new()),
                keep: limits.idle_per_origin,
                keep_for: limits.idle_timeout,
            })
        };
        Arc::clone(self.origins().entry(key).or_insert_with(make))
    }

    /// Closes what has been idle for too long or was closed by its server, and forgets origins without connections.
    pub(super) fn sweep(&self) {
        let mut closed = Vec::new();
        self.origins().retain(|_, origin| {
            let mut idle = origin.idle();
            let (keep, drop): (Vec<_>, Vec<_>) = idle.drain(..).partition(|each| origin.is_good(each));
            *idle = keep;
            closed.extend(drop);
            // The only reference: nobody uses or waits for a connection.
            !(idle.is_empty() && Arc::strong_count(origin) == 1)
        });
    }

    /// Idle connections to all origins.
    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        self.origins().values().map(|origin| origin.idle().len()).sum()
    }

    fn origins(&self) -> MutexGuard<'_, HashMap<Key, Arc<Origin>>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// Waits in order for the right to use a connection.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.permits).acquire_owned().await
    }

    /// The most recently used idle connection that is good.
    pub(super) async fn take_idle(&self, handle: &Handle) -> Option<Connection> {
        loop {
            let (mut connection, ready) = self.pop()?;
            if ready {
                return Some(connection);
            }
            // Its reader has the last byte, its task has not finished the exchange yet.
            tokio::select! {
                settled = connection.sender.ready() => if settled.is_ok() { return Some(connection) },
                () = super::timer::sleep(handle, SETTLE) => {}
            }
        }
    }

    fn pop(&self) -> Option<(Connection, bool)> {
        let mut idle = self.idle();
        let mut closed = Vec::new();
        let mut index = idle.len();
        while index > 0 {
            index -= 1;
            match idle.get(index) {
                Some(each) if !self.is_good(each) => closed.push(idle.remove(index)),
                Some(each) if each.connection.sender.is_ready() => {
                    return Some((idle.remove(index).connection, true));
                }
                _ => {}
            }
        }
        idle.pop().map(|each| (each.connection, false))
    }

    fn is_good(&self, idle: &Idle) -> bool {
        !idle.connection.sender.is_closed() && idle.since.elapsed() < self.keep_for
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
