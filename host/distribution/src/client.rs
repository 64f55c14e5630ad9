//! Fetching, verifying and pushing.

use crate::credentials;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Ask, Http};
use crate::layers::Search;
use crate::limits::Limits;
use crate::manifest::{Content, Descriptor, Document, Manifest};
use crate::progress::Progress;
use crate::reference::{HttpsReference, OciReference, Remote};
use crate::registry::{self, Access, Length, Repository};
use crate::signature::{self, PublicKey};
use crate::store::{Incoming, Record, Sealed, Store};
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use ureq::http::StatusCode;
use ureq::http::header::CONTENT_LENGTH;
use wasmount_types::Digest;

/// How servers are spoken to. All of it is the operator's.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// `HOST[:PORT]` of registries without TLS.
    pub plain_http: Vec<String>,
    /// PEM file of the authorities to trust, instead of the bundled ones.
    pub ca: Option<PathBuf>,
    /// A `.dockerconfigjson`; read anew for each reference.
    pub auth: Option<PathBuf>,
    /// PEM files of public keys. If there are any, what a registry has must be signed by one of them.
    pub keys: Vec<PathBuf>,
    /// What a server may cost.
    pub limits: Limits,
}

/// Speaks to registries and web servers. Blocks; bounded by the limits.
pub struct Client {
    pub(crate) http: Http,
    pub(crate) limits: Limits,
    auth: Option<PathBuf>,
    keys: Vec<PublicKey>,
}

/// A plugin that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Where it is now.
    pub file: PathBuf,
    /// What it is.
    pub digest: Digest,
    /// The manifest or index that the reference names.
    pub manifest: Option<Digest>,
    /// Fingerprint of the key that signed that.
    pub signed_by: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a fetched plugin came from.
#[derive(Debug)]
pub enum Origin {
    /// From its server.
    Server,
    /// It was here, and is what the reference means.
    Kept,
    /// It was here; whether the reference still means it could not be found out.
    Unchecked {
        /// When the reference meant it for certain.
        age: Duration,
        /// Why nobody could be asked.
        why: Error,
    },
}

impl Client {
    /// # Errors
    /// `Mistake`: a file or a flag makes no sense.
    pub fn new(config: ClientConfig) -> Result<Self> {
        let http = Http::new(&config.plain_http, config.ca.as_deref(), &config.limits)?;
        let keys = config.keys.iter().map(|file| PublicKey::read(file)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            http,
            limits: config.limits,
            auth: config.auth,
            keys: keys.into_iter().flatten().collect(),
        })
    }

    /// Gets a plugin into the store, or finds it there. A digest that is there needs no server. A tag is asked for each time; if nobody
    /// answers, what it meant the last time is used.
    ///
    /// # Errors
    /// The server has no such plugin or does not answer; what it has is not what was asked for, or not signed as it must be.
    pub fn fetch(&self, store: &Store, remote: &Remote, progress: &dyn Progress) -> Result<Fetched> {
        match remote {
            Remote::Https(https) => self.fetch_https(store, https, progress),
            Remote::Oci(oci) => self.fetch_oci(store, oci, progress),
        }
    }

    /// Looks for a signature by one of the keys, at the registry and nowhere else; returns the manifest's digest and the key's fingerprint.
    ///
    /// # Errors
    /// There is none, or no key was given.
    pub fn verify(&self, reference: &OciReference) -> Result<(Digest, String)> {
        if self.keys.is_empty() {
            return Err(Error::mistake("there is no key to verify with: give one with --plugin-key FILE"));
        }
        let mut repository = self.repository(reference, Access::Pull)?;
        let (_, digest) = top(&mut repository, reference)?;
        Ok((digest, signature::verify(&mut repository, digest, &self.keys)?))
    }

    pub(crate) fn repository<'a>(
        &'a self,
        reference: &'a OciReference,
        access: Access,
    ) -> Result<Repository<'a>> {
        let credentials = match &self.auth {
            Some(file) => credentials::find(file, &reference.registry, &reference.repository)?,
            None => None,
        };
        Repository::new(&self.http, &self.limits, reference, credentials, access)
    }

    fn fetch_https(&self, store: &Store, https: &HttpsReference, progress: &dyn Progress) -> Result<Fetched> {
        let found =
            |file, origin| Fetched { file, digest: https.digest, manifest: None, signed_by: None, origin };
        if let Some(file) = store.plugin(&https.digest) {
            return Ok(found(file, Origin::Kept));
        }
        let answer = self.http.send(Ask::get(https.url.clone(), self.limits.download))?;
        let host = answer.host.clone();
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(Error::refused(format_args!("{host} has no such file (404)")));
            }
            other => return Err(Error::refused(format_args!("{host} answers {other}"))),
        }
        let length = answer.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        progress.begin(https.url.path(), length.unwrap_or(0));
        let mut incoming = store.create()?;
        let digest = registry::copy(answer, Length::AtMost(self.limits.plugin), &mut incoming, progress)?;
        if digest != https.digest {
            return Err(Error::refused(format_args!(
                "the file at {host} has the digest {digest}: it is not what #sha256= names"
            )));
        }
        Ok(found(incoming.seal().keep()?, Origin::Server))
    }

    fn fetch_oci(&self, store: &Store, reference: &OciReference, progress: &dyn Progress) -> Result<Fetched> {
        let known = self.known(store, reference);
        if let Some(known) = &known
            && reference.digest == Some(known.manifest)
        {
            return Ok(known.fetched(Origin::Kept));
        }
        match (self.ask_registry(store, reference, known.as_ref(), progress), known) {
            (Err(why), Some(known)) if why.kind == ErrorKind::Unavailable => {
                let age = known.age;
                Ok(known.fetched(Origin::Unchecked { age, why }))
            }
            (outcome, _) => outcome,
        }
    }

    /// What the reference meant when it was last asked about, if that is here and signed as it must be.
    fn known(&self, store: &Store, reference: &OciReference) -> Option<Known> {
        let record = store.record(&reference.to_string())?;
        let trusted = |key: &str| self.keys.iter().any(|mine| mine.fingerprint == key);
        if !self.keys.is_empty() && !record.signed_by.as_deref().is_some_and(trusted) {
            return None;
        }
        let (manifest, digest) = (record.manifest.parse().ok()?, record.plugin.parse().ok()?);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let age = now.saturating_sub(Duration::from_secs(record.resolved));
        Some(Known { file: store.plugin(&digest)?, manifest, digest, signed_by: record.signed_by, age })
    }

    fn ask_registry(
        &self,
        store: &Store,
        reference: &OciReference,
        known: Option<&Known>,
        progress: &dyn Progress,
    ) -> Result<Fetched> {
        let mut repository = self.repository(reference, Access::Pull)?;
        let (document, manifest) = top(&mut repository, reference)?;
        let signed_by = match self.keys.as_slice() {
            [] => None,
            keys => Some(signature::verify(&mut repository, manifest, keys)?),
        };
        let fetched = match known.filter(|known| known.manifest == manifest) {
            Some(known) => Fetched { signed_by, ..known.fetched(Origin::Kept) },
            None => {
                let content = image(&mut repository, document)?.content(reference.path.as_deref())?;
                let (file, digest, origin) =
                    self.plugin(store, &mut repository, reference, content, progress)?;
                Fetched { file, digest, manifest: Some(manifest), signed_by, origin }
            }
        };
        store.note(&Record::new(
            &reference.to_string(),
            manifest,
            fetched.digest,
            fetched.signed_by.clone(),
        ))?;
        Ok(fetched)
    }

    fn plugin(
        &self,
        store: &Store,
        repository: &mut Repository<'_>,
        reference: &OciReference,
        content: Content,
        progress: &dyn Progress,
    ) -> Result<(PathBuf, Digest, Origin)> {
        let plugin = match content {
            Content::Wasm(layer) => {
                if let Some(file) = store.plugin(&layer.digest) {
                    return Ok((file, layer.digest, Origin::Kept));
                }
                let limit = self.limits.plugin;
                if layer.size > limit {
                    let size = layer.size;
                    return Err(Error::refused(format_args!(
                        "it has {size} bytes; the limit for plugins is {limit}"
                    )));
                }
                download(store, repository, &layer, progress)?
            }
            Content::Image(layers) => {
                let total = layers.iter().fold(0_u64, |sum, (layer, _)| sum.saturating_add(layer.size));
                let limit = self.limits.image;
                if total > limit {
                    return Err(Error::refused(format_args!(
                        "its layers have {total} bytes; the limit for images is {limit}"
                    )));
                }
                let mut search = Search::new(store, reference.path.as_deref(), &self.limits);
                for (layer, packing) in &layers {
                    let packed = download(store, repository, layer, progress)?;
                    search.layer(BufReader::with_capacity(64 * 1024, packed.reopen()?), *packing)?;
                }
                search.finish()?
            }
        };
        let digest = plugin.digest;
        Ok((plugin.keep()?, digest, Origin::Server))
    }
}

/// What a reference meant, and is here.
struct Known {
    file: PathBuf,
    digest: Digest,
    manifest: Digest,
    signed_by: Option<String>,
    age: Duration,
}

impl Known {
    fn fetched(&self, origin: Origin) -> Fetched {
        Fetched {
            file: self.file.clone(),
            digest: self.digest,
            manifest: Some(self.manifest),
            signed_by: self.signed_by.clone(),
            origin,
        }
    }
}

/// What the reference names.
fn top(repository: &mut Repository<'_>, reference: &OciReference) -> Result<(Document, Digest)> {
    let asked = reference.asked();
    repository.manifest(&asked)?.ok_or_else(|| {
        let kind = if reference.digest.is_some() { "digest" } else { "tag" };
        Error::refused(format_args!(
            "{} has no {kind} {asked} in {}: push it, or correct the reference",
            repository.host(),
            reference.repository
        ))
    })
}

/// The image or artifact for us.
fn image(repository: &mut Repository<'_>, document: Document) -> Result<Manifest> {
    let index = match document {
        Document::Manifest(manifest) => return Ok(manifest),
        Document::Index(index) => index,
    };
    let chosen = index.choose()?;
    match repository.manifest(&chosen.digest.to_string())? {
        Some((Document::Manifest(manifest), _)) => Ok(manifest),
        Some((Document::Index(_), _)) => {
            Err(Error::refused("it is an index of indexes, which is not supported"))
        }
        None => {
            Err(Error::refused(format_args!("{} has lost {} of its index", repository.host(), chosen.digest)))
        }
    }
}

fn download(
    store: &Store,
    repository: &mut Repository<'_>,
    layer: &Descriptor,
    progress: &dyn Progress,
) -> Result<Sealed> {
    let mut incoming: Incoming = store.create()?;
    repository.blob(layer, &mut incoming, progress)?;
    Ok(incoming.seal())
}
