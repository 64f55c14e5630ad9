//! A request, built by hand and sent by the host.

use super::{Response, quote_etag, range_header};
use crate::Result;
use crate::bindings::wasmount::plugin::buffers::Body;
use crate::bindings::wasmount::plugin::http as wire;
use crate::bindings::wasmount::plugin::secrets::Secret;
use crate::bindings::wasmount::plugin::types::{ByteRange, Pair};
use std::time::Duration;

/// A request. The URL is sent byte for byte, so percent-encode it ([`percent`](crate::percent)); the host adds `host`,
/// `content-length` and connection headers, and nothing else.
#[derive(Debug)]
pub struct Request<'a>(wire::Request<'a>);

impl<'a> Request<'a> {
    /// A request with any method, in capitals.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self(wire::Request {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            secret_headers: Vec::new(),
            content: None,
            expect_continue: false,
            timeout_ms: None,
        })
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A `HEAD`.
    pub fn head(url: impl Into<String>) -> Self {
        Self::new("HEAD", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.headers.push(Pair { name: name.into(), value: value.into() });
        self
    }

    /// Adds a header if there is a value.
    #[must_use]
    pub fn maybe_header(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Asks for a part, if there is a range.
    ///
    /// # Errors
    /// `invalid`: a range that cannot be.
    pub fn range(self, range: Option<&ByteRange>) -> Result<Self> {
        Ok(self.maybe_header("range", range.map(range_header).transpose()?))
    }

    /// Asks for this version only: the `pin` of a get.
    #[must_use]
    pub fn if_match(self, version: Option<&str>) -> Self {
        self.maybe_header("if-match", version.map(quote_etag))
    }

    /// Asks for anything but this version: the `unless` of a get or head.
    #[must_use]
    pub fn if_none_match(self, version: Option<&str>) -> Self {
        self.maybe_header("if-none-match", version.map(quote_etag))
    }

    /// Adds headers, for example the ones a signature needs.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.0.headers.extend(headers.into_iter().map(|(name, value)| Pair { name, value }));
        self
    }

    /// Adds a header whose value is `prefix` and the text of a secret, which the plugin need not see. The host refuses it for
    /// origins that the secret's option does not name ([`Options::sent_to`](crate::Options::sent_to)).
    #[must_use]
    pub fn secret_header(mut self, name: &str, prefix: &str, secret: &'a Secret) -> Self {
        self.0.secret_headers.push(wire::SecretHeader { name: name.into(), prefix: prefix.into(), secret });
        self
    }

    /// Sets what to send. It is gone once the request was made: [`Body::duplicate`] first if it may have to be sent again.
    #[must_use]
    pub fn content(mut self, content: Body) -> Self {
        self.0.content = Some(content);
        self
    }

    /// Waits for the server's consent before sending the content.
    #[must_use]
    pub fn expect_continue(mut self) -> Self {
        self.0.expect_continue = true;
        self
    }

    /// Limits the time to the head of the response, if that is shorter than what the host grants.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.0.timeout_ms = Some(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Sends it and waits for the head of the response.
    ///
    /// # Errors
    /// `denied`: the origin is not granted; `unavailable`, `timed-out`, `interrupted`; `invalid`: malformed. The host repeats
    /// nothing that has left it: see [`retry`](crate::retry()).
    ///
    /// # Cancellation safety
    /// Dropping the future cancels the request.
    pub async fn send(self) -> Result<Response> {
        wire::send(self.0).await.map(Response::new)
    }
}
