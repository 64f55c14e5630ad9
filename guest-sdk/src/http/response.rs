//! The head of a response, and its body which may still be arriving.

use crate::bindings::wasmount::plugin::buffers::Body;
use crate::bindings::wasmount::plugin::http as wire;
use crate::bindings::wasmount::plugin::types::{Pair, RetryAdvice};
use crate::{Error, ErrorKind, Result, Timestamp, retry};

/// A response.
#[derive(Debug)]
pub struct Response {
    /// Three digits.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<Pair>,
    /// The content exactly as sent. Pass it on as the answer of `get`, or read it.
    pub content: Body,
}

impl Response {
    pub(crate) fn new(wire: wire::Response) -> Self {
        Self { status: wire.status, headers: wire.headers, content: wire.content }
    }

    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The time in `last-modified`, if it is there and well-formed.
    pub fn last_modified(&self) -> Option<Timestamp> {
        self.header("last-modified").and_then(crate::time::parse_http_date)
    }

    /// All the content as text.
    ///
    /// # Errors
    /// `too-large`: more than `max` bytes; `corrupt`: not UTF-8; what broke the stream.
    pub async fn text(self, max: u32) -> Result<String> {
        Ok(String::from_utf8(self.content.read_all(max).await?)?)
    }

    /// What the status and `retry-after` say about trying again: [`retry::advice`] at the host's time.
    pub fn retry_advice(&self) -> RetryAdvice {
        retry::advice(self.status, self.header("retry-after"), crate::bindings::wasmount::plugin::system::now)
    }

    /// The response itself if its status is 200, 204, 206 or 304, otherwise [`error`](Self::error).
    ///
    /// # Errors
    /// Any other status.
    pub fn success(self, context: &str) -> Result<Self> {
        match self.status {
            200 | 204 | 206 | 304 => Ok(self),
            _ => Err(self.error(context)),
        }
    }

    /// An error for a status that is not wanted, with the kind and the advice usual for it.
    pub fn error(&self, context: &str) -> Error {
        let status = self.status;
        Error::new(kind(status), format!("{context}: the server answered {status}"))
            .code(status.to_string())
            .advice(self.retry_advice())
    }
}

/// The first of these headers with that name (in lower case).
pub(crate) fn header<'a>(headers: &'a [Pair], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
}

/// The kind of error a status means by itself (RFC 9110, section 15).
pub(crate) fn kind(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthenticated,
        403 | 407 => ErrorKind::Denied,
        404 | 410 => ErrorKind::NotFound,
        408 | 504 => ErrorKind::TimedOut,
        412 => ErrorKind::Stale,
        413 => ErrorKind::TooLarge,
        414 => ErrorKind::NameTooLong,
        416 => ErrorKind::OutOfRange,
        429 => ErrorKind::Throttled,
        501 => ErrorKind::Unsupported,
        507 => ErrorKind::NoSpace,
        400 | 405 | 411 | 421 | 422 => ErrorKind::Invalid,
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_kinds() {
        for (status, expected) in [
            (404, ErrorKind::NotFound),
            (412, ErrorKind::Stale),
            (416, ErrorKind::OutOfRange),
            (429, ErrorKind::Throttled),
            (503, ErrorKind::Unavailable),
            (301, ErrorKind::Other),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
    }

    #[test]
    fn headers_are_found_by_name() {
        let headers = [Pair { name: "etag".into(), value: "\"a\"".into() }];
        assert_eq!(header(&headers, "etag"), Some("\"a\""));
        assert_eq!(header(&headers, "x"), None);
    }
}
