//! From a host and port to a TCP connection.
//!
//! The addresses that the resolver gives are judged one by one, and the ones that may be reached are connected to directly: there
//! is no second resolution between the check and the connect, so a name that changes its address gains nothing.

use crate::failure::{timed_out, unavailable};
use crate::limits::NetLimits;
use crate::policy::bracketed;
use crate::resolve::Resolver;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use wasmount_types::{Error, Result};

/// More addresses of one name are ignored.
const MAX_ADDRESSES: usize = 16;

/// Connects to the first address that answers, of those that `judge` lets through.
pub(crate) async fn dial(
    host: &str,
    port: u16,
    judge: impl Fn(SocketAddr) -> Result<()>,
    resolver: &dyn Resolver,
    limits: &NetLimits,
) -> Result<TcpStream> {
    let addresses = resolve(host, port, resolver, limits).await?;
    let mut refusal = None;
    let mut allowed = Vec::new();
    for address in addresses {
        match judge(address) {
            Ok(()) => allowed.push(address),
            Err(error) => refusal = Some(error),
        }
    }
    if allowed.is_empty()
        && let Some(refusal) = refusal
    {
        return Err(refusal);
    }
    match timeout(limits.connect, connect_any(&allowed, limits)).await {
        Ok(Ok(stream)) => {
            // Without it, the last piece of a request waits for the acknowledgement of the one before (Nagle).
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY cannot be set");
            }
            Ok(stream)
        }
        Ok(Err(error)) => Err(not_connected(host, port, &allowed, &error)),
        Err(_) => Err(timed_out(format!(
            "{}: no connection within {:?}; is the server up, and does a firewall drop packets to it?",
            shown(host, port, &allowed),
            limits.connect,
        ))),
    }
}

async fn resolve(
    host: &str,
    port: u16,
    resolver: &dyn Resolver,
    limits: &NetLimits,
) -> Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |why: &str| {
        unavailable(
            format!("{host}: the name cannot be resolved: {why}; check the endpoint option and the DNS"),
            1000,
        )
    };
    match timeout(limits.resolve, resolver.resolve(host, port)).await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(failed("it has no address")),
        Ok(Ok(mut addresses)) => {
            addresses.truncate(MAX_ADDRESSES);
            Ok(addresses)
        }
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(timed_out(format!(
            "{host}: the name was not resolved within {:?}; check the DNS",
            limits.resolve
        ))),
    }
}

/// Starts with the first address and goes on to the next one when an attempt has failed or hangs (RFC 8305).
async fn connect_any(addresses: &[SocketAddr], limits: &NetLimits) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(*address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        let pause = sleep(limits.next_address);
        tokio::select! {
            outcome = attempts.next() => match outcome {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => {}
            },
            () = pause, if waiting.len() > 0 => {}
        }
    }
}

fn not_connected(host: &str, port: u16, addresses: &[SocketAddr], error: &io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => "is the server running, and is the port right?",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "check the routes of this machine"
        }
        _ => "check the endpoint option",
    };
    unavailable(format!("{}: cannot connect: {error}; {remedy}", shown(host, port, addresses)), 200)
}

/// `name:port (address, address)`, or the address alone.
fn shown(host: &str, port: u16, addresses: &[SocketAddr]) -> String {
    if host.parse::<IpAddr>().is_ok() {
        return format!("{}:{port}", bracketed(host));
    }
    let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    format!("{host}:{port} ({})", addresses.join(", "))
}
