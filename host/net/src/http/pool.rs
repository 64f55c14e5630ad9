//! Connections that are kept.
//!
//! A permit stands for one connection in use. A new connection is only made when no idle one is left, so idle and used ones
//! together never exceed the number of permits (but for a moment when there are fewer from now on: what is in use is used to its end).

use super::buffer::Buffer;
use super::socket::Socket;
use super::stats::Counters;
use crate::limits::NetLimits;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

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
pub(super) struct Pool {
    origins: Mutex<HashMap<Key, Arc<Origin>>>,
    /// Permits of each origin. Changes while `origins` is locked.
    most: AtomicUsize,
}

/// The connections to one origin.
pub(super) struct Origin {
    /// For messages: scheme, host and port as they were first written.
    pub(super) label: Arc<str>,
    permits: Arc<Semaphore>,
    /// How many permits there are, once those that are one too many have come back.
    most: AtomicUsize,
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
    pub(super) socket: Socket,
    pub(super) buffer: Buffer,
    pub(super) counters: Arc<Counters>,
}

impl Connection {
    pub(super) fn new(socket: Socket, counters: &Arc<Counters>) -> Self {
        counters.connects.fetch_add(1, Ordering::Relaxed);
        counters.connections_open.fetch_add(1, Ordering::Relaxed);
        Self { socket, buffer: Buffer::new(counters.clone()), counters: counters.clone() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.connections_open.fetch_sub(1, Ordering::Relaxed);
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

    /// The exchange is over: keeps the connection, unless its server said more than was asked.
    pub(super) fn give_back(self) {
        let Self { connection, origin, _permit } = self;
        if !connection.buffer.bytes().is_empty() {
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

/// As many permits as can be.
fn permits(connections: usize) -> usize {
    // What `Semaphore::acquire_many` counts in.
    connections.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize))
}

impl Pool {
    /// No origins yet, and so many connections for each.
    pub(super) fn new(connections_per_origin: usize) -> Self {
        Self { origins: Mutex::default(), most: AtomicUsize::new(permits(connections_per_origin)) }
    }

    /// Most connections to one origin.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Has another number of connections per origin from now on, those to known origins included. Must be called on a runtime.
    pub(super) fn resize(&self, connections_per_origin: usize) {
        let most = permits(connections_per_origin);
        let origins = self.origins();
        self.most.store(most, Ordering::Relaxed);
        let closed: Vec<_> = origins.values().flat_map(|origin| origin.resize(most)).collect();
        // Closing runs outside the locks.
        drop(origins);
        drop(closed);
    }

    /// The entry of an origin.
    pub(super) fn origin(&self, key: Key, label: impl std::fmt::Display, limits: &NetLimits) -> Arc<Origin> {
        let mut origins = self.origins();
        let most = self.most();
        let make = || {
            Arc::new(Origin {
                label: label.to_string().into(),
                permits: Arc::new(Semaphore::new(most)),
                most: AtomicUsize::new(most),
                idle: Mutex::new(Vec::new()),
                keep: limits.idle_per_origin,
                keep_for: limits.idle_timeout,
            })
        };
        Arc::clone(origins.entry(key).or_insert_with(make))
    }

    /// Closes what has been idle for too long or was closed by its server, and forgets origins without connections.
    pub(super) fn sweep(&self) {
        let mut closed = Vec::new();
        self.origins().retain(|_, origin| {
            let mut idle = origin.idle();
            let (mut keep, mut drop) = (Vec::new(), Vec::new());
            for mut each in idle.drain(..) {
                let good = origin.is_young(&each) && each.connection.socket.is_quiet();
                if good { &mut keep } else { &mut drop }.push(each);
            }
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
    /// Has so many permits; returns idle connections that are too many then.
    fn resize(&self, most: usize) -> Vec<Idle> {
        let before = self.most.swap(most, Ordering::Relaxed);
        if most > before {
            // Those that an earlier call still waits for get their part of them.
            self.permits.add_permits(most - before);
            return Vec::new();
        }
        let fewer = u32::try_from(before - most).unwrap_or(u32::MAX);
        if fewer > 0 {
            let permits = Arc::clone(&self.permits);
            tokio::spawn(async move {
                // First come, first served: whoever asks later waits until so many have come back. Fails only if it is closed, which it never is.
                if let Ok(too_many) = permits.acquire_many_owned(fewer).await {
                    too_many.forget();
                }
            });
        }
        let mut idle = self.idle();
        let surplus = idle.len().saturating_sub(most);
        idle.drain(..surplus).collect()
    }

    /// The right to use a connection, if nobody waits for it.
    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Waits in order for the right to use a connection.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.permits).acquire_owned().await
    }

    /// The most recently used idle connection that is good.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        loop {
            // Whatever is not good is closed outside the lock.
            let mut newest = self.idle().pop()?;
            if self.is_young(&newest) && newest.connection.socket.is_quiet() {
                return Some(newest.connection);
            }
        }
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close_idle(&self) {
        // Outside the lock.
        let closed = std::mem::take(&mut *self.idle());
        drop(closed);
    }

    fn is_young(&self, idle: &Idle) -> bool {
        idle.since.elapsed() < self.keep_for
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
