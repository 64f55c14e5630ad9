//! The read half of S3 (path style), as its API reference describes it: ListObjectsV2, HeadObject, GetObject.
//! Signatures are not checked.

use super::message::{decode, encode};
use super::objects::Objects;
use super::{Handler, Request, Response};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A bucket of that name with these objects; every other bucket does not exist.
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub objects: Arc<Objects>,
}

impl Handler for Bucket {
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send + '_>> {
        Box::pin(async move {
            let path = request.path().trim_start_matches('/');
            let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
            if decode(bucket) != self.name {
                return error(404, "NoSuchBucket", "The specified bucket does not exist");
            }
            if key.is_empty() {
                return self.list(&request);
            }
            self.objects.answer(
                &decode(key),
                &request,
                error(404, "NoSuchKey", "The specified key does not exist."),
            )
        })
    }
}

impl Bucket {
    fn list(&self, request: &Request) -> Response {
        let prefix = request.query("prefix").unwrap_or_default();
        let delimiter = request.query("delimiter").filter(|d| !d.is_empty());
        let limit = request.query("max-keys").and_then(|n| n.parse().ok()).unwrap_or(1000).min(1000);
        let after =
            request.query("continuation-token").or_else(|| request.query("start-after")).unwrap_or_default();
        let (mut body, mut folded, mut count, mut last) = (String::new(), BTreeSet::new(), 0, String::new());
        let mut truncated = false;
        for (key, object) in self.objects.all() {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let fold =
                delimiter.as_ref().and_then(|d| rest.find(d).map(|at| &key[..prefix.len() + at + d.len()]));
            // A folded prefix that was on the page before is not repeated.
            if key <= after || fold.is_some_and(|f| folded.contains(f) || after.starts_with(f)) {
                continue;
            }
            if count == limit {
                truncated = true;
                break;
            }
            count += 1;
            match fold {
                Some(fold) => {
                    folded.insert(fold.to_string());
                    last = fold.to_string();
                }
                None => {
                    body.push_str(&format!(
                        "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
                        encode(&key), object.etag.replace('"', "&quot;"), object.bytes.len()
                    ));
                    last = key;
                }
            }
        }
        let prefixes: String = folded
            .iter()
            .map(|p| format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", encode(p)))
            .collect();
        // The token is the last key or prefix of the page; a prefix gets a suffix that sorts behind all its keys.
        let token = if truncated {
            let end = if folded.contains(&last) { format!("{last}\u{10FFFF}") } else { last };
            format!("<NextContinuationToken>{}</NextContinuationToken>", escape(&end))
        } else {
            String::new()
        };
        let xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>{}</Name><EncodingType>url</EncodingType><KeyCount>{count}</KeyCount><MaxKeys>{limit}</MaxKeys><IsTruncated>{truncated}</IsTruncated>{token}{body}{prefixes}</ListBucketResult>",
            escape(&self.name)
        );
        Response::new(200, vec![("content-type".into(), "application/xml".into())], xml)
    }
}

/// An error document as S3 sends it.
pub fn error(status: u16, code: &str, message: &str) -> Response {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message><RequestId>scripted</RequestId></Error>"
    );
    Response::new(status, vec![("content-type".into(), "application/xml".into())], xml)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
