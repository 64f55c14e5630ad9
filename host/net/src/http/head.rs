//! The head of a response: what it says, and how its body is delimited (RFC 9112, sections 6 and 9).

use super::framing::Framing;
use crate::limits::NetLimits;
use bytes::{Buf, BytesMut};
use httparse::{Error as Syntax, Status};

/// A head that has arrived.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    /// As [`super::HttpResponse::headers`].
    pub(super) headers: Vec<(String, String)>,
    pub(super) framing: Framing,
    /// The server keeps the connection open after this response.
    pub(super) keeps_open: bool,
}

/// Why there is no head.
#[derive(Debug)]
pub(super) enum Malformed {
    /// More bytes or headers than [`NetLimits`] allow.
    TooLarge,
    /// Not HTTP/1, or not as it must be.
    Syntax(&'static str),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("its head is too large"),
            Self::Syntax(what) => f.write_str(what),
        }
    }
}

/// Takes a head off the front of `buffer`; `None`: it is not complete yet. `bodiless`: the request was a `HEAD`.
pub(super) fn take_head(
    buffer: &mut BytesMut,
    bodiless: bool,
    limits: &NetLimits,
) -> Result<Option<Head>, Malformed> {
    let mut fields = vec![httparse::EMPTY_HEADER; limits.headers];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(buffer) {
        Ok(Status::Complete(length)) if length <= limits.head_bytes => length,
        Ok(Status::Partial) if buffer.len() <= limits.head_bytes => return Ok(None),
        Ok(_) | Err(Syntax::TooManyHeaders) => return Err(Malformed::TooLarge),
        Err(Syntax::Version | Syntax::Token) => return Err(Malformed::Syntax("it is not HTTP/1")),
        Err(_) => return Err(Malformed::Syntax("its head is malformed")),
    };
    let (status, version) = (response.code.unwrap_or(0), response.version.unwrap_or(0));
    let headers: Vec<_> =
        response.headers.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect();
    buffer.advance(length);
    let bodiless = bodiless || matches!(status, 100..=199 | 204 | 304);
    let framing = framing(&headers, version, bodiless).map_err(Malformed::Syntax)?;
    let keeps_open = match version {
        0 => has_token(&headers, "connection", "keep-alive"),
        _ => !has_token(&headers, "connection", "close"),
    };
    Ok(Some(Head { status, headers, framing, keeps_open: keeps_open && framing != Framing::UntilClose }))
}

fn framing(headers: &[(String, String)], version: u8, bodiless: bool) -> Result<Framing, &'static str> {
    let values = |name: &'static str| {
        headers.iter().filter(move |(each, _)| each == name).map(|(_, value)| value.as_str())
    };
    if bodiless {
        return Ok(Framing::Length(0));
    }
    if let Some(codings) = values("transfer-encoding").next_back() {
        if version == 0 {
            return Err("HTTP/1.0 has no transfer-encoding");
        }
        // Where both are given a content-length means nothing.
        let last = codings.rsplit(',').next().unwrap_or_default().trim();
        let chunked = last.eq_ignore_ascii_case("chunked");
        return Ok(if chunked { Framing::chunked() } else { Framing::UntilClose });
    }
    let mut length = None;
    for value in values("content-length").flat_map(|value| value.split(',')) {
        let value = value.trim();
        // `parse` alone would take a sign.
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = value.parse::<u64>().ok().filter(|_| digits);
        match (parsed, length) {
            (Some(parsed), None) => length = Some(parsed),
            (Some(parsed), Some(before)) if parsed == before => {}
            _ => return Err("its content-length is malformed"),
        }
    }
    Ok(length.map_or(Framing::UntilClose, Framing::Length))
}

fn has_token(headers: &[(String, String)], name: &str, token: &str) -> bool {
    let mut tokens = headers.iter().filter(|(each, _)| each == name).flat_map(|(_, value)| value.split(','));
    tokens.any(|each| each.trim().eq_ignore_ascii_case(token))
}

fn text(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        // The first 256 code points of Unicode are ISO 8859-1.
        Err(_) => value.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str, bodiless: bool) -> Result<Option<Head>, String> {
        let mut buffer = BytesMut::from(head.as_bytes());
        take_head(&mut buffer, bodiless, &NetLimits::default()).map_err(|error| error.to_string())
    }

    fn framed(fields: &str) -> (Framing, bool) {
        let head = parsed(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false).unwrap().unwrap();
        (head.framing, head.keeps_open)
    }

    #[test]
    fn a_body_is_delimited_by_what_the_head_says() {
        assert_eq!(framed("content-length: 5\r\n"), (Framing::Length(5), true));
        assert_eq!(framed("content-length: 5\r\nContent-Length: 5, 5\r\n"), (Framing::Length(5), true));
        assert_eq!(framed("connection: x, Close\r\ncontent-length: 5\r\n"), (Framing::Length(5), false));
        assert_eq!(framed(""), (Framing::UntilClose, false));
        assert_eq!(framed("transfer-encoding: gzip\r\n"), (Framing::UntilClose, false));
        assert_eq!(framed("transfer-encoding: gzip, Chunked\r\n"), (Framing::chunked(), true));
        assert_eq!(framed("content-length: 5\r\ntransfer-encoding: chunked\r\n"), (Framing::chunked(), true));
        for status in [204, 304, 100] {
            let head = parsed(&format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n"), false);
            assert_eq!(head.unwrap().unwrap().framing, Framing::Length(0));
        }
        let head = parsed("HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n", true).unwrap().unwrap();
        assert_eq!((head.framing, head.keeps_open), (Framing::Length(0), false));
        let head = parsed("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\n", false);
        assert!(head.unwrap().unwrap().keeps_open);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        for fields in ["+5", "5, 6", "5\r\ncontent-length: 6", "", "0x5", "18446744073709551616"] {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {fields}\r\n\r\n");
            assert!(parsed(&head, false).unwrap_err().contains("content-length"), "{fields}");
        }
        let head = "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(parsed(head, false).unwrap_err().contains("transfer-encoding"));
        assert!(parsed("HTTP/2 200 OK\r\n\r\n", false).is_err());
    }

    #[test]
    fn half_a_head_is_no_head_yet() {
        let head = "HTTP/1.1 200 OK\r\nA: \u{e4}\r\n\r\nbody";
        let end = head.len() - "body".len();
        for cut in 0..end {
            let mut buffer = BytesMut::from(&head.as_bytes()[..cut]);
            assert!(take_head(&mut buffer, false, &NetLimits::default()).unwrap().is_none());
            assert_eq!(buffer.len(), cut);
        }
        let mut buffer = BytesMut::from(head.as_bytes());
        let parsed = take_head(&mut buffer, false, &NetLimits::default()).unwrap().unwrap();
        assert_eq!((parsed.headers, &buffer[..]), (vec![("a".into(), "\u{e4}".into())], &b"body"[..]));
    }
}
