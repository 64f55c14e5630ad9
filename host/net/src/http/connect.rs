//! From an origin to a connection that speaks HTTP.

use super::dial::dial;
use super::error::{from_handshake, timed_out, unavailable};
use super::outgoing::Outgoing;
use super::pool::Connection;
use super::resolve::Resolver;
use super::tunnel::open_tunnel;
use super::url::Target;
use crate::limits::NetLimits;
use crate::policy::{ReachPolicy, address_literal};
use crate::tls::{Proxy, TlsContext, server_name};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmount_types::Result;

/// Smallest buffer hyper accepts.
const SMALLEST_READ_BUFFER: usize = 8 * 1024;

/// Where a request goes, and how.
pub(super) struct Route {
    pub(super) target: Target,
    pub(super) tls: TlsContext,
    pub(super) proxy: Option<Proxy>,
    pub(super) policy: ReachPolicy,
}

/// Makes a connection. Runs on the client's runtime.
pub(super) async fn connect(
    route: &Route,
    resolver: Arc<dyn Resolver>,
    limits: &NetLimits,
) -> Result<Connection> {
    let target = &route.target;
    let stream = match &route.proxy {
        None => dial(&target.host, target.port, Some(&route.policy), resolver.as_ref(), limits).await?,
        Some(proxy) => {
            // The proxy resolves names itself; of addresses we can and do say no.
            if let Some(ip) = address_literal(&target.host) {
                route.policy.check(&target.host, SocketAddr::new(ip, target.port))?;
            }
            let dialled = dial(&proxy.host, proxy.port, None, resolver.as_ref(), limits).await;
            let mut stream = dialled.map_err(|error| error.context(format_args!("proxy for {target}")))?;
            if target.https {
                open_tunnel(&mut stream, proxy, target, limits).await?;
            }
            stream
        }
    };
    if !target.https {
        return speak_http(stream, target, limits).await;
    }
    speak_tls(stream, route, limits).await
}

async fn speak_tls(stream: TcpStream, route: &Route, limits: &NetLimits) -> Result<Connection> {
    let target = &route.target;
    let connector = TlsConnector::from(Arc::clone(&route.tls.config));
    match timeout(limits.handshake, connector.connect(server_name(&target.host)?, stream)).await {
        Ok(Ok(stream)) => speak_http(stream, target, limits).await,
        Ok(Err(error)) => Err(from_handshake(target, &error, route.tls.private_roots)),
        Err(_) => Err(timed_out(format!(
            "{target}: the TLS handshake did not finish within {:?}; does the server speak https there?",
            limits.handshake
        ))),
    }
}

async fn speak_http<S>(stream: S, target: &Target, limits: &NetLimits) -> Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(limits.read_buffer.max(SMALLEST_READ_BUFFER))
        .max_headers(limits.headers)
        .max_header_size(limits.head_bytes)
        .handshake::<_, Outgoing>(TokioIo::new(stream))
        .await
        .map_err(|error| unavailable(format!("{target}: {error}"), 0))?;
    let label = target.to_string();
    let driver = tokio::spawn(async move {
        // Whoever waits for a response learns of the failure by himself.
        if let Err(error) = connection.await {
            tracing::debug!(origin = label, %error, "connection ended");
        }
    });
    Ok(Connection::new(sender, driver.abort_handle()))
}
