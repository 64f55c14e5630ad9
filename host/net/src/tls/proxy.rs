//! `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`.
//!
//! A request for `https` is tunnelled with `CONNECT` (RFC 9110, section 9.3.6), one for `http` is sent to the proxy in absolute
//! form (RFC 9112, section 3.2.2). The proxy's own address is the operator's choice and not subject to the reach policy.
//! Behind a proxy it is the proxy that resolves names, so the policy cannot see the addresses of targets: targets written as
//! addresses are still checked; a name is the proxy's to refuse where the policy has the default set, and otherwise has to be in one of the operator's
//! rules itself. Names on `NO_PROXY` go direct and are checked as ever, and so do link-local addresses.

use crate::policy::{canonical_host, net_contains_text};
use std::fmt;
use std::net::IpAddr;
use wasmount_types::{Blame, Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Which proxy to use for what. The default uses none.
#[derive(Clone, Default)]
pub struct ProxySettings {
    https: Option<Proxy>,
    http: Option<Proxy>,
    direct: Vec<Direct>,
}

/// One proxy. Has no `Debug`: it may carry a password.
#[derive(Clone)]
pub(crate) struct Proxy {
    /// Name or address, IPv6 without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// Value of `proxy-authorization`, if the URL had a user.
    pub(crate) authorization: Option<Zeroizing<String>>,
}

/// One entry of `NO_PROXY`.
#[derive(Clone)]
enum Direct {
    Everything,
    /// A domain and all below it.
    Domain(String, Option<u16>),
    Net(String),
}

impl ProxySettings {
    /// What `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say; the lower-case names win, as in curl.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: a value is not a proxy URL; the message names the variable, never the value's password.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The same with variables from elsewhere.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let read = |name: &str| {
            [name.to_ascii_lowercase(), name.to_owned()].into_iter().find_map(|name| {
                lookup(&name).filter(|value| !value.trim().is_empty()).map(|value| (name, value))
            })
        };
        let proxy = |name: &str| read(name).map(|(name, value)| Proxy::parse(&name, &value)).transpose();
        let mut settings =
            Self { https: proxy("HTTPS_PROXY")?, http: proxy("HTTP_PROXY")?, direct: Vec::new() };
        if let Some((_, list)) = read("NO_PROXY") {
            settings = settings.with_no_proxy(&list);
        }
        Ok(settings)
    }

    /// Sends `https` requests through this proxy; `option` is what an error calls it.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: not a proxy URL.
    pub fn with_https_proxy(mut self, option: &str, url: &str) -> Result<Self> {
        self.https = Some(Proxy::parse(option, url)?);
        Ok(self)
    }

    /// Sends `http` requests through this proxy; `option` is what an error calls it.
    ///
    /// # Errors
    /// `invalid`, blame `caller`: not a proxy URL.
    pub fn with_http_proxy(mut self, option: &str, url: &str) -> Result<Self> {
        self.http = Some(Proxy::parse(option, url)?);
        Ok(self)
    }

    /// Replaces the list of what goes direct: domains (each with everything below it, a leading `.` or `*.` makes no
    /// difference), `domain:port`, addresses, CIDRs, separated by commas or spaces; `*` is everything.
    #[must_use]
    pub fn with_no_proxy(mut self, list: &str) -> Self {
        self.direct = list.split([',', ' ']).filter_map(Direct::parse).collect();
        self
    }

    /// Whether requests of this protocol to this origin go through a proxy. Only those of HTTP do.
    pub fn is_used(&self, protocol: &str, host: &str, port: u16) -> bool {
        let https = protocol.eq_ignore_ascii_case("https");
        (https || protocol.eq_ignore_ascii_case("http")) && self.for_origin(https, host, port).is_some()
    }

    /// The proxy for an origin, or `None`: go direct.
    pub(crate) fn for_origin(&self, https: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if https { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = canonical_host(host);
        if stays_on_link(&host) {
            return None;
        }
        (!self.direct.iter().any(|direct| direct.matches(&host, port))).then_some(proxy)
    }
}

/// Addresses that mean something else at the proxy than here: those of the machine's own link. Services that hand credentials to whoever asks are there
/// (169.254.169.254, 169.254.170.2 and .23, fd00:ec2::/32 on AWS), and a proxy would ask its own, or be shown what was sent to ours.
fn stays_on_link(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2]
        }
        Err(_) => false,
    }
}

impl Proxy {
    fn parse(option: &str, url: &str) -> Result<Self> {
        let malformed = |why: &str| {
            Error::new(
                ErrorKind::Invalid,
                Blame::Caller,
                format!("{option}: {why}; write http://[user:password@]host[:port]"),
            )
        };
        let url = url.trim();
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => {
                return Err(malformed("only http:// proxies are supported (they tunnel https all the same)"));
            }
            None => url,
        };
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (host, port) = crate::http::split_host_port(address)
            .map_err(|_| malformed("the host or port cannot be read"))?;
        let authorization = match user {
            None => None,
            Some(user) => {
                let plain = percent_decoded(user)
                    .ok_or_else(|| malformed("the user or password has a broken %-escape"))?;
                let plain =
                    if plain.contains(&b':') { plain } else { Zeroizing::new([&plain[..], b":"].concat()) };
                Some(Zeroizing::new(format!("Basic {}", crate::secrets::base64_encode(&plain))))
            }
        };
        // 1080 is curl's default, but what people leave out in http://proxy is the port of http.
        Ok(Self { host, port: port.unwrap_or(80), authorization })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", crate::policy::bracketed(&self.host), self.port)
    }
}

impl Direct {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Self::Everything);
        }
        let (network, _) = entry.split_once('/').unwrap_or((entry, ""));
        if canonical_host(network).parse::<IpAddr>().is_ok() {
            return Some(Self::Net(canonical_host(entry)));
        }
        let entry = entry.trim_start_matches('*').trim_start_matches('.');
        Some(match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => Self::Domain(canonical_host(host), Some(port)),
            _ => Self::Domain(canonical_host(entry), None),
        })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Domain(domain, only) => {
                only.is_none_or(|only| only == port)
                    && host
                        .strip_suffix(domain.as_str())
                        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            Self::Net(net) => host.parse().is_ok_and(|ip| net_contains_text(net, ip)),
        }
    }
}

fn percent_decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
            let value = digit()? * 16 + digit()?;
            out.push(u8::try_from(value).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<ProxySettings> {
        ProxySettings::from_lookup(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn shown(settings: &ProxySettings, https: bool, host: &str, port: u16) -> Option<String> {
        settings.for_origin(https, host, port).map(ToString::to_string)
    }

    #[test]
    fn variables_choose_the_proxy() {
        let settings = settings(&[
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:2/"),
            ("HTTP_PROXY", "plain"),
            ("no_proxy", "localhost,.svc, *.internal 10.0.0.0/8,h:81,fd00::/8"),
        ])
        .unwrap();
        assert_eq!(shown(&settings, true, "a.example", 443).unwrap(), "lower:2");
        assert_eq!(shown(&settings, false, "a.example", 80).unwrap(), "plain:80");
        for direct in ["localhost", "minio.SVC.", "svc", "a.internal", "10.9.9.9", "fd00::5"] {
            assert_eq!(shown(&settings, true, direct, 443), None, "{direct}");
        }
        for proxied in ["notlocalhost", "asvc", "11.0.0.1", "internal.example"] {
            assert!(shown(&settings, true, proxied, 443).is_some(), "{proxied}");
        }
        for (protocol, host, used) in
            [("HTTPS", "a.example", true), ("http", "a.example", true), ("tcp", "a.example", false)]
        {
            assert_eq!(settings.is_used(protocol, host, 443), used, "{protocol}");
        }
        for link in ["169.254.169.254", "[fe80::1]", "fd00:ec2::23"] {
            assert_eq!(shown(&settings, false, link, 80), None, "{link}");
        }
        assert!(!settings.is_used("https", "a.internal", 443));
        assert_eq!(shown(&settings, true, "h", 81), None);
        assert!(shown(&settings, true, "h", 82).is_some());
        assert_eq!(shown(&settings.with_no_proxy("*"), true, "h", 82), None);
    }

    #[test]
    fn a_password_is_used_and_never_shown() {
        let proxy = Proxy::parse("HTTPS_PROXY", "http://us%65r:p%40ss@[::1]:3128").unwrap();
        assert_eq!(proxy.to_string(), "[::1]:3128");
        assert_eq!(proxy.authorization.unwrap().as_str(), "Basic dXNlcjpwQHNz");
        for bad in ["https://u:hunter22@h:1", "http://u:hunter22@h:x", "http://u:hunter22%zz@h"] {
            let error = Proxy::parse("HTTPS_PROXY", bad).err().unwrap();
            assert!(
                error.message.starts_with("HTTPS_PROXY") && !error.message.contains("hunter22"),
                "{error}"
            );
        }
    }
}
