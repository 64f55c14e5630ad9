//! `CONNECT` through a proxy (RFC 9110, section 9.3.6).

use super::url::Target;
use crate::failure::{timed_out, unavailable};
use crate::limits::NetLimits;
use crate::policy::bracketed;
use crate::tls::Proxy;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmount_types::Result;
use zeroize::Zeroizing;

/// Longest answer of a proxy.
const MAX_HEAD: usize = 8 * 1024;

/// Makes a connection to the proxy one to the target.
pub(super) async fn open_tunnel(
    stream: &mut TcpStream,
    proxy: &Proxy,
    target: &Target,
    limits: &NetLimits,
) -> Result<()> {
    let exchange = async {
        stream.write_all(connect_request(proxy, target).as_bytes()).await?;
        read_status(stream).await
    };
    let status = match timeout(limits.handshake, exchange).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => {
            return Err(unavailable(format!("proxy {proxy}: CONNECT to {target} failed: {error}"), 200));
        }
        Err(_) => {
            return Err(timed_out(format!(
                "proxy {proxy}: no answer to CONNECT to {target} within {:?}",
                limits.handshake
            )));
        }
    };
    match status {
        200..=299 => Ok(()),
        407 => Err(unavailable(
            format!(
                "proxy {proxy}: it wants a user and password; write http://user:password@{proxy} in HTTPS_PROXY"
            ),
            5000,
        )),
        _ => Err(unavailable(
            format!(
                "proxy {proxy}: it answered {status} to CONNECT to {target}; allow it there, or add the host to NO_PROXY"
            ),
            1000,
        )),
    }
}

fn connect_request(proxy: &Proxy, target: &Target) -> Zeroizing<String> {
    let authority = format!("{}:{}", bracketed(&target.host), target.port);
    let authorization = proxy.authorization.as_ref().map_or_else(Zeroizing::default, |value| {
        Zeroizing::new(format!("proxy-authorization: {}\r\n", value.as_str()))
    });
    Zeroizing::new(format!(
        "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n{}\r\n",
        authorization.as_str()
    ))
}

/// The status of a response head. Nothing may follow it: it is the client that speaks first in TLS.
async fn read_status(stream: &mut TcpStream) -> io::Result<u16> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(invalid("the answer is too long"));
        }
        // Byte by byte, so as not to swallow what comes after; this happens once per connection.
        head.push(stream.read_u8().await?);
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| invalid("the answer is not HTTP"))?;
    let mut words = line.split(' ');
    match (words.next(), words.next().map(str::parse)) {
        (Some(version), Some(Ok(status))) if version.starts_with("HTTP/1.") => Ok(status),
        _ => Err(invalid("the answer is not HTTP")),
    }
}
