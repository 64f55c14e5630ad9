//! Compiled code kept on disk: 0.1 ms to load instead of 150 ms of compiling.
//!
//! Loading compiled code means running it as native code, outside the sandbox. So it is only ever read from a
//! directory that nobody but this process's user can write, an entry's name covers the component's digest and
//! everything that decides about the generated code (engine version, settings, CPU features), and its content
//! is checked against a digest written with it: a torn or rotten file is compiled again, not run.
#![allow(
    unsafe_code,
    reason = "Component::deserialize trusts its input; this module is what makes it trustworthy"
)]

use super::Digest;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tempfile::NamedTempFile;
use wasmount_types::{Blame, Error, ErrorKind};
use wasmtime::Engine;
use wasmtime::component::Component;

/// A directory of compiled components.
#[derive(Clone, Debug)]
pub(crate) struct AotCache {
    dir: PathBuf,
}

/// Bytes of the SHA-256 in front of each entry's code.
const HEADER: usize = 64;

impl AotCache {
    /// Opens the directory, creating it (0700) if it is not there.
    ///
    /// # Errors
    /// `invalid` if somebody else could have written to it.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let refuse = |why: String| {
            let text = format!(
                "the directory for compiled plugins, {}, {why}; remove it or choose another with --state-dir",
                dir.display()
            );
            Error::new(ErrorKind::Invalid, Blame::Host, text)
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| refuse(format!("cannot be created: {e}")))?;
        let meta = fs::symlink_metadata(dir).map_err(|e| refuse(format!("cannot be examined: {e}")))?;
        if !meta.is_dir() {
            return Err(refuse("is not a directory".into()));
        }
        let me = process_uid();
        if meta.uid() != me {
            return Err(refuse(format!("belongs to user {} and not to {me}, who runs this", meta.uid())));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(refuse(format!("can be written by others (mode {:o})", meta.mode() & 0o7777)));
        }
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        self.dir.join(format!("{}-{:016x}.cwasm", digest.hex(), hasher.finish()))
    }

    /// The code of this component and its file, if there is a sound entry.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<(Component, PathBuf)> {
        let path = self.path(engine, digest);
        let mut file = File::open(&path).ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.mode() & 0o022 != 0 || meta.uid() != process_uid() {
            tracing::warn!(path = %path.display(), "compiled code that others could have written is not used");
            return None;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        // What has not been used for long is removed by age (`wasmount_distribution::tidy`).
        let _ = file.set_modified(SystemTime::now());
        let (header, code) = bytes.split_at_checked(HEADER)?;
        if Digest::of(code).hex().as_bytes() != header {
            tracing::warn!(path = %path.display(), "damaged compiled code is not used");
            return None;
        }
        // SAFETY: the bytes are what `Component::serialize` gave, unchanged (their digest matches), written by
        // this user into a directory and a file that no other user can write. Code of another engine version,
        // other settings or another CPU has another name, and `deserialize` itself refuses it.
        match unsafe { Component::deserialize(engine, code) } {
            Ok(component) => Some((component, path)),
            Err(error) => {
                tracing::warn!(path = %path.display(), "compiled code is not usable: {error:#}");
                None
            }
        }
    }

    /// Keeps the code of a component, and says in which file. Failing costs time at the next start, so it is only logged.
    pub(crate) fn put(&self, engine: &Engine, digest: &Digest, component: &Component) -> Option<PathBuf> {
        let path = self.path(engine, digest);
        if let Err(error) = self.write(&path, component) {
            tracing::warn!(path = %path.display(), "compiled plugin could not be kept: {error:#}");
            return None;
        }
        Some(path)
    }

    fn write(&self, path: &Path, component: &Component) -> wasmtime::Result<()> {
        let code = component.serialize()?;
        // Containers that share the directory all have process id 1, so the name is drawn by lot. What a process leaves behind that dies here is
        // removed by age.
        let mut file = NamedTempFile::with_suffix_in(".tmp", &self.dir)?;
        file.write_all(Digest::of(&code).hex().as_bytes())?;
        file.write_all(&code)?;
        file.persist(path)?;
        Ok(())
    }
}

/// User whose rights this process has on files.
fn process_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn code_is_kept_and_damage_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("state/aot");
        let cache = AotCache::open(&dir).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        let engine = Engine::default();
        let digest = Digest::of(EMPTY);
        assert!(cache.get(&engine, &digest).is_none());
        cache.put(&engine, &digest, &Component::new(&engine, EMPTY).unwrap());
        assert!(cache.get(&engine, &digest).is_some());
        assert!(AotCache::open(&dir).unwrap().get(&engine, &digest).is_some());

        let path = cache.path(&engine, &digest);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        for content in [&bad[..], &good[..good.len() / 2], b"", b"short"] {
            fs::write(&path, content).unwrap();
            assert!(cache.get(&engine, &digest).is_none());
        }
        // Well-formed, but not code of this engine.
        let foreign = b"not code";
        fs::write(&path, [Digest::of(foreign).hex().as_bytes(), foreign].concat()).unwrap();
        assert!(cache.get(&engine, &digest).is_none());
        fs::write(&path, &good).unwrap();
        assert!(cache.get(&engine, &digest).is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(cache.get(&engine, &digest).is_none(), "others could have written it");
    }

    #[test]
    fn what_another_process_is_writing_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let cache = AotCache::open(root.path()).unwrap();
        let (engine, digest) = (Engine::default(), Digest::of(EMPTY));
        let path = cache.path(&engine, &digest);
        // Containers are alone with their process ids: whatever is counted, the next one counts the same.
        let others: Vec<_> = (0..100)
            .map(|number| path.with_extension(format!("{}-{number}.tmp", std::process::id())))
            .collect();
        others.iter().for_each(|other| fs::write(other, "half of it").unwrap());
        let component = Component::new(&engine, EMPTY).unwrap();
        assert_eq!(cache.put(&engine, &digest, &component), Some(path.clone()));
        assert!(others.iter().all(|other| fs::read(other).unwrap() == b"half of it"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), others.len() + 1, "nothing is left behind");
        assert!(cache.get(&engine, &digest).is_some());
        fs::remove_dir_all(root.path()).unwrap();
        assert_eq!(cache.put(&engine, &digest, &component), None);
    }

    #[test]
    fn an_engine_with_other_settings_has_other_entries() {
        let root = tempfile::tempdir().unwrap();
        let cache = AotCache::open(root.path()).unwrap();
        let mut config = wasmtime::Config::new();
        let fuel = Engine::new(config.consume_fuel(true)).unwrap();
        let digest = Digest::of(EMPTY);
        assert_ne!(cache.path(&fuel, &digest), cache.path(&Engine::default(), &digest));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(AotCache::open(root.path()).unwrap_err().message.contains("can be written by others"));
        let link = root.path().join("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        AotCache::open(&link).unwrap_err();
    }
}
