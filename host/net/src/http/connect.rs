//! From an origin to a connection that speaks HTTP.

use super::pool::Connection;
use super::socket::Socket;
use super::stats::Counters;
use super::tunnel::open_tunnel;
use super::url::Target;
use crate::dial::dial;
use crate::failure::{from_handshake, timed_out};
use crate::limits::NetLimits;
use crate::policy::ReachPolicy;
use crate::resolve::Resolver;
use crate::tls::{Proxy, TlsContext, server_name};
use rustix::net::sockopt;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmount_types::Result;

/// How long what was sent may go without acknowledgement, in milliseconds (tcp(7)). A server that is gone without a word is noticed when the next
/// request is sent to it, in time to send it elsewhere.
const UNACKNOWLEDGED_MS: u32 = 5_000;

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
    counters: &Arc<Counters>,
) -> Result<Connection> {
    let target = &route.target;
    let stream = match &route.proxy {
        None => {
            let judge = |address| route.policy.check(&target.host, address);
            dial(&target.host, target.port, judge, resolver.as_ref(), limits).await?
        }
        Some(proxy) => {
            route.policy.check_by_proxy(&target.host, target.port)?;
            // Its address is the operator's choice.
            let dialled = dial(&proxy.host, proxy.port, |_| Ok(()), resolver.as_ref(), limits).await;
            let mut stream = dialled.map_err(|error| error.context(format_args!("proxy for {target}")))?;
            if target.https {
                open_tunnel(&mut stream, proxy, target, limits).await?;
            }
            stream
        }
    };
    if let Err(error) = sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT cannot be set");
    }
    let socket = if target.https { speak_tls(stream, route, limits).await? } else { Socket::Plain(stream) };
    Ok(Connection::new(socket, counters))
}

async fn speak_tls(stream: TcpStream, route: &Route, limits: &NetLimits) -> Result<Socket> {
    let target = &route.target;
    let connector = TlsConnector::from(Arc::clone(&route.tls.config));
    match timeout(limits.handshake, connector.connect(server_name(&target.host)?, stream)).await {
        Ok(Ok(stream)) => Ok(Socket::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(from_handshake(target, &error, route.tls.private_roots)),
        Err(_) => Err(timed_out(format!(
            "{target}: the TLS handshake did not finish within {:?}; does the server speak https there?",
            limits.handshake
        ))),
    }
}
