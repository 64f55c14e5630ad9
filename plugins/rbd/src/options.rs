//! The option table, and what follows from the options of a mount.

use crate::csi::{Pool, Volume};
use crate::location::{self, Location};
use wasmount_ceph_guest::options::table;
use wasmount_ceph_guest::options::{Access, Named};
use wasmount_sdk::{Description, Error, Mount, Result, Settings};

/// Who the plugin is and what it takes.
pub fn description() -> Description {
    let options = table::options()
        .text("pool", "Name of the pool, where `mountPoint` names none.")
        .text("namespace", "Name of a namespace in the pool, where `mountPoint` names none.")
        .alias("radosNamespace")
        .text(
            "image",
            "Show only this image (`IMAGE`) or one of its snapshots (`IMAGE@SNAPSHOT`), where `mountPoint` names none.",
        )
        .alias("imageName");
    let description =
        Description::new("rbd", env!("CARGO_PKG_VERSION"), "RBD images of a Ceph cluster as files")
            .scheme("rbd")
            .csi_driver("rbd.csi.ceph.com")
            .options(options);
    table::network(description, "a Ceph cluster's monitors tell where its OSDs are, which have the data")
}

/// What follows from the options.
#[derive(Debug)]
pub struct Config {
    /// Where the cluster is, and who asks.
    pub access: Access,
    /// What to show of the cluster.
    pub target: Target,
}

/// What to show of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which pool.
    pub pool: Pool,
    /// Which namespace; empty: the default one.
    pub namespace: String,
    /// Only this image, and of it only this snapshot.
    pub only: Option<(String, Option<String>)>,
}

impl Config {
    /// Reads the settings of a mount.
    ///
    /// # Errors
    /// `invalid`, naming the option and what to change.
    pub fn new(mount: &Mount) -> Result<Self> {
        let volume = mount.persistent_volume.as_deref().map(Volume::parse).transpose()?;
        // A volume of ceph-csi says what to mount; its mount point is the name of its claim.
        let location = if volume.is_some() { "" } else { mount.location() };
        Self::from_settings(&Location::parse(location)?, volume, &mount.settings)
    }

    fn from_settings(location: &Location, volume: Option<Volume>, settings: &Settings) -> Result<Self> {
        let volume = volume.as_ref();
        let named = Named {
            mount_point: location.monitors.as_deref(),
            volume: None,
            cluster_id: volume.map(|volume| volume.cluster_id.as_str()),
            with_monitors: "rbd://MON,MON/POOL",
            without_monitors: "rbd:///POOL",
        };
        let access = Access::new(&named, settings)?;
        let csi_namespace = access.csi.as_ref().and_then(|cluster| cluster.rbd_namespace.clone());
        Ok(Self { target: target(location, settings, volume, csi_namespace)?, access })
    }
}

/// The pool, and what to show of it.
fn target(
    location: &Location,
    settings: &Settings,
    volume: Option<&Volume>,
    csi_namespace: Option<String>,
) -> Result<Target> {
    // Of these, the mount point or the volume wins where the option says the same.
    let one = |what: &str, found: Option<&str>| -> Result<Option<String>> {
        let option = settings.optional_text(what)?.filter(|text| !text.is_empty());
        match (found, option) {
            (Some(found), Some(option)) if found != option => Err(Error::invalid(format!(
                "option {what} says {option} and mountPoint {found}: name it in one place"
            ))),
            (found, option) => Ok(found.or(option).map(str::to_owned)),
        }
    };
    let volume_pool = match volume.map(|volume| &volume.pool) {
        Some(Pool::Name(name)) => Some(name.as_str()),
        _ => None,
    };
    let pool = match (one("pool", location.pool.as_deref().or(volume_pool))?, volume.map(|v| &v.pool)) {
        (Some(name), _) => Pool::Name(name),
        (None, Some(pool)) => pool.clone(),
        (None, None) => {
            return Err(Error::invalid(
                "no pool is named: write rbd://MON/POOL in mountPoint, or set option pool",
            ));
        }
    };
    let volume_namespace = volume.and_then(|volume| volume.namespace.as_deref());
    let namespace = one("namespace", location.namespace.as_deref().or(volume_namespace))?;
    let namespace = namespace.or(csi_namespace).unwrap_or_default();
    let found = match (&location.image, &location.snapshot) {
        (Some(image), Some(snapshot)) => Some(format!("{image}@{snapshot}")),
        (image, _) => image.clone(),
    };
    let image = one("image", found.as_deref().or(volume.map(|volume| volume.image.as_str())))?;
    let only = match image {
        None => None,
        Some(image) => Some(location::split_image(&image).ok_or_else(|| {
            Error::invalid(format!("option image is not IMAGE or IMAGE@SNAPSHOT: {image:?}"))
        })?),
    };
    Ok(Target { pool, namespace, only })
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
