//! Builder of the option table.
//!
//! ```
//! use wasmount_sdk::Options;
//!
//! let options = Options::new()
//!     .endpoint("endpoint", "Where the store listens, for example `https://files.example.com`.")
//!     .alias("url")
//!     .required()
//!     .text("region", "Region the bucket is in.")
//!     .default_value("us-east-1")
//!     .integer("depth", 1..=16, "How many directories deep to look.")
//!     .secret("token", "Token for the store. The plugin never sees it.")
//!     .sent_to(&["endpoint"]);
//! assert_eq!(options.into_specs().len(), 4);
//! ```

use crate::bindings::wasmount::plugin::options::{
    EndpointRule, IntegerRule, OptionKind, OptionSpec, SecretRule,
};
use std::ops::RangeInclusive;

/// The options a plugin takes. A method with a name adds an option, [`alias`](Self::alias),
/// [`required`](Self::required), [`default_value`](Self::default_value), [`reveal`](Self::reveal) and [`sent_to`](Self::sent_to)
/// refine the one added last.
///
/// `doc` is one paragraph for the user: what it does, an example, what happens when it is wrong.
#[derive(Debug, Default)]
pub struct Options(Vec<OptionSpec>);

impl Options {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// A text, taken as it is.
    #[must_use]
    pub fn text(self, name: &str, doc: &str) -> Self {
        self.add(name, OptionKind::Text, doc)
    }

    /// A whole number within limits.
    #[must_use]
    pub fn integer(self, name: &str, limits: RangeInclusive<i64>, doc: &str) -> Self {
        self.add(name, OptionKind::Integer(IntegerRule { min: *limits.start(), max: *limits.end() }), doc)
    }

    /// Yes or no.
    #[must_use]
    pub fn boolean(self, name: &str, doc: &str) -> Self {
        self.add(name, OptionKind::Boolean, doc)
    }

    /// A number of bytes: `64k`, `16MiB`.
    #[must_use]
    pub fn size(self, name: &str, doc: &str) -> Self {
        self.add(name, OptionKind::Size, doc)
    }

    /// A time: `500ms`, `30s`.
    #[must_use]
    pub fn duration(self, name: &str, doc: &str) -> Self {
        self.add(name, OptionKind::Duration, doc)
    }

    /// One of these words.
    #[must_use]
    pub fn choice(self, name: &str, words: &[&str], doc: &str) -> Self {
        self.add(name, OptionKind::Choice(words.iter().map(|word| (*word).into()).collect()), doc)
    }

    /// An HTTP origin that is read with `GET` and `HEAD`: `https` unless the value says `http`.
    #[must_use]
    pub fn endpoint(self, name: &str, doc: &str) -> Self {
        let rule = EndpointRule {
            protocols: vec!["https".into(), "http".into()],
            default_port: 443,
            many: false,
            read_methods: vec!["GET".into(), "HEAD".into()],
        };
        self.endpoint_with(name, rule, doc)
    }

    /// An endpoint by a rule of your own.
    #[must_use]
    pub fn endpoint_with(self, name: &str, rule: EndpointRule, doc: &str) -> Self {
        self.add(name, OptionKind::Endpoint(rule), doc)
    }

    /// A credential: the plugin can sign with it (HMAC), but not see it. Where it may be sent as a header is said by
    /// [`sent_to`](Self::sent_to).
    #[must_use]
    pub fn secret(self, name: &str, doc: &str) -> Self {
        self.add(name, OptionKind::Secret(SecretRule { reveal: false, sent_to: Vec::new() }), doc)
    }

    /// A file below the secrets directory whose content is not secret.
    #[must_use]
    pub fn file_content(self, name: &str, doc: &str) -> Self {
        self.add(name, OptionKind::FileContent, doc)
    }

    /// Another name for the last option, as similar tools call it.
    #[must_use]
    pub fn alias(self, alias: &str) -> Self {
        self.refine(|spec| spec.aliases.push(alias.into()))
    }

    /// The mount is refused without the last option.
    #[must_use]
    pub fn required(self) -> Self {
        self.refine(|spec| spec.required = true)
    }

    /// The value of the last option when it is absent. Not for secrets.
    #[must_use]
    pub fn default_value(self, value: &str) -> Self {
        self.refine(|spec| spec.default = Some(value.into()))
    }

    /// The plugin must see the last option, a secret, in clear. Say why in its `doc`; an operator may refuse.
    #[must_use]
    pub fn reveal(self) -> Self {
        self.refine(|spec| {
            if let OptionKind::Secret(rule) = &mut spec.kind {
                rule.reveal = true;
            }
        })
    }

    /// Where the last option, a secret, goes: names of `endpoint` options, and templates as they are given to
    /// [`Description::origin_template`](crate::Description::origin_template). The host may send it there in a header
    /// ([`Request::secret_header`](crate::http::Request::secret_header)), and lets nobody but the operator name the place for a secret of the operator's.
    #[must_use]
    pub fn sent_to(self, origins: &[&str]) -> Self {
        self.refine(|spec| {
            if let OptionKind::Secret(rule) = &mut spec.kind {
                rule.sent_to = origins.iter().map(|origin| (*origin).into()).collect();
            }
        })
    }

    /// The table as the contract has it.
    pub fn into_specs(self) -> Vec<OptionSpec> {
        self.0
    }

    fn add(mut self, name: &str, kind: OptionKind, doc: &str) -> Self {
        self.0.push(OptionSpec {
            name: name.into(),
            aliases: Vec::new(),
            kind,
            required: false,
            default: None,
            doc: doc.into(),
        });
        self
    }

    fn refine(mut self, change: impl FnOnce(&mut OptionSpec)) -> Self {
        if let Some(last) = self.0.last_mut() {
            change(last);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refinements_apply_to_the_last_option() {
        let table = Options::new()
            .endpoint("endpoint", "e")
            .alias("url")
            .alias("minio-url")
            .required()
            .secret("access-key", "a")
            .reveal()
            .text("region", "r")
            .default_value("us-east-1")
            .secret("token", "t")
            .sent_to(&["endpoint"])
            .into_specs();
        assert_eq!(table[0].aliases, ["url", "minio-url"]);
        assert!(table[0].required && !table[1].required);
        assert!(
            matches!(&table[1].kind, OptionKind::Secret(SecretRule { reveal: true, sent_to }) if sent_to.is_empty())
        );
        assert!(
            matches!(&table[3].kind, OptionKind::Secret(SecretRule { reveal: false, sent_to }) if *sent_to == ["endpoint"])
        );
        assert_eq!(table[2].default.as_deref(), Some("us-east-1"));
        assert!(table[1].default.is_none());
    }
}
