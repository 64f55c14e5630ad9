//! Objects from the headers of `GET` and `HEAD` answers, as HTTP itself describes them (RFC 9110, section 8).

use super::{ContentRange, Response, response::header};
use crate::{Error, GetOutcome, GetResponse, HeadOutcome, Object, ObjectInfo, Pair, Result, time};

/// An ETag without quotes and weakness mark, since listings and headers write it differently. `None` if nothing is left.
pub fn parse_etag(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    let text = text.strip_prefix('"').unwrap_or(text);
    let text = text.strip_suffix('"').unwrap_or(text);
    (!text.is_empty()).then(|| text.to_owned())
}

/// An ETag as `if-match` and `if-none-match` want it.
pub fn quote_etag(version: &str) -> String {
    format!("\"{version}\"")
}

impl Response {
    /// The object this successful answer is about: size by `content-length` or `content-range`, version by `etag`.
    ///
    /// # Errors
    /// `corrupt`: a size that is missing or makes no sense.
    pub fn object(&self, key: impl Into<String>) -> Result<Object> {
        extent(self.status, &self.headers, key.into()).map(|(object, _)| object)
    }

    /// This answer as that of [`ObjectStore::head`](crate::ObjectStore::head), without metadata. 304 is `Unchanged`.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub fn into_head(self, key: String) -> Result<HeadOutcome> {
        if self.status == 304 {
            return Ok(HeadOutcome::Unchanged);
        }
        let content_type = self.header("content-type").map(str::to_owned);
        Ok(HeadOutcome::Found(ObjectInfo { object: self.object(key)?, metadata: Vec::new(), content_type }))
    }

    /// This answer as that of [`ObjectStore::get`](crate::ObjectStore::get), its body passed on. 304 is `Unchanged`.
    ///
    /// # Errors
    /// As [`object`](Self::object).
    pub fn into_get(self, key: String) -> Result<GetOutcome> {
        if self.status == 304 {
            return Ok(GetOutcome::Unchanged);
        }
        let (object, offset) = extent(self.status, &self.headers, key)?;
        Ok(GetOutcome::Found(GetResponse { object, offset, content: self.content }))
    }
}

/// The object, and where the content begins in it.
fn extent(status: u16, headers: &[Pair], key: String) -> Result<(Object, u64)> {
    let (size, offset) = if status == 206 {
        let range = header(headers, "content-range").and_then(ContentRange::parse);
        match range.and_then(|range| range.total.map(|total| (total, range.first))) {
            Some(extent) => extent,
            None => {
                return Err(Error::corrupt(format!(
                    "{key:?}: the server sent a part without saying which of how much"
                )));
            }
        }
    } else {
        let length = header(headers, "content-length").and_then(|length| length.trim().parse().ok());
        (
            length.ok_or_else(|| {
                Error::corrupt(format!("{key:?}: the server sent no usable content-length"))
            })?,
            0,
        )
    };
    let version = header(headers, "etag").and_then(parse_etag);
    let modified = header(headers, "last-modified").and_then(time::parse_http_date);
    Ok((Object { key, size, version, modified }, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<Pair> {
        pairs.iter().map(|(name, value)| Pair { name: (*name).into(), value: (*value).into() }).collect()
    }

    #[test]
    fn etags_of_listings_and_headers_are_equal() {
        for text in ["abc-1", "\"abc-1\"", "W/\"abc-1\"", " \"abc-1\" "] {
            assert_eq!(parse_etag(text).as_deref(), Some("abc-1"), "{text}");
        }
        assert_eq!(parse_etag("\"\""), None);
        assert_eq!(quote_etag("abc-1"), "\"abc-1\"");
    }

    #[test]
    fn whole_and_partial_answers() {
        let whole = headers(&[
            ("content-length", "10"),
            ("etag", "\"e\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        let (object, offset) = extent(200, &whole, "k".into()).unwrap();
        assert_eq!((object.size, offset, object.version.as_deref()), (10, 0, Some("e")));
        assert_eq!(object.modified.map(|time| time.seconds), Some(784_111_777));

        let part =
            headers(&[("content-length", "5"), ("content-range", "bytes 20-24/100"), ("etag", "\"e\"")]);
        let (object, offset) = extent(206, &part, "k".into()).unwrap();
        assert_eq!((object.size, offset), (100, 20));
    }

    #[test]
    fn answers_without_extent_are_corrupt() {
        for (status, pairs) in [
            (200, vec![]),
            (200, vec![("content-length", "x")]),
            (206, vec![("content-length", "5")]),
            (206, vec![("content-range", "bytes 0-4/*")]),
            (206, vec![("content-range", "bytes 9-4/10")]),
        ] {
            assert!(extent(status, &headers(&pairs), "k".into()).is_err(), "{status} {pairs:?}");
        }
    }
}
