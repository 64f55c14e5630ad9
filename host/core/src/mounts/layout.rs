//! Where the mounts of a Dataset appear below the target.

use std::fmt;
use wasmount_types::{Blame, Error, ErrorKind, Name};

/// Longest path of a place in bytes: longer ones Linux does not take in one piece (`PATH_MAX`, with a zero at the end), and every directory on the way
/// remembers its own.
const PATH_MAX: usize = 4095;

/// Where a mount appears.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It is the root of the FUSE mount; other mounts shadow entries of the same name.
    Root,
    /// An absolute path below the root: `/data/a`. Made with [`Place::at`].
    Path(String),
}

impl Place {
    /// The place for a configured path; `/` and the empty path are the root.
    ///
    /// # Errors
    /// `invalid` when a segment cannot be a file name: `..`, over 255 bytes, NUL; or the whole is too long.
    pub fn at(path: &str) -> Result<Self, Error> {
        if path.len() > PATH_MAX {
            let message = format!(
                "`path` of a mount has {} bytes; at most {PATH_MAX} can be the name of a directory",
                path.len()
            );
            return Err(Error::new(ErrorKind::Invalid, Blame::Caller, message));
        }
        let names = path.split('/').filter(|s| !s.is_empty() && *s != ".").collect::<Vec<_>>();
        for name in &names {
            Name::new(name.as_bytes()).map_err(|why| {
                // A path may be as long as config.json.
                let short = |text: &str| text.chars().take(100).collect::<String>();
                let text = format!(
                    "`path` {:?} of a mount has the segment {:?}, which is no directory name: {why}",
                    short(path),
                    short(name)
                );
                Error::new(ErrorKind::Invalid, Blame::Caller, text)
            })?;
        }
        if names.first().is_some_and(|name| *name == crate::control::DIRECTORY) {
            let text = format!(
                "`path` {path:?} of a mount: {} is wasmount's own directory",
                crate::control::DIRECTORY
            );
            return Err(Error::new(ErrorKind::Invalid, Blame::Caller, text));
        }
        Ok(if names.is_empty() { Self::Root } else { Self::Path(format!("/{}", names.join("/"))) })
    }

    /// Path below the root without slashes around it; empty for the root.
    pub(crate) fn relative(&self) -> &str {
        match self {
            Self::Root => "",
            Self::Path(path) => path.trim_matches('/'),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.relative())
    }
}

/// How places are chosen; decided once, at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A single mount whose `path` is missing or `/` is the root; otherwise as [`Layout::Dirs`].
    #[default]
    Auto,
    /// The single mount is the root, whatever its `path` says.
    Root,
    /// Each mount is a directory at its `path`, else at `/<name>`.
    Dirs,
}

impl Layout {
    /// Place of one mount among `count`, from `path` and `name` of its configuration.
    ///
    /// # Errors
    /// `invalid`: neither path nor name says where; a segment that is no file name; `Root` with several mounts.
    pub fn place(self, count: usize, path: Option<&str>, name: Option<&str>) -> Result<Place, Error> {
        let path = path.map(str::trim).filter(|p| !p.is_empty());
        let invalid = |message: String| Err(Error::new(ErrorKind::Invalid, Blame::Caller, message));
        match self {
            Self::Root if count == 1 => return Ok(Place::Root),
            Self::Root => {
                return invalid(format!(
                    "the layout `root` needs exactly one mount, there are {count}; use `dirs`"
                ));
            }
            Self::Auto if count == 1 && path.is_none_or(|p| Place::at(p) == Ok(Place::Root)) => {
                return Ok(Place::Root);
            }
            Self::Auto | Self::Dirs => {}
        }
        match (path.map(Place::at).transpose()?, name.filter(|n| !n.is_empty())) {
            (Some(place @ Place::Path(_)), _) => Ok(place),
            // `/` beside other mounts was asked for in so many words: that mount is the root.
            (Some(Place::Root), _) if self == Self::Auto => Ok(Place::Root),
            (_, Some(name)) => match Name::new(name.as_bytes()) {
                Ok(_) => Place::at(name),
                Err(why) => invalid(format!(
                    "`name` {name:?} of a mount is no directory name ({why}); set its `path`"
                )),
            },
            (_, None) => invalid(
                "a mount has neither `path` nor `name`, so there is no directory for it; set one".into(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let path = |p: &str| Place::Path(p.to_owned());
        assert_eq!(Layout::Auto.place(1, None, Some("x")), Ok(Place::Root));
        assert_eq!(Layout::Auto.place(1, Some("/"), Some("x")), Ok(Place::Root));
        assert_eq!(Layout::Auto.place(1, Some("/a/b/"), Some("x")), Ok(path("/a/b")));
        assert_eq!(Layout::Auto.place(2, None, Some("x")), Ok(path("/x")));
        assert_eq!(Layout::Auto.place(2, Some("/"), Some("x")), Ok(Place::Root));
        assert_eq!(Layout::Dirs.place(1, Some("/"), Some("x")), Ok(path("/x")));
        assert_eq!(Layout::Dirs.place(1, None, Some("x")), Ok(path("/x")));
        assert_eq!(Layout::Root.place(1, Some("/a"), Some("x")), Ok(Place::Root));
        assert!(Layout::Root.place(2, None, Some("x")).is_err());
        assert!(Layout::Dirs.place(1, None, None).is_err());
        assert!(Place::at(&"a/".repeat(2047)).is_ok() && Place::at(&"a/".repeat(2048)).is_err());
        assert!(Layout::Auto.place(2, Some("/a/../b"), Some("x")).is_err());
        assert!(Layout::Dirs.place(1, None, Some("a/b")).is_err());
        for own in ["/.wasmount", ".wasmount/stats"] {
            let error = Layout::Auto.place(2, Some(own), Some("x")).unwrap_err();
            assert!(error.message.contains("wasmount's own directory"), "{error}");
        }
        assert!(Layout::Dirs.place(1, None, Some(".wasmount")).is_err());
        assert_eq!(Layout::Auto.place(2, Some("/a/.wasmount"), Some("x")), Ok(path("/a/.wasmount")));
        let long = Layout::Auto.place(2, Some(&"x".repeat(1 << 20)), Some("x")).unwrap_err();
        assert!(long.message.len() < 500, "{}", long.message.len());
    }
}
