//! Buckets for the scripted server: enough of S3 to mount one from it.
//!
//! ListObjectsV2, HEAD and ranged GET with `If-Match` ("Amazon S3 API Reference"). Any credentials are accepted.
//! A test wraps [`Buckets::answer`] to delay, count or spoil what it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Answer, Request};

const MODIFIED_HTTP: &str = "Wed, 01 May 2024 10:00:00 GMT";
const MODIFIED_XML: &str = "2024-05-01T10:00:00.000Z";

#[derive(Debug, Clone)]
struct Object {
    content: Arc<Vec<u8>>,
    etag: String,
}

/// Some buckets in memory, shared between the server and the test.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    changes: u64,
}

impl Buckets {
    /// No buckets yet; [`Self::put`] makes them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores an object under a new entity tag.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Vec<u8>>) {
        let mut state = self.lock();
        state.changes += 1;
        let etag = format!("\"{:032x}\"", state.changes);
        let object = Object { content: Arc::new(content.into()), etag };
        state.buckets.entry(bucket.to_owned()).or_default().insert(key.to_owned(), object);
    }

    /// Removes an object.
    pub fn delete(&self, bucket: &str, key: &str) {
        if let Some(objects) = self.lock().buckets.get_mut(bucket) {
            objects.remove(key);
        }
    }

    /// The honest answer to a path-style request.
    pub fn answer(&self, request: &Request) -> Answer {
        let path = request.path.trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let state = self.lock();
        let Some(objects) = state.buckets.get(bucket) else {
            return Answer::error(404, "NoSuchBucket");
        };
        match (request.method.as_str(), key) {
            ("HEAD", "") => Answer::new(200, ""),
            ("GET", "") if request.parameter("list-type") == Some("2") => list(bucket, objects, request),
            ("GET" | "HEAD", key) => match objects.get(key) {
                Some(object) => get(object, request),
                None => Answer::error(404, "NoSuchKey"),
            },
            _ => Answer::error(405, "MethodNotAllowed"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn get(object: &Object, request: &Request) -> Answer {
    if request.header("if-match").is_some_and(|wanted| wanted != object.etag) {
        return Answer::error(412, "PreconditionFailed");
    }
    let len = object.content.len();
    let answer = Answer { body: Arc::clone(&object.content), ..Answer::new(200, "") }
        .header("etag", object.etag.clone())
        .header("last-modified", MODIFIED_HTTP)
        .header("accept-ranges", "bytes");
    let Some(range) = request.header("range").filter(|_| request.method == "GET") else { return answer };
    let Some(part) = byte_range(range, len) else {
        return Answer::error(416, "InvalidRange").header("content-range", format!("bytes */{len}"));
    };
    let content_range = format!("bytes {}-{}/{len}", part.start, part.end - 1);
    Answer { status: 206, part: Some(part), ..answer }.header("content-range", content_range)
}

/// RFC 9110 section 14.1.2, one range. `None` when nothing of it exists.
fn byte_range(text: &str, len: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = if first.is_empty() {
        (len.saturating_sub(last.parse().ok()?), len)
    } else {
        let end = if last.is_empty() { len } else { last.parse::<usize>().ok()?.saturating_add(1).min(len) };
        (first.parse().ok()?, end)
    };
    (start < end).then_some(start..end)
}

fn list(bucket: &str, objects: &BTreeMap<String, Object>, request: &Request) -> Answer {
    let prefix = request.parameter("prefix").unwrap_or("");
    let delimiter = request.parameter("delimiter").filter(|delimiter| !delimiter.is_empty());
    let limit = request.parameter("max-keys").and_then(|text| text.parse().ok()).unwrap_or(1000).min(1000);
    let after = request.parameter("continuation-token").or(request.parameter("start-after")).unwrap_or("");
    let name = |text: &str| {
        if request.parameter("encoding-type") == Some("url") { url_encode(text) } else { xml_escape(text) }
    };

    let (mut contents, mut common, mut last) = (String::new(), BTreeSet::new(), String::new());
    let (mut count, mut truncated) = (0_usize, false);
    for (key, object) in objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix)) {
        let group = delimiter.and_then(|delimiter| {
            let at = key.get(prefix.len()..)?.find(delimiter)?;
            key.get(..prefix.len() + at + delimiter.len())
        });
        let position = group.unwrap_or(key);
        // A token names the last position that was sent: a key, or a whole group.
        if position <= after || group.is_some_and(|group| common.contains(group)) {
            continue;
        }
        if count == limit {
            truncated = true;
            break;
        }
        count += 1;
        position.clone_into(&mut last);
        if let Some(group) = group {
            common.insert(group.to_owned());
        } else {
            contents.push_str(&format!(
                "<Contents><Key>{}</Key><LastModified>{MODIFIED_XML}</LastModified><ETag>{}</ETag><Size>{}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>",
                name(key),
                xml_escape(&object.etag),
                object.content.len()
            ));
        }
    }
    let common: String = common
        .iter()
        .map(|group| format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", name(group)))
        .collect();
    let next = if truncated {
        format!("<NextContinuationToken>{}</NextContinuationToken>", xml_escape(&last))
    } else {
        String::new()
    };
    let encoding =
        request.parameter("encoding-type").map(|kind| format!("<EncodingType>{kind}</EncodingType>"));
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
         xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{bucket}</Name><Prefix>{}</Prefix>\
         <KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys>{}<IsTruncated>{truncated}</IsTruncated>{next}\
         {contents}{common}</ListBucketResult>",
        name(prefix),
        encoding.unwrap_or_default(),
    );
    Answer::new(200, body).header("content-type", "application/xml")
}

fn url_encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
