//! `mon_host`: where the monitors are, in all the forms in which people and tools write it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Port where monitors speak msgr2 (`CEPH_MON_PORT_IANA`).
pub const PORT: u16 = 3300;
/// Port where monitors speak the old protocol (`CEPH_MON_PORT_LEGACY`), which this client does not.
const PORT_V1: u16 = 6789;
/// More monitors than any cluster has; a longer list is a mistake.
const MOST: usize = 1024;

/// An address to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MonAddress {
    /// A name, an IPv4 or an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Why it is tried although nobody has written it; for messages.
    pub reason: Option<String>,
}

impl MonAddress {
    /// The address of a socket.
    #[must_use]
    pub fn of(socket: SocketAddr) -> Self {
        Self { host: socket.ip().to_string(), port: socket.port(), reason: None }
    }

    /// The socket, if the host is not a name.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        self.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, self.port))
    }

    /// Whether it is the same place, whatever the reason.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.port == other.port && self.host == other.host
    }
}

impl fmt::Display for MonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Authority(&self.host, self.port))?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// `host:port` with brackets where they are needed.
struct Authority<'a>(&'a str, u16);

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') {
            write!(f, "[{}]:{}", self.0, self.1)
        } else {
            write!(f, "{}:{}", self.0, self.1)
        }
    }
}

/// What [`parse_mon_host`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonHosts {
    /// Where msgr2 is spoken, or may be; in the order written, each once.
    pub addresses: Vec<MonAddress>,
    /// Addresses of the old protocol that give no hint where msgr2 might be spoken; for messages.
    pub v1_only: Vec<String>,
}

/// A list of monitors with which nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonHostError {
    /// There is nothing.
    #[error("no monitor is given: mon_host is empty")]
    Empty,
    /// There are too many to be meant.
    #[error("mon_host lists more than {MOST} addresses")]
    TooMany,
    /// Only addresses of the old protocol.
    #[error(
        "all monitors given ({}) are addresses of the old protocol (v1), which this client does not speak: give their v2 addresses, \
         usually port {PORT} (`ceph mon dump` shows them; `ceph mon enable-msgr2` makes them)", .0.join(", ")
    )]
    V1Only(Vec<String>),
    /// A part is not an address.
    #[error("mon_host: {entry:?} is not the address of a monitor: {problem}")]
    Malformed {
        /// The part.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads a list of monitors.
///
/// Parts are separated by commas, semicolons or white space. A part is a host (a name, an IPv4 address, an IPv6 address with or without
/// brackets) with or without port, with or without `v2:` before it and the nonce `/0` after it; or several of these in brackets, which
/// are one monitor: `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]`.
///
/// The port is 3300 if none is given. Where the port of the old protocol is given, which manifests written for older clients do, 3300 on
/// the same host is tried instead, and the address says so.
///
/// # Errors
/// A part is malformed, or nothing is left that could be tried.
pub fn parse_mon_host(text: &str) -> Result<MonHosts, MonHostError> {
    let mut spoken = Vec::new();
    let mut old = Vec::new();
    for part in split(text)? {
        match part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // Brackets around an IPv6 address have neither a protocol nor several parts inside.
            Some(group) if group.parse::<Ipv6Addr>().is_err() => {
                for part in split(group)? {
                    sort_in(parse_one(part)?, &mut spoken, &mut old);
                }
            }
            Some(_) | None => sort_in(parse_one(part)?, &mut spoken, &mut old),
        }
    }
    let mut hosts = MonHosts::default();
    for address in spoken {
        push_new(&mut hosts.addresses, address);
    }
    for Old { host, port } in old {
        // The same monitor's other address.
        if hosts.addresses.iter().any(|address| address.host == host && address.reason.is_none()) {
            continue;
        }
        let written = Authority(&host, port).to_string();
        if port == PORT_V1 {
            let reason = format!("tried because {written} is the port of the old protocol");
            push_new(&mut hosts.addresses, MonAddress { host, port: PORT, reason: Some(reason) });
        } else {
            hosts.v1_only.push(written);
        }
    }
    match (hosts.addresses.is_empty(), hosts.v1_only.is_empty()) {
        (true, true) => Err(MonHostError::Empty),
        (true, false) => Err(MonHostError::V1Only(hosts.v1_only)),
        (false, _) => Ok(hosts),
    }
}

fn push_new(addresses: &mut Vec<MonAddress>, address: MonAddress) {
    if !addresses.iter().any(|known| known.is(&address)) {
        addresses.push(address);
    }
}

/// An address of the old protocol.
struct Old {
    host: String,
    port: u16,
}

/// One address as written.
struct One {
    /// `v1:` was written.
    old: bool,
    host: String,
    port: Option<u16>,
}

fn sort_in(one: One, spoken: &mut Vec<MonAddress>, old: &mut Vec<Old>) {
    let port = one.port.unwrap_or(if one.old { PORT_V1 } else { PORT });
    if one.old || port == PORT_V1 {
        old.push(Old { host: one.host, port });
    } else {
        spoken.push(MonAddress { host: one.host, port, reason: None });
    }
}

/// The parts outside brackets.
fn split(text: &str) -> Result<Vec<&str>, MonHostError> {
    let mut depth = 0_u32;
    let parts = text.split(|c: char| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ',' || c == ';' || c.is_whitespace())
    });
    let parts: Vec<_> = parts.map(str::trim).filter(|part| !part.is_empty()).take(MOST + 1).collect();
    if parts.len() > MOST { Err(MonHostError::TooMany) } else { Ok(parts) }
}

/// `[v1:|v2:|any:]host[:port][/nonce]`.
fn parse_one(entry: &str) -> Result<One, MonHostError> {
    let malformed = |problem| MonHostError::Malformed { entry: entry.to_owned(), problem };
    let (old, rest) = match entry.split_once(':') {
        Some(("v1", rest)) => (true, rest),
        Some(("v2" | "any", rest)) => (false, rest),
        _ => (false, entry),
    };
    let rest = match rest.split_once('/') {
        Some((rest, nonce)) if nonce.bytes().all(|b| b.is_ascii_digit()) => rest,
        Some(_) => return Err(malformed("after the slash a number is expected")),
        None => rest,
    };
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or(malformed("a bracket is not closed"))?;
        host.parse::<Ipv6Addr>().map_err(|_| malformed("no IPv6 address is in the brackets"))?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(malformed("after the bracket a colon and a port are expected")),
        }
    } else if rest.parse::<Ipv6Addr>().is_ok() {
        (rest, None)
    } else {
        match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    if host.is_empty() {
        return Err(malformed("there is no host"));
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.parse::<IpAddr>().is_err() && !host.chars().all(is_host) {
        return Err(malformed("the host is neither an address nor a name"));
    }
    let port = match port.map(str::parse::<u16>) {
        None | Some(Ok(0)) => None,
        Some(Ok(port)) => Some(port),
        Some(Err(_)) => return Err(malformed("the port is not a number up to 65535")),
    };
    Ok(One { old, host: host.to_owned(), port })
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
