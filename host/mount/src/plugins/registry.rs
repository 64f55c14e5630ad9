//! Who serves a scheme or a CSI driver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How a plugin got here; a stronger way wins over weaker ones, two of the same strength must not disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Found in a default directory.
    Default,
    /// `--plugin FILE` or `--plugin-dir DIR`.
    Named,
    /// `--plugin SCHEME=FILE`: decides this scheme, and is as `Named` for its others.
    Decided(String),
}

/// One plugin and what it says it serves.
#[derive(Clone)]
pub(crate) struct Claim<P> {
    /// The plugin.
    pub(crate) plugin: P,
    /// Its file, for messages.
    pub(crate) file: PathBuf,
    /// Digest of its file: two copies of the same plugin do not disagree.
    pub(crate) digest: String,
    /// Its name.
    pub(crate) name: String,
    /// Schemes of `mountPoint`.
    pub(crate) schemes: Vec<String>,
    /// CSI drivers whose volumes it mounts.
    pub(crate) drivers: Vec<String>,
    /// How it got here.
    pub(crate) strength: Strength,
}

/// Two plugins want the same thing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} and {} both serve {what}; name one of them with --plugin SCHEME=FILE, or take one away",
    first.display(), second.display()
)]
pub(crate) struct Clash {
    /// `s3://`
    pub(crate) what: String,
    /// One file.
    pub(crate) first: PathBuf,
    /// The other.
    pub(crate) second: PathBuf,
}

/// The plugins of this process.
pub(crate) struct Registry<P> {
    schemes: BTreeMap<String, P>,
    drivers: BTreeMap<String, P>,
    names: BTreeMap<String, P>,
    only: Option<P>,
}

impl<P: Clone> Registry<P> {
    /// Settles who serves what.
    ///
    /// # Errors
    /// When two different plugins of the same strength claim the same.
    pub(crate) fn build(claims: &[Claim<P>]) -> Result<Self, Clash> {
        let decided = claims.iter().filter_map(|claim| match &claim.strength {
            Strength::Decided(scheme) => Some(scheme.clone()),
            Strength::Default | Strength::Named => None,
        });
        let all: BTreeSet<String> =
            claims.iter().flat_map(|claim| claim.schemes.clone()).chain(decided).collect();
        let mut schemes = BTreeMap::new();
        for scheme in all {
            if let Some(plugin) = settle(claims, &format!("{scheme}://"), |claim| match &claim.strength {
                Strength::Decided(mine) if *mine == scheme => Some(2),
                _ if !claim.schemes.contains(&scheme) => None,
                Strength::Decided(_) | Strength::Named => Some(1),
                Strength::Default => Some(0),
            })? {
                schemes.insert(scheme, plugin);
            }
        }
        let rank = |claim: &Claim<P>| u8::from(claim.strength != Strength::Default);
        let mut drivers = BTreeMap::new();
        for driver in claims.iter().flat_map(|claim| &claim.drivers) {
            let what = format!("volumes of CSI driver {driver}");
            let serves = |claim: &Claim<P>| claim.drivers.contains(driver).then(|| rank(claim));
            if let Some(plugin) = settle(claims, &what, serves)? {
                drivers.insert(driver.clone(), plugin);
            }
        }
        let names = claims.iter().map(|claim| (claim.name.clone(), claim.plugin.clone())).collect();
        let mut named = claims.iter().filter(|claim| claim.strength != Strength::Default);
        let only = match (named.next(), named.next()) {
            (Some(only), None) => Some(only.plugin.clone()),
            _ => None,
        };
        Ok(Self { schemes, drivers, names, only })
    }

    /// The plugin of a scheme.
    pub(crate) fn by_scheme(&self, scheme: &str) -> Option<P> {
        self.schemes.get(scheme).cloned()
    }

    /// The plugin of a CSI driver.
    pub(crate) fn by_driver(&self, driver: &str) -> Option<P> {
        self.drivers.get(driver).cloned()
    }

    /// The plugin that the option `type` means: one of its schemes, or its name.
    pub(crate) fn by_type(&self, kind: &str) -> Option<P> {
        self.by_scheme(kind).or_else(|| self.names.get(kind).cloned())
    }

    /// The plugin of the command line, if there is exactly one.
    pub(crate) fn only(&self) -> Option<P> {
        self.only.clone()
    }

    /// What can be mounted, for messages: `minio://, s3://`.
    pub(crate) fn known(&self) -> String {
        if self.schemes.is_empty() {
            return "none: no plugin is loaded".to_owned();
        }
        self.schemes.keys().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
    }
}

/// The strongest claim; `rank` is `None` for plugins that do not claim `what`.
fn settle<P: Clone>(
    claims: &[Claim<P>],
    what: &str,
    rank: impl Fn(&Claim<P>) -> Option<u8>,
) -> Result<Option<P>, Clash> {
    let Some(best) = claims.iter().filter_map(&rank).max() else { return Ok(None) };
    let mut candidates = claims.iter().filter(|claim| rank(claim) == Some(best));
    let Some(first) = candidates.next() else { return Ok(None) };
    match candidates.find(|other| other.digest != first.digest) {
        None => Ok(Some(first.plugin.clone())),
        Some(second) => {
            let own = Path::to_owned;
            Err(Clash { what: what.to_owned(), first: own(&first.file), second: own(&second.file) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(file: &'static str, schemes: &[&str], strength: Strength) -> Claim<&'static str> {
        Claim {
            plugin: file,
            file: file.into(),
            digest: file.rsplit('/').next().unwrap_or(file).to_owned(),
            name: format!("name-of-{file}"),
            schemes: schemes.iter().map(|s| (*s).to_owned()).collect(),
            drivers: vec!["csi.example".to_owned()].into_iter().filter(|_| file.contains("csi")).collect(),
            strength,
        }
    }

    #[test]
    fn a_clash_names_both_files() {
        let claims =
            [claim("a.wasm", &["s3"], Strength::Named), claim("b.wasm", &["s3", "gs"], Strength::Named)];
        let text = Registry::build(&claims).err().unwrap().to_string();
        assert!(text.contains("a.wasm and b.wasm both serve s3://") && text.contains("--plugin"), "{text}");
        let defaults =
            [claim("a.wasm", &["s3"], Strength::Default), claim("b.wasm", &["s3"], Strength::Default)];
        assert!(Registry::build(&defaults).is_err());
        let csi = [claim("csi-a", &["x"], Strength::Named), claim("csi-b", &["y"], Strength::Named)];
        assert!(Registry::build(&csi).err().unwrap().to_string().contains("csi.example"));
    }

    #[test]
    fn stronger_claims_win() {
        let claims = [
            claim("default.wasm", &["s3", "minio"], Strength::Default),
            claim("named.wasm", &["s3", "gs"], Strength::Named),
            claim("decided.wasm", &["other"], Strength::Decided("gs".into())),
        ];
        let registry = Registry::build(&claims).ok().unwrap();
        assert_eq!(registry.by_scheme("s3"), Some("named.wasm"));
        assert_eq!(registry.by_scheme("minio"), Some("default.wasm"));
        assert_eq!(registry.by_scheme("gs"), Some("decided.wasm"), "even a scheme it does not claim itself");
        assert_eq!(registry.by_scheme("other"), Some("decided.wasm"));
        assert_eq!(registry.by_scheme("ftp"), None);
        assert_eq!(registry.known(), "gs://, minio://, other://, s3://");
        let two = [
            claim("a", &["s3"], Strength::Decided("s3".into())),
            claim("b", &[], Strength::Decided("s3".into())),
        ];
        assert!(Registry::build(&two).is_err());
    }

    #[test]
    fn copies_of_one_plugin_do_not_disagree() {
        let claims =
            [claim("x/s3.wasm", &["s3"], Strength::Named), claim("y/s3.wasm", &["s3"], Strength::Named)];
        assert_eq!(Registry::build(&claims).ok().unwrap().by_scheme("s3"), Some("x/s3.wasm"));
    }

    #[test]
    fn the_only_plugin_and_types() {
        let claims = [claim("a.wasm", &["s3"], Strength::Named), claim("b.wasm", &["gs"], Strength::Default)];
        let registry = Registry::build(&claims).ok().unwrap();
        assert_eq!(registry.only(), Some("a.wasm"));
        assert_eq!(registry.by_type("gs"), Some("b.wasm"));
        assert_eq!(registry.by_type("name-of-b.wasm"), Some("b.wasm"));
        assert!(Registry::<&str>::build(&[]).ok().unwrap().known().contains("no plugin"));
    }
}
