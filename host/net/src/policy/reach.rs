//! The operator's decision about addresses.

use super::allow::{AllowNet, address_literal, canonical_host, canonical_ip, net_contains};
use super::grants::bracketed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// The node's addresses are read again after this time: interfaces of pods come and go.
const NODE_ADDRESSES_AGE: Duration = Duration::from_secs(5);

/// Which addresses plugins of this process may connect to. Cheap to clone.
///
/// Without rules it is the *default set*: every address but loopback, link-local, unspecified, multicast, broadcast, the
/// metadata services of clouds (169.254.169.254, fd00:ec2::/32, fd20:ce::254, 100.100.100.200, 168.63.129.16,
/// 192.0.0.192) and the addresses of this node's own interfaces. With rules it is exactly what they name; the rule `default` adds the default set.
///
/// An IPv6 address that stands for an IPv4 one (v4-mapped, NAT64, 6to4) is judged as that IPv4 address. In a
/// pod without host network the node's own addresses are not visible; add them with [`Self::with_node_addresses`].
#[derive(Clone, Debug)]
pub struct ReachPolicy {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rules: Vec<AllowNet>,
    /// Endpoints that the operator typed: host and port.
    typed: Vec<(String, u16)>,
    /// Hosts of such endpoints, where a storage system may reveal other ports.
    typed_revealed: Vec<String>,
    extra_node_addresses: Vec<IpAddr>,
    interfaces: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl Default for ReachPolicy {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl ReachPolicy {
    /// The policy that consists of these rules; none: the default set.
    pub fn new(rules: Vec<AllowNet>) -> Self {
        Self::build(rules, Vec::new(), Vec::new(), Vec::new())
    }

    /// The same, and the default set leaves out these addresses too.
    #[must_use]
    pub fn with_node_addresses(self, addresses: Vec<IpAddr>) -> Self {
        let addresses = addresses.into_iter().map(canonical_ip).collect();
        let Inner { rules, typed, typed_revealed, .. } = &*self.inner;
        Self::build(rules.clone(), typed.clone(), typed_revealed.clone(), addresses)
    }

    /// The same policy, and beside it this endpoint, which the operator typed: whatever it resolves to, under the name or address as it was typed.
    /// Unlike a rule, it opens the address to no other name that resolves to it, and does not end the default set.
    #[must_use]
    pub fn with_endpoint(&self, host: &str, port: u16) -> Self {
        let Inner { rules, typed, typed_revealed, extra_node_addresses, .. } = &*self.inner;
        let typed = typed.iter().cloned().chain([(host.to_owned(), port)]).collect();
        Self::build(rules.clone(), typed, typed_revealed.clone(), extra_node_addresses.clone())
    }

    /// The same policy, and beside it any port of this host, which the operator typed, where a storage system reveals it
    /// ([`Grants::revealed`](super::Grants::revealed)).
    #[must_use]
    pub fn with_revealing_host(&self, host: &str) -> Self {
        let Inner { rules, typed, typed_revealed, extra_node_addresses, .. } = &*self.inner;
        let revealed = typed_revealed.iter().cloned().chain([host.to_owned()]).collect();
        Self::build(rules.clone(), typed.clone(), revealed, extra_node_addresses.clone())
    }

    fn build(
        rules: Vec<AllowNet>,
        typed: Vec<(String, u16)>,
        typed_revealed: Vec<String>,
        extra_node_addresses: Vec<IpAddr>,
    ) -> Self {
        let interfaces = Mutex::new(None);
        let inner = Inner { rules, typed, typed_revealed, extra_node_addresses, interfaces };
        Self { inner: Arc::new(inner) }
    }

    /// The same as [`Self::check`] for an address that the storage system has revealed.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub fn check_revealed(&self, host: &str, address: SocketAddr) -> Result<()> {
        if self.inner.typed_revealed.iter().any(|typed| same_host(typed, host)) {
            return Ok(());
        }
        self.check(host, address).map_err(|error| {
            error.context("the storage system says it has a server there, and may have more (--allow-net takes whole networks)")
        })
    }

    /// Whether a connection to `address` may be made because of the name `host` (an address literal, if that is
    /// what the URL says). Call it on the address that is then connected to, for every connection.
    ///
    /// # Errors
    /// `denied`, blame `host`; the message says why and which `--allow-net` would allow it.
    pub fn check(&self, host: &str, address: SocketAddr) -> Result<()> {
        let (host, ip, port) = (canonical_host(host), canonical_ip(address.ip()), address.port());
        let rules = &self.inner.rules;
        if self.is_typed(&host, port) || rules.iter().any(|rule| rule.covers(&host, ip, port)) {
            return Ok(());
        }
        let why = if self.uses_default_set() {
            match self.outside_default(ip) {
                None => return Ok(()),
                Some(why) => why.to_owned(),
            }
        } else {
            self.not_covered()
        };
        let shown = bracketed(&host);
        let is_literal = host.parse::<IpAddr>().is_ok();
        let what = if is_literal {
            format!("{shown}:{port} is {why}")
        } else {
            format!("{shown}:{port} resolves to {}, which is {why}", address.ip())
        };
        // A first rule ends the default set, so it has to be repeated if the operator wants to keep it.
        let keep = if rules.is_empty() { "; add --allow-net default to keep the rest reachable" } else { "" };
        Err(denied(format!("{what}: only the operator can allow it, with --allow-net {shown}:{port}{keep}")))
    }

    /// Whether a proxy may be asked to connect to `host` and `port`. It is the proxy that resolves a name, to an address that is never seen here: where
    /// the operator's rules leave the default set out, one of them has to name this very host.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub(crate) fn check_by_proxy(&self, host: &str, port: u16) -> Result<()> {
        if let Some(ip) = address_literal(host) {
            return self.check(host, SocketAddr::new(ip, port));
        }
        let host = canonical_host(host);
        let named = || self.inner.rules.iter().any(|rule| rule.names(&host, port));
        if self.uses_default_set() || self.is_typed(&host, port) || named() {
            return Ok(());
        }
        Err(denied(format!(
            "{host}:{port} is {}, and it is the proxy that resolves the name, so that no rule about addresses covers it: only the operator \
             can allow it, with --allow-net {host}:{port}",
            self.not_covered()
        )))
    }

    /// Whether the operator typed this as an endpoint.
    pub(super) fn is_typed(&self, host: &str, port: u16) -> bool {
        self.inner.typed.iter().any(|(typed, its)| *its == port && same_host(typed, host))
    }

    /// The default set is a part of the policy.
    pub(super) fn uses_default_set(&self) -> bool {
        self.inner.rules.is_empty() || self.inner.rules.iter().any(AllowNet::is_default)
    }

    fn not_covered(&self) -> String {
        let rules: Vec<String> = self.inner.rules.iter().map(AllowNet::to_string).collect();
        format!("not covered by --allow-net {}", rules.join(" --allow-net "))
    }

    /// The rules, for people; none: the default set.
    pub(super) fn rules(&self) -> &[AllowNet] {
        &self.inner.rules
    }

    /// Hosts with any port where a storage system reveals it.
    pub(super) fn revealing_hosts(&self) -> &[String] {
        &self.inner.typed_revealed
    }

    /// Everything in it as text, for telling policies apart.
    pub(crate) fn fingerprint(&self) -> String {
        let Inner { rules, typed, typed_revealed, extra_node_addresses, .. } = &*self.inner;
        let rules: Vec<String> = rules.iter().map(AllowNet::to_string).collect();
        format!("{} {typed:?} {typed_revealed:?} {extra_node_addresses:?}", rules.join(" "))
    }

    fn outside_default(&self, ip: IpAddr) -> Option<&'static str> {
        if METADATA.contains(&ip) || net_contains(AWS_LOCAL, 32, ip) {
            return Some("a metadata service");
        }
        let (loopback, link_local) = match ip {
            IpAddr::V4(v4) => (v4.is_loopback(), v4.is_link_local()),
            IpAddr::V6(v6) => (v6.is_loopback(), v6.is_unicast_link_local()),
        };
        // 0.0.0.0/8 is "this host" (RFC 1122); Linux connects 0.0.0.0 to itself.
        let this_host = ip.is_unspecified() || net_contains(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8, ip);
        if loopback {
            Some("a loopback address")
        } else if link_local {
            Some("a link-local address")
        } else if this_host {
            Some("an unspecified address")
        } else if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            Some("a multicast or broadcast address")
        } else if self.inner.extra_node_addresses.contains(&ip) || self.is_own_address(ip) {
            Some("an address of this node")
        } else {
            None
        }
    }

    fn is_own_address(&self, ip: IpAddr) -> bool {
        let mut cached = self.inner.interfaces.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = cached.as_ref().is_some_and(|(at, _)| at.elapsed() < NODE_ADDRESSES_AGE);
        if !fresh {
            match if_addrs::get_if_addrs() {
                Ok(found) => {
                    *cached =
                        Some((Instant::now(), found.iter().map(|each| canonical_ip(each.ip())).collect()));
                }
                // Keeping an old list is right, having none is not a reason to refuse the whole network.
                Err(error) => tracing::warn!(%error, "cannot list the addresses of this node"),
            }
        }
        cached.as_ref().is_some_and(|(_, addresses)| addresses.contains(&ip))
    }
}

/// Whether both are the same name, or the same address written as one.
pub fn same_host(one: &str, other: &str) -> bool {
    let (one, other) = (canonical_host(one), canonical_host(other));
    let address = |host: &str| host.parse().ok().map(canonical_ip);
    one == other || address(&one).is_some_and(|one| address(&other) == Some(one))
}

fn denied(message: String) -> Error {
    Error::new(ErrorKind::Denied, Blame::Host, message)
}

/// Services inside an AWS instance over IPv6: metadata (`::254`), credentials of EKS pods (`::23`), and others.
const AWS_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0));

/// Metadata services: AWS, GCP, Azure, OpenStack; GCP over IPv6; Alibaba Cloud; Azure's WireServer; Oracle Cloud.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
