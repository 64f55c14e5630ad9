//! A plugin in an image: `FROM scratch` and `COPY plugin.wasm /`.
//!
//! Layers lie upon each other: a file of a later one replaces that of an earlier one, and a whiteout takes it away (OCI's image
//! specification, `layer.md`). Nothing is unpacked but files that may be the plugin, and those under no name of their own.

use crate::error::{Error, Result};
use crate::limits::{CANDIDATES, Limits};
use crate::manifest::Packing;
use crate::reference::normal;
use crate::store::{Sealed, Store};
use crate::zstd::Frames;
use flate2::bufread::MultiGzDecoder;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use tar::EntryType;

/// In front of the name of a file that is taken away.
const WHITEOUT: &str = ".wh.";
/// Takes away everything in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// Bytes of a name that does not fit into tar's header, with what comes along in a PAX record.
const LONG_NAME: u64 = 64 * 1024;

/// Looks for the plugin in the layers of an image, from the lowest to the topmost.
pub(crate) struct Search<'a> {
    store: &'a Store,
    path: Option<&'a str>,
    plugin: u64,
    /// Bytes that may still be unpacked.
    budget: u64,
    found: BTreeMap<String, Sealed>,
}

impl<'a> Search<'a> {
    /// For the file at `path`, or the only one whose name ends with `.wasm`.
    pub(crate) fn new(store: &'a Store, path: Option<&'a str>, limits: &Limits) -> Self {
        Self { store, path, plugin: limits.plugin, budget: limits.image, found: BTreeMap::new() }
    }

    /// Looks through the next layer.
    ///
    /// # Errors
    /// `Refused`: it cannot be unpacked, or is larger than the limit; `Storage`: a file cannot be written.
    pub(crate) fn layer(&mut self, layer: impl BufRead, packing: Packing) -> Result<()> {
        let unpacked: Box<dyn Read + '_> = match packing {
            Packing::Plain => Box::new(layer),
            Packing::Gzip => Box::new(MultiGzDecoder::new(layer)),
            Packing::Zstd => Box::new(Frames::new(layer).map_err(|error| broken(&error))?),
        };
        let mut archive = tar::Archive::new(unpacked.take(self.budget.saturating_add(1)));
        let outcome = self.entries(&mut archive);
        let left = archive.into_inner().limit();
        if left == 0 {
            return Err(Error::refused("its image is larger, unpacked, than the limit for images"));
        }
        self.budget = left - 1;
        outcome
    }

    fn entries(&mut self, archive: &mut tar::Archive<impl Read>) -> Result<()> {
        let mut long_name: Option<Vec<u8>> = None;
        // Raw: the library would read names of any length into memory.
        for entry in archive.entries().map_err(|error| broken(&error))?.raw(true) {
            let mut entry = entry.map_err(|error| broken(&error))?;
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::XHeader | EntryType::GNULongName) {
                long_name = read_name(&mut entry, kind)?.or(long_name);
                continue;
            }
            let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
            let Ok(name) = String::from_utf8(name) else { continue };
            let name = normal(&name);
            let (dir, file) = name.rsplit_once('/').unwrap_or(("", name));
            if file == OPAQUE {
                self.found.retain(|path, _| !is_below(path, dir));
            } else if let Some(hidden) = file.strip_prefix(WHITEOUT) {
                let gone = if dir.is_empty() { hidden.to_owned() } else { format!("{dir}/{hidden}") };
                self.found.retain(|path, _| *path != gone && !is_below(path, &gone));
            } else if self.wanted(name) {
                let replaced = self.found.remove(name);
                if kind.is_file() {
                    self.keep(name, &mut entry)?;
                } else if replaced.is_none() && self.path.is_some() {
                    return Err(Error::refused(format_args!("{name} in its image is not a regular file")));
                }
            }
        }
        Ok(())
    }

    fn wanted(&self, name: &str) -> bool {
        match self.path {
            Some(path) => name == path,
            None => name.ends_with(".wasm"),
        }
    }

    fn keep(&mut self, name: &str, entry: &mut tar::Entry<'_, impl Read>) -> Result<()> {
        if entry.size() > self.plugin {
            let limit = self.plugin;
            return Err(Error::refused(format_args!("{name} in its image has more than {limit} bytes")));
        }
        if self.found.len() >= CANDIDATES {
            return Err(Error::refused(format_args!(
                "its image has more than {CANDIDATES} files *.wasm: name one with #path=FILE"
            )));
        }
        let mut incoming = self.store.create()?;
        let mut chunk = [0; 8192];
        loop {
            let given = entry.read(&mut chunk).map_err(|error| broken(&error))?;
            let Some(bytes) = chunk.get(..given).filter(|bytes| !bytes.is_empty()) else { break };
            incoming.write(bytes)?;
        }
        self.found.insert(name.to_owned(), incoming.seal());
        Ok(())
    }

    /// What was found, when all layers have been looked through.
    ///
    /// # Errors
    /// `Refused`: nothing, or several files.
    pub(crate) fn finish(self) -> Result<Sealed> {
        let names = || self.found.keys().take(5).cloned().collect::<Vec<_>>().join(", ");
        match (self.found.len(), self.path) {
            (0, Some(path)) => Err(Error::refused(format_args!("its image has no file {path}"))),
            (0, None) => {
                Err(Error::refused("its image has no file *.wasm; name the plugin's file with #path=FILE"))
            }
            (1, _) => self.found.into_values().next().ok_or_else(|| Error::refused("its image is empty")),
            (several, _) => Err(Error::refused(format_args!(
                "its image has {several} files *.wasm ({}): name one with #path=FILE",
                names()
            ))),
        }
    }
}

/// The name that a PAX or GNU header gives to the next entry.
fn read_name(entry: &mut tar::Entry<'_, impl Read>, kind: EntryType) -> Result<Option<Vec<u8>>> {
    if entry.size() > LONG_NAME {
        return Err(Error::refused("its image has a file whose name is longer than 64 KiB"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| broken(&error))?;
    if kind == EntryType::GNULongName {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        return Ok(Some(bytes));
    }
    for record in tar::PaxExtensions::new(&bytes) {
        let record = record.map_err(|error| broken(&error))?;
        if record.key_bytes() == b"path" {
            return Ok(Some(record.value_bytes().to_vec()));
        }
    }
    Ok(None)
}

fn is_below(path: &str, dir: &str) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn broken(error: &io::Error) -> Error {
    Error::refused(format_args!("a layer of its image cannot be unpacked: {error}"))
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
