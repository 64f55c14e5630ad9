//! Clients that the cluster refuses to serve.

use crate::types::EntityAddr;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The addresses that are refused. What protocol an address is for does not matter (`TYPE_ANY` since Ceph 14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Blocklist {
    /// Processes; port and nonce 0 stand for a whole host.
    processes: BTreeSet<Process>,
    /// Networks: base address, and how many of its bits count (Ceph 17).
    networks: BTreeSet<(IpAddr, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Process {
    ip: IpAddr,
    port: u16,
    nonce: u32,
}

impl Process {
    fn of(address: &EntityAddr) -> Option<Self> {
        let socket = address.socket?;
        Some(Self { ip: socket.ip(), port: socket.port(), nonce: address.nonce })
    }
}

impl Blocklist {
    pub(super) fn insert(&mut self, address: &EntityAddr) {
        self.processes.extend(Process::of(address));
    }

    pub(super) fn remove(&mut self, address: &EntityAddr) {
        if let Some(process) = Process::of(address) {
            self.processes.remove(&process);
        }
    }

    /// Adds a network, whose address carries the number of bits in its nonce.
    pub(super) fn insert_network(&mut self, network: &EntityAddr) {
        self.networks.extend(network.socket.map(|socket| (socket.ip(), network.nonce)));
    }

    pub(super) fn remove_network(&mut self, network: &EntityAddr) {
        if let Some(socket) = network.socket {
            self.networks.remove(&(socket.ip(), network.nonce));
        }
    }

    pub(super) fn contains(&self, address: &EntityAddr) -> bool {
        let Some(process) = Process::of(address) else { return false };
        let host = Process { port: 0, nonce: 0, ..process };
        self.processes.contains(&process)
            || self.processes.contains(&host)
            || self.networks.iter().any(|&(base, bits)| is_within(process.ip, base, bits))
    }
}

/// Whether the first `bits` bits of two addresses of the same kind are the same.
fn is_within(ip: IpAddr, base: IpAddr, bits: u32) -> bool {
    match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            let differing = u32::from(ip) ^ u32::from(base);
            differing.leading_zeros() >= bits.min(32)
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => {
            let differing = u128::from(ip) ^ u128::from(base);
            differing.leading_zeros() >= bits.min(128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::AddrKind;

    fn address(socket: &str, nonce: u32) -> EntityAddr {
        EntityAddr { kind: AddrKind::Any, nonce, socket: Some(socket.parse().unwrap()) }
    }

    #[test]
    fn processes_hosts_and_networks_are_refused() {
        let mut list = Blocklist::default();
        list.insert(&address("10.1.2.3:0", 4711));
        list.insert(&address("10.9.9.9:0", 0));
        list.insert_network(&address("192.168.64.0:0", 18));
        list.insert_network(&address("[2001:db8::]:0", 33));
        for (socket, nonce, refused) in [
            ("10.1.2.3:0", 4711, true),
            ("10.1.2.3:0", 4712, false),
            ("10.1.2.3:1", 4711, false),
            ("10.9.9.9:6800", 1, true),
            ("192.168.127.255:5", 9, true),
            ("192.168.128.0:5", 9, false),
            ("[2001:db8:7fff::1]:5", 9, true),
            ("[2001:db8:8000::1]:5", 9, false),
        ] {
            let client = EntityAddr { kind: AddrKind::Msgr2, ..address(socket, nonce) };
            assert_eq!(list.contains(&client), refused, "{socket}/{nonce}");
        }
        list.remove(&address("10.1.2.3:0", 4711));
        list.remove_network(&address("192.168.64.0:0", 18));
        assert!(!list.contains(&address("10.1.2.3:0", 4711)));
        assert!(!list.contains(&address("192.168.64.1:0", 1)));
        list.insert_network(&address("0.0.0.0:0", 0));
        assert!(list.contains(&address("8.8.8.8:0", 1)));
    }
}
