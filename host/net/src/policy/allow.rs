//! One `--allow-net` argument.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// One rule of the operator: which addresses plugins may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowNet {
    target: Target,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// Everything that is allowed when there is no rule at all.
    Default,
    /// Addresses, v4-mapped ones already reduced to v4.
    Net { address: IpAddr, prefix: u8 },
    /// Whatever this very name resolves to, while it is the name that is being connected to.
    Host(String),
}

impl AllowNet {
    /// Reads `CIDR`, `CIDR:PORT`, `ADDRESS`, `ADDRESS:PORT`, `[V6]:PORT`, `HOST`, `HOST:PORT` or `default`.
    ///
    /// A CIDR with host bits set is refused: `10.0.0.1/8` is more often a mistake than a wish.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: anything else; the message says what is expected.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("default") {
            return Ok(Self { target: Target::Default, port: None });
        }
        // A bare IPv6 address or CIDR has several colons, so it must be tried before a port is split off.
        if let Some(target) = parse_net(text).transpose()? {
            return Ok(Self { target, port: None });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let Some((inside, after)) = rest.split_once(']') else {
                return Err(malformed(text, "`]` is missing"));
            };
            // Both `[fd00::/8]:443` and `[fd00::]/8:443` are seen in the wild.
            let (net, port) = match after.rsplit_once(':') {
                Some((prefix, port)) => (format!("{inside}{prefix}"), Some(parse_port(text, port)?)),
                None => (format!("{inside}{after}"), None),
            };
            return match parse_net(&net).transpose()? {
                Some(target) => Ok(Self { target, port }),
                None => Err(malformed(text, "there is no IPv6 address between the brackets")),
            };
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(parse_port(text, port)?)),
            None => (text, None),
        };
        if let Some(target) = parse_net(host).transpose()? {
            return Ok(Self { target, port });
        }
        let host = canonical_host(host);
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.is_empty()
            || host.len() > 253
            || !host.chars().all(named)
            || host.split('.').any(str::is_empty)
        {
            return Err(malformed(text, "this is neither an address nor a host name"));
        }
        if host.split('.').all(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(malformed(text, "this looks like an IPv4 address, but is not one"));
        }
        Ok(Self { target: Target::Host(host), port })
    }

    /// Whether this is `default`.
    pub(super) fn is_default(&self) -> bool {
        self.target == Target::Default
    }

    /// Whether the rule covers a connection made because of the name `host`, whatever that resolves to.
    pub(super) fn names(&self, host: &str, port: u16) -> bool {
        self.port.is_none_or(|mine| mine == port)
            && matches!(&self.target, Target::Host(name) if name == host)
    }

    /// Whether the rule may cover a connection to this port, depending on the address.
    pub(super) fn may_cover(&self, port: u16) -> bool {
        self.port.is_none_or(|mine| mine == port) && !matches!(self.target, Target::Host(_))
    }

    /// Whether the rule itself covers a connection to `ip` and `port` made because of the name `host`; `ip` and
    /// `host` are canonical. `default` covers nothing here.
    pub(super) fn covers(&self, host: &str, ip: IpAddr, port: u16) -> bool {
        if self.port.is_some_and(|mine| mine != port) {
            return false;
        }
        match &self.target {
            Target::Default => false,
            Target::Host(name) => name == host,
            Target::Net { address, prefix } => net_contains(*address, *prefix, ip),
        }
    }
}

impl fmt::Display for AllowNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.port) {
            (Target::Default, _) => f.write_str("default"),
            (Target::Host(name), None) => f.write_str(name),
            (Target::Host(name), Some(port)) => write!(f, "{name}:{port}"),
            (Target::Net { address, prefix }, None) => write!(f, "{address}/{prefix}"),
            (Target::Net { address: IpAddr::V6(address), prefix }, Some(port)) => {
                write!(f, "[{address}/{prefix}]:{port}")
            }
            (Target::Net { address, prefix }, Some(port)) => write!(f, "{address}/{prefix}:{port}"),
        }
    }
}

/// Lower case, without the final dot of a fully qualified name and without brackets.
pub(crate) fn canonical_host(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The IPv4 address inside an IPv6 one that stands for it, else the address itself.
///
/// `::ffff:0:0/96` is v4-mapped (RFC 4291), `::ffff:0:0:0/96` v4-translated (RFC 2765), `64:ff9b::/96` goes through a NAT64 gateway (RFC 6052), as does
/// what a site takes of `64:ff9b:1::/48` (RFC 8215; mostly a /96), `2002::/16` is 6to4 (RFC 3056), `::/96` is the old v4-compatible form; each reaches the IPv4 address it contains.
pub(super) fn canonical_ip(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => v4(high, low),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0] if high != 0 => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        _ => ip,
    }
}

/// The address that a host of a URL is: also with the final dot of a name, and also an IPv4 address in the forms that
/// `inet_aton` reads and `getaddrinfo` therefore does not look up (`127.1`, `0x7f000001`, `017700000001`).
pub(super) fn address_literal(host: &str) -> Option<IpAddr> {
    let host = canonical_host(host);
    host.parse().ok().or_else(|| inet_aton(&host).map(IpAddr::V4))
}

/// One to four numbers, decimal, octal or hexadecimal; the last one fills all bytes that are left.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part.strip_prefix("0x") {
        Some("") => Some(0),
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None if part.starts_with('0') => u32::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let parts = text.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let free = 8 * (4 - bytes.len());
    if u64::from(*last) >> free != 0 {
        return None;
    }
    let high = bytes.iter().enumerate().fold(0, |sum, (index, byte)| sum | (byte << (24 - 8 * index)));
    Some(Ipv4Addr::from(high | last))
}

/// `None`: not an address at all, perhaps a name.
fn parse_net(text: &str) -> Option<Result<Target>> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let mut prefix = match prefix {
        None => width,
        Some(prefix) => match prefix.parse::<u8>() {
            Ok(prefix) if prefix <= width => prefix,
            // `10.0.0.0/8:443` comes back without its port.
            _ if prefix.contains(':') => return None,
            _ => return Some(Err(malformed(text, &format!("the prefix length must be 0 to {width}")))),
        },
    };
    let mut address = address;
    if let IpAddr::V6(v6) = address
        && let Some(mapped) = v6.to_ipv4_mapped()
        && prefix >= 96
    {
        (address, prefix) = (IpAddr::V4(mapped), prefix - 96);
    }
    if masked(address, prefix) != address {
        let remedy = format!("bits are set after the prefix; write {}/{prefix}", masked(address, prefix));
        return Some(Err(malformed(text, &remedy)));
    }
    Some(Ok(Target::Net { address, prefix }))
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & u32::MAX.checked_shl(32 - prefix).unwrap_or(0)))
        }
        IpAddr::V6(v6) => {
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & u128::MAX.checked_shl(128 - prefix).unwrap_or(0)))
        }
    }
}

/// Whether `ip` lies in the network.
pub(super) fn net_contains(network: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    network.is_ipv4() == ip.is_ipv4() && masked(ip, prefix) == network
}

/// Whether `ip` lies in the network written as `ADDRESS` or `CIDR`; false when that cannot be read.
pub(crate) fn net_contains_text(network: &str, ip: IpAddr) -> bool {
    matches!(
        parse_net(network),
        Some(Ok(Target::Net { address, prefix })) if net_contains(address, prefix, canonical_ip(ip))
    )
}

fn parse_port(text: &str, port: &str) -> Result<u16> {
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(malformed(text, "the port must be a number from 1 to 65535")),
    }
}

fn malformed(text: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::Invalid,
        Blame::Caller,
        format!(
            "--allow-net {text}: {why}; write an address, a CIDR such as 10.0.0.0/8, a host name, each \
             optionally with :PORT ([address]:PORT for IPv6), or `default`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed_the_same() {
        for (text, printed) in [
            ("default", "default"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8:9000", "10.0.0.0/8:9000"),
            ("127.0.0.1", "127.0.0.1/32"),
            ("127.0.0.1:9000", "127.0.0.1/32:9000"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("[::1]:9000", "[::1/128]:9000"),
            ("[fd00::/8]:443", "[fd00::/8]:443"),
            ("[fd00::]/8:443", "[fd00::/8]:443"),
            ("[fd00::1]", "fd00::1/128"),
            ("::ffff:127.0.0.1", "127.0.0.1/32"),
            ("Minio.Storage.svc.", "minio.storage.svc"),
            ("minio:9000", "minio:9000"),
            ("my_host-1", "my_host-1"),
        ] {
            assert_eq!(
                AllowNet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_string(),
                printed
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("10.0.0.0/33", "0 to 32"),
            ("host:0", "port"),
            ("host:70000", "port"),
            ("host:", "port"),
            ("", "neither"),
            ("a b", "neither"),
            ("http://host", "port"),
            ("*.example.com", "neither"),
            ("a..b", "neither"),
            ("10.0.0", "IPv4"),
            ("10.0.0.256", "IPv4"),
            ("[::1", "missing"),
            ("[host]:80", "brackets"),
        ] {
            let error = AllowNet::parse(text).expect_err(text);
            assert_eq!(error.kind, ErrorKind::Invalid);
            assert!(error.message.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_in_disguise_are_seen() {
        for text in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f.1",
            "0X7F000001",
            "0177.0.0.1",
        ] {
            assert_eq!(address_literal(text), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), "{text}");
        }
        assert_eq!(address_literal("[::1]"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        for name in ["", "a.1", "256.1.1.1", "1.2.3.256", "1.2.3.4.5", "4294967296", "09.1", "s3.example"] {
            assert_eq!(address_literal(name), None, "{name}");
        }
    }

    #[test]
    fn ipv4_hidden_in_ipv6_is_seen() {
        for text in ["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::169.254.169.254"]
        {
            let ip = canonical_ip(text.parse().unwrap());
            assert_eq!(ip, IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), "{text}");
        }
        for text in ["::", "::1", "fd00::1"] {
            assert!(canonical_ip(text.parse().unwrap()).is_ipv6(), "{text}");
        }
    }
}
