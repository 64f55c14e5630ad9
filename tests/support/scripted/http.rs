//! As much of HTTP/1.1 as the clients under test speak: RFC 9112, without chunked requests.

use std::io::Read;

/// Larger heads and bodies are no honest request of a test.
const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 16 * 1024 * 1024;

/// A request, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The path as it was sent, percent-encoded.
    pub raw_path: String,
    /// The path, decoded; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The query, decoded, in the order sent.
    pub query: Vec<(String, String)>,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first query parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The next request of a connection, or `None` when it has ended or is no HTTP. `buffered` carries bytes between
/// calls.
pub(super) fn read_request(stream: &mut impl Read, buffered: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(at) = buffered.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if buffered.len() > MAX_HEAD || !more(stream, buffered) {
            return None;
        }
    };
    let head = String::from_utf8_lossy(buffered.get(..end)?).into_owned();
    buffered.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let (method, target) = (start.next()?.to_owned(), start.next()?);
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let (raw_path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let mut request = Request {
        method,
        raw_path: raw_path.to_owned(),
        path: decode(raw_path),
        query,
        headers,
        body: Vec::new(),
    };
    let length = request.header("content-length").map_or(Some(0), |text| text.parse::<usize>().ok())?;
    if length > MAX_BODY {
        return None;
    }
    while buffered.len() < length {
        if !more(stream, buffered) {
            return None;
        }
    }
    request.body = buffered.drain(..length).collect();
    Some(request)
}

fn more(stream: &mut impl Read, buffered: &mut Vec<u8>) -> bool {
    let mut chunk = [0_u8; 16 * 1024];
    match stream.read(&mut chunk) {
        Ok(len) if len > 0 => {
            buffered.extend_from_slice(chunk.get(..len).unwrap_or_default());
            true
        }
        _ => false,
    }
}

/// Percent-decoding; what is malformed stays as it is. `+` is a plus: S3 clients send spaces as `%20`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
