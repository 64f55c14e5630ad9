//! From an address to a connection.

use super::READ_AHEAD;
use super::connection::{Counted, TcpConnection};
use super::memory::Memory;
use super::read::Reader;
use super::wire::{Shared, Sink, Source, Wire};
use super::write::Writer;
use crate::dial::dial;
use crate::failure::{from_handshake, timed_out, unavailable};
use crate::http::MountNet;
use crate::limits::NetLimits;
use crate::policy::{ReachPolicy, TcpGrant, bracketed};
use crate::resolve::Resolver;
use crate::task::AbortOnDrop;
use crate::tls::server_name;
use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// What a TLS connection keeps beside our own read-ahead: a record of 16 KiB in each direction, and what arrived with it.
const TLS_STATE: usize = 64 * 1024;

/// Most protocols offered in one handshake; each has up to 255 bytes.
const MAX_ALPN: usize = 16;

/// After this silence, a peer is asked whether it lives; every so often; so many times. A peer that does not answer is noticed
/// after a minute, where the system's own values take two hours.
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpAddress {
    /// A name, an IPv4 or an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// TLS from the first byte, with the mount's trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpTls {
    /// Name to verify; the host of the address if `None`.
    pub server_name: Option<String>,
    /// Protocols to offer, in order.
    pub alpn: Vec<String>,
}

/// How to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// TLS, or plain TCP.
    pub tls: Option<TcpTls>,
    /// Limit for resolving, connecting and the handshake together, beside those of [`NetLimits`].
    pub timeout: Option<Duration>,
    /// How long reads may wait without a byte; `None`: [`NetLimits::tcp_idle`].
    pub idle: Option<Duration>,
}

/// All that a task needs to connect.
struct Route {
    to: TcpAddress,
    grant: TcpGrant,
    policy: ReachPolicy,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    private_roots: bool,
    resolver: Arc<dyn Resolver>,
    limits: Arc<NetLimits>,
}

/// The two kinds of connections.
enum Made {
    Plain(Arc<TcpStream>),
    Tls(Arc<TcpStream>, Box<TlsStream<Shared>>),
}

impl MountNet {
    /// Resolves a name, connects, and does the TLS handshake if there is to be one. No proxy is used: those of
    /// [`TlsSettings`](crate::TlsSettings) are for HTTP.
    ///
    /// # Errors
    /// - `invalid`, blame `plugin`: malformed host, port, server name or protocol.
    /// - `denied`, blame `host`: not granted ([`Grants`](crate::Grants)), or outside the reach policy; the message names the remedy.
    /// - `too-large`, blame `plugin`: the mount has as many connections as it may have, or `memory` has no room for another.
    /// - `unavailable`, blame `origin`: DNS, connect or TLS. `timed-out`: a limit of the options or of the host.
    ///
    /// # Cancellation safety
    /// Dropping the future gives the attempt up.
    pub async fn connect<M: Memory>(
        &self,
        to: TcpAddress,
        options: &TcpOptions,
        memory: M,
    ) -> Result<TcpConnection<M>> {
        let (client, mount) = self.parts();
        let (resolver, limits, counters) = client.shared();
        check(&to)?;
        let grant = mount.grants.check_tcp(&to.host, to.port)?;
        let tls = options.tls.as_ref().map(|tls| handshake(&to, tls, &mount.tls.config)).transpose()?;
        let permit = Arc::clone(&mount.tcp).try_acquire_owned().map_err(|_| {
            let most = limits.tcp_connections;
            let text = format!(
                "{to}: the mount has {most} TCP connections already, which is as many as it may have"
            );
            Error::new(ErrorKind::TooLarge, Blame::Plugin, text)
        })?;
        let room = memory.take(if tls.is_some() { READ_AHEAD + TLS_STATE } else { READ_AHEAD })?;
        let route = Route {
            to: to.clone(),
            grant,
            policy: mount.policy.clone(),
            tls,
            private_roots: mount.tls.private_roots,
            resolver: Arc::clone(resolver),
            limits: Arc::clone(limits),
        };
        let patience = options.timeout;
        let connecting = async move {
            match patience {
                None => connect(&route).await,
                Some(limit) => match timeout(limit, connect(&route)).await {
                    Ok(connected) => connected,
                    Err(_) => Err(timed_out(format!("{}: no connection within {limit:?}", route.to))),
                },
            }
        };
        let mut task = AbortOnDrop(client.handle().spawn(connecting));
        let made = (&mut task.0).await.unwrap_or_else(|_| {
            let text = format!("{to}: connecting was given up because the host is stopping");
            Err(Error::new(ErrorKind::Interrupted, Blame::Host, text))
        });
        let made = made.inspect_err(|_| _ = counters.tcp_failures.fetch_add(1, Ordering::Relaxed))?;
        let (stream, source, sink) = match made {
            Made::Plain(stream) => {
                let (read, write) = (Shared(Arc::clone(&stream)), Shared(Arc::clone(&stream)));
                (stream, Source::Plain(read), Sink::Plain(write))
            }
            Made::Tls(stream, tls) => {
                let (read, write) = tokio::io::split(*tls);
                (stream, Source::Tls(read), Sink::Tls(write))
            }
        };
        let broken = |error| unavailable(format!("{to}: the connection broke at once ({error})"), 0);
        let (local, peer) = (stream.local_addr().map_err(broken)?, stream.peer_addr().map_err(broken)?);
        let label = match bracketed(&to.host) == bracketed(&peer.ip().to_string()) {
            true => to.to_string(),
            false => format!("{to} ({})", peer.ip()),
        };
        let handle = || client.handle().clone();
        let idle = options.idle.unwrap_or(limits.tcp_idle);
        Ok(TcpConnection::new(
            label.into(),
            (local, peer),
            Wire::new(stream),
            Reader::new(source, memory, Arc::clone(counters), handle(), idle),
            Writer::new(sink, Arc::clone(counters), handle(), limits.tcp_stall),
            Counted::new(Arc::clone(counters), permit, room),
        ))
    }
}

/// Refuses what is no host or port, before it gets into messages.
fn check(to: &TcpAddress) -> Result<()> {
    let host = to.host.as_str();
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good = host.parse::<Ipv6Addr>().is_ok() || host.bytes().all(name);
    if good && (1..=253).contains(&host.len()) && to.port != 0 {
        return Ok(());
    }
    Err(invalid(
        "the plugin asked for a connection to what is neither a name nor an address (IPv6 without brackets), or to port 0",
    ))
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Plugin, text)
}

/// What a handshake needs.
fn handshake(
    to: &TcpAddress,
    tls: &TcpTls,
    trust: &ClientConfig,
) -> Result<(Arc<ClientConfig>, ServerName<'static>)> {
    let name = tls.server_name.as_deref().unwrap_or(&to.host);
    let name =
        server_name(name).map_err(|_| invalid(format!("{to}: the server name of TLS is malformed")))?;
    if tls.alpn.len() > MAX_ALPN || tls.alpn.iter().any(|protocol| !(1..=255).contains(&protocol.len())) {
        return Err(invalid(format!(
            "{to}: at most {MAX_ALPN} ALPN protocols of 1 to 255 bytes can be offered"
        )));
    }
    let mut config = trust.clone();
    config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.clone().into_bytes()).collect();
    Ok((Arc::new(config), name))
}

/// Makes a connection. Runs on the client's runtime.
async fn connect(route: &Route) -> Result<Made> {
    let (to, policy) = (&route.to, &route.policy);
    let judge = |address| match route.grant {
        TcpGrant::Named => policy.check(&to.host, address),
        TcpGrant::Revealed => policy.check_revealed(&to.host, address),
    };
    let stream = dial(&to.host, to.port, judge, route.resolver.as_ref(), &route.limits).await?;
    keep_alive(&stream);
    let stream = Arc::new(stream);
    let Some((config, name)) = &route.tls else { return Ok(Made::Plain(stream)) };
    let connector = TlsConnector::from(Arc::clone(config));
    let limit = route.limits.handshake;
    match timeout(limit, connector.connect(name.clone(), Shared(Arc::clone(&stream)))).await {
        Ok(Ok(tls)) => Ok(Made::Tls(stream, Box::new(tls))),
        Ok(Err(error)) => Err(from_handshake(to, &error, route.private_roots)),
        Err(_) => Err(timed_out(format!(
            "{to}: the TLS handshake did not finish within {limit:?}; does the server speak TLS there?"
        ))),
    }
}

/// Lets the kernel notice peers that are gone.
fn keep_alive(stream: &TcpStream) {
    let (idle, interval, count) = KEEP_ALIVE;
    let set = sockopt::set_tcp_keepidle(stream, idle)
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, interval))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, count))
        .and_then(|()| sockopt::set_socket_keepalive(stream, true));
    if let Err(error) = set {
        tracing::debug!(%error, "keep-alive cannot be set");
    }
}
