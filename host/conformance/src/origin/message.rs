//! HTTP/1.1 messages (RFC 9112), as much as the scripted origins need.

use bytes::Bytes;
use std::io::{Error, ErrorKind};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

/// Longest head that is read, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Longest request body that is read, in bytes.
const MAX_BODY: usize = 8 << 20;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, if there was a `content-length`.
    pub body: Bytes,
}

impl Request {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Path without query, still encoded.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Decoded value of a query parameter; `+` means a space here as it does for S3.
    pub fn query(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| decode(&value.replace('+', " ")))
        })
    }

    /// Reads the next request of a connection; `None` at its end.
    pub(super) async fn read<R: AsyncRead + Unpin>(
        stream: &mut BufReader<R>,
    ) -> std::io::Result<Option<Self>> {
        let Some(lines) = read_head(stream).await? else { return Ok(None) };
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(Error::new(ErrorKind::InvalidData, "malformed request line"));
        };
        let headers = parse_headers(lines);
        let length = content_length(&headers).unwrap_or(0).min(MAX_BODY);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        Ok(Some(Self { method: method.into(), target: target.into(), headers, body: body.into() }))
    }
}

/// Lines of a message head without their line ends; `None` if the stream ends before it begins.
pub(super) async fn read_head<R: AsyncRead + Unpin>(
    stream: &mut BufReader<R>,
) -> std::io::Result<Option<Vec<String>>> {
    let (mut lines, mut total) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        let n = stream.take((MAX_HEAD - total) as u64).read_until(b'\n', &mut line).await?;
        total += n;
        if n == 0 {
            let clean = lines.is_empty() && total < MAX_HEAD;
            return if clean { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_string();
        if text.is_empty() {
            return Ok(Some(lines));
        }
        lines.push(text);
    }
}

/// Header lines as pairs, names in lower case.
pub(super) fn parse_headers(lines: impl Iterator<Item = String>) -> Vec<(String, String)> {
    lines
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_string()))
        })
        .collect()
}

pub(super) fn content_length(headers: &[(String, String)]) -> Option<usize> {
    headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok())
}

/// Percent-decoding (RFC 3986); what is not UTF-8 afterwards is replaced.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[i], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(value)) => {
                out.push(value);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encodes everything but unreserved characters (RFC 3986) and `/`.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// Three digits.
    pub status: u16,
    /// In order. `content-length` is added unless it is there already: a wrong one is a way to lie.
    pub headers: Vec<(String, String)>,
    /// The content; for a HEAD request what a GET would have got.
    pub body: Bytes,
}

impl Response {
    /// An answer with these parts.
    pub fn new(status: u16, headers: Vec<(String, String)>, body: impl Into<Bytes>) -> Self {
        Self { status, headers, body: body.into() }
    }

    /// Replaces a header or adds it.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
    }

    /// Status line and headers, ready to send.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length = self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-length"));
        // 204 and 304 have no content by definition (RFC 9110).
        if !has_length && !matches!(self.status, 204 | 304) {
            text.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}
