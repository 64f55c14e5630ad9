//! The operator's decision about addresses.

use super::allow::{AllowNet, canonical_host, canonical_ip, net_contains};
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
    /// Rules beside them for addresses that a storage system reveals.
    revealed: Vec<AllowNet>,
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
        Self::build(rules, Vec::new(), Vec::new())
    }

    /// The same, and the default set leaves out these addresses too.
    #[must_use]
    pub fn with_node_addresses(self, addresses: Vec<IpAddr>) -> Self {
        let addresses = addresses.into_iter().map(canonical_ip).collect();
        Self::build(self.inner.rules.clone(), self.inner.revealed.clone(), addresses)
    }

    /// The same policy and this rule beside it. Unlike a first rule given to [`Self::new`], it does not end the default set.
    #[must_use]
    pub fn also(&self, rule: AllowNet) -> Self {
        let mut rules = self.inner.rules.clone();
        if rules.is_empty() {
            rules.push(AllowNet::default_set());
        }
        rules.push(rule);
        Self::build(rules, self.inner.revealed.clone(), self.inner.extra_node_addresses.clone())
    }

    /// The same policy, and this rule beside it for addresses that a storage system reveals
    /// ([`Grants::revealed`](super::Grants::revealed)). The default set stays as it is.
    #[must_use]
    pub fn also_revealed(&self, rule: AllowNet) -> Self {
        let inner = &self.inner;
        let revealed = inner.revealed.iter().cloned().chain([rule]).collect();
        Self::build(inner.rules.clone(), revealed, inner.extra_node_addresses.clone())
    }

    fn build(rules: Vec<AllowNet>, revealed: Vec<AllowNet>, extra_node_addresses: Vec<IpAddr>) -> Self {
        let interfaces = Mutex::new(None);
        Self { inner: Arc::new(Inner { rules, revealed, extra_node_addresses, interfaces }) }
    }

    /// The same as [`Self::check`] for an address that the storage system has revealed.
    ///
    /// # Errors
    /// Those of [`Self::check`].
    pub fn check_revealed(&self, host: &str, address: SocketAddr) -> Result<()> {
        let (canonical, ip) = (canonical_host(host), canonical_ip(address.ip()));
        if self.inner.revealed.iter().any(|rule| rule.covers(&canonical, ip, address.port())) {
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
        if rules.iter().any(|rule| rule.covers(&host, ip, port)) {
            return Ok(());
        }
        let uses_default = rules.is_empty() || rules.iter().any(AllowNet::is_default);
        let why = if uses_default {
            match self.outside_default(ip) {
                None => return Ok(()),
                Some(why) => why.to_owned(),
            }
        } else {
            let rules: Vec<String> = rules.iter().map(AllowNet::to_string).collect();
            format!("not covered by --allow-net {}", rules.join(" --allow-net "))
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
        Err(Error::new(
            ErrorKind::Denied,
            Blame::Host,
            format!("{what}: only the operator can allow it, with --allow-net {shown}:{port}{keep}"),
        ))
    }

    /// The rules, for people; none: the default set.
    pub(super) fn rules(&self) -> &[AllowNet] {
        &self.inner.rules
    }

    /// The rules beside them for addresses that a storage system reveals.
    pub(super) fn revealed_rules(&self) -> &[AllowNet] {
        &self.inner.revealed
    }

    /// The rules as text, for telling policies apart.
    pub(crate) fn fingerprint(&self) -> String {
        let rules: Vec<String> = self.inner.rules.iter().map(AllowNet::to_string).collect();
        format!("{} {:?}", rules.join(" "), self.inner.extra_node_addresses)
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
