//! What the operator has to say about secrets that plugins want to see in clear.
//!
//! A plugin asks for it in its option table (`options.secret-rule.reveal`), and whoever installs a plugin agrees by installing it; this is how
//! to agree to less. A mount that sets an option which is refused does not open: its plugin has said that it must see it.

use crate::description::{Description, OptionKind, OptionSpec};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// Options of plugins: `*`, `PLUGIN:*`, `OPTION` or `PLUGIN:OPTION`.
///
/// A plugin's name is what it says of itself, so a refusal that is to hold for whatever plugin is loaded names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevealRule {
    /// Of this plugin; `None`: of any.
    plugin: Option<String>,
    /// This option, canonical or alias; `None`: all.
    option: Option<String>,
}

/// A text that is no [`RevealRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is written [PLUGIN:]OPTION, with * for all options")]
pub struct NoRevealRule;

impl FromStr for RevealRule {
    type Err = NoRevealRule;

    fn from_str(text: &str) -> Result<Self, NoRevealRule> {
        let (plugin, option) = match text.split_once(':') {
            Some((plugin, option)) => (Some(plugin), option),
            None => (None, text),
        };
        let word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if !(option == "*" || word(option)) || !plugin.is_none_or(word) {
            return Err(NoRevealRule);
        }
        let option = Some(option).filter(|option| *option != "*");
        Ok(Self { plugin: plugin.map(str::to_owned), option: option.map(str::to_owned) })
    }
}

impl Display for RevealRule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(plugin) = &self.plugin {
            write!(f, "{plugin}:")?;
        }
        f.write_str(self.option.as_deref().unwrap_or("*"))
    }
}

impl RevealRule {
    fn covers(&self, plugin: &str, spec: &OptionSpec) -> bool {
        self.plugin.as_deref().is_none_or(|name| name == plugin)
            && self.option.as_deref().is_none_or(|option| spec.names().any(|name| name == option))
    }
}

/// Which secrets plugins may see in clear, of those that they ask for. By default all.
#[derive(Clone, Debug, Default)]
pub struct RevealPolicy {
    denied: Vec<RevealRule>,
    allowed: Vec<RevealRule>,
}

impl RevealPolicy {
    /// What `denied` covers and `allowed` does not is refused.
    pub fn new(denied: Vec<RevealRule>, allowed: Vec<RevealRule>) -> Self {
        Self { denied, allowed }
    }

    /// The rule that refuses to show this option to this plugin, if it asks for it and there is one.
    pub fn refuses(&self, description: &Description, spec: &OptionSpec) -> Option<&RevealRule> {
        if !matches!(spec.kind, OptionKind::Secret { reveal: true, .. }) {
            return None;
        }
        let covers = |rule: &&RevealRule| rule.covers(&description.name, spec);
        self.denied.iter().find(covers).filter(|_| !self.allowed.iter().any(|rule| covers(&rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::NetworkNeeds;

    fn rule(text: &str) -> RevealRule {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in ["*", "s3:*", "access-key", "s3:access-key"] {
            assert_eq!(rule(text).to_string(), text);
        }
        for bad in ["", ":", "s3:", ":key", "a b", "s3:*x", "s3:key:x", "*:key"] {
            assert_eq!(bad.parse::<RevealRule>(), Err(NoRevealRule), "{bad}");
        }
    }

    #[test]
    fn what_is_denied_and_not_allowed_is_refused() {
        let option = |name: &str, reveal| OptionSpec {
            name: name.into(),
            aliases: vec![format!("old-{name}")],
            kind: OptionKind::Secret { reveal, sent_to: vec![] },
            required: false,
            default: None,
            doc: String::new(),
        };
        let description = Description {
            name: "s3".into(),
            version: "1".into(),
            summary: "x".into(),
            schemes: vec!["s3".into()],
            csi_drivers: vec![],
            options: vec![
                option("access-key", true),
                option("session-token", true),
                option("secret-key", false),
            ],
            network: NetworkNeeds::default(),
        };
        let refused = |denied: &[&str], allowed: &[&str]| {
            let rules = |texts: &[&str]| texts.iter().map(|text| rule(text)).collect();
            let policy = RevealPolicy::new(rules(denied), rules(allowed));
            let refused =
                description.options.iter().filter(|spec| policy.refuses(&description, spec).is_some());
            refused.map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(refused(&[], &["*"]), "");
        assert_eq!(refused(&["*"], &[]), "access-key session-token", "what is not seen cannot be refused");
        assert_eq!(refused(&["s3:*"], &["access-key"]), "session-token");
        assert_eq!(refused(&["rbd:*"], &[]), "");
        assert_eq!(refused(&["old-session-token"], &[]), "session-token");
        assert_eq!(refused(&["*"], &["s3:*"]), "");
        assert_eq!(refused(&["*"], &["rbd:*"]), "access-key session-token");
    }
}
