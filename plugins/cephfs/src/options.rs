//! The option table, and what follows from the options of a mount.

use crate::csi::Volume;
use crate::location::{Location, Root};
use wasmount_ceph::cephfs::{FsConfig, INODE_BYTES};
use wasmount_ceph_guest::options::{Access, Named, table};
use wasmount_sdk::{Description, Error, Mount, Result, Settings};

/// Who the plugin is and what it takes.
pub fn description() -> Description {
    let options = table::options()
        .text(
            "path",
            "The directory to mount, where `mountPoint` names none: ceph-fuse's `-r`. For a user that may see only a part of the file system \
             (`ceph fs authorize FS client.NAME /PATH r`) it has to be that part.",
        )
        .alias("client_mountpoint")
        .alias("rootPath")
        .alias("subvolumePath")
        .text("fs", "Name of the file system (`ceph fs ls`); without it, the cluster's default one.")
        .alias("client_fs")
        .alias("fsName")
        .alias("mds_namespace")
        .integer(
            "cache-inodes",
            1_024..=1 << 20,
            "How many inodes are known at a time without being in use, as ceph-fuse's `client_cache_size`; twice as many at all. Each takes about \
             1 KiB of the plugin's memory, which it shares with all others (an eighth of `--memory`), and something of the MDS'. Without it as many as \
             fit there, up to 16384.",
        )
        .alias("client_cache_size");
    let description =
        Description::new("cephfs", env!("CARGO_PKG_VERSION"), "CephFS, coherent with all its other clients")
            .scheme("ceph")
            .scheme("cephfs")
            .csi_driver("cephfs.csi.ceph.com")
            .options(options);
    table::network(
        description,
        "a Ceph cluster's monitors tell where its MDSs are, which have the names, and its OSDs, which have the data",
    )
}

/// What follows from the options.
#[derive(Debug)]
pub struct Config {
    /// Where the cluster is, and who asks.
    pub access: Access,
    /// The file system by name; `None`: the cluster's default one.
    pub fs: Option<String>,
    /// The directory to show.
    pub root: Root,
    /// Inodes that are known without being in use; `None`: as many as there is room for.
    pub cache_inodes: Option<usize>,
}

/// Most inodes that are known without being in use if nobody says how many (`client_cache_size` of ceph-fuse): an MDS has to remember each.
const IDLE_INODES: usize = 16 * 1024;

impl Config {
    /// Reads the settings of a mount.
    ///
    /// # Errors
    /// `invalid`, naming the option and what to change.
    pub fn new(mount: &Mount) -> Result<Self> {
        let volume = mount.persistent_volume.as_deref().map(Volume::parse).transpose()?;
        // A volume of ceph-csi says what to mount; its mount point is the name of its claim.
        let location = if volume.is_some() { "" } else { mount.location() };
        Self::from_settings(Location::parse(location)?, volume, &mount.settings)
    }

    fn from_settings(location: Location, volume: Option<Volume>, settings: &Settings) -> Result<Self> {
        let named = Named {
            mount_point: location.monitors.as_deref(),
            volume: volume.as_ref().and_then(|volume| volume.monitors.as_deref()),
            cluster_id: volume.as_ref().and_then(|volume| volume.cluster_id.as_deref()),
            with_monitors: "ceph://MON,MON/PATH",
            without_monitors: "ceph:///PATH",
        };
        let access = Access::new(&named, settings)?;
        let (place, named_root, fs) = match volume {
            Some(volume) => ("the PersistentVolume", Some(volume.root), volume.fs),
            None => ("mountPoint", location.path, None),
        };
        let text = |name: &str| settings.optional_text(name).map(|text| text.filter(|text| !text.is_empty()));
        let option =
            text("path")?.map(Root::parse).transpose().map_err(|error| error.context("option path"))?;
        let root = match (named_root, option) {
            (Some(named), Some(option)) if named != option => {
                return Err(Error::invalid(format!(
                    "option path says {} and {place} {}: name it in one place",
                    option.as_str(),
                    named.as_str()
                )));
            }
            (named, option) => named.or(option).unwrap_or_else(Root::whole),
        };
        let fs = match (fs, text("fs")?) {
            (Some(named), Some(option)) if named != option => {
                return Err(Error::invalid(format!(
                    "option fs says {option} and {place} {named}: name it in one place"
                )));
            }
            (named, option) => named.or(option.map(str::to_owned)),
        };
        let cache_inodes = settings.optional_integer("cache-inodes")?;
        let cache_inodes = cache_inodes.map(|inodes| usize::try_from(inodes).unwrap_or(0));
        Ok(Self { access, fs, root, cache_inodes })
    }

    /// What the client may know at a time, where the plugin may have so many bytes of memory: a third is for that, because messages that
    /// arrive and calls under way need theirs, too, and memory that was once had is not given back.
    #[must_use]
    pub fn cache(&self, memory: u64) -> FsConfig {
        let whole = FsConfig::default();
        let memory = usize::try_from(memory).unwrap_or(usize::MAX);
        let fit = memory / 3 / (2 * INODE_BYTES);
        let idle_inodes = self.cache_inodes.unwrap_or(fit.min(IDLE_INODES)).max(1);
        let all_inodes = idle_inodes.saturating_mul(2);
        FsConfig {
            idle_inodes,
            all_inodes,
            memory: all_inodes.saturating_mul(INODE_BYTES),
            absent_names: idle_inodes.min(whole.absent_names),
            // One part of a listing is there several times over: as it arrived, decoded, and as it is answered.
            readdir_bytes: u32::try_from(memory / 16).unwrap_or(u32::MAX).min(whole.readdir_bytes),
            ..whole
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmount_sdk::{OptionSetting, OptionValue};

    fn config(location: &str, volume: Option<Volume>, options: &[(&str, &str)]) -> Result<Config> {
        let settings = [("user", "admin"), ("ms-mode", "auto")].iter().chain(options).map(|(name, text)| {
            OptionSetting { name: (*name).into(), value: OptionValue::Text((*text).into()), explicit: true }
        });
        let inodes =
            OptionSetting { name: "cache-inodes".into(), value: OptionValue::Integer(2048), explicit: false };
        let settings = settings.chain([inodes]);
        Config::from_settings(Location::parse(location).unwrap(), volume, &settings.collect())
    }

    #[test]
    fn every_name_in_use_is_known() {
        let specs = description().options;
        let names: Vec<&str> = specs
            .iter()
            .flat_map(|spec| spec.aliases.iter().chain([&spec.name]).map(String::as_str))
            .collect();
        for name in ["key", "mon_host", "path", "fs", "fsName", "rootPath", "subvolumePath", "mds_namespace"]
        {
            assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}");
        }
    }

    /// What the seeds' example becomes.
    #[test]
    fn a_ceph_conf_in_the_options() {
        let seed = [
            ("fsid", "0d59323b-7668-41b0-b6d7-c7a413842814"),
            ("mon-initial-members", "a"),
            ("mon-host", "[v2:127.0.0.1:23300,v1:127.0.0.1:26789]"),
            ("auth-cluster-required", "cephx"),
            ("auth-service-required", "cephx"),
            ("auth-client-required", "cephx"),
        ];
        let found = config("127.0.0.1:23300", None, &seed).unwrap();
        assert_eq!(found.access.monitors.addresses.len(), 1);
        assert_eq!((found.cache_inodes, found.cache(12 << 20).idle_inodes), (Some(2048), 2048));
        assert_eq!((found.access.user.as_str(), found.fs, found.root), ("admin", None, Root::whole()));
    }

    #[test]
    fn what_is_known_follows_from_the_memory_there_is() {
        let config = Config { cache_inodes: None, ..config("mon", None, &[]).unwrap() };
        let little = config.cache(12 << 20);
        assert_eq!((little.idle_inodes, little.all_inodes, little.memory), (2048, 4096, 4 << 20));
        assert!(little.readdir_bytes < 1 << 20);
        let much = config.cache(u64::MAX);
        assert_eq!((much.idle_inodes, much.memory, much.readdir_bytes), (16_384, 32 << 20, 1 << 20));
        assert!(config.cache(0).idle_inodes > 0);
    }

    #[test]
    fn mount_point_and_options_say_what_to_show() {
        let found = config("mon/a-b/c", None, &[("fs", "other"), ("path", "a-b/c/")]).unwrap();
        assert_eq!((found.root.as_str(), found.fs.as_deref()), ("/a-b/c", Some("other")));
        assert_eq!(config("mon", None, &[("path", "/tst1")]).unwrap().root.as_str(), "/tst1");
        assert_eq!(config("mon/", None, &[("path", "/tst1")]).unwrap().root.as_str(), "/tst1");
    }

    #[test]
    fn volumes_of_ceph_csi() {
        let volume = Volume {
            cluster_id: Some("c".into()),
            monitors: None,
            fs: Some("myfs".into()),
            root: Root::parse("/volumes/csi/v/u").unwrap(),
        };
        let list =
            r#"[{"clusterID": "c", "monitors": ["10.0.0.1:6789"], "cephFS": {"subvolumeGroup": "csi"}}]"#;
        let found = config("", Some(volume.clone()), &[("csi-config", list)]).unwrap();
        assert_eq!((found.root.as_str(), found.fs.as_deref()), ("/volumes/csi/v/u", Some("myfs")));
        assert_eq!(found.access.monitors.addresses[0].port, 3300);
        let error = config("", Some(volume.clone()), &[("csi-config", list), ("path", "/x")]).unwrap_err();
        assert!(
            error.message.contains("option path says /x and the PersistentVolume /volumes"),
            "{}",
            error.message
        );
        let old = Volume { monitors: Some("m".into()), ..volume };
        assert_eq!(config("", Some(old), &[]).unwrap().access.monitors.addresses[0].host, "m");
    }

    #[test]
    fn contradictions_are_named() {
        let fails =
            |location: &str, options: &[(&str, &str)]| config(location, None, options).unwrap_err().message;
        assert!(fails("", &[]).contains("ceph://MON,MON/PATH"));
        assert!(fails("mon/a", &[("path", "/b")]).contains("option path says /b and mountPoint /a"));
        assert!(fails("mon", &[("path", "/a/..")]).contains("option path"));
    }
}
