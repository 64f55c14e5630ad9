//! The client of the process.

use super::body::ResponseBody;
use super::connect::{Route, connect};
use super::error::{find, from_exchange, timed_out, unavailable};
use super::outgoing::{Outgoing, Progress};
use super::pool::{Connection, Key, Lease, Pool};
use super::request::Prepared;
use super::resolve::{Lookups, Resolver, SystemResolver};
use super::response::{HttpResponse, text_headers};
use super::timer::sleep;
use crate::limits::NetLimits;
use crate::policy::canonical_host;
use hyper::body::Incoming;
use std::sync::atomic::{AtomicBool, Ordering};
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
        let inner = Arc::new(Inner { handle, limits: Arc::new(limits), resolver, pool: Pool::default() });
        inner.handle.spawn(sweep(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &NetLimits {
        &self.inner.limits
    }

    /// Sends a request over a pooled or new connection, and waits for the head of the response.
    pub(super) async fn exchange(
        &self,
        route: Route,
        realm: [u8; 32],
        prepared: Prepared,
        limits: HeadLimits,
    ) -> Result<HttpResponse> {
        let Prepared { request, progress, gate, safe } = prepared;
        let started = Instant::now();
        let route = Arc::new(route);
        let connected = AtomicBool::new(false);
        if let Some(gate) = &gate {
            let (gate, patience) = (Arc::clone(gate), self.inner.limits.expect_continue);
            let progress = Arc::clone(&progress);
            self.inner.handle.spawn(async move {
                // A connection may take longer than the patience for an answer on it.
                while !progress.head_sent() && Arc::strong_count(&progress) > 1 {
                    tokio::time::sleep(patience).await;
                }
                tokio::time::sleep(patience).await;
                gate.open();
            });
        }
        let work = async {
            let (response, lease) = self.transfer(&route, realm, request, &progress, &connected).await?;
            let reusable = !gate.is_some_and(|gate| gate.shut());
            self.response(&route, response, lease, reusable)
        };
        let mut work = std::pin::pin!(work);
        let outcome = loop {
            let silent_since = progress.last_piece().unwrap_or(started);
            let silence = (silent_since + limits.silence).saturating_duration_since(Instant::now());
            let hard = limits.hard.map(|hard| (started + hard).saturating_duration_since(Instant::now()));
            let left = hard.map_or(silence, |hard| hard.min(silence));
            if left.is_zero() {
                break Err(self.too_late(
                    &route,
                    &progress,
                    connected.load(Ordering::Relaxed),
                    started.elapsed(),
                ));
            }
            tokio::select! {
                biased;
                outcome = &mut work => break outcome,
                () = sleep(&self.inner.handle, left) => {}
            }
        };
        outcome.map_err(|error| {
            if progress.head_sent() && !safe { error.with_effect(Effect::Unknown) } else { error }
        })
    }

    async fn transfer(
        &self,
        route: &Arc<Route>,
        realm: [u8; 32],
        mut request: http::Request<Outgoing>,
        progress: &Progress,
        connected: &AtomicBool,
    ) -> Result<(http::Response<Incoming>, Lease)> {
        let target = &route.target;
        // One origin however it is written: a plugin could else have any number of pools.
        let host = canonical_host(&target.host);
        let key = Key { https: target.https, host, port: target.port, realm };
        let origin = self.inner.pool.origin(key, &self.inner.limits);
        let permit =
            origin.permit().await.map_err(|_| unavailable(format!("{target}: the pool is closed"), 0))?;
        let mut pooled = origin.take_idle(&self.inner.handle).await;
        loop {
            let reused = pooled.is_some();
            let mut connection = match pooled.take() {
                Some(connection) => connection,
                None => self.connect(route).await?,
            };
            connected.store(true, Ordering::Relaxed);
            progress.mark_head_sent(true);
            let mut failed = match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease::new(connection, Arc::clone(&origin), permit))),
                Err(failed) => failed,
            };
            match failed.take_message() {
                // The server had closed it; nothing has left, so this is as good as the first attempt.
                Some(unsent) if reused => {
                    progress.mark_head_sent(false);
                    request = unsent;
                }
                unsent => {
                    progress.mark_head_sent(unsent.is_none());
                    return Err(self.failure(route, progress, failed.error()));
                }
            }
        }
    }

    /// A new connection, made on the client's runtime.
    async fn connect(&self, route: &Arc<Route>) -> Result<Connection> {
        let (route, resolver) = (Arc::clone(route), Arc::clone(&self.inner.resolver));
        let limits = Arc::clone(&self.inner.limits);
        let target = route.target.to_string();
        let mut task =
            AbortOnDrop(self.inner.handle.spawn(async move { connect(&route, resolver, &limits).await }));
        match (&mut task.0).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                ErrorKind::Interrupted,
                Blame::Host,
                format!("{target}: connecting was given up because the host is stopping"),
            )),
        }
    }

    fn response(
        &self,
        route: &Route,
        response: http::Response<Incoming>,
        lease: Lease,
        reusable: bool,
    ) -> Result<HttpResponse> {
        let (head, incoming) = response.into_parts();
        if head.status.is_informational() {
            let status = head.status;
            return Err(unavailable(
                format!("{}: it answered {status}, which was not asked for", route.target),
                0,
            ));
        }
        let (handle, limits) = (self.inner.handle.clone(), Arc::clone(&self.inner.limits));
        let body = ResponseBody::new(incoming, lease, reusable, handle, limits, route.target.to_string());
        Ok(HttpResponse { status: head.status.as_u16(), headers: text_headers(&head.headers), body })
    }

    fn failure(&self, route: &Route, progress: &Progress, error: &hyper::Error) -> Error {
        if let Some(own) = progress.failure().or_else(|| find::<Error>(error)) {
            return own.clone();
        }
        from_exchange(&route.target, error, route.tls.private_roots)
    }

    fn too_late(&self, route: &Route, progress: &Progress, connected: bool, after: Duration) -> Error {
        let target = &route.target;
        if progress.head_sent() {
            timed_out(format!(
                "{target}: no response within {after:.0?}; it is overloaded, or option request-timeout is too short"
            ))
        } else if connected {
            timed_out(format!("{target}: no working connection within {after:.0?}"))
        } else {
            timed_out(format!(
                "{target}: no connection within {after:.0?}; all {} may be busy",
                self.inner.limits.connections_per_origin
            ))
        }
    }

    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        self.inner.pool.idle_connections()
    }
}

/// Stops a task that nobody waits for any more.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
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
