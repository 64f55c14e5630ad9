//! Pull secrets as Kubernetes writes them: `.dockerconfigjson` of a secret of type `kubernetes.io/dockerconfigjson`.
//!
//! Format: Kubernetes' documentation, "Configuring Cred Management" and "Interpretation of config.json" of container images; the fields of an entry are
//! those of docker's `config/types/authconfig.go`. The file is read anew for each use, since its content rotates.

use crate::error::{Error, Result};
use crate::files;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What proves who we are. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// User name and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// What a token service takes in place of a password (Azure's registries).
    IdentityToken(String),
    /// A token for the registry itself.
    RegistryToken(String),
}

#[derive(Deserialize)]
struct ConfigFile {
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// The entry of `file` for a repository; `None` if it has none that fits.
///
/// # Errors
/// `Mistake`: the file cannot be read or understood. Nothing of it is in the message.
pub(crate) fn find(file: &Path, registry: &str, repository: &str) -> Result<Option<Credentials>> {
    let named = |what: &str| Error::mistake(format_args!("--registry-auth {}: {what}", file.display()));
    let bytes = files::read(file).map_err(|error| named(&error.to_string()))?;
    // The text of serde's errors quotes values.
    let config: ConfigFile = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        named(&format!("not a .dockerconfigjson, JSON with `auths` (line {line}, column {column})"))
    })?;
    let image = format!("{}/{repository}", alias(registry));
    let fitting = config.auths.iter().filter(|(key, _)| fits(key, &image));
    // The longest key is the most particular one.
    let Some((key, entry)) = fitting.max_by_key(|(key, _)| key.len()) else { return Ok(None) };
    entry.credentials().map_err(|what| named(&format!("entry {key}: {what}")))
}

impl Entry {
    fn credentials(&self) -> std::result::Result<Option<Credentials>, &'static str> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::RegistryToken(self.registrytoken.clone())));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::IdentityToken(self.identitytoken.clone())));
        }
        if !self.username.is_empty() {
            return Ok(Some(Credentials::Basic {
                user: self.username.clone(),
                password: self.password.clone(),
            }));
        }
        if self.auth.is_empty() {
            return Ok(None);
        }
        let text = self.auth.trim();
        let decoded = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match decoded.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) if !user.is_empty() => {
                Ok(Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() }))
            }
            _ => Err("`auth` is not the base64 of USER:PASSWORD"),
        }
    }
}

/// Docker Hub has three names.
fn alias(registry: &str) -> &str {
    match registry {
        "docker.io" | "registry-1.docker.io" => "index.docker.io",
        other => other,
    }
}

/// Whether the key of an entry covers `image` (host and repository): hosts match part for part with `*` for anything but a dot, and
/// what follows is the beginning of the repository's path.
fn fits(key: &str, image: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let Some((registry, repository)) = image.split_once('/') else { return false };
    let (patterns, labels) = (alias(host).split('.'), registry.split('.'));
    if patterns.clone().count() != labels.clone().count() || !patterns.zip(labels).all(|(p, l)| matches(p, l))
    {
        return false;
    }
    // What `docker login` writes for registries of the old and the new API.
    let path = path.trim_end_matches('/');
    if matches!(path, "" | "v1" | "v2") {
        return true;
    }
    repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One part of a host name against a pattern in which `*` stands for any characters.
fn matches(pattern: &str, label: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else { return pattern.eq_ignore_ascii_case(label) };
    let (Some(begin), Some(end)) = (label.get(..front.len()), label.get(front.len()..)) else { return false };
    match rest {
        "" => begin.eq_ignore_ascii_case(front),
        _ => {
            begin.eq_ignore_ascii_case(front)
                && end
                    .char_indices()
                    .map(|(at, _)| at)
                    .chain([end.len()])
                    .any(|at| end.get(at..).is_some_and(|end| matches(rest, end)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str, registry: &str, repository: &str) -> Option<Credentials> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json).unwrap();
        find(file.path(), registry, repository).unwrap()
    }

    fn basic(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn entries_in_all_their_forms() {
        let json = r#"{"auths": {
            "registry.example:5000": {"auth": "dXNlcjpwYTpzcw=="},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
            "azure.example": {"auth": "MDA6", "identitytoken": "long"},
            "bearer.example": {"registrytoken": "token"},
            "empty.example": {}
        }, "credsStore": "ignored"}"#;
        assert!(found(json, "registry.example:5000", "a/b") == basic("user", "pa:ss"));
        assert!(found(json, "registry.example", "a/b").is_none(), "another port is another registry");
        assert!(found(json, "docker.io", "library/x") == basic("hub", "p"));
        assert!(found(json, "azure.example", "x") == Some(Credentials::IdentityToken("long".to_owned())));
        assert!(found(json, "bearer.example", "x") == Some(Credentials::RegistryToken("token".to_owned())));
        assert!(found(json, "empty.example", "x").is_none());
    }

    #[test]
    fn the_most_particular_entry_wins() {
        let json = r#"{"auths": {
            "*.example": {"username": "any", "password": ""},
            "registry.example": {"username": "host", "password": ""},
            "registry.example/team": {"username": "team", "password": ""}
        }}"#;
        assert!(found(json, "registry.example", "team/s3") == basic("team", ""));
        assert!(found(json, "registry.example", "teams/s3") == basic("host", ""));
        assert!(found(json, "other.example", "s3") == basic("any", ""));
        assert!(found(json, "a.b.example", "s3").is_none());
        for (pattern, label, fit) in [
            ("a*c", "abc", true),
            ("a*c", "abd", false),
            ("*", "", true),
            ("a*", "b", false),
            ("*é*", "xé", true),
        ] {
            assert_eq!(matches(pattern, label), fit, "{pattern} {label}");
        }
    }

    #[test]
    fn mistakes_show_no_secret() {
        for json in [
            "",
            "[]",
            r#"{"auths": {"r.example": {"auth": 17}}}"#,
            r#"{"auths": {"r.example": {"auth": "geheim"}}}"#,
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), json).unwrap();
            let error = find(file.path(), "r.example", "x").err().unwrap();
            assert!(
                error.message.contains("--registry-auth") && !error.message.contains("geheim"),
                "{error}"
            );
        }
        assert!(find(Path::new("/nonexistent/auth"), "r", "x").is_err());
    }
}
