//! The option table, and what follows from the options of a mount.

use crate::csi::{Cluster, Pool, Volume};
use crate::location::{self, Location};
use wasmount_ceph::auth::{Key, keyring};
use wasmount_ceph::mon::{MonHosts, parse_mon_host};
use wasmount_ceph::msgr::Mode;
use wasmount_ceph::types::Fsid;
use wasmount_sdk::{Description, EndpointRule, Error, Mount, Options, Result, Secret, Settings};

/// Who the plugin is and what it takes.
pub fn description() -> Description {
    let monitors = EndpointRule {
        protocols: vec!["tcp".into()],
        default_port: wasmount_ceph::mon::PORT,
        many: true,
        read_methods: vec![],
    };
    let options = Options::new()
        .endpoint_with(
            "monitors",
            monitors,
            "The cluster's monitors, `HOST` or `HOST:PORT` separated by commas, where `mountPoint` names none. Their port is 3300; where \
             6789 is written, the port of the old protocol, 3300 on the same host is tried, with a warning.",
        )
        .text(
            "mon-host",
            "The monitors in any form that ceph.conf allows for `mon_host`, such as `[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]`. Several \
             *names* belong into `monitors`: only addresses may be reached without being named there.",
        )
        .alias("mon_host")
        .text(
            "csi-config",
            "The list of clusters that ceph-csi has in `config.json` (`[{\"clusterID\": …, \"monitors\": […]}]`), to take the monitors from. \
             From a file: its name below /etc/fluid/secrets, or `-o csi-config-file=PATH` on the command line.",
        )
        .text("cluster-id", "Which cluster of that list. For a volume of ceph-csi, the volume says it.")
        .alias("clusterID")
        .text(
            "fsid",
            "Id of the cluster (`ceph fsid`). If it is given, a cluster with another one is refused.",
        )
        .text("user", "Who to be: `admin` for `client.admin`.")
        .alias("id")
        .alias("userID")
        .default_value("admin")
        .secret(
            "key",
            "The user's key (`ceph auth get-key client.NAME`). The plugin has to see it: a cephx key decrypts tickets, which the host cannot \
             do for it. It is sent nowhere.",
        )
        .reveal()
        .alias("userKey")
        .secret(
            "keyring",
            "A keyring with the user's key in it, as in /etc/ceph/ceph.client.NAME.keyring, instead of `key`. The plugin has to see it for the \
             same reason.",
        )
        .reveal()
        .text("pool", "Name of the pool, where `mountPoint` names none.")
        .text("namespace", "Name of a namespace in the pool, where `mountPoint` names none.")
        .alias("radosNamespace")
        .text(
            "image",
            "Show only this image (`IMAGE`) or one of its snapshots (`IMAGE@SNAPSHOT`), where `mountPoint` names none.",
        )
        .alias("imageName")
        .choice(
            "ms-mode",
            &["auto", "crc", "secure", "prefer-crc", "prefer-secure"],
            "How connections are protected: by checksums, or by encryption, which costs processor time. `auto` is what Ceph's own clients do: \
             encryption with monitors, checksums with OSDs, whatever the cluster insists on.",
        )
        .alias("ms_mode")
        .default_value("auto")
        .boolean("read-only", "Accepted for manifests that have it: a mount of this plugin only reads.")
        .alias("readOnly")
        .default_value("true");
    Description::new("rbd", env!("CARGO_PKG_VERSION"), "RBD images of a Ceph cluster as files")
        .scheme("rbd")
        .csi_driver("rbd.csi.ceph.com")
        .speaks_tcp()
        // With the port that is written, or with the usual one: of each pair, only one is an address.
        .origin_template("tcp://{mount-host}", &[])
        .origin_template("tcp://{mount-host}:3300", &[])
        .origin_template("tcp://{mon-host}", &[])
        .origin_template("tcp://{mon-host}:3300", &[])
        .revealed_addresses("a Ceph cluster's monitors tell where its OSDs are, which have the data")
        .options(options)
}

/// What follows from the options.
#[derive(Debug)]
pub struct Config {
    /// The monitors.
    pub monitors: MonHosts,
    /// The only cluster that will do.
    pub fsid: Option<Fsid>,
    /// `admin` of `client.admin`.
    pub user: String,
    /// Modes with monitors and with OSDs, the most wanted first.
    pub modes: Modes,
    /// What to show of the cluster.
    pub target: Target,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// Modes of connections, the most wanted first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// With monitors.
    pub mon: Vec<Mode>,
    /// With OSDs.
    pub osd: Vec<Mode>,
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
        let csi = csi(settings, volume)?;
        let monitors = monitors(location, settings, csi.as_ref())?;
        let mut warnings: Vec<String> =
            monitors.addresses.iter().filter(|mon| mon.reason.is_some()).map(ToString::to_string).collect();
        if !monitors.v1_only.is_empty() {
            let left_out = monitors.v1_only.join(", ");
            warnings.push(format!("{left_out}: left out, since only the old protocol (v1) is spoken there"));
        }
        let fsid = match settings.optional_text("fsid")?.map(str::trim).filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(Fsid::parse(text).ok_or_else(|| {
                Error::invalid(format!(
                    "option fsid is not the id of a cluster, as `ceph fsid` shows it: {text:?}"
                ))
            })?),
        };
        let user = settings.text("user")?.trim();
        let user = user.strip_prefix("client.").unwrap_or(user).to_owned();
        Ok(Self {
            target: target(location, settings, volume, csi.and_then(|cluster| cluster.namespace))?,
            modes: Modes::parse(settings.text("ms-mode")?),
            monitors,
            fsid,
            user,
            warnings,
        })
    }
}

/// The cluster of ceph-csi's list, if there is one.
fn csi(settings: &Settings, volume: Option<&Volume>) -> Result<Option<Cluster>> {
    let own = settings.optional_text("cluster-id")?;
    let id = own.or(volume.map(|volume| volume.cluster_id.as_str()));
    settings.optional_text("csi-config")?.map(|list| Cluster::find(list, id)).transpose()
}

/// The monitors, from the one place that names them.
fn monitors(location: &Location, settings: &Settings, csi: Option<&Cluster>) -> Result<MonHosts> {
    let endpoints = settings.optional_endpoints("monitors")?.map(|endpoints| {
        endpoints
            .iter()
            .map(|e| wasmount_sdk::tcp::Address::new(&*e.host, e.port).to_string())
            .collect::<Vec<_>>()
            .join(",")
    });
    let places = [
        ("mountPoint", location.monitors.clone()),
        ("option monitors", endpoints),
        ("option mon-host", settings.optional_text("mon-host")?.map(str::to_owned)),
        ("option csi-config", csi.map(|cluster| cluster.monitors.clone())),
    ];
    let mut named = places.into_iter().filter_map(|(place, list)| Some((place, list?)));
    let Some((place, list)) = named.next() else {
        return Err(Error::invalid(
            "nothing says where the cluster's monitors are: name them in mountPoint (rbd://MON,MON/POOL) or in option monitors, or give \
             ceph-csi's list of clusters in option csi-config",
        ));
    };
    if let Some((other, _)) = named.next() {
        return Err(Error::invalid(format!(
            "{place} and {other} both name monitors: do it in one place (a mountPoint without monitors is rbd:///POOL)"
        )));
    }
    parse_mon_host(&list).map_err(|error| Error::invalid(format!("{place}: {error}")))
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

impl Modes {
    fn parse(word: &str) -> Self {
        use Mode::{Crc, Secure};
        let both = |modes: &[Mode]| Self { mon: modes.to_vec(), osd: modes.to_vec() };
        match word {
            "crc" => both(&[Crc]),
            "secure" => both(&[Secure]),
            "prefer-crc" => both(&[Crc, Secure]),
            "prefer-secure" => both(&[Secure, Crc]),
            _ => Self { mon: vec![Secure, Crc], osd: vec![Crc, Secure] },
        }
    }
}

/// The user's key, from whichever option has it.
///
/// # Errors
/// `invalid`: there is none, or it is none.
pub fn key(mount: &mut Mount, user: &str) -> Result<Key> {
    let volume = mount.persistent_volume.is_some();
    let own_user = mount.settings.is_explicit("user");
    let key = mount.settings.optional_secret("key")?;
    let keyring = mount.settings.optional_secret("keyring")?;
    match (key, keyring) {
        (Some(_), Some(_)) => Err(Error::invalid("options key and keyring mean the same: remove one")),
        (Some(key), None) => Key::parse(text("key", &key)?.trim())
            .map_err(|error| Error::invalid(format!("option key: {error}"))),
        (None, Some(content)) => keyring::parse(&text("keyring", &content)?, &format!("client.{user}"))
            .map_err(|error| Error::invalid(format!("option keyring: {error}"))),
        (None, None) => Err(missing_key(volume, own_user)),
    }
}

fn text(name: &str, secret: &Secret) -> Result<String> {
    let bytes = secret.reveal().map_err(|error| error.context(format_args!("option {name}")))?;
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("option {name} is not text")))
}

/// Why a mount without a key is refused.
fn missing_key(volume: bool, own_user: bool) -> Error {
    if volume {
        let user = if own_user { "" } else { "userID and " };
        return Error::invalid(format!(
            "ceph-csi keeps the user and its key in the volume's node-stage secret, which Fluid does not mount here: give the same values in \
             options {user}userKey (encryptOptions of the Dataset)"
        ));
    }
    Error::invalid(
        "option key is missing: give the user's key (`ceph auth get-key client.NAME`) in key, or a keyring in keyring (encryptOptions of the \
         Dataset)",
    )
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
