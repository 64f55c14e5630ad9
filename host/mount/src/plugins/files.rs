//! Finding plugin files.

use super::registry::Strength;
use std::io;
use std::path::{Path, PathBuf};

/// Where the container image has its plugins.
const INSTALLED: &str = "/usr/share/wasmount/plugins";

/// A file that should be a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The file.
    pub(crate) file: PathBuf,
    /// How it was found.
    pub(crate) strength: Strength,
    /// The operator named this very file, so it must load; others are skipped with a log line.
    pub(crate) required: bool,
}

/// Reads `--plugin [SCHEME=]FILE`. A file whose name contains `=` is written `./a=b.wasm`.
pub(crate) fn parse_arg(text: &str) -> Candidate {
    let is_scheme = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    match text.split_once('=') {
        Some((scheme, file)) if is_scheme(scheme) => Candidate {
            file: file.into(),
            strength: Strength::Decided(scheme.to_ascii_lowercase()),
            required: true,
        },
        _ => Candidate { file: text.into(), strength: Strength::Named, required: true },
    }
}

/// The plugins in a directory the operator named.
///
/// # Errors
/// When it cannot be read; the message names it.
pub(crate) fn in_dir(dir: &Path) -> Result<Vec<Candidate>, String> {
    scan(dir, &Strength::Named).map_err(|error| format!("--plugin-dir {}: {error}", dir.display()))
}

/// The plugins in the default directories that exist.
pub(crate) fn in_default_dirs() -> Vec<Candidate> {
    let executable = std::env::current_exe().ok();
    default_dirs(executable.as_deref())
        .iter()
        .filter_map(|dir| scan(dir, &Strength::Default).ok())
        .flatten()
        .collect()
}

/// The installed place, `plugins` beside the executable, and one level up: `target/plugins` for `target/release/wasmount`.
fn default_dirs(executable: Option<&Path>) -> Vec<PathBuf> {
    let near = executable.and_then(Path::parent);
    let up = near.and_then(Path::parent);
    let beside = [near, up].into_iter().flatten().map(|dir| dir.join("plugins"));
    std::iter::once(PathBuf::from(INSTALLED)).chain(beside).collect()
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
    let candidate = |file| Candidate { file, strength: strength.clone(), required: false };
    Ok(files.into_iter().map(candidate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let decided = parse_arg("S3=/plugins/s3.wasm");
        assert_eq!(
            (decided.file, decided.strength),
            ("/plugins/s3.wasm".into(), Strength::Decided("s3".into()))
        );
        for plain in ["/plugins/s3.wasm", "./a=b.wasm", "/x/a=b.wasm", "=a.wasm"] {
            let named = parse_arg(plain);
            assert_eq!((named.file, named.strength), (plain.into(), Strength::Named), "{plain}");
        }
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
            [INSTALLED, "/w/target/release/plugins", "/w/target/plugins"].map(PathBuf::from),
        );
    }
}
