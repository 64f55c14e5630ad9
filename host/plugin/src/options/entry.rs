//! The copy of a mount's configuration that its plugin may see: without secrets.

use crate::description::{Description, OptionKind};
use serde_json::Value as Json;
use wasmount_net::Redactor;

/// What stands in the place of a secret.
fn placeholder(canonical: &str) -> String {
    format!("secret:{canonical}")
}

/// Canonical name of the secret option that is written so, also as `NAME-file`.
fn secret_named<'a>(description: &'a Description, written: &str) -> Option<&'a str> {
    let find = |name: &str| {
        let spec = description.option(name)?;
        matches!(spec.kind, OptionKind::Secret { .. }).then_some(spec.name.as_str())
    };
    find(written).or_else(|| find(written.strip_suffix("-file")?))
}

/// Replaces the values of secret options wherever they stand, and known secrets inside other texts.
pub(crate) fn without_secrets(description: &Description, redactor: &Redactor, entry: &Json) -> Json {
    match entry {
        Json::String(text) => Json::String(redactor.redact(text).into_owned()),
        Json::Array(items) => {
            Json::Array(items.iter().map(|i| without_secrets(description, redactor, i)).collect())
        }
        Json::Object(fields) => Json::Object(
            fields
                .iter()
                .map(|(key, value)| {
                    let value = match secret_named(description, key) {
                        Some(name) if !value.is_object() && !value.is_array() => {
                            Json::String(placeholder(name))
                        }
                        _ => without_secrets(description, redactor, value),
                    };
                    (key.clone(), value)
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The same for pairs.
pub(crate) fn pairs_without_secrets(
    description: &Description,
    redactor: &Redactor,
    pairs: &[(String, String)],
) -> Vec<(String, String)> {
    let shown = |key: &str, value: &str| match secret_named(description, key) {
        Some(name) => placeholder(name),
        None => redactor.redact(value).into_owned(),
    };
    pairs.iter().map(|(key, value)| (key.clone(), shown(key, value))).collect()
}
