//! Origins a mount may speak to, and the methods it may use there.
//!
//! Some storage systems reveal addresses only once one speaks to them: a Ceph monitor tells where the OSDs are. A plugin that
//! needs them says so, and why, in its description. For its mounts alone, a TCP connection may then go to
//!
//! - any address, but not to any *name*: what a server reveals is an address, and a name would be one more way out;
//! - any port of a host that an option names for TCP: the monitor's other protocol, servers on the monitor's machine.
//!
//! The operator's consent is the same as for everything else: [`ReachPolicy`](super::ReachPolicy) judges the address of each
//! connect, by its default set or by `--allow-net`.

use wasmount_types::{Blame, Error, ErrorKind, Result};

/// One origin that the options of a mount, or an endpoint template of its plugin, name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginGrant {
    /// `http`, `https` or `tcp`; compared without regard to case.
    pub protocol: String,
    /// Name or address, IPv6 without brackets; compared without regard to case or a final dot.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Methods that only read there; the only ones a read-only mount may use.
    pub read_methods: Vec<String>,
    /// Options whose secrets may be sent there in headers. Being granted an origin is not enough: a plugin could otherwise
    /// send a secret it must not see to an origin of its own choice.
    pub secrets: Vec<String>,
}

/// Everything one mount may speak to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The origins.
    pub origins: Vec<OriginGrant>,
    /// Only `read_methods` may be used.
    pub read_only: bool,
    /// The plugin has declared that its storage system reveals addresses: see the [module](super).
    pub revealed: bool,
}

/// Why a TCP connection is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcpGrant {
    /// An option names this host and port.
    Named,
    /// It is an address, or another port of a host, that only the storage system reveals.
    Revealed,
}

impl Grants {
    /// Whether a request with `method` may go to this origin.
    ///
    /// # Errors
    /// `denied`, blame `host`: no such origin is granted, or the mount is read-only and the method is not one that reads.
    pub fn check(&self, protocol: &str, host: &str, port: u16, method: &str) -> Result<()> {
        let host = super::allow::canonical_host(host);
        let mut same_origin = self.origins.iter().filter(|grant| {
            grant.protocol.eq_ignore_ascii_case(protocol)
                && grant.port == port
                && super::allow::canonical_host(&grant.host) == host
        });
        let Some(first) = same_origin.next() else {
            return Err(self.not_granted(protocol, &host, port));
        };
        if !self.read_only || reads(first, method) || same_origin.any(|grant| reads(grant, method)) {
            return Ok(());
        }
        Err(denied(format!(
            "{method} to {first} is not granted: the mount is read-only, and the plugin lists only {} as reading there; mount \
             it with write access, or correct the plugin's list of read methods",
            if first.read_methods.is_empty() {
                "no method".to_owned()
            } else {
                first.read_methods.join(", ")
            },
        )))
    }

    /// Whether the secret of this option may be sent to this origin in a header.
    ///
    /// # Errors
    /// `denied`, blame `host`: the plugin's option table does not say so; the message says where it may go.
    pub(crate) fn check_secret(&self, protocol: &str, host: &str, port: u16, option: &str) -> Result<()> {
        let takes = |grant: &&OriginGrant| grant.secrets.iter().any(|secret| secret == option);
        let canonical = super::allow::canonical_host(host);
        let same = |grant: &OriginGrant| {
            grant.protocol.eq_ignore_ascii_case(protocol)
                && grant.port == port
                && super::allow::canonical_host(&grant.host) == canonical
        };
        if self.origins.iter().filter(takes).any(same) {
            return Ok(());
        }
        let may: Vec<_> = self.origins.iter().filter(takes).map(OriginGrant::to_string).collect();
        let may = if may.is_empty() { "nowhere".to_owned() } else { may.join(", ") };
        Err(denied(format!(
            "the secret of option {option} may not be sent to {protocol}://{}:{port} (granted for it: {may}): the plugin's option \
             table has to say so, and `wasmount plugin inspect` shows what it says",
            bracketed(&canonical)
        )))
    }

    /// Whether, and why, a connection of a protocol other than HTTP may be made. What is sent there has no methods, so that
    /// `read_only` is the plugin's to heed.
    ///
    /// # Errors
    /// `denied`, blame `host`: nothing grants it; the message says what would.
    pub(crate) fn check_tcp(&self, host: &str, port: u16) -> Result<TcpGrant> {
        let canonical = super::allow::canonical_host(host);
        let named = || {
            let tcp = self.origins.iter().filter(|grant| grant.protocol.eq_ignore_ascii_case("tcp"));
            tcp.filter(|grant| super::allow::canonical_host(&grant.host) == canonical)
        };
        if named().any(|grant| grant.port == port) {
            return Ok(TcpGrant::Named);
        }
        if self.revealed && (canonical.parse::<std::net::IpAddr>().is_ok() || named().next().is_some()) {
            return Ok(TcpGrant::Revealed);
        }
        Err(self.not_granted("tcp", &canonical, port))
    }

    fn not_granted(&self, protocol: &str, host: &str, port: u16) -> Error {
        let granted = match self.origins.as_slice() {
            [] => "no origin at all".to_owned(),
            origins => origins.iter().map(OriginGrant::to_string).collect::<Vec<_>>().join(", "),
        };
        let host = bracketed(host);
        denied(format!(
            "{protocol}://{host}:{port} is not granted to this mount (granted: {granted}): name it in an endpoint option of \
             the mount, and allow it with --allow-net {host}:{port} if it is not a public address"
        ))
    }
}

impl std::fmt::Display for OriginGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.protocol, bracketed(&self.host), self.port)
    }
}

fn reads(grant: &OriginGrant, method: &str) -> bool {
    // Methods are case-sensitive (RFC 9110, section 9.1).
    grant.read_methods.iter().any(|read| read == method)
}

fn denied(message: String) -> Error {
    Error::new(ErrorKind::Denied, Blame::Host, message)
}

/// An IPv6 address in brackets, anything else as it is.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(read_only: bool) -> Grants {
        Grants {
            origins: vec![OriginGrant {
                protocol: "https".into(),
                host: "S3.example.com".into(),
                port: 443,
                read_methods: vec!["GET".into(), "HEAD".into()],
                secrets: vec!["token".into()],
            }],
            read_only,
            revealed: false,
        }
    }

    #[test]
    fn scheme_host_and_port_must_all_match() {
        let grants = grants(false);
        assert!(grants.check("https", "s3.EXAMPLE.com.", 443, "PUT").is_ok());
        for (protocol, host, port) in
            [("http", "s3.example.com", 443), ("https", "example.com", 443), ("https", "s3.example.com", 444)]
        {
            let error = grants.check(protocol, host, port, "GET").unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
            assert!(error.message.contains("https://S3.example.com:443"), "{error}");
            assert!(error.message.contains(&format!("--allow-net {host}:{port}")), "{error}");
        }
    }

    #[test]
    fn a_read_only_mount_may_only_use_reading_methods() {
        let grants = grants(true);
        assert!(grants.check("https", "s3.example.com", 443, "HEAD").is_ok());
        for method in ["PUT", "DELETE", "POST", "get"] {
            let error = grants.check("https", "s3.example.com", 443, method).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
            assert!(error.message.contains("GET, HEAD") && error.message.starts_with(method), "{error}");
        }
    }

    #[test]
    fn addresses_are_revealed_to_plugins_that_ask_for_them() {
        let origin = |protocol: &str, host: &str, port| OriginGrant {
            protocol: protocol.into(),
            host: host.into(),
            port,
            read_methods: vec![],
            secrets: vec![],
        };
        let origins = vec![origin("tcp", "Mon.example.", 6789), origin("https", "s3.example", 443)];
        let asks = |revealed| Grants { origins: origins.clone(), read_only: true, revealed };
        let check = |revealed, host: &str, port| asks(revealed).check_tcp(host, port).ok();
        for revealed in [false, true] {
            assert_eq!(check(revealed, "mon.example", 6789), Some(TcpGrant::Named));
            assert_eq!(check(revealed, "s3.example", 443), None, "granted for HTTP");
            assert_eq!(check(revealed, "other.example", 6789), None, "a name");
        }
        for (host, port) in [("10.1.2.3", 6800), ("fd00::1", 6800), ("mon.example", 3300)] {
            assert_eq!(check(true, host, port), Some(TcpGrant::Revealed), "{host}");
            let error = asks(false).check_tcp(host, port).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
            assert!(error.message.contains("tcp://Mon.example.:6789"), "{error}");
        }
    }

    #[test]
    fn a_secret_goes_only_where_its_option_says() {
        let mut grants = grants(true);
        let other =
            OriginGrant { host: "elsewhere.example".into(), secrets: vec![], ..grants.origins[0].clone() };
        grants.origins.push(other);
        let check = |protocol: &str, host: &str, port, option: &str| {
            grants.check_secret(protocol, host, port, option)
        };
        check("https", "s3.EXAMPLE.com.", 443, "token").unwrap();
        for (protocol, host, port, option) in [
            ("https", "elsewhere.example", 443, "token"),
            ("http", "s3.example.com", 443, "token"),
            ("https", "s3.example.com", 8443, "token"),
            ("https", "s3.example.com", 443, "key"),
        ] {
            let error = check(protocol, host, port, option).unwrap_err();
            assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
            assert!(
                error
                    .message
                    .contains(&format!("option {option} may not be sent to {protocol}://{host}:{port}"))
            );
        }
        let error = check("https", "s3.example.com", 443, "key").unwrap_err();
        assert!(error.message.contains("nowhere"), "{error}");
    }

    #[test]
    fn nothing_is_granted_by_default() {
        let error = Grants::default().check("http", "::1", 80, "GET").unwrap_err();
        assert!(error.message.contains("[::1]:80") && error.message.contains("no origin at all"), "{error}");
    }
}
