//! Manifests and indexes of OCI's image specification (`manifest.md`, `image-index.md`), of which Docker's formats are the elder
//! twins, and what in them is a plugin.

use crate::error::{Error, Result};
use crate::limits::DESCRIPTORS;
use crate::reference::normal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use wasmount_types::Digest;

/// Media types of manifests and indexes, for `Accept`.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// A manifest, as we push it.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Configuration of a component: the CNCF's Wasm working group, "Wasm OCI Artifact layout".
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A component, by the same document.
pub(crate) const WASM_LAYER: &str = "application/wasm";
/// A component, as Spin stores it.
const SPIN_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";
/// Name of a layer's file.
pub(crate) const TITLE: &str = "org.opencontainers.image.title";
/// Set by BuildKit on entries of an index that are no images.
const ATTESTATION: &str = "vnd.docker.reference.type";

/// What content is and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    #[serde(serialize_with = "write_digest", deserialize_with = "read_digest")]
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
}

/// What an image in an index is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

/// An image or artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The same for several platforms.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Index {
    pub(crate) manifests: Vec<Descriptor>,
}

/// What a registry has under a tag or digest.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

/// How a layer of an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Where the plugin is in what a manifest describes.
#[derive(Debug)]
pub(crate) enum Content {
    /// It is this blob.
    Wasm(Descriptor),
    /// It is a file in one of these layers.
    Image(Vec<(Descriptor, Packing)>),
}

/// Reads a manifest or index.
///
/// # Errors
/// `Refused`: it is neither, or both (what one reader takes for an image and the other for an index has two meanings under one digest).
pub(crate) fn read(bytes: &[u8]) -> Result<Document> {
    let not =
        |error: &dyn std::fmt::Display| Error::refused(format_args!("its manifest is not one: {error}"));
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| not(&error))?;
    let document = match (value.get("layers").is_some(), value.get("manifests").is_some()) {
        (true, false) => Document::Manifest(serde_json::from_value(value).map_err(|error| not(&error))?),
        (false, true) => Document::Index(serde_json::from_value(value).map_err(|error| not(&error))?),
        (true, true) => return Err(not(&"it has both layers and manifests")),
        (false, false) => {
            return Err(not(&"it has neither layers nor manifests (schema 1 is not supported)"));
        }
    };
    let count = match &document {
        Document::Manifest(manifest) => manifest.layers.len(),
        Document::Index(index) => index.manifests.len(),
    };
    if count > DESCRIPTORS {
        return Err(not(&format_args!("it lists {count} things; {DESCRIPTORS} is the limit")));
    }
    Ok(document)
}

impl Index {
    /// The entry for us: one for WebAssembly, else one for this machine, else the only one. The file in it is the same anyway.
    ///
    /// # Errors
    /// `Refused`: there are several, and none is for us.
    pub(crate) fn choose(&self) -> Result<&Descriptor> {
        let images = || self.manifests.iter().filter(|entry| !entry.annotations.contains_key(ATTESTATION));
        let here = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let of = |os: Option<&str>, architecture: &str| {
            images().find(|entry| {
                entry.platform.as_ref().is_some_and(|platform| {
                    platform.architecture == architecture && os.is_none_or(|os| platform.os == os)
                })
            })
        };
        let only = || match (images().next(), images().nth(1)) {
            (Some(only), None) => Some(only),
            _ => None,
        };
        of(None, "wasm").or_else(|| of(Some("linux"), here)).or_else(only).ok_or_else(|| {
            Error::refused(format_args!(
                "it is an index of {} images, none of which is for wasm or linux/{here}",
                images().count()
            ))
        })
    }
}

impl Manifest {
    /// Finds the plugin; `path` is what the reference says.
    ///
    /// # Errors
    /// `Refused`: there is none, or there are several.
    pub(crate) fn content(&self, path: Option<&str>) -> Result<Content> {
        let is_wasm = |layer: &&Descriptor| matches!(layer.media_type.as_str(), WASM_LAYER | SPIN_LAYER);
        let wasm: Vec<_> = self.layers.iter().filter(is_wasm).collect();
        if !wasm.is_empty() {
            let titled = |layer: &&&Descriptor| match path {
                Some(path) => layer.annotations.get(TITLE).is_some_and(|title| normal(title) == path),
                None => true,
            };
            return match wasm.iter().filter(titled).collect::<Vec<_>>().as_slice() {
                [only] => Ok(Content::Wasm((**only).clone())),
                found => Err(Error::refused(format_args!(
                    "{} of its {} components fit the reference; name one by its title with #path=TITLE",
                    found.len(),
                    wasm.len()
                ))),
            };
        }
        let mut layers = Vec::new();
        for layer in &self.layers {
            let packing = packing(&layer.media_type).ok_or_else(|| {
                Error::refused(format_args!(
                    "it is neither a WebAssembly artifact nor an image: it has a layer of type {:?}",
                    layer.media_type.chars().take(100).collect::<String>()
                ))
            })?;
            layers.push((layer.clone(), packing));
        }
        if layers.is_empty() {
            return Err(Error::refused("it has no layers"));
        }
        Ok(Content::Image(layers))
    }
}

/// Of OCI's and Docker's layers of images that may be distributed.
fn packing(media_type: &str) -> Option<Packing> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Some(Packing::Plain)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Packing::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Some(Packing::Zstd),
        _ => None,
    }
}

fn write_digest<S: Serializer>(digest: &Digest, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn read_digest<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
