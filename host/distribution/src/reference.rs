//! How plugins are named.
//!
//! | form | meaning |
//! |---|---|
//! | `https://HOST/PATH#sha256=HEX` | a file on a web server; the digest is mandatory |
//! | `oci://REGISTRY/REPOSITORY[:TAG][@sha256:HEX][#path=FILE]` | an artifact or image in a registry |
//! | anything without `://` | a file or a directory |

use crate::error::{Error, Result};
use std::fmt;
use std::path::PathBuf;
use ureq::http::Uri;
use wasmount_types::Digest;

/// What names a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A file, or a directory of them.
    Path(PathBuf),
    /// Something to be fetched.
    Remote(Remote),
}

/// A plugin that is somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// On a web server.
    Https(HttpsReference),
    /// In a registry.
    Oci(OciReference),
}

/// `https://…#sha256=…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsReference {
    /// Where. May hold a secret in its query (a pre-signed URL), so it is shown without.
    pub(crate) url: Uri,
    /// What it must be.
    pub(crate) digest: Digest,
}

/// `oci://…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciReference {
    /// Host and port of the registry, as written.
    pub(crate) registry: String,
    /// Name of the repository.
    pub(crate) repository: String,
    /// Tag; `latest` if there is neither tag nor digest.
    pub(crate) tag: Option<String>,
    /// Digest of the manifest or index.
    pub(crate) digest: Option<Digest>,
    /// File in an image with several.
    pub(crate) path: Option<String>,
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// `Mistake`: says what is wrong with it, without repeating what may be a secret.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("oci", rest)) => Ok(Self::Remote(Remote::Oci(OciReference::parse(rest)?))),
            Some(("https", _)) => Ok(Self::Remote(Remote::Https(HttpsReference::parse(text)?))),
            Some(("http", _)) => {
                Err(Error::mistake("plugins are not fetched over plain http: write https://…#sha256=HEX"))
            }
            Some((scheme, _)) => Err(Error::mistake(format_args!(
                "plugins are not fetched by `{scheme}://`: a plugin is a file, a directory, https://…#sha256=HEX, \
                 or oci://REGISTRY/REPOSITORY[:TAG][@sha256:HEX]"
            ))),
            None => Ok(Self::Path(text.into())),
        }
    }
}

impl HttpsReference {
    fn parse(text: &str) -> Result<Self> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let Some(hex) = fragment.strip_prefix("sha256=") else {
            return Err(Error::mistake(
                "a plugin from a web server needs its digest: add #sha256=HEX, as sha256sum prints it",
            ));
        };
        let digest = Digest::from_hex(hex)
            .map_err(|_| Error::mistake("what follows #sha256= is not 64 lower-case hexadecimal digits"))?;
        let url: Uri =
            url.parse().map_err(|error| Error::mistake(format_args!("the URL is not one: {error}")))?;
        if url.host().is_none_or(str::is_empty) {
            return Err(Error::mistake("the URL names no host"));
        }
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(Error::mistake(
                "the URL has a user name or password, which everybody could read in a log",
            ));
        }
        Ok(Self { url, digest })
    }
}

impl OciReference {
    fn parse(rest: &str) -> Result<Self> {
        let (name, fragment) = match rest.split_once('#') {
            Some((name, fragment)) => (name, Some(fragment)),
            None => (rest, None),
        };
        let path = match fragment.map(|fragment| fragment.strip_prefix("path=")) {
            None => None,
            Some(Some(path)) if !normal(path).is_empty() => Some(normal(path).to_owned()),
            Some(_) => {
                return Err(Error::mistake("after # only path=FILE, a file in an image, has a meaning"));
            }
        };
        let (name, digest) = match name.split_once('@') {
            Some((name, digest)) => {
                let digest =
                    digest.parse().map_err(|error| Error::mistake(format_args!("after @: {error}")))?;
                (name, Some(digest))
            }
            None => (name, None),
        };
        let Some((registry, name)) = name.split_once('/') else {
            return Err(Error::mistake(
                "it names no repository: oci://REGISTRY/REPOSITORY[:TAG][@sha256:HEX]",
            ));
        };
        if !is_registry(registry) {
            return Err(Error::mistake(format_args!(
                "`{registry}` is no registry: a host name or address comes first, with a port if it is not 443"
            )));
        }
        let (repository, tag) = match name.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (name, None),
        };
        if !is_repository(repository) {
            return Err(Error::mistake(format_args!(
                "`{repository}` is no name of a repository: lower-case letters and digits with . _ - between them, and /"
            )));
        }
        if let Some(tag) = tag.as_deref().filter(|tag| !is_tag(tag)) {
            return Err(Error::mistake(format_args!(
                "`{tag}` is no tag: letters, digits, `_`, `.` and `-`, 128 at most"
            )));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest, path })
    }

    /// What is asked for in the registry: the digest if there is one.
    pub(crate) fn asked(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same, pinned to a manifest.
    pub fn pinned(&self, manifest: Digest) -> Self {
        Self { tag: None, digest: Some(manifest), ..self.clone() }
    }

    /// Where the registry's API is. Docker Hub's is elsewhere than its name says (docs.docker.com, "Registry").
    pub(crate) fn api_host(&self) -> &str {
        match self.registry.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            other => other,
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Https(https) => https.fmt(f),
            Self::Oci(oci) => oci.fmt(f),
        }
    }
}

impl fmt::Display for HttpsReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.authority().map_or("", |authority| authority.as_str());
        let query = if self.url.query().is_some() { "?…" } else { "" };
        write!(f, "https://{host}{}{query}#sha256={}", self.url.path(), self.digest.hex())
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        if let Some(path) = &self.path {
            write!(f, "#path={path}")?;
        }
        Ok(())
    }
}

/// A path in an image as tar writes it: without `/` or `./` in front.
pub(crate) fn normal(path: &str) -> &str {
    path.trim_start_matches("./").trim_matches('/')
}

/// A host name or address with or without a port.
fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let bracketed = text.starts_with('[');
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let address = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    let fine = if bracketed { host.chars().all(address) } else { host.chars().all(name) };
    let port_is_fine = match port {
        Some(port) => port.parse::<u16>().is_ok_and(|port| port > 0),
        None => !bracketed || text.ends_with(']'),
    };
    !host.is_empty() && fine && port_is_fine
}

/// Names as the distribution specification has them ("Pulling manifests"): components of letters and digits that are joined by one
/// `.`, one or two `_`, or any number of `-`.
fn is_repository(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joins = |separator: &str| {
        matches!(separator, "." | "_" | "__")
            || (!separator.is_empty() && separator.chars().all(|c| c == '-'))
    };
    let component = |text: &str| {
        text.starts_with(alphanumeric)
            && text.ends_with(alphanumeric)
            && text.split(alphanumeric).filter(|separator| !separator.is_empty()).all(joins)
    };
    text.len() <= 255 && text.split('/').all(component)
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(word)
        && text.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
