//! What a mount point such as `ceph://10.0.0.1,10.0.0.2:3300/path` names.

use wasmount_sdk::{Error, Result};

/// Monitors and directory, each as far as it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Monitors, as they are written.
    pub monitors: Option<String>,
    /// The directory to mount; `None`: no more than `/` was written, and an option may say more.
    pub path: Option<Root>,
}

impl Location {
    /// Parses what follows `ceph://`. Names are taken literally.
    ///
    /// # Errors
    /// `invalid`: the path has `.` or `..` in it.
    pub fn parse(location: &str) -> Result<Self> {
        let (monitors, path) = match location.find('/') {
            Some(slash) => location.split_at(slash),
            None => (location, ""),
        };
        let path = Root::parse(path).map_err(|error| error.context("mountPoint"))?;
        Ok(Self {
            monitors: Some(monitors.to_owned()).filter(|monitors| !monitors.is_empty()),
            path: Some(path).filter(|path| *path != Root::whole()),
        })
    }
}

/// A directory of the file system that is shown as the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(String);

impl Root {
    /// The root of the file system itself.
    #[must_use]
    pub fn whole() -> Self {
        Self("/".to_owned())
    }

    /// Parses a path, with or without slashes before, behind and doubled.
    ///
    /// # Errors
    /// `invalid`: a name in it is `.` or `..`.
    pub fn parse(path: &str) -> Result<Self> {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        if let Some(name) = names.iter().find(|name| matches!(**name, "." | "..")) {
            return Err(Error::invalid(format!("the path {path} has {name} in it: write it without")));
        }
        Ok(Self(format!("/{}", names.join("/"))))
    }

    /// `/` or `/a/b`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (text, monitors, path) in [
            ("10.0.0.1:3300", Some("10.0.0.1:3300"), None),
            ("10.0.0.1,10.0.0.2:3300/", Some("10.0.0.1,10.0.0.2:3300"), None),
            ("mon/a-b/c d", Some("mon"), Some("/a-b/c d")),
            ("mon//a//b/", Some("mon"), Some("/a/b")),
            ("[fd00::1]:3300/a", Some("[fd00::1]:3300"), Some("/a")),
            ("/a", None, Some("/a")),
            ("", None, None),
        ] {
            let found = Location::parse(text).unwrap();
            assert_eq!(found.monitors.as_deref(), monitors, "{text}");
            assert_eq!(found.path.as_ref().map(Root::as_str), path, "{text}");
        }
    }

    #[test]
    fn paths_go_one_way() {
        let error = Location::parse("mon/a/../b").unwrap_err();
        assert!(error.message.contains("mountPoint") && error.message.contains(".."), "{}", error.message);
        assert!(Root::parse("./a").is_err());
        assert_eq!(Root::parse("").unwrap(), Root::whole());
        assert_eq!(Root::parse("a/...").unwrap().as_str(), "/a/...");
    }
}
