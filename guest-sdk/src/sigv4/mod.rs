//! AWS Signature Version 4 as S3 wants it, with the secret kept in the host.
//!
//! A signature is a chain of HMACs that begins with the secret: `HMAC(AWS4 + secret, date)`. The host computes that first link
//! ([`Secret::hmac`](crate::Secret::hmac)), the rest happens here, and the derived key is kept for the day and the generation
//! of the secret. So the plugin never sees the secret itself, only a key that is good for one day, region and service.
//!
//! S3 differs from other services: paths are encoded once, never twice, and nothing is normalised; the hash of the payload is
//! a header. Source: AWS, "Authenticating Requests (AWS Signature Version 4)" in the S3 API reference.

mod canonical;
mod key;

pub use key::{ClearSecret, SigningSecret};

use crate::{Result, Timestamp, time};
use key::{KeyCache, hex, hmac_sha256, sha256};

/// SHA-256 of nothing, for requests without a body.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What the signature says about the request's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// There is none.
    Empty,
    /// It is not covered; TLS has to protect it.
    Unsigned,
    /// Its SHA-256, as [`Body::digest`](crate::Body::digest) returns it.
    Sha256(Vec<u8>),
}

impl Payload {
    fn header(&self) -> String {
        match self {
            Self::Empty => EMPTY_SHA256.into(),
            Self::Unsigned => "UNSIGNED-PAYLOAD".into(),
            Self::Sha256(digest) => hex(digest),
        }
    }
}

/// The parts of a request that are signed.
#[derive(Clone, Debug)]
pub struct Unsigned<'a> {
    /// `GET`, `PUT`.
    pub method: &'a str,
    /// The URL exactly as it will be sent: path and query strictly percent-encoded ([`percent`](crate::percent)), and no port
    /// that is the scheme's own, since the signature covers the `host` header.
    pub url: &'a str,
    /// Headers to cover. S3 insists on all that begin with `x-amz-`; the others may be sent without.
    pub headers: &'a [(String, String)],
    /// The content.
    pub payload: Payload,
}

/// Who signs.
#[derive(Debug)]
pub struct Identity<'a, S> {
    /// The access key's name, which is sent in clear.
    pub access_key: &'a str,
    /// The secret key.
    pub secret: &'a S,
    /// The token of temporary credentials. It is sent as `x-amz-security-token` and is part of what is signed.
    pub session_token: Option<&'a str>,
}

/// Signs requests for one region of one service.
#[derive(Debug)]
pub struct Signer {
    region: String,
    service: String,
    keys: KeyCache,
}

impl Signer {
    /// For a region such as `us-east-1` and a service such as `s3`.
    pub fn new(region: &str, service: &str) -> Self {
        Self { region: region.into(), service: service.into(), keys: KeyCache::default() }
    }

    /// The headers to add to the request: `x-amz-date`, `x-amz-content-sha256`, `authorization` and, with a session token,
    /// `x-amz-security-token`.
    ///
    /// # Errors
    /// What [`SigningSecret::hmac`] says.
    pub fn sign<S: SigningSecret>(
        &self,
        identity: &Identity<'_, S>,
        request: &Unsigned<'_>,
        now: Timestamp,
    ) -> Result<Vec<(String, String)>> {
        let date_time = time::format_basic(now);
        let date = date_time.split('T').next().unwrap_or_default();
        let payload = request.payload.header();

        let mut added = vec![
            ("x-amz-content-sha256".to_owned(), payload.clone()),
            ("x-amz-date".to_owned(), date_time.clone()),
        ];
        if let Some(token) = identity.session_token {
            added.push(("x-amz-security-token".to_owned(), token.to_owned()));
        }

        let canonical = canonical::request(request, &added, &payload);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text =
            format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{}", hex(&sha256(canonical.text.as_bytes())));
        let key = self.keys.derive(identity.secret, date, &self.region, &self.service)?;
        let signature = hex(&hmac_sha256(&key, text.as_bytes())?);
        added.push((
            "authorization".to_owned(),
            format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={},Signature={signature}",
                identity.access_key, canonical.signed_headers
            ),
        ));
        Ok(added)
    }
}

#[cfg(test)]
mod tests;
