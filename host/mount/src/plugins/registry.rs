//! Who serves a scheme or a CSI driver.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How a plugin got here; a stronger way wins over weaker ones, two of the same strength must not disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// Found in a default directory, since the operator has named nothing.
    Default,
    /// Found in a directory that the operator named.
    Directory,
    /// `--plugin REFERENCE`, which is no directory.
    Named,
    /// `--plugin SCHEME=REFERENCE`: decides this scheme, and is as `Named` for its others.
    Decided(String),
}

impl Strength {
    /// Higher is stronger; the scheme that is decided comes above all.
    fn rank(&self) -> u8 {
        match self {
            Self::Default | Self::Directory => 0,
            Self::Named | Self::Decided(_) => 1,
        }
    }
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

/// A plugin of this process, by whichever name it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen<P> {
    /// The plugin.
    pub(crate) plugin: P,
    /// Its name, and all schemes that it serves here: what `--option` may call it.
    pub(crate) called: BTreeSet<String>,
}

/// The plugins of this process.
pub(crate) struct Registry<P> {
    /// One for each claim.
    plugins: Vec<Chosen<P>>,
    // The rest are indices of it.
    schemes: BTreeMap<String, usize>,
    drivers: BTreeMap<String, usize>,
    names: BTreeMap<String, usize>,
    only: Option<usize>,
}

impl<P> Default for Registry<P> {
    /// Nobody serves anything.
    fn default() -> Self {
        let nobody = BTreeMap::new;
        Self { plugins: Vec::new(), schemes: nobody(), drivers: nobody(), names: nobody(), only: None }
    }
}

impl<P: Clone> Registry<P> {
    /// Settles who serves what.
    ///
    /// # Errors
    /// When two different plugins of the same strength claim the same.
    pub(crate) fn build(claims: &[Claim<P>]) -> Result<Self, Clash> {
        let decided = claims.iter().filter_map(|claim| match &claim.strength {
            Strength::Decided(scheme) => Some(scheme.clone()),
            Strength::Default | Strength::Directory | Strength::Named => None,
        });
        let all: BTreeSet<String> =
            claims.iter().flat_map(|claim| claim.schemes.clone()).chain(decided).collect();
        let mut schemes = BTreeMap::new();
        for scheme in all {
            if let Some(index) = settle(claims, &format!("{scheme}://"), |claim| match &claim.strength {
                Strength::Decided(mine) if *mine == scheme => Some(2),
                strength => claim.schemes.contains(&scheme).then(|| strength.rank()),
            })? {
                schemes.insert(scheme, index);
            }
        }
        let mut drivers = BTreeMap::new();
        for driver in claims.iter().flat_map(|claim| &claim.drivers) {
            let what = format!("volumes of CSI driver {driver}");
            let serves = |claim: &Claim<P>| claim.drivers.contains(driver).then(|| claim.strength.rank());
            if let Some(index) = settle(claims, &what, serves)? {
                drivers.insert(driver.clone(), index);
            }
        }
        let names = claims.iter().enumerate().map(|(index, claim)| (claim.name.clone(), index)).collect();
        let plugins = claims.iter().map(|claim| chosen(claim, claims, &schemes)).collect();
        Ok(Self { plugins, schemes, drivers, names, only: only(claims) })
    }

    /// The plugin of a scheme.
    pub(crate) fn by_scheme(&self, scheme: &str) -> Option<&Chosen<P>> {
        self.plugins.get(*self.schemes.get(scheme)?)
    }

    /// The plugin of a CSI driver.
    pub(crate) fn by_driver(&self, driver: &str) -> Option<&Chosen<P>> {
        self.plugins.get(*self.drivers.get(driver)?)
    }

    /// The plugin that the option `type` means: one of its schemes, or its name.
    pub(crate) fn by_type(&self, kind: &str) -> Option<&Chosen<P>> {
        self.by_scheme(kind).or_else(|| self.plugins.get(*self.names.get(kind)?))
    }

    /// The plugin that the operator named, if there is exactly one: beside one that was named itself, those of a directory do not count.
    pub(crate) fn only(&self) -> Option<&Chosen<P>> {
        self.plugins.get(self.only?)
    }

    /// What can be mounted, for messages: `minio://, s3://`.
    pub(crate) fn known(&self) -> String {
        if self.schemes.is_empty() {
            return "none: no plugin is loaded".to_owned();
        }
        self.schemes.keys().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
    }
}

/// A plugin with everything that it, or another copy of it, is called.
fn chosen<P: Clone>(claim: &Claim<P>, claims: &[Claim<P>], schemes: &BTreeMap<String, usize>) -> Chosen<P> {
    let same = |index: &usize| claims.get(*index).is_some_and(|other| other.digest == claim.digest);
    let serves = schemes.iter().filter(|(_, index)| same(index)).map(|(scheme, _)| scheme.clone());
    let called = serves.chain([claim.name.clone()]).collect();
    Chosen { plugin: claim.plugin.clone(), called }
}

/// The strongest of what was named, if it is one.
fn only<P>(claims: &[Claim<P>]) -> Option<usize> {
    let named = || claims.iter().enumerate().filter(|(_, claim)| claim.strength != Strength::Default);
    let best = named().map(|(_, claim)| claim.strength.rank()).max()?;
    let mut strongest = named().filter(|(_, claim)| claim.strength.rank() == best);
    match (strongest.next(), strongest.next()) {
        (Some((index, _)), None) => Some(index),
        _ => None,
    }
}

/// The index of the strongest claim; `rank` is `None` for plugins that do not claim `what`.
fn settle<P>(
    claims: &[Claim<P>],
    what: &str,
    rank: impl Fn(&Claim<P>) -> Option<u8>,
) -> Result<Option<usize>, Clash> {
    let Some(best) = claims.iter().filter_map(&rank).max() else { return Ok(None) };
    let mut candidates = claims.iter().enumerate().filter(|(_, claim)| rank(claim) == Some(best));
    let Some((index, first)) = candidates.next() else { return Ok(None) };
    match candidates.find(|(_, other)| other.digest != first.digest) {
        None => Ok(Some(index)),
        Some((_, second)) => {
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

    fn plugin(chosen: Option<&Chosen<&'static str>>) -> Option<&'static str> {
        chosen.map(|chosen| chosen.plugin)
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
            claim("found.wasm", &["s3", "minio"], Strength::Directory),
            claim("named.wasm", &["s3", "gs"], Strength::Named),
            claim("decided.wasm", &["other"], Strength::Decided("gs".into())),
            claim("csi-found", &["x"], Strength::Directory),
            claim("csi-named", &["y"], Strength::Named),
        ];
        let registry = Registry::build(&claims).ok().unwrap();
        assert_eq!(plugin(registry.by_scheme("s3")), Some("named.wasm"));
        assert_eq!(plugin(registry.by_scheme("minio")), Some("found.wasm"));
        let decided = registry.by_scheme("gs");
        assert_eq!(plugin(decided), Some("decided.wasm"), "even a scheme it does not claim itself");
        assert_eq!(plugin(registry.by_scheme("other")), Some("decided.wasm"));
        assert_eq!(plugin(registry.by_scheme("ftp")), None);
        assert_eq!(plugin(registry.by_driver("csi.example")), Some("csi-named"));
        assert_eq!(registry.known(), "gs://, minio://, other://, s3://, x://, y://");
        let two = [
            claim("a", &["s3"], Strength::Decided("s3".into())),
            claim("b", &[], Strength::Decided("s3".into())),
        ];
        assert!(Registry::build(&two).is_err());
    }

    #[test]
    fn what_a_plugin_is_called() {
        let claims = [
            claim("found.wasm", &["s3", "minio"], Strength::Directory),
            claim("named.wasm", &["s3", "csi"], Strength::Named),
            claim("copy/named.wasm", &["s3", "csi"], Strength::Decided("gs".into())),
        ];
        let registry = Registry::build(&claims).ok().unwrap();
        let called = |scheme: &str| -> Vec<&str> {
            registry.by_scheme(scheme).unwrap().called.iter().map(String::as_str).collect()
        };
        assert_eq!(called("csi"), ["csi", "gs", "name-of-named.wasm", "s3"], "what copies of it serve, too");
        assert_eq!(called("minio"), ["minio", "name-of-found.wasm"], "s3 means another one here");
    }

    #[test]
    fn copies_of_one_plugin_do_not_disagree() {
        let claims =
            [claim("x/s3.wasm", &["s3"], Strength::Named), claim("y/s3.wasm", &["s3"], Strength::Named)];
        assert_eq!(plugin(Registry::build(&claims).ok().unwrap().by_scheme("s3")), Some("x/s3.wasm"));
    }

    #[test]
    fn the_only_plugin_and_types() {
        let of = |strengths: [Strength; 2]| {
            let [a, b] = strengths;
            Registry::build(&[claim("a.wasm", &["s3"], a), claim("b.wasm", &["gs"], b)]).ok().unwrap()
        };
        let registry = of([Strength::Named, Strength::Directory]);
        assert_eq!(plugin(registry.only()), Some("a.wasm"));
        assert_eq!(plugin(registry.by_type("gs")), Some("b.wasm"));
        assert_eq!(plugin(registry.by_type("name-of-b.wasm")), Some("b.wasm"));
        for several in [[Strength::Named, Strength::Named], [Strength::Directory, Strength::Directory]] {
            assert_eq!(plugin(of(several).only()), None);
        }
        let alone = |strength| Registry::build(&[claim("a.wasm", &["s3"], strength)]).ok().unwrap();
        assert_eq!(plugin(alone(Strength::Directory).only()), Some("a.wasm"));
        assert_eq!(plugin(alone(Strength::Default).only()), None, "nobody has named it");
        assert!(Registry::<&str>::build(&[]).ok().unwrap().known().contains("no plugin"));
        assert!(Registry::<&str>::default().known().contains("no plugin"));
    }
}
