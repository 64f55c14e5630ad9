//! Publishing a plugin: an OCI artifact in the layout of the CNCF's Wasm working group ("Wasm OCI Artifact layout").

use crate::client::Client;
use crate::error::{Error, Result};
use crate::manifest::{Descriptor, MANIFEST, Manifest, TITLE, WASM_CONFIG, WASM_LAYER};
use crate::progress::{Progress, Silent};
use crate::reference::OciReference;
use crate::registry::Access;
use serde_json::json;
use std::collections::BTreeMap;
use wasmount_types::Digest;

/// A component, and what others should see of it before they pull it.
#[derive(Clone, Debug, Default)]
pub struct Component {
    /// Its file.
    pub bytes: Vec<u8>,
    /// The file's name.
    pub title: String,
    /// Its version, in its own words.
    pub version: String,
    /// What it does, in its own words.
    pub description: String,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// Interfaces it exports.
    pub exports: Vec<String>,
}

impl Client {
    /// Stores a component under the reference's tag; returns the manifest's digest. The same component gives the same digest.
    ///
    /// # Errors
    /// `Mistake`: the reference names a digest or a file in an image; otherwise the registry does not take it.
    pub fn push(
        &self,
        reference: &OciReference,
        component: &Component,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let Some(tag) =
            reference.tag.as_deref().filter(|_| reference.digest.is_none() && reference.path.is_none())
        else {
            return Err(Error::mistake("a plugin is pushed to a tag: oci://REGISTRY/REPOSITORY:TAG"));
        };
        let layer = Digest::of(&component.bytes);
        let config = json!({
            // The layout demands a time; the real one would give each push another digest.
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer.to_string()],
            "component": {"exports": component.exports, "imports": component.imports},
        });
        let config = config.to_string().into_bytes();
        let annotations = [("version", &component.version), ("description", &component.description)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (format!("org.opencontainers.image.{name}"), text.clone()))
            .collect();
        let descriptor = |media_type: &str, digest, bytes: &[u8], annotations| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len() as u64,
            annotations,
            platform: None,
        };
        let title = BTreeMap::from([(TITLE.to_owned(), component.title.clone())]);
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: descriptor(WASM_CONFIG, Digest::of(&config), &config, BTreeMap::new()),
            layers: vec![descriptor(WASM_LAYER, layer, &component.bytes, title)],
            annotations,
        };
        let manifest = serde_json::to_vec(&manifest)
            .map_err(|error| Error::mistake(format_args!("the manifest cannot be written: {error}")))?;
        let mut repository = self.repository(reference, Access::Push)?;
        repository.upload(layer, &component.bytes, progress)?;
        repository.upload(Digest::of(&config), &config, &Silent)?;
        repository.tag(tag, &manifest)?;
        Ok(Digest::of(&manifest))
    }
}
