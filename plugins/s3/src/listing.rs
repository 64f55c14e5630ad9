//! Pages of keys: the request parameters of `ListObjectsV2` and the XML that comes back.

use crate::location::Location;
use crate::xml::{Node, walk};
use wasmount_sdk::http::parse_etag;
use wasmount_sdk::{Error, ListPage, ListRequest, Object, Result, Timestamp, percent, time};

/// Most keys S3 puts on a page.
pub const MAX_PAGE: u32 = 1000;

/// Largest page accepted: a thousand keys of 1,024 bytes, each byte encoded as three characters, and what surrounds them.
pub const MAX_BYTES: u32 = 8 << 20;

/// The URL of a request for a page.
pub fn url(address: &crate::address::Address, location: &Location, request: &ListRequest) -> String {
    let limit = request.limit.clamp(1, MAX_PAGE).to_string();
    let (prefix, start_after) =
        (location.key(&request.prefix), request.start_after.as_ref().map(|key| location.key(key)));
    // Control characters cannot be written in XML 1.0: only with `encoding-type` does every key arrive.
    address.bucket(&[
        ("continuation-token", request.continuation.as_deref()),
        ("delimiter", request.delimiter.as_deref()),
        ("encoding-type", Some("url")),
        ("list-type", Some("2")),
        ("max-keys", Some(&limit)),
        ("prefix", Some(prefix.as_str()).filter(|prefix| !prefix.is_empty())),
        ("start-after", start_after.as_deref().filter(|_| request.continuation.is_none())),
    ])
}

/// Reads a page. `continuation` is the one that was sent.
///
/// # Errors
/// `corrupt`: not a listing, incomplete, keys that were not asked for, or a position that leads nowhere.
pub fn parse(document: &str, location: &Location, continuation: Option<&str>) -> Result<Listed> {
    let mut answer = Answer::default();
    walk(document, |node| match node {
        Node::Begin(path) => answer.begin(path),
        Node::End(path, text) => answer.end(path, text),
    })?;
    answer.into_page(location, continuation)
}

/// What a listing says, before keys are decoded: `EncodingType` may come last.
#[derive(Default)]
struct Answer {
    encoded: bool,
    truncated: bool,
    next: Option<String>,
    entries: Vec<Entry>,
    prefixes: Vec<String>,
}

#[derive(Default)]
struct Entry {
    key: Option<String>,
    size: Option<u64>,
    version: Option<String>,
    modified: Option<Timestamp>,
}

impl Answer {
    fn begin(&mut self, path: &[String]) -> Result<()> {
        match path {
            [root] if root != "ListBucketResult" => Err(Error::corrupt(format!(
                "the server answered a listing with <{root}>: is there an S3 store at this endpoint?"
            ))),
            [_, contents] if contents == "Contents" => {
                self.entries.push(Entry::default());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, path: &[String], text: &str) -> Result<()> {
        let mut names = [""; 3];
        if path.len() > names.len() {
            return Ok(());
        }
        for (slot, name) in names.iter_mut().zip(path) {
            *slot = name;
        }
        match names {
            [_, "EncodingType", ""] => self.encoded = text == "url",
            [_, "IsTruncated", ""] => self.truncated = text == "true",
            [_, "NextContinuationToken", ""] => self.next = Some(text.to_owned()),
            [_, "CommonPrefixes", "Prefix"] => self.prefixes.push(text.to_owned()),
            [_, "Contents", field] => {
                if let Some(entry) = self.entries.last_mut() {
                    entry.set(field, text)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn into_page(self, location: &Location, continuation: Option<&str>) -> Result<Listed> {
        let encoded = self.encoded && self.texts().all(may_be_encoded);
        let mut listed = Listed::default();
        for entry in self.entries {
            let key = entry.key.ok_or_else(|| incomplete("Key"))?;
            if let Some(key) = listed.name(&key, encoded, location)? {
                let size = entry.size.ok_or_else(|| incomplete("Size"))?;
                listed.page.objects.push(Object {
                    key,
                    size,
                    version: entry.version,
                    modified: entry.modified,
                });
            }
        }
        for prefix in &self.prefixes {
            if let Some(prefix) = listed.name(prefix, encoded, location)? {
                listed.page.prefixes.push(prefix);
            }
        }
        listed.page.next = match (self.truncated, self.next) {
            (false, _) => None,
            (true, Some(next)) if !next.is_empty() && continuation != Some(next.as_str()) => Some(next),
            (true, _) => {
                return Err(Error::corrupt("the store says that its listing goes on, but not where"));
            }
        };
        Ok(listed)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let keys = self.entries.iter().filter_map(|entry| entry.key.as_deref());
        keys.chain(self.prefixes.iter().map(String::as_str))
    }
}

/// A page, and what could not be put on it.
#[derive(Debug)]
pub struct Listed {
    /// The page.
    pub page: ListPage,
    /// How many names were left out because they are not UTF-8.
    pub unreadable: usize,
}

impl Default for Listed {
    fn default() -> Self {
        Self { page: ListPage { objects: Vec::new(), prefixes: Vec::new(), next: None }, unreadable: 0 }
    }
}

impl Listed {
    /// The mount's name for a key or prefix of the store. `None` for the marker of the mount's own directory, which has no
    /// name in it, and for what is not UTF-8.
    fn name(&mut self, text: &str, encoded: bool, location: &Location) -> Result<Option<String>> {
        let text = if encoded { percent::decode_form(text) } else { Ok(text.to_owned()) };
        let Ok(text) = text else {
            self.unreadable += 1;
            return Ok(None);
        };
        let name = location.strip(&text)?;
        Ok((!name.is_empty()).then(|| name.to_owned()))
    }
}

/// Whether a text can have come out of an encoder. Some servers say `EncodingType` and send names as they are: a space, a
/// letter that is not ASCII or a lone `%` gives them away.
fn may_be_encoded(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => {
                bytes.next().is_some_and(|it| it.is_ascii_hexdigit())
                    && bytes.next().is_some_and(|it| it.is_ascii_hexdigit())
            }
            other => other.is_ascii_graphic(),
        };
        if !good {
            return false;
        }
    }
    true
}

impl Entry {
    fn set(&mut self, field: &str, text: &str) -> Result<()> {
        match field {
            "Key" => self.key = Some(text.to_owned()),
            "Size" => {
                let size = text.trim().parse();
                self.size =
                    Some(size.map_err(|_| Error::corrupt(format!("the store listed a size of {text:?}")))?);
            }
            "ETag" => self.version = parse_etag(text),
            "LastModified" => self.modified = time::parse_rfc3339(text),
            _ => {}
        }
        Ok(())
    }
}

fn incomplete(what: &str) -> Error {
    Error::corrupt(format!("the store listed an object without its {what}"))
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
