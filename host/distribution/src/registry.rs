//! One repository of a registry: OCI's distribution specification, end points end-2 to end-8.

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::http::{self, Answer, Ask, Http};
use crate::limits::{Limits, SMALL};
use crate::manifest::{self, Descriptor, Document, MANIFEST};
use crate::progress::Progress;
use crate::reference::OciReference;
use crate::token;
use serde::Deserialize;
use std::io::{Read, Write};
use ureq::http::header::{HeaderName, LOCATION};
use ureq::http::{Method, StatusCode, Uri};
use wasmount_types::{Digest, Digester};

/// Copy of every transfer.
const CHUNK: usize = 64 * 1024;
/// What the registry takes a manifest for (end-3).
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What is to be done in the repository: what a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Pull,
    Push,
}

/// A repository, and the proof of who asks once the registry wanted one.
pub(crate) struct Repository<'a> {
    http: &'a Http,
    limits: &'a Limits,
    base: Uri,
    name: &'a str,
    credentials: Option<Credentials>,
    authorization: Option<String>,
    access: Access,
}

/// Errors of a registry (distribution specification, "Error Codes").
#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    code: String,
}

impl<'a> Repository<'a> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// `Mistake`: the registry's name makes no URL.
    pub(crate) fn new(
        http: &'a Http,
        limits: &'a Limits,
        reference: &'a OciReference,
        credentials: Option<Credentials>,
        access: Access,
    ) -> Result<Self> {
        let base = http.base(reference.api_host())?;
        Ok(Self { http, limits, base, name: &reference.repository, credentials, authorization: None, access })
    }

    /// Who is asked, for messages.
    pub(crate) fn host(&self) -> String {
        http::host_of(&self.base)
    }

    /// A manifest or index by tag or digest, and its digest. `None`: there is none.
    ///
    /// # Errors
    /// `Refused`: its bytes are not those of the digest, `asked` or announced by the registry.
    pub(crate) fn manifest(&mut self, asked: &str) -> Result<Option<(Document, Digest)>> {
        let url = self.url(&format!("manifests/{asked}"))?;
        let headers = vec![("accept", manifest::ACCEPTED.to_owned())];
        let answer = self.ask(|time| Ask { headers: headers.clone(), ..Ask::get(url.clone(), time) })?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(unexpected(answer)),
        }
        let announced =
            answer.headers.get(CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = http::read_all(answer.body, self.limits.manifest, "manifest", &answer.host)?;
        let digest = Digest::of(&bytes);
        for expected in [asked.parse().ok(), announced].into_iter().flatten() {
            if digest != expected {
                return Err(Error::refused(format_args!(
                    "the manifest that {} sent for {expected} has the digest {digest}: it was changed there or on its way",
                    answer.host
                )));
            }
        }
        Ok(Some((manifest::read(&bytes)?, digest)))
    }

    /// Copies a blob, and compares it with its descriptor.
    ///
    /// # Errors
    /// `Refused`: it is not there, or not what the descriptor says; `Storage`: `into` cannot be written.
    pub(crate) fn blob(
        &mut self,
        blob: &Descriptor,
        into: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<()> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let download = self.limits.download;
        let answer = self.ask(|_| Ask::get(url.clone(), download))?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::refused(format_args!(
                    "{} has lost the layer {}",
                    answer.host, blob.digest
                )));
            }
            _ => return Err(unexpected(answer)),
        }
        progress.begin(self.name, blob.size);
        let digest = copy(answer, Length::Exactly(blob.size), into, progress)?;
        if digest != blob.digest {
            return Err(Error::refused(format_args!(
                "the layer that {} sent for {} has the digest {digest}: it was changed there or on its way",
                self.host(),
                blob.digest
            )));
        }
        Ok(())
    }

    /// A small blob.
    ///
    /// # Errors
    /// As [`Self::blob`], and `Refused` beyond `limit`.
    pub(crate) fn small_blob(
        &mut self,
        blob: &Descriptor,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>> {
        if blob.size > limit {
            return Err(Error::refused(format_args!(
                "{} has {} bytes; {limit} is the limit",
                blob.digest, blob.size
            )));
        }
        let mut bytes = Vec::new();
        self.blob(blob, &mut bytes, progress)?;
        Ok(bytes)
    }

    /// Uploads a blob unless the registry has it.
    ///
    /// # Errors
    /// `Refused`: the registry does not take it.
    pub(crate) fn upload(&mut self, digest: Digest, bytes: &[u8], progress: &dyn Progress) -> Result<()> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let there = self.ask(|time| Ask { method: Method::HEAD, ..Ask::get(url.clone(), time) })?;
        if there.status == StatusCode::OK {
            return Ok(());
        }
        let url = self.url("blobs/uploads/")?;
        let begun = self.ask(|time| Ask {
            method: Method::POST,
            body: Some((b"", None)),
            ..Ask::get(url.clone(), time)
        })?;
        if begun.status != StatusCode::ACCEPTED {
            return Err(unexpected(begun));
        }
        let location = begun.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let target = http::resolve(&self.base, location).and_then(|url| {
            let separator = if url.query().is_some() { '&' } else { '?' };
            format!("{url}{separator}digest={digest}").parse::<Uri>().ok()
        });
        let target = target
            .ok_or_else(|| Error::refused(format_args!("{} names no place for the upload", begun.host)))?;
        progress.begin(self.name, bytes.len() as u64);
        let download = self.limits.download;
        let headers = vec![("content-type", "application/octet-stream".to_owned())];
        let done = self.ask(|_| Ask {
            method: Method::PUT,
            headers: headers.clone(),
            body: Some((bytes, Some(progress))),
            ..Ask::get(target.clone(), download)
        })?;
        if done.status != StatusCode::CREATED { Err(unexpected(done)) } else { Ok(()) }
    }

    /// Stores a manifest under a tag.
    ///
    /// # Errors
    /// `Refused`: the registry does not take it.
    pub(crate) fn tag(&mut self, tag: &str, bytes: &[u8]) -> Result<()> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let headers = vec![("content-type", MANIFEST.to_owned())];
        let done = self.ask(|time| Ask {
            method: Method::PUT,
            headers: headers.clone(),
            body: Some((bytes, None)),
            ..Ask::get(url.clone(), time)
        })?;
        if done.status != StatusCode::CREATED { Err(unexpected(done)) } else { Ok(()) }
    }

    fn url(&self, rest: &str) -> Result<Uri> {
        let path = format!("/v2/{}/{rest}", self.name);
        http::resolve(&self.base, &path)
            .ok_or_else(|| Error::mistake(format_args!("{path} is no path of a URL")))
    }

    /// Asks, with proof of who we are if the registry wants one.
    fn ask<'b>(&mut self, make: impl Fn(std::time::Duration) -> Ask<'b>) -> Result<Answer> {
        let send = |authorization: Option<&String>| {
            let mut ask = make(self.limits.request);
            // What an upload's location names may be anybody's.
            ask.authorization = authorization.filter(|_| http::same_server(&self.base, &ask.url)).cloned();
            self.http.send(ask)
        };
        let mut answer = send(self.authorization.as_ref())?;
        // Whoever the registry leads to could name a token service of its own, and would get the password there.
        if answer.status == StatusCode::UNAUTHORIZED && self.is_from_here(&answer) {
            let scope = match self.access {
                Access::Pull => format!("repository:{}:pull", self.name),
                Access::Push => format!("repository:{}:pull,push", self.name),
            };
            let host = self.host();
            let proof =
                token::authorize(self.http, &answer.headers, self.credentials.as_ref(), &scope, self.limits)
                    .map_err(|error| Error { message: format!("{host}: {}", error.message), ..error })?;
            answer = send(Some(&proof))?;
            self.authorization = Some(proof);
        }
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.is_from_here(&answer) => {
                Err(self.denied(&answer))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied_elsewhere(&answer)),
            _ => Ok(answer),
        }
    }

    /// Whether the registry itself has answered, and not somebody it redirects or sends uploads to.
    fn is_from_here(&self, answer: &Answer) -> bool {
        http::same_server(&self.base, &answer.url)
    }

    fn denied_elsewhere(&self, answer: &Answer) -> Error {
        let (host, status, name, registry) = (&answer.host, answer.status, self.name, self.host());
        Error::refused(format_args!(
            "{host}, where {registry} leads for {name}, refuses that ({status}), and credentials for {registry} are not sent \
             there: the registry has to hand out addresses that need none, or answer by itself"
        ))
    }

    fn denied(&self, answer: &Answer) -> Error {
        let what = match self.access {
            Access::Pull => "to be read",
            Access::Push => "to be written",
        };
        let (host, status, name) = (&answer.host, answer.status, self.name);
        Error::refused(match self.credentials {
            Some(_) => format!(
                "{host} does not allow {name} {what} with the credentials of --registry-auth ({status}): \
                 they are wrong or have expired, or lack that right"
            ),
            None => format!(
                "{host} does not allow {name} {what} by everybody ({status}), or it does not exist: \
                 give credentials with --registry-auth FILE (a .dockerconfigjson with an entry for {host})"
            ),
        })
    }
}

/// How long a body may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// As its descriptor says.
    Exactly(u64),
    /// Nobody has said how long it is.
    AtMost(u64),
}

/// Copies a body.
///
/// # Errors
/// `Refused`: it is longer or shorter than it may be; `Unavailable`: it breaks off; `Storage`: `into` cannot be written.
pub(crate) fn copy(
    answer: Answer,
    length: Length,
    into: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<Digest> {
    let host = answer.host;
    let (Length::Exactly(most) | Length::AtMost(most)) = length;
    let mut digester = Digester::default();
    let mut reader = answer.body.into_with_config().limit(u64::MAX).reader();
    let mut chunk = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        let given = reader.read(&mut chunk).map_err(|error| http::broken(&host, &error))?;
        let Some(bytes) = chunk.get(..given).filter(|bytes| !bytes.is_empty()) else { break };
        copied += given as u64;
        if copied > most {
            return Err(Error::refused(format_args!(
                "{host} sends more than {most} bytes, the announced size or the limit"
            )));
        }
        let written = digester.write_all(bytes).and_then(|()| into.write_all(bytes));
        written
            .map_err(|error| Error::storage(format_args!("what was fetched cannot be written: {error}")))?;
        progress.advance(given as u64);
    }
    match length {
        Length::Exactly(size) if copied < size => Err(Error::refused(format_args!(
            "{host} sends {copied} bytes instead of the {size} that were announced"
        ))),
        Length::Exactly(_) | Length::AtMost(_) => Ok(digester.finish()),
    }
}

/// An answer that the protocol does not have there; of the registry's own words only the codes are repeated.
fn unexpected(answer: Answer) -> Error {
    let (status, host) = (answer.status, answer.host.clone());
    let codes = http::read_all(answer.body, SMALL, "answer", &host)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Errors>(&bytes).ok())
        .map(|errors| {
            errors.errors.into_iter().take(4).map(|error| error.code).collect::<Vec<_>>().join(", ")
        })
        .map(|codes| {
            codes.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(120).collect::<String>()
        })
        .filter(|codes| !codes.is_empty());
    match codes {
        Some(codes) => Error::refused(format_args!("{host} answers {status} ({codes})")),
        None => Error::refused(format_args!("{host} answers {status}")),
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
