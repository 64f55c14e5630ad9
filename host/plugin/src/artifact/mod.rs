//! From a file to a compiled component.

pub(crate) mod aot;

pub use wasmount_types::Digest;

use crate::limits::Limits;
use aot::AotCache;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A compiled component and what it was compiled from.
pub(crate) struct Artifact {
    pub(crate) digest: Digest,
    pub(crate) component: Component,
    /// Read from the cache instead of being compiled.
    pub(crate) cached: bool,
    /// Where the cache keeps its code, if it does.
    pub(crate) code: Option<PathBuf>,
}

fn invalid(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Plugin, format!("plugin {}: {what}", path.display()))
}

/// First eight bytes of a core module and of a component: magic number, version, layer
/// (`Binary.md` of the component model).
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

fn check_preamble(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match bytes.get(..8) {
        Some(head) if head == COMPONENT => Ok(()),
        Some(head) if head == CORE_MODULE => Err(invalid(
            path,
            "this is a core WebAssembly module, not a component; link it with wasm-component-ld \
             or convert it with `wasm-tools component new`",
        )),
        _ => Err(invalid(path, "this is not a WebAssembly component")),
    }
}

/// Opens a file for reading; a pipe that nobody writes to does not keep it waiting.
pub(crate) fn open_without_waiting(path: &Path) -> std::io::Result<File> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    File::options().read(true).custom_flags(nonblocking).open(path)
}

/// The content of a regular file, up to one byte more than `limit`.
fn read(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let file = open_without_waiting(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads and compiles a component, or takes its code from the cache.
pub(crate) fn load(
    engine: &Engine,
    path: &Path,
    limits: &Limits,
    cache: Option<&AotCache>,
) -> Result<Artifact, Error> {
    let bytes =
        read(path, limits.component).map_err(|e| invalid(path, format_args!("cannot be read: {e}")))?;
    if bytes.len() as u64 > limits.component {
        return Err(invalid(path, format_args!("larger than the limit of {} bytes", limits.component)));
    }
    check_preamble(path, &bytes)?;
    let digest = Digest::of(&bytes);
    if let Some((component, code)) = cache.and_then(|cache| cache.get(engine, &digest)) {
        return Ok(Artifact { digest, component, cached: true, code: Some(code) });
    }
    let component =
        Component::new(engine, &bytes).map_err(|e| invalid(path, format_args!("does not compile: {e:#}")))?;
    let code = cache.and_then(|cache| cache.put(engine, &digest, &component));
    Ok(Artifact { digest, component, cached: false, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_code_is_where_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.wasm");
        std::fs::write(&path, COMPONENT).unwrap();
        let cache = AotCache::open(&dir.path().join("aot")).unwrap();
        let load = |cache| load(&Engine::default(), &path, &Limits::default(), cache).unwrap();
        let first = load(Some(&cache));
        assert!(!first.cached && first.code.as_ref().is_some_and(|code| code.is_file()));
        let second = load(Some(&cache));
        assert_eq!((second.cached, second.code), (true, first.code));
        assert_eq!(load(None).code, None);
    }

    #[test]
    fn what_is_no_component_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let load = |content: &[u8]| {
            let path = dir.path().join("x.wasm");
            std::fs::write(&path, content).unwrap();
            load(&Engine::default(), &path, &Limits { component: 1000, ..Limits::default() }, None).map(drop)
        };
        let message = |content: &[u8]| load(content).unwrap_err().message;
        assert!(message(&CORE_MODULE).contains("core WebAssembly module"));
        assert!(message(b"#!/bin/sh").contains("not a WebAssembly component"));
        assert!(message(b"").contains("not a WebAssembly component"));
        assert!(message(&[0; 1001]).contains("limit of 1000 bytes"));
        assert!(message(b"\0asm\x0d\0\x01\0garbage").contains("does not compile"));
        load(&COMPONENT).unwrap();
        let missing =
            super::load(&Engine::default(), Path::new("/nonexistent.wasm"), &Limits::default(), None);
        assert!(missing.err().unwrap().message.contains("/nonexistent.wasm: cannot be read"));
    }
}
