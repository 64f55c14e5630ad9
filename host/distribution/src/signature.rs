//! Signatures as `cosign sign --key` leaves them in a registry.
//!
//! Format: sigstore's `cosign/specs/SIGNATURE_SPEC.md` ("simple signing"): the manifest tagged `sha256-HEX.sig` has a layer for each
//! signature; the layer's blob is the signed payload, which names the manifest's digest, and an annotation of the layer has the signature.
//! Certificates, transparency logs and cosign's newer bundles are not read: what is proven is that the holder of the private key signed
//! this digest.

use crate::error::{Error, Result};
use crate::files;
use crate::manifest::{Descriptor, Document};
use crate::progress::Silent;
use crate::registry::Repository;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use serde::Deserialize;
use std::path::Path;
use wasmount_types::Digest;
use webpki::RawPublicKeyEntity;

/// Media type of a payload.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation with the signature of a layer's blob, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a payload says it is.
const KIND: &str = "cosign container image signature";
/// Bytes of a payload; it has some 250.
const PAYLOAD_LIMIT: u64 = 64 * 1024;
/// Signatures that are looked at.
const SIGNATURES: usize = 32;
/// What `cosign generate-key-pair` makes. The signature is ASN.1, over SHA-256.
const ALGORITHM: &dyn SignatureVerificationAlgorithm = webpki::ring::ECDSA_P256_SHA256;

/// A key whose signature is accepted.
pub(crate) struct PublicKey {
    spki: SubjectPublicKeyInfoDer<'static>,
    /// SHA-256 of it.
    pub(crate) fingerprint: String,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl PublicKey {
    /// The keys of a PEM file (`cosign.pub`).
    ///
    /// # Errors
    /// `Mistake`: it has none, or one of another kind.
    pub(crate) fn read(file: &Path) -> Result<Vec<Self>> {
        let named = |what: &str| Error::mistake(format_args!("--plugin-key {}: {what}", file.display()));
        let pem = files::read(file).map_err(|error| named(&error.to_string()))?;
        let mut keys = Vec::new();
        for spki in SubjectPublicKeyInfoDer::pem_slice_iter(&pem) {
            let spki = spki.map_err(|_| named("this is not PEM"))?;
            let key = Self { fingerprint: Digest::of(&spki).to_string(), spki };
            // No signature is one byte long, so a key that can be used says that this one is wrong.
            match key.check(b"", b"x") {
                Err(webpki::Error::InvalidSignatureForPublicKey) => keys.push(key),
                _ => return Err(named("it has a key that is not ECDSA P-256, which cosign makes")),
            }
        }
        if keys.is_empty() {
            return Err(named("it has no public key (-----BEGIN PUBLIC KEY-----), as cosign.pub has"));
        }
        Ok(keys)
    }

    fn check(&self, message: &[u8], signature: &[u8]) -> std::result::Result<(), webpki::Error> {
        RawPublicKeyEntity::try_from(&self.spki)?.verify_signature(ALGORITHM, message, signature)
    }
}

/// Looks for a signature of `manifest` by one of the keys; returns the key's fingerprint.
///
/// # Errors
/// `Refused`: there is none.
pub(crate) fn verify(
    repository: &mut Repository<'_>,
    manifest: Digest,
    keys: &[PublicKey],
) -> Result<String> {
    let tag = format!("sha256-{}.sig", manifest.hex());
    let Some((document, _)) = repository.manifest(&tag)? else {
        return Err(Error::refused(format_args!(
            "{manifest} is not signed, and --plugin-key demands it: there is no signature in cosign's format \
             (tag {tag}; sign with `cosign sign --key … --new-bundle-format=false`)"
        )));
    };
    let Document::Manifest(signatures) = document else {
        return Err(Error::refused(format_args!("{tag} is an index and not a list of signatures")));
    };
    let mut seen = 0;
    for layer in signatures.layers.iter().filter(|layer| layer.media_type == PAYLOAD).take(SIGNATURES) {
        seen += 1;
        let payload = repository.small_blob(layer, PAYLOAD_LIMIT, &Silent)?;
        if let Some(key) = signer(layer, &payload, manifest, keys) {
            return Ok(key.fingerprint.clone());
        }
    }
    Err(Error::refused(format_args!(
        "none of the {seen} signatures of {manifest} is by the key of --plugin-key, or they sign something else"
    )))
}

/// The key by which this payload is signed, if it is about this manifest.
fn signer<'k>(
    layer: &Descriptor,
    payload: &[u8],
    manifest: Digest,
    keys: &'k [PublicKey],
) -> Option<&'k PublicKey> {
    let signature = STANDARD.decode(layer.annotations.get(SIGNATURE)?.trim()).ok()?;
    let key = keys.iter().find(|key| key.check(payload, &signature).is_ok())?;
    let Payload { critical } = serde_json::from_slice(payload).ok()?;
    (critical.kind == KIND && critical.image.digest == manifest.to_string()).then_some(key)
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
