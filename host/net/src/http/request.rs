//! What is sent.

use super::outgoing::{Outgoing, body_length};
use super::url::Target;
use crate::limits::NetLimits;
use crate::secrets::Secret;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::time::Duration;
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// A request, complete but for what the client adds: `host`, `content-length` or `transfer-encoding`.
#[derive(Default)]
pub struct HttpRequest {
    /// An HTTP token, case-sensitive: `GET`.
    pub method: String,
    /// Absolute, `http` or `https`, already percent-encoded; path and query are sent byte for byte, and the `host` header is
    /// the authority exactly as written here. No user info, no fragment.
    pub url: String,
    /// In order, duplicates kept. Names the client owns are refused: `host`, `content-length`, `transfer-encoding`,
    /// `connection`, `te`, `trailer`, `upgrade`, `keep-alive`, `expect`, `proxy-*`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// After them: headers whose values are secrets.
    pub secret_headers: Vec<SecretHeader>,
    /// What to send; `None` is no body at all, an empty one is `content-length: 0`.
    pub body: Option<RequestBody>,
    /// Send `expect: 100-continue` and hold the body back until the server wants it.
    pub expect_continue: bool,
    /// Limit for the time to the response head, if shorter than the mount's. It includes sending the body.
    pub timeout: Option<Duration>,
}

/// A header with a secret in it, which only the connection to a granted origin gets to see.
pub struct SecretHeader {
    /// Name of the header.
    pub name: String,
    /// What stands before the secret, for example `Bearer `.
    pub prefix: String,
    /// Canonical name of the option that the secret belongs to: [`OriginGrant::secrets`](crate::OriginGrant::secrets).
    pub option: String,
    /// The secret.
    pub secret: Secret,
}

/// The content of a request.
pub enum RequestBody {
    /// Pieces that are in memory, sent one after the other.
    Chunks(Vec<Bytes>),
    /// Pieces that arrive over time.
    Stream {
        /// Their total, if known: sent as `content-length` (and a stream that ends elsewhere fails the request), else the
        /// body is sent in chunks.
        length: Option<u64>,
        /// The pieces. An error aborts the request and is what `send` returns.
        pieces: BoxStream<'static, Result<Bytes, Error>>,
    },
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self::Chunks(vec![bytes])
    }
}

/// A request as it is written to a connection, and what matters for its answer.
pub(super) struct Prepared {
    pub(super) outgoing: Outgoing,
    /// The answer has no body, whatever its head says.
    pub(super) bodiless: bool,
    /// The method changes nothing on the server.
    pub(super) safe: bool,
}

/// Checks everything but grants, and adds what the client owns. `proxy` is the one that gets the request in absolute
/// form, if any.
pub(super) fn prepare(
    mut request: HttpRequest,
    target: &Target,
    proxy: Option<&crate::tls::Proxy>,
    limits: &NetLimits,
) -> Result<Prepared> {
    for header in std::mem::take(&mut request.secret_headers) {
        let mut value = header.prefix.into_bytes();
        value.extend_from_slice(&header.secret.reveal());
        request.headers.push((header.name, value));
    }
    let length = request.body.as_ref().map(body_length);
    // There is nothing to hold back of an empty body.
    let held = request.expect_continue && length.is_some_and(|length| length != Some(0));
    let head = head(&request, target, proxy, length, held, limits)?;
    let (bodiless, safe) = (request.method == "HEAD", is_safe(&request.method));
    Ok(Prepared { outgoing: Outgoing::new(head, request.body, held), bodiless, safe })
}

/// The head of a request (RFC 9112, sections 3 and 5). `length`: of the body, if there is one, and it is known.
fn head(
    request: &HttpRequest,
    target: &Target,
    proxy: Option<&crate::tls::Proxy>,
    length: Option<Option<u64>>,
    held: bool,
    limits: &NetLimits,
) -> Result<Vec<u8>> {
    let (method, headers) = (&request.method, &request.headers);
    if !is_token(method.as_bytes()) || method == "CONNECT" {
        return Err(invalid(format!("{method:?} is not a method that can be sent")));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > limits.headers || bytes > limits.head_bytes {
        return Err(invalid(format!(
            "a request may have {} headers of {} bytes together, this one has {} of {bytes}",
            limits.headers,
            limits.head_bytes,
            headers.len(),
        )));
    }
    let path = target.request_target(proxy.is_some());
    let mut head = Vec::with_capacity(256 + path.len() + bytes + 4 * headers.len());
    let mut line = |parts: [&[u8]; 3]| {
        parts.into_iter().for_each(|part| head.extend_from_slice(part));
        head.extend_from_slice(b"\r\n");
    };
    line([format!("{method} ").as_bytes(), path.as_bytes(), b" HTTP/1.1"]);
    line([b"host", b": ", target.authority().as_bytes()]);
    for (name, value) in headers {
        if !is_token(name.as_bytes()) {
            return Err(invalid(format!("{name:?} is not a header name")));
        }
        let name = name.to_ascii_lowercase();
        if is_owned(&name) {
            return Err(invalid(format!("the header {name} belongs to the host; leave it out")));
        }
        // The value is not shown: it may be a credential.
        if !is_field_value(value) {
            return Err(invalid(format!("the value of the header {name} has a control character")));
        }
        line([name.as_bytes(), b": ", value]);
    }
    if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
        if !is_field_value(authorization.as_bytes()) {
            return Err(invalid("proxy user is malformed".into()));
        }
        line([b"proxy-authorization", b": ", authorization.as_bytes()]);
    }
    match length {
        Some(Some(length)) => line([b"content-length", b": ", length.to_string().as_bytes()]),
        Some(None) => line([b"transfer-encoding", b": ", b"chunked"]),
        None => {}
    }
    if held {
        line([b"expect", b": ", b"100-continue"]);
    }
    line([b"", b"", b""]);
    Ok(head)
}

/// A token (RFC 9110, section 5.6.2).
fn is_token(text: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || special.contains(byte))
}

/// No control character but the tab (RFC 9110, section 5.5).
fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// Hop-by-hop headers (RFC 9110, section 7.6.1) and those that frame the message.
fn is_owned(name: &str) -> bool {
    const OWNED: [&str; 9] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "expect",
    ];
    OWNED.contains(&name) || name.starts_with("proxy-")
}

/// Methods that change nothing (RFC 9110, section 9.2.1; `PROPFIND` RFC 4918, `REPORT` RFC 3253, `SEARCH` RFC 5323).
fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH")
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Plugin, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(headers: Vec<(String, Vec<u8>)>, body: Option<RequestBody>, method: &str) -> Result<Vec<u8>> {
        let target = Target::parse("http://h:1/p").unwrap();
        let length = body.as_ref().map(body_length);
        let request = HttpRequest { method: method.into(), headers, body, ..HttpRequest::default() };
        head(&request, &target, None, length, false, &NetLimits::default())
    }

    fn refused(headers: Vec<(String, Vec<u8>)>, method: &str) -> String {
        let error = prepared(headers, None, method).expect_err("refused");
        assert_eq!((error.kind, error.blame), (ErrorKind::Invalid, Blame::Plugin));
        error.message
    }

    #[test]
    fn headers_of_the_host_and_malformed_ones_are_refused() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "TE",
            "trailer",
            "upgrade",
            "keep-alive",
            "expect",
            "Proxy-Authorization",
            "proxy-connection",
        ] {
            let message = refused(vec![(name.into(), b"x".to_vec())], "GET");
            assert!(message.contains(&name.to_lowercase()), "{message}");
        }
        assert!(refused(vec![("a b".into(), vec![])], "GET").contains("not a header name"));
        let message = refused(vec![("x-key".into(), b"hidden\r\nx: y".to_vec())], "GET");
        assert!(message.contains("x-key") && !message.contains("hidden"), "{message}");
        assert!(refused(vec![("a".into(), vec![]); 101], "GET").contains("100"));
        assert!(refused(vec![("a".into(), vec![b'x'; 65536])], "GET").contains("65536"));
        for method in ["CONNECT", "", "G T", "GET\r\n"] {
            refused(vec![], method);
        }
    }

    #[test]
    fn only_framing_headers_are_added() {
        let fields = |body, method| {
            let head = prepared(vec![("X-A".into(), b"\xff".to_vec())], body, method).unwrap();
            let lines = head.strip_prefix(format!("{method} /p HTTP/1.1\r\n").as_bytes()).unwrap();
            lines.escape_ascii().to_string()
        };
        let all = r"host: h:1\r\nx-a: \xff\r\n";
        let with = |field: &str| format!(r"{all}{field}\r\n");
        assert_eq!(fields(None, "PUT"), with(""));
        assert_eq!(fields(Some(RequestBody::Chunks(vec![])), "GET"), with(r"content-length: 0\r\n"));
        assert_eq!(fields(Some(Bytes::from("abc").into()), "PUT"), with(r"content-length: 3\r\n"));
        let stream = RequestBody::Stream { length: None, pieces: Box::pin(futures::stream::empty()) };
        assert_eq!(fields(Some(stream), "PUT"), with(r"transfer-encoding: chunked\r\n"));
    }
}
