//! Requests to registries and web servers: TLS, redirects, limits.
//!
//! Redirects are followed here and not by the client, since each hop has to be allowed, and credentials stay with the server they were
//! meant for: registries hand blobs on to buckets of other people.

use crate::error::{Error, Result};
use crate::files;
use crate::limits::{Limits, REDIRECTS, SMALL};
use crate::progress::Progress;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION};
use ureq::http::{HeaderMap, Method, StatusCode, Uri, uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Agent, Body, SendBody};

/// Makes requests.
pub(crate) struct Http {
    agent: Agent,
    plain: Vec<(String, u16)>,
}

/// A request.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Value of `Authorization`, for the server of `url` alone.
    pub(crate) authorization: Option<String>,
    /// What is sent, and who wants to know how far it is.
    pub(crate) body: Option<(&'a [u8], Option<&'a dyn Progress>)>,
    /// For everything, the answer's body included.
    pub(crate) time: Duration,
}

impl Ask<'_> {
    /// A GET without anything.
    pub(crate) fn get(url: Uri, time: Duration) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), authorization: None, body: None, time }
    }
}

/// An answer that is no redirect.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// What was asked in the end, after all redirects. That of a bucket may be a secret.
    pub(crate) url: Uri,
    /// Who gave it, for messages.
    pub(crate) host: String,
}

impl Http {
    /// `plain`: `HOST[:PORT]` of servers that may be spoken to without TLS. `ca`: the authorities to trust instead of the bundled ones.
    ///
    /// # Errors
    /// `Mistake`: a flag or its file makes no sense.
    pub(crate) fn new(plain: &[String], ca: Option<&Path>, limits: &Limits) -> Result<Self> {
        let plain = plain.iter().map(|text| plain_server(text)).collect::<Result<_>>()?;
        let roots = match ca {
            Some(file) => RootCerts::Specific(Arc::new(authorities(file)?)),
            None => RootCerts::WebPki,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("wasmount/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(limits.connect))
            .timeout_connect(Some(limits.connect))
            .timeout_per_read(Some(limits.stall))
            .timeout_per_write(Some(limits.stall))
            .tls_config(tls)
            .build();
        Ok(Self { agent: config.new_agent(), plain })
    }

    /// Where the API of this host is: over plain HTTP if that was allowed.
    ///
    /// # Errors
    /// `Mistake`: the host makes no URL.
    pub(crate) fn base(&self, host: &str) -> Result<Uri> {
        let plain = plain_server(host).is_ok_and(|server| self.plain.contains(&server));
        uri::Builder::new()
            .scheme(if plain { "http" } else { "https" })
            .authority(host)
            .path_and_query("/")
            .build()
            .map_err(|error| Error::mistake(format_args!("`{host}` is no server: {error}")))
    }

    /// Asks, and follows where that leads.
    ///
    /// # Errors
    /// `Unavailable`: nobody answers, or the server says that it cannot now; `Refused`: the server cannot be trusted, or leads astray.
    /// Any other answer is the caller's to judge.
    pub(crate) fn send(&self, mut ask: Ask<'_>) -> Result<Answer> {
        for _ in 0..=REDIRECTS {
            let answer = self.send_once(&ask)?;
            if !answer.status.is_redirection() || answer.status == StatusCode::NOT_MODIFIED {
                return Ok(answer);
            }
            if ask.body.is_some() {
                return Err(Error::refused(format_args!(
                    "{} redirects an upload, which is not followed",
                    answer.host
                )));
            }
            let location =
                answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let next = resolve(&ask.url, location)
                .ok_or_else(|| Error::refused(format_args!("{} redirects to what is no URL", answer.host)))?;
            if !same_server(&ask.url, &next) {
                ask.authorization = None;
            }
            ask.url = next;
        }
        Err(Error::refused(format_args!("{} redirects more than {REDIRECTS} times", host_of(&ask.url))))
    }

    fn send_once(&self, ask: &Ask<'_>) -> Result<Answer> {
        let host = host_of(&ask.url);
        self.permit(&ask.url)?;
        let mut request = ureq::http::Request::builder().method(ask.method.clone()).uri(ask.url.clone());
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &ask.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let malformed = |_| Error::mistake(format_args!("the request to {host} cannot be written as HTTP"));
        let answer = match ask.body {
            Some((bytes, progress)) => {
                let request = request.header(CONTENT_LENGTH, bytes.len());
                let mut told = Told { bytes, progress };
                let request = request.body(SendBody::from_reader(&mut told)).map_err(malformed)?;
                let request = self.agent.configure_request(request).timeout_global(Some(ask.time)).build();
                self.agent.run(request)
            }
            None => {
                let request = request.body(()).map_err(malformed)?;
                let request = self.agent.configure_request(request).timeout_global(Some(ask.time)).build();
                self.agent.run(request)
            }
        };
        let (head, body) = answer.map_err(|error| failed(&host, &error))?.into_parts();
        if head.status.is_server_error() || head.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Error::unavailable(format_args!("{host} answers {}", head.status)));
        }
        Ok(Answer { status: head.status, headers: head.headers, body, url: ask.url.clone(), host })
    }

    /// # Errors
    /// `Refused`: plain HTTP with a server that was not named.
    pub(crate) fn permit(&self, url: &Uri) -> Result<()> {
        let host = host_of(url);
        let known = || plain_server(&host).is_ok_and(|server| self.plain.contains(&server));
        match url.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if known() => Ok(()),
            _ => Err(Error::refused(format_args!(
                "a redirect or token service leads to {host} without TLS; \
                 if that is right, allow it with --plain-http-registry {host}"
            ))),
        }
    }
}

impl Answer {
    /// A short body, such as a token.
    ///
    /// # Errors
    /// As [`read_all`].
    pub(crate) fn small(self) -> Result<Vec<u8>> {
        let host = self.host.clone();
        read_all(self.body, SMALL, "answer", &host)
    }
}

/// A body that must not be longer than `limit`.
///
/// # Errors
/// `Refused`: it is longer; `Unavailable`: it breaks off.
pub(crate) fn read_all(body: Body, limit: u64, what: &str, host: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = body.into_with_config().limit(u64::MAX).reader().take(limit.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|error| broken(host, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::refused(format_args!(
            "the {what} of {host} is longer than the limit of {limit} bytes"
        )));
    }
    Ok(bytes)
}

/// The connection broke while a body was read.
pub(crate) fn broken(host: &str, error: &std::io::Error) -> Error {
    Error::unavailable(format_args!("the connection to {host} broke off: {error}"))
}

/// `https://HOST[:PORT]` of a URL without the scheme.
pub(crate) fn host_of(url: &Uri) -> String {
    url.authority().map_or_else(String::new, |authority| authority.as_str().to_owned())
}

/// Where a `Location` leads.
pub(crate) fn resolve(from: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        return Uri::from_parts(parts).ok();
    }
    let url: Uri = location.parse().ok()?;
    (url.scheme().is_some() && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
}

/// Whether credentials for one may be sent to the other.
pub(crate) fn same_server(one: &Uri, other: &Uri) -> bool {
    one.scheme() == other.scheme()
        && one.port_u16() == other.port_u16()
        && one.host().zip(other.host()).is_some_and(|(one, other)| one.eq_ignore_ascii_case(other))
}

fn plain_server(text: &str) -> Result<(String, u16)> {
    let authority: uri::Authority = text
        .parse()
        .ok()
        .filter(|authority: &uri::Authority| !authority.host().is_empty() && !text.contains('@'))
        .ok_or_else(|| {
            Error::mistake(format_args!("--plain-http-registry {text}: this is not HOST or HOST:PORT"))
        })?;
    Ok((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(80)))
}

fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let named = |what: &str| Error::mistake(format_args!("--registry-ca {}: {what}", file.display()));
    let pem = files::read(file).map_err(|error| named(&error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|_| named("this is not PEM"))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(named("it has no certificate (-----BEGIN CERTIFICATE-----)"));
    }
    Ok(certificates)
}

fn failed(host: &str, error: &ureq::Error) -> Error {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error.to_string()),
        ureq::Error::Io(error) => {
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(ToString::to_string)
        }
        ureq::Error::Tls(what) => Some((*what).to_owned()),
        _ => None,
    };
    match tls {
        Some(what) if what.contains("certificate") => Error::refused(format_args!(
            "{host} is not trusted ({what}); name the authority of its certificate with --registry-ca FILE"
        )),
        Some(what) => Error::refused(format_args!(
            "{host} does not speak TLS ({what}); a registry without TLS has to be named with --plain-http-registry {host}"
        )),
        None => Error::unavailable(format_args!("{host} does not answer: {error}")),
    }
}

/// Bytes on their way out.
struct Told<'a> {
    bytes: &'a [u8],
    progress: Option<&'a dyn Progress>,
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let given = self.bytes.read(buffer)?;
        if let Some(progress) = self.progress {
            progress.advance(given as u64);
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn credentials_stay_with_their_server() {
        let registry = url("https://registry.example/v2/");
        assert!(same_server(&registry, &url("https://REGISTRY.example/other")));
        for other in ["http://registry.example/", "https://registry.example:8443/", "https://bucket.example/"]
        {
            assert!(!same_server(&registry, &url(other)), "{other}");
        }
    }

    #[test]
    fn locations() {
        let from = url("https://registry.example/v2/x/blobs/uploads/");
        let to = |location| resolve(&from, location).map(|url| url.to_string());
        assert_eq!(to("/a?b=c").as_deref(), Some("https://registry.example/a?b=c"));
        assert_eq!(to("https://bucket.example/k?s=1").as_deref(), Some("https://bucket.example/k?s=1"));
        for wrong in ["", "//other.example/x", "a/b", "https://", "\u{1}"] {
            assert_eq!(to(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn plain_http_only_where_it_was_allowed() {
        let plain = ["127.0.0.1:5000".to_owned(), "Registry.local".to_owned()];
        let http = Http::new(&plain, None, &Limits::default()).unwrap();
        assert_eq!(http.base("127.0.0.1:5000").unwrap().to_string(), "http://127.0.0.1:5000/");
        assert_eq!(http.base("registry.local").unwrap().scheme_str(), Some("http"));
        assert_eq!(http.base("127.0.0.1:5001").unwrap().scheme_str(), Some("https"));
        assert_eq!(http.base("registry.local:443").unwrap().scheme_str(), Some("https"));
        http.permit(&url("http://127.0.0.1:5000/x")).unwrap();
        let error = http.permit(&url("http://bucket.local/x?secret=1")).unwrap_err();
        assert!(
            error.message.contains("--plain-http-registry bucket.local") && !error.message.contains("secret")
        );
        http.permit(&url("ftp://bucket.local/x")).unwrap_err();
    }

    #[test]
    fn flags_that_make_no_sense() {
        for wrong in ["", "http://r", "a b", "user@r"] {
            assert!(Http::new(&[wrong.to_owned()], None, &Limits::default()).is_err(), "{wrong}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Http::new(&[], Some(file.path()), &Limits::default()).err().unwrap();
        assert!(
            error.message.contains("--registry-ca") && error.message.contains("no certificate"),
            "{error}"
        );
    }
}
