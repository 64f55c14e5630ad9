//! What every plugin for a Ceph cluster is told in the same words: where the cluster is, and who the plugin is there.
//!
//! | module | knows |
//! |---|---|
//! | [`table`] | the shared part of the option table, and what such a plugin asks of the network |
//! | [`csi`] | ceph-csi's list of clusters |
//! | [`key`](mod@key) | the user's key, from whichever option has it |
//!
//! The names are those of ceph.conf, of `mount.ceph`, of ceph-fuse and of ceph-csi, so that a manifest written for any of them is understood.

pub mod csi;
pub mod key;
pub mod table;

use csi::Cluster;
use wasmount_ceph::auth::Key;
use wasmount_ceph::mon::{MonHosts, parse_mon_host};
use wasmount_ceph::msgr::Mode;
use wasmount_ceph::rados::Config;
use wasmount_ceph::types::Fsid;
use wasmount_sdk::{Error, Result, Settings};

/// What a mount says about its cluster outside the shared options.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The monitors in the mount point, as they are written.
    pub mount_point: Option<&'a str>,
    /// The monitors among the attributes of a PersistentVolume.
    pub volume: Option<&'a str>,
    /// The id of the volume's cluster in ceph-csi's list.
    pub cluster_id: Option<&'a str>,
    /// A mount point with monitors, for sentences: `rbd://MON,MON/POOL`.
    pub with_monitors: &'a str,
    /// The same without: `rbd:///POOL`.
    pub without_monitors: &'a str,
}

/// Where a cluster is, and who asks there.
#[derive(Clone, Debug)]
pub struct Access {
    /// The monitors.
    pub monitors: MonHosts,
    /// The only cluster that will do.
    pub fsid: Option<Fsid>,
    /// `admin` of `client.admin`.
    pub user: String,
    /// How connections are protected.
    pub modes: Modes,
    /// Whether the cluster asks for a key.
    pub authenticates: bool,
    /// The cluster in ceph-csi's list, if that was asked.
    pub csi: Option<Cluster>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// Modes of connections, the most wanted first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// With monitors.
    pub mon: Vec<Mode>,
    /// With all other daemons.
    pub daemons: Vec<Mode>,
}

impl Access {
    /// Reads the shared options of a mount.
    ///
    /// # Errors
    /// `invalid`, `unsupported`: the sentence names the option and what to change.
    pub fn new(named: &Named<'_>, settings: &Settings) -> Result<Self> {
        let cluster_id = settings.optional_text("cluster-id")?.or(named.cluster_id);
        let list = settings.optional_text("csi-config")?;
        let csi = list.map(|list| Cluster::find(list, cluster_id)).transpose()?;
        let monitors = monitors(named, settings, csi.as_ref())?;
        let mut warnings: Vec<String> =
            monitors.addresses.iter().filter(|mon| mon.reason.is_some()).map(ToString::to_string).collect();
        if !monitors.v1_only.is_empty() {
            let left_out = monitors.v1_only.join(", ");
            warnings.push(format!("{left_out}: left out, since only the old protocol (v1) is spoken there"));
        }
        let user = settings.text("user")?.trim();
        Ok(Self {
            monitors,
            fsid: fsid(settings)?,
            user: user.strip_prefix("client.").unwrap_or(user).to_owned(),
            modes: Modes::parse(settings.text("ms-mode")?),
            authenticates: authenticates(settings)?,
            csi,
            warnings,
        })
    }

    /// What the client has to know about the cluster.
    #[must_use]
    pub fn cluster(&self, key: Option<Key>) -> Config {
        let mut cluster = Config::new(self.monitors.clone(), format!("client.{}", self.user), key);
        cluster.fsid = self.fsid;
        cluster.monitor_modes.clone_from(&self.modes.mon);
        cluster.osd_modes.clone_from(&self.modes.daemons);
        "wasmount".clone_into(&mut cluster.hostname);
        cluster
    }
}

impl Modes {
    fn parse(word: &str) -> Self {
        use Mode::{Crc, Secure};
        let both = |modes: &[Mode]| Self { mon: modes.to_vec(), daemons: modes.to_vec() };
        match word {
            "crc" => both(&[Crc]),
            "secure" => both(&[Secure]),
            "prefer-crc" => both(&[Crc, Secure]),
            "prefer-secure" => both(&[Secure, Crc]),
            _ => Self { mon: vec![Secure, Crc], daemons: vec![Crc, Secure] },
        }
    }
}

/// The monitors, from the place that names them.
fn monitors(named: &Named<'_>, settings: &Settings, csi: Option<&Cluster>) -> Result<MonHosts> {
    let endpoints = settings.optional_endpoints("monitors")?.map(|endpoints| {
        let address =
            |e: &wasmount_sdk::Endpoint| wasmount_sdk::tcp::Address::new(&*e.host, e.port).to_string();
        endpoints.iter().map(address).collect::<Vec<_>>().join(",")
    });
    let mount_point = named.mount_point.map(str::to_owned);
    let mon_host = settings.optional_text("mon-host")?.map(str::trim).filter(|list| !list.is_empty());
    // A manifest that was made from a ceph.conf has its `mon_host` beside a mount point with a monitor in it: one monitor says all of them
    // anyway.
    let (mount_point, mon_host) = match (mount_point, mon_host.map(str::to_owned)) {
        (Some(one), Some(list)) => (None, Some(("mountPoint and option mon-host", format!("{list},{one}")))),
        (mount_point, mon_host) => (mount_point, mon_host.map(|list| ("option mon-host", list))),
    };
    let places = [
        mount_point.map(|list| ("mountPoint", list)),
        mon_host,
        named.volume.map(|list| ("the PersistentVolume", list.to_owned())),
        endpoints.map(|list| ("option monitors", list)),
        csi.map(|cluster| ("option csi-config", cluster.monitors.clone())),
    ];
    let mut found = places.into_iter().flatten();
    let Some((place, list)) = found.next() else {
        return Err(Error::invalid(format!(
            "nothing says where the cluster's monitors are: name them in mountPoint ({}) or in option monitors, or give ceph-csi's list of \
             clusters in option csi-config",
            named.with_monitors
        )));
    };
    if let Some((other, _)) = found.next() {
        return Err(Error::invalid(format!(
            "{place} and {other} both name monitors: do it in one place (a mountPoint without monitors is {})",
            named.without_monitors
        )));
    }
    parse_mon_host(&list).map_err(|error| Error::invalid(format!("{place}: {error}")))
}

fn fsid(settings: &Settings) -> Result<Option<Fsid>> {
    let text = settings.optional_text("fsid")?.map(str::trim).filter(|text| !text.is_empty());
    let parse = |text: &str| {
        Fsid::parse(text).ok_or_else(|| {
            Error::invalid(format!(
                "option fsid is not the id of a cluster, as `ceph fsid` shows it: {text:?}"
            ))
        })
    };
    text.map(parse).transpose()
}

/// Whether `auth_client_required` of ceph.conf wants a key.
fn authenticates(settings: &Settings) -> Result<bool> {
    let Some(text) = settings.optional_text("auth-client-required")? else { return Ok(true) };
    let mut methods = text
        .split(|c: char| c == ',' || c == ';' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .peekable();
    if methods.peek().is_none() {
        return Ok(true);
    }
    let (mut cephx, mut none) = (false, false);
    for method in methods {
        cephx |= method == "cephx";
        none |= method == "none";
    }
    match (cephx, none) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(Error::unsupported(format!(
            "option auth-client-required asks for {text:?}, and this plugin authenticates with cephx: set it to cephx, or to none if the \
             cluster believes everybody"
        ))),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
