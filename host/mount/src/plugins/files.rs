//! Finding plugin files.

use super::registry::Strength;
use std::io;
use std::path::{Path, PathBuf};
use wasmount_distribution::Reference;
use wasmount_types::Digest;

/// Where the container image has its plugins, and where packages put them.
const INSTALLED: [&str; 2] = ["/plugins", "/usr/share/wasmount/plugins"];

/// A file that should be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The file.
    pub(crate) file: PathBuf,
    /// What the operator calls it, for messages: the file, or the reference by which it was fetched.
    pub(crate) name: String,
    /// What it must be, if that is known.
    pub(crate) digest: Option<Digest>,
    /// Files of the state directory without which a later start would have to fetch it again.
    pub(crate) kept: Vec<PathBuf>,
    /// How it was found.
    pub(crate) strength: Strength,
    /// The operator named this very plugin, so it must load; others are skipped with a log line.
    pub(crate) required: bool,
}

/// What `--plugin` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// Where it is.
    pub(crate) reference: Reference,
    /// For one scheme, or for all that it serves.
    pub(crate) strength: Strength,
}

/// Reads `--plugin [SCHEME=]REFERENCE`. A file whose name contains `=` is written `./a=b.wasm`.
///
/// # Errors
/// What is wrong with the reference.
pub(crate) fn parse_arg(text: &str) -> wasmount_distribution::Result<Named> {
    let is_scheme = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let (strength, text) = match text.split_once('=') {
        Some((scheme, rest)) if is_scheme(scheme) => (Strength::Decided(scheme.to_ascii_lowercase()), rest),
        _ => (Strength::Named, text),
    };
    Ok(Named { reference: Reference::parse(text)?, strength })
}

/// The plugin, or those of the directory, at a path that the operator named.
///
/// # Errors
/// When a directory cannot be read, or was named for one scheme; the message names it.
pub(crate) fn at(path: &Path, strength: Strength) -> Result<Vec<Candidate>, String> {
    if !path.is_dir() {
        let name = path.display().to_string();
        let file = path.to_owned();
        return Ok(vec![Candidate { file, name, digest: None, kept: Vec::new(), strength, required: true }]);
    }
    let found =
        scan(path, &Strength::Directory).map_err(|error| format!("--plugin {}: {error}", path.display()))?;
    match (&strength, found.len()) {
        (Strength::Decided(scheme), _) => Err(format!(
            "--plugin {scheme}={}: this is a directory; name the file that serves {scheme}://",
            path.display()
        )),
        (_, 0) => Err(format!("--plugin {}: this directory has no file *.wasm", path.display())),
        _ => Ok(found),
    }
}

/// The plugins in a directory the operator named.
///
/// # Errors
/// When it cannot be read; the message names it.
pub(crate) fn in_dir(dir: &Path) -> Result<Vec<Candidate>, String> {
    scan(dir, &Strength::Directory).map_err(|error| format!("--plugin-dir {}: {error}", dir.display()))
}

/// The plugins in the default directories that exist: for an operator who has named none.
pub(crate) fn in_default_dirs() -> Vec<Candidate> {
    searched().iter().filter_map(|dir| scan(dir, &Strength::Default).ok()).flatten().collect()
}

/// The default directories, whether they exist or not.
pub(crate) fn searched() -> Vec<PathBuf> {
    default_dirs(std::env::current_exe().ok().as_deref())
}

/// The installed places, `plugins` beside the executable, and one level up: `target/plugins` for `target/release/wasmount`.
fn default_dirs(executable: Option<&Path>) -> Vec<PathBuf> {
    let near = executable.and_then(Path::parent);
    let up = near.and_then(Path::parent);
    let beside = [near, up].into_iter().flatten().map(|dir| dir.join("plugins"));
    INSTALLED.into_iter().map(PathBuf::from).chain(beside).collect()
}

fn scan(dir: &Path, strength: &Strength) -> io::Result<Vec<Candidate>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // `is_file` follows links: a mounted ConfigMap consists of them.
        if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let candidate = |file: PathBuf| {
        let name = file.display().to_string();
        let strength = strength.clone();
        Candidate { file, name, digest: None, kept: Vec::new(), strength, required: false }
    };
    Ok(files.into_iter().map(candidate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let decided = parse_arg("S3=/plugins/s3.wasm").unwrap();
        let path = |text: &str| Reference::Path(text.into());
        assert_eq!(
            (decided.reference, decided.strength),
            (path("/plugins/s3.wasm"), Strength::Decided("s3".into()))
        );
        for plain in ["/plugins/s3.wasm", "./a=b.wasm", "/x/a=b.wasm", "=a.wasm"] {
            let named = parse_arg(plain).unwrap();
            assert_eq!((named.reference, named.strength), (path(plain), Strength::Named), "{plain}");
        }
        let hex = "0".repeat(64);
        for remote in [format!("https://h/x.wasm#sha256={hex}"), "oci://r/x:v1#path=a.wasm".to_owned()] {
            let named = parse_arg(&remote).unwrap();
            assert!(
                matches!(named.reference, Reference::Remote(_)) && named.strength == Strength::Named,
                "{remote}"
            );
            let decided = parse_arg(&format!("s3={remote}")).unwrap();
            assert!(matches!(decided.reference, Reference::Remote(_)), "{remote}");
            assert_eq!(decided.strength, Strength::Decided("s3".into()));
        }
        assert!(parse_arg("https://h/x.wasm").is_err());
    }

    #[test]
    fn paths_that_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(at(dir.path(), Strength::Named).unwrap_err().contains("no file *.wasm"));
        std::fs::write(dir.path().join("a.wasm"), "").unwrap();
        let found = at(dir.path(), Strength::Named).unwrap();
        assert_eq!((found.len(), found[0].required), (1, false));
        assert_eq!(found[0].strength, Strength::Directory, "weaker than one that is named itself");
        assert!(at(dir.path(), Strength::Decided("s3".into())).unwrap_err().contains("--plugin s3="));
        let file = at(&dir.path().join("a.wasm"), Strength::Decided("s3".into())).unwrap();
        assert_eq!((file.len(), file[0].required), (1, true));
        assert_eq!(
            at(Path::new("/nonexistent.wasm"), Strength::Named).unwrap().len(),
            1,
            "loading it says what is wrong"
        );
    }

    #[test]
    fn directories() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.wasm", "a.wasm", "readme.md", ".wasm"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("dir.wasm")).unwrap();
        let names: Vec<_> = in_dir(dir.path()).unwrap().into_iter().map(|c| c.file).collect();
        assert_eq!(names, [dir.path().join("a.wasm"), dir.path().join("b.wasm")]);
        assert!(in_dir(&dir.path().join("none")).unwrap_err().contains("--plugin-dir"));
        assert_eq!(
            default_dirs(Some(Path::new("/w/target/release/wasmount"))),
            ["/plugins", "/usr/share/wasmount/plugins", "/w/target/release/plugins", "/w/target/plugins"]
                .map(PathBuf::from),
        );
    }
}
