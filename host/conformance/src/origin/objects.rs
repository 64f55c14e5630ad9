//! The objects a scripted origin holds, and how HTTP asks for one of them.

use super::{Request, Response};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// When scripted objects were last written, unless they are replaced: a fixed time, so that runs are alike.
pub const LAST_MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// One object.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its entity tag, with quotes.
    pub etag: String,
}

/// Objects by key; shared between an origin and the test that changes them under it.
#[derive(Debug, Default)]
pub struct Objects(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_key: BTreeMap<String, Stored>,
    writes: u64,
}

impl Objects {
    /// Writes an object; each write makes a new version.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.writes += 1;
        let etag = format!("\"scripted-{:08x}\"", inner.writes);
        inner.by_key.insert(key.into(), Stored { bytes: bytes.into(), etag });
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<Stored> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_key.get(key).cloned()
    }

    /// All objects in the order of their keys.
    pub fn all(&self) -> Vec<(String, Stored)> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.by_key.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Answers GET and HEAD of one object with ranges and preconditions (RFC 9110 sections 13 and 14).
    /// `missing` is what a store of this kind says when there is no such object.
    pub fn answer(&self, key: &str, request: &Request, missing: Response) -> Response {
        let Some(object) = self.get(key) else { return missing };
        let mut headers = vec![
            ("etag".to_string(), object.etag.clone()),
            ("last-modified".to_string(), LAST_MODIFIED.to_string()),
            ("accept-ranges".to_string(), "bytes".to_string()),
        ];
        if request.header("if-match").is_some_and(|wanted| wanted != object.etag) {
            return Response::new(412, headers, "");
        }
        if request.header("if-none-match") == Some(&object.etag) {
            return Response::new(304, headers, "");
        }
        let size = object.bytes.len();
        match request.header("range").and_then(parse_range) {
            None => Response::new(200, headers, object.bytes),
            Some((first, last)) if first < size && last.is_none_or(|last| last >= first) => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                headers.push(("content-range".into(), format!("bytes {first}-{}/{size}", end - 1)));
                Response::new(206, headers, object.bytes.slice(first..end))
            }
            Some(_) => {
                headers.push(("content-range".into(), format!("bytes */{size}")));
                Response::new(416, headers, "")
            }
        }
    }
}

/// `bytes=FIRST-[LAST]`; other forms are ignored, as a server may.
fn parse_range(value: &str) -> Option<(usize, Option<usize>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(last.parse().ok()?) };
    Some((first.parse().ok()?, last))
}
