//! What is sent.

use super::outgoing::{Gate, Outgoing, Progress};
use super::url::Target;
use crate::limits::NetLimits;
use bytes::Bytes;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::sync::Arc;
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
    /// What to send; `None` is no body at all, an empty one is `content-length: 0`.
    pub body: Option<RequestBody>,
    /// Send `expect: 100-continue` and hold the body back until the server wants it.
    pub expect_continue: bool,
    /// Limit for the time to the response head, if shorter than the mount's. It includes sending the body.
    pub timeout: Option<Duration>,
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

/// A request in hyper's form, and what has to be watched while it is under way.
pub(super) struct Prepared {
    pub(super) request: http::Request<Outgoing>,
    pub(super) progress: Arc<Progress>,
    pub(super) gate: Option<Arc<Gate>>,
    /// The method changes nothing on the server.
    pub(super) safe: bool,
}

/// Checks everything but grants, and adds what the client owns. `proxy` is the one that gets the request in absolute
/// form, if any.
pub(super) fn prepare(
    request: HttpRequest,
    target: &Target,
    proxy: Option<&crate::tls::Proxy>,
    limits: &NetLimits,
) -> Result<Prepared> {
    let method = Method::from_bytes(request.method.as_bytes())
        .ok()
        .filter(|method| method != Method::CONNECT)
        .ok_or_else(|| invalid(format!("{:?} is not a method that can be sent", request.method)))?;
    let mut headers = checked_headers(&request.headers, limits)?;
    headers.insert(http::header::HOST, target.host_header()?);
    if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
        let mut value =
            HeaderValue::from_str(authorization).map_err(|_| invalid("proxy user is malformed".into()))?;
        value.set_sensitive(true);
        headers.insert(http::header::PROXY_AUTHORIZATION, value);
    }
    let has_body = request.body.is_some();
    let progress = Arc::new(Progress::default());
    let mut body = Outgoing::new(request.body, Arc::clone(&progress), target.to_string());
    // There is nothing to hold back of an empty body.
    let gate = (request.expect_continue && body.length() != Some(0)).then(|| body.hold());
    if has_body {
        match body.length() {
            Some(length) => headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length)),
            None => headers.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        };
    }
    if gate.is_some() {
        headers.insert(http::header::EXPECT, HeaderValue::from_static("100-continue"));
    }
    let safe = is_safe(&method);
    let mut built = http::Request::new(body);
    *built.method_mut() = method;
    *built.uri_mut() = target.request_target(proxy.is_some())?;
    *built.headers_mut() = headers;
    if let Some(gate) = &gate {
        let gate = Arc::clone(gate);
        hyper::ext::on_informational(&mut built, move |response| {
            if response.status() == http::StatusCode::CONTINUE {
                gate.open();
            }
        });
    }
    Ok(Prepared { request: built, progress, gate, safe })
}

fn checked_headers(headers: &[(String, Vec<u8>)], limits: &NetLimits) -> Result<HeaderMap> {
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > limits.headers || bytes > limits.head_bytes {
        return Err(invalid(format!(
            "a request may have {} headers of {} bytes together, this one has {} of {bytes}",
            limits.headers,
            limits.head_bytes,
            headers.len(),
        )));
    }
    let mut checked = HeaderMap::with_capacity(headers.len() + 3);
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is not a header name")))?;
        if is_owned(parsed.as_str()) {
            return Err(invalid(format!("the header {parsed} belongs to the host; leave it out")));
        }
        // The value is not shown: it may be a credential.
        let mut value = HeaderValue::from_bytes(value)
            .map_err(|_| invalid(format!("the value of the header {parsed} has a control character")))?;
        value.set_sensitive(parsed == http::header::AUTHORIZATION);
        checked.append(parsed, value);
    }
    Ok(checked)
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
fn is_safe(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH")
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Plugin, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(
        headers: Vec<(String, Vec<u8>)>,
        body: Option<RequestBody>,
        method: &str,
    ) -> Result<Prepared> {
        let target = Target::parse("http://h:1/p").unwrap();
        let request = HttpRequest { method: method.into(), headers, body, ..HttpRequest::default() };
        prepare(request, &target, None, &NetLimits::default())
    }

    fn refused(headers: Vec<(String, Vec<u8>)>, method: &str) -> String {
        let error = prepared(headers, None, method).err().expect("refused");
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
        let names = |body, method| {
            let prepared = prepared(vec![("x-a".into(), b"\xff".to_vec())], body, method).unwrap();
            let mut names: Vec<_> =
                prepared.request.headers().iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(names(None, "PUT"), r#"host="h:1" x-a="\xff""#);
        assert_eq!(
            names(Some(RequestBody::Chunks(vec![])), "GET"),
            r#"content-length="0" host="h:1" x-a="\xff""#
        );
        assert_eq!(
            names(Some(Bytes::from("abc").into()), "PUT"),
            r#"content-length="3" host="h:1" x-a="\xff""#
        );
        let stream = RequestBody::Stream { length: None, pieces: Box::pin(futures::stream::empty()) };
        assert_eq!(names(Some(stream), "PUT"), r#"host="h:1" transfer-encoding="chunked" x-a="\xff""#);
    }
}
