//! Ports of 127.0.0.1, each for one test.

use std::fmt::{Display, Formatter};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use anyhow::{Result, bail};

/// The lowest one: above those of Ceph clusters (`tests/servers/ceph`).
const FIRST: u16 = 30_300;

/// How many there are: all below Linux' `ip_local_port_range`, so that no connection gets the port of a server that is stopped for a while.
const PORTS: u16 = 2_400;

/// A port that nobody listens on, and that no other test is given before this is dropped, in whatever process it runs.
///
/// That a port can be bound is not enough: MinIO binds with `SO_REUSEPORT`. Two that start at the same time share a port, and one
/// that starts later looks ready for a moment, because the other answers.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// An abstract name (`unix(7)`) can be bound once, and is free again when the process ends, however it does. Like ports, such names are
    /// those of a network namespace.
    _claim: UnixListener,
}

impl Port {
    /// One that is free.
    ///
    /// # Errors
    /// When none is.
    pub fn free() -> Result<Self> {
        let start = u16::try_from(RandomState::new().build_hasher().finish() % u64::from(PORTS))?;
        for step in 0..PORTS {
            let number = FIRST + (start + step) % PORTS;
            let name = SocketAddr::from_abstract_name(format!("wasmount-test-port-{number}"))?;
            let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _claim: claim });
            }
        }
        bail!("all ports from {FIRST} to {} are taken", FIRST + PORTS - 1)
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_a_port_twice() {
        let mut ports: Vec<_> = (0..50).map(|_| Port::free().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 50);
        let last = ports.pop().unwrap().number();
        let name = SocketAddr::from_abstract_name(format!("wasmount-test-port-{last}")).unwrap();
        assert!(UnixListener::bind_addr(&name).is_ok(), "whoever comes later may have it");
    }
}
