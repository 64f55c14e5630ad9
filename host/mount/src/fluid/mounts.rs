//! From the elements of `mounts` to mounts with an id, a place and a plugin.
//!
//! Nothing here fails as a whole: a mount that makes no sense keeps its directory, which says what is wrong, and
//! the others are not affected.

use crate::config::host_options::{self, HostOptions};
use crate::config::raw::{RawConfig, RawMount};
use crate::config::resolved::{Resolved, Served, Written};
use crate::config::sources::Shared;
use crate::plugins::registry::{Chosen, Registry};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use wasmount_core::mounts::{Layout, Place};
use wasmount_core::objects::ObjectFsConfig;
use wasmount_plugin::{MountSpec, OptionSource};
use wasmount_types::{Blame, Error, ErrorKind, MountId, Name};

/// Longest wait for the head of an answer; the deadline of an operation leaves room for another attempt.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Where mounts are already, when the configuration is not the first one. Whether there is one mount or several decides, by
/// [`Layout::Auto`], where a mount without `path` is; that must not move it while it is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There has been no mount yet.
    #[default]
    Nowhere,
    /// There was one, and it is the root: this one.
    Root(MountId),
    /// Each has a directory.
    Directories,
}

impl Standing {
    /// How it is after these mounts were made.
    pub(crate) fn after<P>(self, mounts: &[Resolved<P>]) -> Self {
        match (self, mounts) {
            (Self::Nowhere, []) => Self::Nowhere,
            (Self::Nowhere, [only]) if only.place == Place::Root => Self::Root(only.id.clone()),
            (Self::Nowhere, _) => Self::Directories,
            (Self::Root(id), mounts) => {
                let others = || mounts.iter().find(|mount| mount.place == Place::Root);
                match mounts.iter().any(|mount| mount.id == id) {
                    true => Self::Root(id),
                    false => Self::Root(others().map_or(id, |mount| mount.id.clone())),
                }
            }
            (Self::Directories, _) => Self::Directories,
        }
    }

    /// Of how many mounts a layout should take this one to be.
    fn count(&self, id: &str, ids: &[String]) -> usize {
        let several = ids.len().max(2);
        match self {
            Self::Nowhere => ids.len(),
            Self::Root(root) if root.as_str() == id => 1,
            // The root is free again.
            Self::Root(root) if !ids.iter().any(|id| root.as_str() == id) => ids.len(),
            Self::Root(_) | Self::Directories => several,
        }
    }
}

/// What holds for all mounts.
pub(crate) struct Settings<'a, P> {
    /// The plugins.
    pub(crate) registry: &'a Registry<P>,
    /// Options from everywhere but the mounts.
    pub(crate) shared: &'a Shared,
    /// How places are chosen.
    pub(crate) layout: Layout,
    /// Where mounts are already.
    pub(crate) standing: &'a Standing,
    /// `--secrets-dir`
    pub(crate) secrets_dir: &'a Path,
    /// `--strict-options`
    pub(crate) strict_options: bool,
    /// Who shares bytes in the disk cache; `None` without one.
    pub(crate) cache_namespace: Option<String>,
}

/// Resolves all mounts, in the order of the file.
pub(crate) fn resolve<P: Clone>(config: &RawConfig, settings: &Settings<'_, P>) -> Vec<Resolved<P>> {
    let mut taken = BTreeSet::new();
    let ids: Vec<String> =
        config.mounts.iter().enumerate().map(|(index, mount)| unique_id(index, mount, &mut taken)).collect();
    let places = places(&config.mounts, &ids, settings);
    let one = |(id, (mount, (place, misplaced))): (&String, (&RawMount, (Place, Option<Error>)))| {
        let id = MountId::new(id.as_str());
        let resolved = serve(config, mount, &id, settings);
        let (host, serves) = match resolved {
            Ok((host, served)) => (Some(host), served),
            Err(error) => (None, Err(error)),
        };
        let wants_writing = mount.read_only != Some(true)
            && host.as_ref().and_then(|host| host.wants_writing).unwrap_or(config.wants_writing());
        Resolved {
            id,
            place,
            mount_point: shown(&mount.mount_point),
            insecure: host.as_ref().is_some_and(|host| host.tls.insecure_skip_verify),
            misplaced: misplaced.is_some() || mount.fault.is_some(),
            written: Written {
                mount: mount.clone(),
                own: host.as_ref().map(|host| host.written.clone()).unwrap_or_default(),
                volume: volume_of(config, mount).and_then(Result::ok),
            },
            files: host.map_or_else(ObjectFsConfig::default, |host| host.files),
            serves: match misplaced {
                Some(error) => Err(error),
                None => serves,
            },
            wants_writing,
        }
    };
    ids.iter().zip(config.mounts.iter().zip(places)).map(one).collect()
}

/// `s3` of `s3://bucket`, in lower case.
fn scheme_of(mount_point: &str) -> Option<String> {
    let (scheme, _) = mount_point.split_once("://")?;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (first && scheme.chars().all(fine)).then(|| scheme.to_ascii_lowercase())
}

/// A mountPoint for log lines: without what stands before an `@`, which may be a password, and without a query.
pub(crate) fn shown(mount_point: &str) -> String {
    let (scheme, rest) = match mount_point.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), mount_point),
    };
    // Signatures and tokens are written in queries.
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?..."),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if let Some((_, host)) = authority.rsplit_once('@') {
        return format!("{scheme}...@{host}{path}{query}");
    }
    // A password may contain slashes; what follows the colon is no port then. Clusters have several hosts, and versions of the
    // Internet Protocol colons of their own.
    let no_port = |host: &str| {
        let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
        after_address.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()))
    };
    let password = authority.split(',').any(no_port);
    match rest.rsplit_once('@') {
        Some((_, host)) if password => format!("{scheme}...@{host}{query}"),
        _ => format!("{scheme}{rest}{query}"),
    }
}

/// A place for each mount, and why it is not the one that was asked for.
fn places<P>(mounts: &[RawMount], ids: &[String], settings: &Settings<'_, P>) -> Vec<(Place, Option<Error>)> {
    let wish = |mount: &RawMount, id: &str| {
        let count = settings.standing.count(id, ids);
        settings.layout.place(count, mount.path.as_deref(), mount.name.as_deref())
    };
    let mut taken: Vec<Place> = Vec::new();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut granted = Vec::new();
    for (mount, id) in mounts.iter().zip(ids) {
        let twice = mount.name.as_deref().filter(|name| !names.insert(name));
        granted.push(match wish(mount, id) {
            Ok(place) if taken.contains(&place) => {
                let text = format!(
                    "another mount has the place {place} already; give each its own `path` or `name`"
                );
                (None, Some(invalid(text)))
            }
            Ok(place) => {
                taken.push(place.clone());
                let text = |name| format!("the name {name:?} is that of another mount; names must be unique");
                (Some(place), twice.map(|name| invalid(text(name))))
            }
            Err(error) => (None, Some(error)),
        });
    }
    // Only now, so that no mount that is in order finds its place taken by one that is not.
    let mut settle = |(index, (place, error)): (usize, (Option<Place>, Option<Error>))| {
        let place = place.unwrap_or_else(|| {
            let place = fallback(index, mounts, &taken);
            taken.push(place.clone());
            place
        });
        (place, error)
    };
    granted.into_iter().enumerate().map(&mut settle).collect()
}

/// Where a mount says what is wrong with it when its own place is impossible.
fn fallback(index: usize, mounts: &[RawMount], taken: &[Place]) -> Place {
    if mounts.len() == 1 {
        return Place::Root;
    }
    let named = mounts
        .get(index)
        .and_then(|mount| mount.name.as_deref())
        .filter(|name| Name::new(name.as_bytes()).is_ok() && Place::at(name).is_ok());
    let candidates = named.map(str::to_owned).into_iter().chain((0..).map(|n| match n {
        0 => format!("mounts-{index}"),
        n => format!("mounts-{index}-{n}"),
    }));
    let mut places = candidates.map(|name| Place::Path(format!("/{name}")));
    places.find(|place| !taken.contains(place)).unwrap_or(Place::Root)
}

fn unique_id(index: usize, mount: &RawMount, ids: &mut BTreeSet<String>) -> String {
    let plain =
        mount.name.clone().or_else(|| mount.path.clone()).unwrap_or_else(|| format!("mounts[{index}]"));
    let mut id = plain.clone();
    let mut suffix = index;
    while !ids.insert(id.clone()) {
        id = format!("{plain}#{suffix}");
        suffix += 1;
    }
    id
}

/// The options and the plugin; a missing plugin is not an error of the options.
fn serve<P: Clone>(
    config: &RawConfig,
    mount: &RawMount,
    id: &MountId,
    settings: &Settings<'_, P>,
) -> Result<(HostOptions, Result<Served<P>, Error>), Error> {
    if let Some(fault) = &mount.fault {
        return Err(invalid(fault.to_string()));
    }
    let scheme = scheme_of(&mount.mount_point);
    let kind = host_options::kind(&settings.shared.for_mount(|_| false, mount));
    let volume = volume_of(config, mount);
    let chosen = match &volume {
        Some(volume) => volume.clone().and_then(|volume| plugin_of_volume(&volume, settings.registry)),
        None => plugin_of(&mount.mount_point, scheme.as_deref(), kind.as_deref(), settings.registry),
    };
    let called = |name: &str| {
        // `pvc`, or what nobody serves.
        scheme.as_deref() == Some(name) || chosen.as_ref().is_ok_and(|chosen| chosen.called.contains(name))
    };
    let (host, options) = host_options::take(settings.shared.for_mount(called, mount), settings.secrets_dir)?;
    let served = chosen.map(|Chosen { plugin, .. }| {
        let plugin = plugin.clone();
        let mut entry = mount.entry.clone();
        if let Some(Value::Object(map)) = entry.get_mut("options") {
            // wasmount's own options are none of the plugin's business; one of them may be a private key.
            map.retain(|name, _| options.iter().any(|o| o.source == OptionSource::Mount && o.name == *name));
        }
        let spec = MountSpec {
            id: id.clone(),
            mount_point: mount.mount_point.clone(),
            entry,
            options,
            persistent_volume: volume.and_then(Result::ok),
            read_only: true,
            strict_options: settings.strict_options,
            cache_namespace: settings.cache_namespace.clone(),
            secrets_dir: settings.secrets_dir.to_owned(),
            tls: host.tls.clone(),
            trust: host.trust(),
            request_timeout: host.request_timeout.min(HEAD_TIMEOUT),
        };
        Served { plugin, spec, request_timeout: host.request_timeout }
    });
    Ok((host, served))
}

fn plugin_of<'a, P: Clone>(
    mount_point: &str,
    scheme: Option<&str>,
    kind: Option<&str>,
    registry: &'a Registry<P>,
) -> Result<&'a Chosen<P>, Error> {
    let known = || registry.known();
    match (scheme, kind) {
        (Some(scheme), _) => registry.by_scheme(scheme).ok_or_else(|| {
            unserved(format!(
                "no plugin serves {scheme}:// (served: {}); add one with --plugin FILE or --plugin-dir DIR",
                known()
            ))
        }),
        (None, Some(kind)) => registry.by_type(kind).ok_or_else(|| {
            unserved(format!(
                "no plugin is of the type {kind:?} that the option `type` names (served: {}); add one with --plugin FILE or \
                 --plugin-dir DIR",
                known()
            ))
        }),
        (None, None) => registry.only().ok_or_else(|| {
            unserved(format!(
                "the mountPoint {} has no scheme, so nothing says which plugin to use; write SCHEME://..., or set the \
                 option `type` (served: {})",
                shown(mount_point),
                known()
            ))
        }),
    }
}

/// The PersistentVolume of a `pvc://CLAIM` mount.
fn volume_of(config: &RawConfig, mount: &RawMount) -> Option<Result<Value, Error>> {
    if scheme_of(&mount.mount_point).as_deref() != Some("pvc") {
        return None;
    }
    let (_, rest) = mount.mount_point.split_once("://")?;
    let claim = rest.split('/').next().unwrap_or(rest);
    Some(match config.volume_attributes.get(claim) {
        Some(attributes @ Value::Object(_)) => Ok(attributes.clone()),
        _ => Err(unserved(format!(
            "persistentVolumeAttrs of config.json says nothing about the claim {claim:?}; it must be bound to a \
             PersistentVolume of a CSI driver"
        ))),
    })
}

fn plugin_of_volume<'a, P: Clone>(volume: &Value, registry: &'a Registry<P>) -> Result<&'a Chosen<P>, Error> {
    match volume.get("driver").and_then(Value::as_str) {
        Some(driver) => registry.by_driver(driver).ok_or_else(|| {
            unserved(format!("no plugin mounts volumes of CSI driver {driver}; add one with --plugin FILE"))
        }),
        None => {
            Err(unserved("its PersistentVolume names no CSI driver, so no plugin can mount it".to_owned()))
        }
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, text)
}

fn unserved(text: String) -> Error {
    Error::new(ErrorKind::Unsupported, Blame::Caller, text)
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
