//! URLs, byte for byte.

use http::uri::PathAndQuery;
use std::borrow::Cow;
use std::fmt;
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// Longest URL. What servers accept ends at 8 to 16 KiB; the `http` crate's own limit is 64 KiB.
const MAX_URL_BYTES: usize = 32 * 1024;

/// A URL taken apart. `Display` shows the origin only: a query may carry a signature.
#[derive(Clone)]
pub(super) struct Target {
    /// `https`, else `http`.
    pub(super) https: bool,
    /// Name or address as written, IPv6 without brackets.
    pub(super) host: String,
    /// Port as written, or the scheme's.
    pub(super) port: u16,
    /// Host and port exactly as written: the `host` header (RFC 9112, section 3.2).
    authority: String,
    path: PathAndQuery,
}

impl Target {
    /// Takes a URL apart without changing a byte of path and query.
    ///
    /// # Errors
    /// `invalid`, blame `plugin`. Messages never contain path or query.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let malformed =
            |why: &str| Error::new(ErrorKind::Invalid, Blame::Plugin, format!("URL of a request: {why}"));
        if url.len() > MAX_URL_BYTES {
            return Err(malformed("longer than 32 KiB"));
        }
        let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("not absolute"))?;
        let https = match scheme {
            _ if scheme.eq_ignore_ascii_case("https") => true,
            _ if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(malformed("the scheme must be http or https")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(malformed("user info is not allowed; use an authorization header"));
        }
        if path.contains('#') {
            return Err(malformed("a fragment is not allowed; write # as %23"));
        }
        let (host, port) = split_host_port(authority)?;
        // The only thing that is ever added: a request line cannot have an empty path (RFC 9112, section 3.2.1).
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let parsed = PathAndQuery::try_from(path.as_str()).ok();
        let Some(parsed) = parsed.filter(|parsed| parsed.as_str() == path && path.is_ascii()) else {
            return Err(malformed("path or query has a character that must be percent-encoded"));
        };
        let port = port.unwrap_or(if https { 443 } else { 80 });
        Ok(Self { https, host, port, authority: authority.to_owned(), path: parsed })
    }

    /// `https` or `http`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Value of the `host` header: nothing in it needs escaping.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The request target: path and query for the server itself, the whole URL for a proxy.
    pub(super) fn request_target(&self, absolute: bool) -> Cow<'_, str> {
        let path = self.path.as_str();
        if !absolute {
            return path.into();
        }
        format!("{}://{}{path}", self.scheme(), self.authority).into()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme(), crate::policy::bracketed(&self.host), self.port)
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; the host comes back without brackets.
pub(crate) fn split_host_port(authority: &str) -> Result<(String, Option<u16>)> {
    let malformed = || {
        Error::new(
            ErrorKind::Invalid,
            Blame::Plugin,
            format!("{authority:?} is not a host with an optional port"),
        )
    };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(malformed)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| malformed())?;
            match after {
                "" => (host, None),
                _ => (host, Some(after.strip_prefix(':').ok_or_else(malformed)?)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(named) {
        return Err(malformed());
    }
    let port = match port {
        None => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            match digits.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(malformed()),
            }
        }
        Some(_) => return Err(malformed()),
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_kept_byte_for_byte() {
        for (path, sent) in [
            ("/bucket/a%2Fb//../%c3%A4+&;=~?x=%20&y", "/bucket/a%2Fb//../%c3%A4+&;=~?x=%20&y"),
            ("", "/"),
            ("?list", "/?list"),
            ("/?", "/?"),
            ("/a?b?c", "/a?b?c"),
        ] {
            let target = Target::parse(&format!("HTTP://Host.example:8080{path}")).unwrap();
            assert_eq!(target.request_target(false), sent);
            assert_eq!(target.request_target(true), format!("http://Host.example:8080{sent}"));
            assert_eq!(target.authority(), "Host.example:8080");
        }
    }

    #[test]
    fn host_and_port_come_from_the_authority() {
        for (url, host, port) in [
            ("https://h/", "h", 443),
            ("http://h", "h", 80),
            ("http://[::1]/x", "::1", 80),
            ("https://[fd00::1]:9000?q", "fd00::1", 9000),
            ("http://10.0.0.1:1", "10.0.0.1", 1),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port), (host, port));
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        for url in [
            "/only/path",
            "ftp://h/",
            "http://user:pw@h/",
            "http://h/a#b",
            "http://h/a b",
            "http://h/a\r\nx: y",
            "http://h/\u{e4}",
            "http:///path",
            "http://h:0/",
            "http://h:99999/",
            "http://h:/",
            "http://[::1/",
            "http://[h]/",
            "http://::1/",
            "http://h%41/",
        ] {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url} was accepted"));
            assert_eq!((error.kind, error.blame), (ErrorKind::Invalid, Blame::Plugin));
            assert!(!error.message.contains("pw"), "{error}");
        }
    }
}
