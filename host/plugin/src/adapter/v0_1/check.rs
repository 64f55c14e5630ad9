//! What a plugin promised against what it says. Whatever does not fit is `corrupt`, blamed on the plugin, and never used.

use super::wit;
use crate::imports::body::Pieces;
use crate::imports::{Body as Content, LogSink};
use crate::limits::Limits;
use std::sync::Arc;
use wasmount_core::ports::{ListPage, ListRequest, ObjectInfo};
use wasmount_types::{Blame, Error, ErrorKind, Object, ObjectKey, Timestamp, Version};

/// Checks against these limits, naming this plugin.
pub(crate) struct Checker<'a> {
    pub(super) limits: &'a Limits,
    pub(super) log: &'a LogSink,
}

impl Checker<'_> {
    /// The plugin broke its contract.
    pub(super) fn corrupt(&self, what: impl std::fmt::Display) -> Error {
        let text = format!("plugin {} broke its contract: {what}", self.log.plugin());
        Error::new(ErrorKind::Corrupt, Blame::Plugin, self.log.clean(&text))
    }

    /// The content of an answer, which must be nobody else's.
    pub(super) fn pieces(&self, content: Content) -> Result<Pieces, Error> {
        match Arc::into_inner(content.0) {
            Some(pieces) => Ok(pieces.into_inner()),
            None => Err(self.corrupt("the content of an answer is still being read by the plugin")),
        }
    }

    /// A key out of a plugin's answer.
    fn key(&self, key: String, prefix: &str) -> Result<ObjectKey, Error> {
        if key.is_empty() {
            return Err(self.corrupt("an empty key"));
        }
        if key.len() > self.limits.key {
            return Err(self.corrupt(format_args!("a key of {} bytes", key.len())));
        }
        if !key.starts_with(prefix) {
            return Err(self.corrupt(format_args!("key {key:?} outside of the prefix {prefix:?}")));
        }
        Ok(ObjectKey::new(key))
    }

    /// An object out of a plugin's answer.
    pub(super) fn object(&self, object: wit::Object, prefix: &str) -> Result<Object, Error> {
        let key = self.key(object.key, prefix)?;
        if i64::try_from(object.size).is_err() {
            return Err(self.corrupt(format_args!("{key} has {} bytes", object.size)));
        }
        let version = match object.version {
            Some(version) if version.is_empty() || version.len() > self.limits.version => {
                return Err(self.corrupt(format_args!("{key} has a version of {} bytes", version.len())));
            }
            version => version.map(Version::new),
        };
        let modified = match object.modified {
            Some(time) if time.nanoseconds >= 1_000_000_000 => {
                return Err(
                    self.corrupt(format_args!("{key} has a time with {} nanoseconds", time.nanoseconds))
                );
            }
            time => time.map(|t| Timestamp { seconds: t.seconds, nanoseconds: t.nanoseconds }),
        };
        Ok(Object { key, size: object.size, version, modified })
    }

    /// The object of one key.
    pub(super) fn object_of(&self, object: wit::Object, key: &ObjectKey) -> Result<Object, Error> {
        let object = self.object(object, "")?;
        if object.key != *key {
            return Err(self.corrupt(format_args!("asked for {key}, it answered about {}", object.key)));
        }
        Ok(object)
    }

    /// All about the object of one key.
    pub(super) fn info_of(&self, info: wit::ObjectInfo, key: &ObjectKey) -> Result<ObjectInfo, Error> {
        let object = self.object_of(info.object, key)?;
        let bytes = info.metadata.iter().map(|pair| pair.name.len() + pair.value.len() + 16).sum::<usize>();
        let bytes = bytes + info.content_type.as_ref().map_or(0, String::len);
        if bytes > self.limits.metadata {
            return Err(self.corrupt(format_args!("{key} has {bytes} bytes of metadata")));
        }
        let metadata = info.metadata.into_iter().map(|pair| (pair.name, pair.value)).collect();
        Ok(ObjectInfo { object, metadata, content_type: info.content_type })
    }

    /// A page of keys.
    pub(super) fn page(&self, page: wit::ListPage, request: &ListRequest) -> Result<ListPage, Error> {
        let limit = request.limit.min(self.limits.page_entries) as usize;
        let entries = page.objects.len().saturating_add(page.prefixes.len());
        if entries > limit {
            return Err(self.corrupt(format_args!("a page of {entries} entries, {limit} were asked for")));
        }
        let objects = page
            .objects
            .into_iter()
            .map(|o| self.object(o, &request.prefix))
            .collect::<Result<Vec<_>, _>>()?;
        for prefix in &page.prefixes {
            let Some(delimiter) = &request.delimiter else {
                return Err(self.corrupt("a folded prefix, and no delimiter was given"));
            };
            let rest = prefix.strip_prefix(request.prefix.as_str()).filter(|rest| !rest.is_empty());
            if prefix.len() > self.limits.key || !rest.is_some_and(|rest| rest.ends_with(delimiter.as_str()))
            {
                return Err(self.corrupt(format_args!(
                    "the folded prefix {:?} for the prefix {:?} and the delimiter {delimiter:?}",
                    crate::text::printable(prefix, 200),
                    request.prefix
                )));
            }
        }
        if let Some(next) = &page.next {
            if next.len() > self.limits.continuation {
                return Err(self.corrupt(format_args!("a continuation of {} bytes", next.len())));
            }
            if request.continuation.as_ref() == Some(next) {
                return Err(self.corrupt("a page that continues with itself"));
            }
        }
        Ok(ListPage { objects, prefixes: page.prefixes, next: page.next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::v0_1::host::wasmount::plugin::types;
    use wasmount_net::Redactor;

    fn object(key: &str) -> wit::Object {
        wit::Object { key: key.into(), size: 1, version: Some("v".into()), modified: None }
    }

    #[test]
    fn lies_are_corrupt() {
        let limits = Limits { page_entries: 5, ..Limits::default() };
        let log = LogSink::new("p", "m", Redactor::new(), &limits);
        let checker = Checker { limits: &limits, log: &log };
        let request = ListRequest {
            prefix: "a/".into(),
            delimiter: Some("/".into()),
            continuation: Some("here".into()),
            limit: 3,
            ..ListRequest::default()
        };
        let empty = || wit::ListPage { objects: vec![], prefixes: vec![], next: None };
        let page = |page| checker.page(page, &request).map_err(|e| (e.kind, e.blame, e.message));
        let good = wit::ListPage {
            objects: vec![object("a/"), object("a/b")],
            prefixes: vec!["a/c/".into()],
            next: None,
        };
        assert_eq!(page(good).unwrap().objects.len(), 2);
        let time = types::Timestamp { seconds: 0, nanoseconds: 1_000_000_000 };
        let lies = [
            (wit::ListPage { objects: vec![object("b")], ..empty() }, "outside of the prefix"),
            (wit::ListPage { objects: vec![object("")], ..empty() }, "empty key"),
            (
                wit::ListPage { objects: vec![object(&format!("a/{}", "x".repeat(4095)))], ..empty() },
                "a key of 4097 bytes",
            ),
            (
                wit::ListPage { objects: (0..4).map(|i| object(&format!("a/{i}"))).collect(), ..empty() },
                "a page of 4 entries",
            ),
            (wit::ListPage { prefixes: vec!["a/".into()], ..empty() }, "the folded prefix"),
            (wit::ListPage { prefixes: vec!["a/c".into()], ..empty() }, "the folded prefix"),
            (wit::ListPage { prefixes: vec!["b/".into()], ..empty() }, "the folded prefix"),
            (wit::ListPage { next: Some("here".into()), ..empty() }, "continues with itself"),
            (wit::ListPage { next: Some("x".repeat(20_000)), ..empty() }, "a continuation of 20000 bytes"),
            (
                wit::ListPage { objects: vec![wit::Object { size: u64::MAX, ..object("a/b") }], ..empty() },
                "bytes",
            ),
            (
                wit::ListPage {
                    objects: vec![wit::Object { version: Some("x".repeat(257)), ..object("a/b") }],
                    ..empty()
                },
                "version of 257",
            ),
            (
                wit::ListPage {
                    objects: vec![wit::Object { modified: Some(time), ..object("a/b") }],
                    ..empty()
                },
                "nanoseconds",
            ),
        ];
        for (lie, expected) in lies {
            let (kind, blame, message) = page(lie).unwrap_err();
            assert_eq!((kind, blame), (ErrorKind::Corrupt, Blame::Plugin));
            assert!(message.contains(expected), "{message}");
        }
        let flat = ListRequest { delimiter: None, continuation: None, ..request.clone() };
        checker.page(wit::ListPage { prefixes: vec!["a/c/".into()], ..empty() }, &flat).unwrap_err();
        checker.object_of(object("a"), &ObjectKey::new("b")).unwrap_err();
    }
}
