//! The client of the process.

use super::body::ResponseBody;
use super::connect::{Route, connect};
use super::error::from_exchange;
use super::exchange::{Answer, Failed, exchange};
use super::outgoing::{Outgoing, Progress};
use super::pool::{Connection, Key, Lease, Pool};
use super::request::Prepared;
use super::response::HttpResponse;
use super::stats::{Counted, Counters, NetStats};
use super::url::Target;
use crate::failure::{timed_out, unavailable};
use crate::limits::NetLimits;
use crate::policy::{ReachPolicy, canonical_host};
use crate::resolve::{Lookups, Resolver, SystemResolver};
use crate::task::AbortOnDrop;
use crate::timer::sleep;
use crate::tls::{Proxy, TlsContext};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use wasmount_types::{Blame, Effect, Error, ErrorKind, Result};

/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// The connection pools, name resolution and limits of this process. Cheap to clone; when the last clone is gone, idle
/// connections are closed.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    limits: Arc<NetLimits>,
    resolver: Arc<dyn Resolver>,
    pool: Pool,
    counters: Arc<Counters>,
}

/// Where a request goes, and how.
pub(super) struct Destination<'a> {
    pub(super) target: &'a Target,
    pub(super) tls: &'a TlsContext,
    pub(super) proxy: Option<&'a Proxy>,
    pub(super) policy: &'a ReachPolicy,
    /// See [`Key::realm`].
    pub(super) realm: [u8; 32],
}

/// How long a request may take until its response's head is there.
#[derive(Clone, Copy)]
pub(super) struct HeadLimits {
    /// Since the request was made.
    pub(super) hard: Option<Duration>,
    /// Since the last piece of its body was taken (or since it was made, if it has none).
    pub(super) silence: Duration,
}

impl HttpClient {
    /// A client with default limits whose sockets, timers and tasks live on the runtime of `handle`, which must have
    /// its I/O and time drivers enabled. Requests may be made from any other runtime.
    pub fn new(handle: Handle) -> Self {
        Self::with_limits(handle, NetLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(handle: Handle, limits: NetLimits) -> Self {
        Self::with_resolver(handle, limits, Arc::new(SystemResolver))
    }

    /// The same with another resolver.
    pub fn with_resolver(handle: Handle, limits: NetLimits, resolver: Arc<dyn Resolver>) -> Self {
        let resolver = Arc::new(Lookups::new(resolver));
        let pool = Pool::new(limits.connections_per_origin);
        let (limits, counters) = (Arc::new(limits), Arc::default());
        let inner = Arc::new(Inner { handle, limits, resolver, pool, counters });
        inner.handle.spawn(sweep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// What it has done so far, and what it holds now.
    pub fn stats(&self) -> NetStats {
        self.inner.counters.snapshot()
    }

    /// The runtime on which its sockets live.
    pub(crate) fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Its name resolution, its limits and what it counts.
    pub(crate) fn shared(&self) -> (&Arc<dyn Resolver>, &Arc<NetLimits>, &Arc<Counters>) {
        (&self.inner.resolver, &self.inner.limits, &self.inner.counters)
    }

    /// Has another number of connections per origin from now on than [`NetLimits::connections_per_origin`] said. Where there are to be fewer, nobody gets
    /// another one until so many of those in use have come back.
    pub fn set_connections_per_origin(&self, connections: usize) {
        let _on_runtime = self.inner.handle.enter();
        self.inner.pool.resize(connections);
    }

    /// Most connections to one origin at present.
    pub fn connections_per_origin(&self) -> usize {
        self.inner.pool.most()
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &NetLimits {
        &self.inner.limits
    }

    /// Sends a request over a pooled or new connection, and waits for the head of the response.
    pub(super) async fn exchange(
        &self,
        destination: Destination<'_>,
        prepared: Prepared,
        limits: HeadLimits,
    ) -> Result<HttpResponse> {
        let counters = &self.inner.counters;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        let Prepared { outgoing, bodiless, safe } = prepared;
        let progress = Progress::default();
        let started = Instant::now();
        let mut work = pin!(self.transfer(&destination, outgoing, bodiless, &progress));
        let outcome = loop {
            let silent_since = progress.last_piece().unwrap_or(started);
            let silence = (silent_since + limits.silence).saturating_duration_since(Instant::now());
            let hard = limits.hard.map(|hard| (started + hard).saturating_duration_since(Instant::now()));
            let left = hard.map_or(silence, |hard| hard.min(silence));
            if left.is_zero() {
                break Err(self.too_late(destination.target, &progress, started.elapsed()));
            }
            tokio::select! {
                biased;
                outcome = &mut work => break outcome,
                () = sleep(&self.inner.handle, left) => {}
            }
        };
        match &outcome {
            Ok(response) => counters.response(response.status),
            Err(_) => _ = counters.failures.fetch_add(1, Ordering::Relaxed),
        }
        outcome.map_err(|error| {
            if progress.head_sent() && !safe { error.with_effect(Effect::Unknown) } else { error }
        })
    }

    async fn transfer(
        &self,
        destination: &Destination<'_>,
        mut outgoing: Outgoing,
        bodiless: bool,
        progress: &Progress,
    ) -> Result<HttpResponse> {
        let (target, inner) = (destination.target, &*self.inner);
        // One origin however it is written: a plugin could else have any number of pools.
        let host = canonical_host(&target.host);
        let key = Key { https: target.https, host, port: target.port, realm: destination.realm };
        let origin = inner.pool.origin(key, target, &inner.limits);
        let permit = match origin.try_permit() {
            Some(permit) => permit,
            None => {
                let _waiting = Counted::in_(&inner.counters.waiting);
                origin.permit().await.map_err(|_| unavailable(format!("{target}: the pool is closed"), 0))?
            }
        };
        let (connection, answer) = loop {
            let pooled = origin.take_idle();
            let reused = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => self.connect(destination).await?,
            };
            progress.mark_connected();
            let (limits, handle) = (&inner.limits, &inner.handle);
            match exchange(&mut connection, &mut outgoing, bodiless, progress, limits, handle).await {
                Ok(answer) => break (connection, answer),
                // The server had closed it; nothing has left, so this is as good as the first attempt.
                Err(Failed::Io(_)) if reused && !outgoing.has_written() => {}
                Err(failed) => {
                    if reused && matches!(failed, Failed::Io(_)) {
                        // The server is gone, or what leads to it: the others are worth no more than this one was.
                        origin.close_idle();
                    }
                    return Err(from_exchange(target, failed, destination.tls.private_roots));
                }
            }
        };
        let Answer { head, request_sent } = answer;
        let lease = Lease::new(connection, Arc::clone(&origin), permit);
        let reusable = request_sent && head.keeps_open;
        let (handle, limits) = (inner.handle.clone(), Arc::clone(&inner.limits));
        let body =
            ResponseBody::new(lease, head.framing, reusable, handle, limits, Arc::clone(&origin.label));
        Ok(HttpResponse { status: head.status, headers: head.headers, body })
    }

    /// A new connection, made on the client's runtime.
    async fn connect(&self, destination: &Destination<'_>) -> Result<Connection> {
        let route = Route {
            target: destination.target.clone(),
            tls: destination.tls.clone(),
            proxy: destination.proxy.cloned(),
            policy: destination.policy.clone(),
        };
        let (resolver, limits) = (Arc::clone(&self.inner.resolver), Arc::clone(&self.inner.limits));
        let counters = Arc::clone(&self.inner.counters);
        let connecting = async move { connect(&route, resolver, &limits, &counters).await };
        let mut task = AbortOnDrop(self.inner.handle.spawn(connecting));
        match (&mut task.0).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                ErrorKind::Interrupted,
                Blame::Host,
                format!("{}: connecting was given up because the host is stopping", destination.target),
            )),
        }
    }

    fn too_late(&self, target: &Target, progress: &Progress, after: Duration) -> Error {
        if progress.head_sent() {
            timed_out(format!(
                "{target}: no response within {after:.0?}; it is overloaded, or option request-timeout is too short"
            ))
        } else if progress.connected() {
            timed_out(format!("{target}: no working connection within {after:.0?}"))
        } else {
            timed_out(format!(
                "{target}: no connection within {after:.0?}; all {} may be busy",
                self.inner.pool.most()
            ))
        }
    }

    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        self.inner.pool.idle_connections()
    }
}

async fn sweep(client: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match client.upgrade() {
            Some(inner) => inner.pool.sweep(),
            None => return,
        }
    }
}
