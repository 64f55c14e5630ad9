//! A small S3 client to prepare buckets with: path-style, blocking, independent of the code under test.

mod admin;
mod date;
pub(crate) mod encode;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ureq::http::Request;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use crate::tls::PrivateCa;

/// Longer than a 200 MiB object takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// An access key and its secret.
#[derive(Clone)]
pub struct Credentials {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
}

impl Credentials {
    /// The administrator of the test servers; nothing that is worth protecting.
    pub fn minio() -> Self {
        Self { access_key: "minioadmin".to_owned(), secret_key: "minioadmin".to_owned() }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A client of one server. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: String,
    host: String,
    credentials: Credentials,
}

impl Client {
    /// A client for `endpoint` (`http://host:port` or `https://host:port`), trusting `ca` alone.
    ///
    /// # Errors
    /// When the endpoint has no scheme or the certificate cannot be read.
    pub fn new(endpoint: &str, credentials: Credentials, ca: Option<&PrivateCa>) -> Result<Self> {
        let (_, host) = endpoint.split_once("://").context("an endpoint is scheme://host:port")?;
        let roots = match ca {
            Some(ca) => {
                vec![Certificate::from_pem(ca.pem().as_bytes()).context("the authority's certificate")?]
            }
            None => Vec::new(),
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .max_idle_connections(64)
            .max_idle_connections_per_host(64)
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self { agent, endpoint: endpoint.to_owned(), host: host.to_owned(), credentials })
    }

    /// Whether the server answers a signed request.
    pub fn is_ready(&self) -> bool {
        self.send("GET", "/", &[], &[]).is_ok()
    }

    /// Makes a bucket; one that exists already is fine.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn make_bucket(&self, bucket: &str) -> Result<()> {
        match self.send("PUT", &format!("/{bucket}"), &[], &[]) {
            Err(error) if error.to_string().contains("BucketAlreadyOwnedByYou") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Stores an object, replacing one that exists.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn put(&self, bucket: &str, key: &str, content: &[u8]) -> Result<()> {
        self.send("PUT", &object_path(bucket, key), &[], content).map(drop)
    }

    /// Reads an object whole.
    ///
    /// # Errors
    /// When there is none or the server refuses.
    pub fn get(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        self.send("GET", &object_path(bucket, key), &[], &[])
    }

    /// Removes an object; one that does not exist is fine.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<()> {
        self.send("DELETE", &object_path(bucket, key), &[], &[]).map(drop)
    }

    /// All keys that begin with `prefix`.
    ///
    /// # Errors
    /// When the server refuses or its answer is no listing.
    pub fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut token = None::<String>;
        loop {
            let mut query = vec![("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
            if let Some(token) = &token {
                query.push(("continuation-token", token));
            }
            let page = String::from_utf8(self.send("GET", &format!("/{bucket}"), &query, &[])?)?;
            for key in texts(&page, "Key") {
                keys.push(encode::decode(key).context("a key in a listing")?);
            }
            token = texts(&page, "NextContinuationToken").next().map(unescape_xml);
            if token.is_none() {
                return Ok(keys);
            }
        }
    }

    /// The first page of a listing as the server wrote it.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn page(&self, bucket: &str, prefix: &str) -> Result<String> {
        let query = [("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)];
        Ok(String::from_utf8(self.send("GET", &format!("/{bucket}"), &query, &[])?)?)
    }

    /// Makes a bucket readable without credentials.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn make_public(&self, bucket: &str) -> Result<()> {
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject", "s3:ListBucket"],
            "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")]}]});
        self.send("PUT", &format!("/{bucket}"), &[("policy", "")], policy.to_string().as_bytes()).map(drop)
    }

    /// The server's `host:port`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path and the headers, apart from `host`, of a signed GET, for a caller with a connection of its own.
    ///
    /// # Errors
    /// When the credentials cannot be used as a key.
    pub fn signed_get(&self, bucket: &str, key: &str) -> Result<(String, Vec<(&'static str, String)>)> {
        let path = object_path(bucket, key);
        let headers = self.sign("GET", &path, "")?;
        Ok((path, headers))
    }

    /// The path with its query and the headers, apart from `host`, of a signed listing, as [`signed_get`](Self::signed_get)
    /// has them for an object.
    ///
    /// # Errors
    /// When the credentials cannot be used as a key.
    pub fn signed_list(
        &self,
        bucket: &str,
        query: &[(&str, &str)],
    ) -> Result<(String, Vec<(&'static str, String)>)> {
        let (path, query) = (format!("/{bucket}"), encode::query(query));
        let headers = self.sign("GET", &path, &query)?;
        Ok((format!("{path}?{query}"), headers))
    }

    fn sign(&self, method: &str, path: &str, query: &str) -> Result<Vec<(&'static str, String)>> {
        let (host, credentials) = (self.host.as_str(), &self.credentials);
        sign::headers(&sign::Parts { method, host, path, query, credentials, now: date::now() })
    }

    /// Sends one signed request and returns the body of a successful answer.
    fn send(&self, method: &str, path: &str, query: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>> {
        let query = encode::query(query);
        let headers = self.sign(method, path, &query)?;
        let mut uri = format!("{}{path}", self.endpoint);
        if !query.is_empty() {
            uri = format!("{uri}?{query}");
        }
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = if method == "PUT" {
            self.agent.run(request.body(body)?)
        } else {
            self.agent.run(request.body(())?)
        };
        let mut answer = answer.with_context(|| format!("{method} {path}"))?;
        let status = answer.status();
        let bytes = answer.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(bytes)
    }
}

fn object_path(bucket: &str, key: &str) -> String {
    format!("/{bucket}/{}", encode::path(key))
}

/// The texts of all elements of this name. Enough of XML for a listing asked for with `encoding-type=url`, in
/// which no text holds markup.
fn texts<'a>(xml: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let open = format!("<{name}>");
    let close = format!("</{name}>");
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, tail) = after.split_once(&close)?;
        rest = tail;
        Some(text)
    })
}

fn unescape_xml(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&amp;", "&")
}
