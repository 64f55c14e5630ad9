//! Directories of the node that a Dataset has put into the pod.
//!
//! Fluid (from 1.0.5) makes a hostPath volume of a mount's option `fluid.fuse.hostvolume`, written `/ON/NODE[:/IN/POD]`
//! (`pkg/ddc/thin/transform_fuse.go`, `parseHostVolumeFromDataset`). Whoever writes a Dataset could so put files of the node where options
//! read secrets, or a plugin where plugins are looked for. The volume is there before this program runs, and stays until the pod is made anew; what can
//! be done here is to have no part in it: a configuration with such a volume is refused as a whole.

use crate::cli::CommonArgs;
use crate::config::raw::{RawConfig, RawMount};
use crate::config::sources::ArgOption;
use crate::dirs;
use crate::plugins::{files, load};
use anyhow::bail;
use std::path::{Component, Path, PathBuf};
use wasmount_distribution::Reference;

/// The option. Fluid knows it under no other name.
const OPTION: &str = "fluid.fuse.hostvolume";

/// wasmount's own options whose values are files where they do not end in `-file`.
const FILES: [&str; 2] = ["client-cert", "client-key"];

/// Paths of the pod that are the operator's to fill, and Fluid's; what each is, for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reserved(Vec<(PathBuf, String)>);

impl Reserved {
    /// Everything that is read, looked through or kept: by flags, by the operator's options, and by default. `config`: the file that is read.
    pub(crate) fn new(args: &CommonArgs, options: &[ArgOption], config: &Path) -> Self {
        let mut all = Self::default();
        all.add(&args.secrets_dir, "the secrets directory");
        // The name alone stands for the working directory.
        let beside = config.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        all.add(beside, "the directory of the configuration");
        for dir in dirs::candidates(args.state_dir.as_deref(), args.cache_dir.as_deref()) {
            all.add(&dir, "the state directory");
        }
        all.add_each(&args.cache_dir, "the cache directory");
        let (_, references) = load::references(args);
        for text in references {
            // What makes no sense is said when plugins are loaded.
            if let Ok(files::Named { reference: Reference::Path(path), .. }) = files::parse_arg(&text) {
                all.add(&path, "a plugin");
            }
        }
        all.add_each(&args.plugin_dir, "a directory of plugins");
        all.add_each(&files::searched(), "a directory of plugins");
        all.add_each(&args.plugin_key, "the file of --plugin-key");
        all.add_each(&args.registry.registry_auth, "the file of --registry-auth");
        all.add_each(&args.registry.registry_ca, "the file of --registry-ca");
        for option in options {
            all.add_each(&file_of(option), &format!("the file of --option {}", option.name));
        }
        all
    }

    fn add(&mut self, path: &Path, what: &str) {
        self.0.push((path.to_owned(), what.to_owned()));
    }

    fn add_each<'a>(&mut self, paths: impl IntoIterator<Item = &'a PathBuf>, what: &str) {
        paths.into_iter().for_each(|path| self.add(path, what));
    }

    /// Whether the Dataset leaves all of them alone.
    ///
    /// # Errors
    /// Names the mount, its path, and what that overlaps.
    pub(crate) fn check(&self, config: &RawConfig) -> anyhow::Result<()> {
        let wanted = |mount: &RawMount| mount.options.contains_key(OPTION);
        if !config.mounts.iter().any(wanted) {
            return Ok(());
        }
        let reserved: Vec<_> = self.0.iter().map(|(path, what)| (path, what, spellings(path))).collect();
        for (index, mount) in config.mounts.iter().enumerate() {
            let Some(value) = mount.options.get(OPTION) else { continue };
            for in_pod in in_pod(value) {
                let its = spellings(Path::new(in_pod));
                let over = reserved.iter().find(|(_, _, spellings)| overlap(&its, spellings));
                if let Some((path, what, _)) = over {
                    let name = mount.name.clone().unwrap_or_else(|| format!("mounts[{index}]"));
                    bail!(
                        "mount {name:?}: its option {OPTION} puts files of the node at {in_pod:?} in the pod, over {}, {what}: only the operator may \
                         do that; choose another path in the pod, behind the colon",
                        path.display()
                    );
                }
            }
        }
        Ok(())
    }
}

/// The file that an option of the operator names, as far as that can be told without its plugin.
fn file_of(option: &ArgOption) -> Option<PathBuf> {
    let value = option.value.as_str();
    if let Some(path) = value.strip_prefix('@').filter(|path| path.starts_with('/')) {
        return Some(path.into());
    }
    let name = option.name.replace('_', "-");
    let is_named = name.ends_with("-file") || FILES.contains(&&*name);
    // A directory of the storage is written like this, too.
    let may_be = value.starts_with('/') && Path::new(value).is_file();
    ((is_named && !value.contains('\n')) || may_be).then(|| value.into())
}

/// Where the volume is in the pod: behind the colon, else where it is on the node. Fluid refuses more than one colon.
fn in_pod(value: &str) -> impl Iterator<Item = &str> {
    value.split(':').skip(usize::from(value.contains(':')))
}

/// A path as it is written, and as it is once links are followed.
fn spellings(path: &Path) -> [PathBuf; 2] {
    let written = lexical(path);
    let mut real = written.clone();
    for ancestor in written.ancestors() {
        if let (Ok(found), Ok(rest)) = (ancestor.canonicalize(), written.strip_prefix(ancestor)) {
            real = found.join(rest);
            break;
        }
    }
    [written, real]
}

/// Absolute, without `.` and `..`.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => _ = out.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Whether one is, lies in or contains the other.
fn overlap(these: &[PathBuf], those: &[PathBuf]) -> bool {
    let mut pairs = these.iter().flat_map(|one| those.iter().map(move |other| (one, other)));
    pairs.any(|(one, other)| one.starts_with(other) || other.starts_with(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;
    use serde_json::json;
    use std::os::unix::fs::symlink;

    fn reserved(flags: &[&str], options: &[&str]) -> Reserved {
        let Command::Run(run) =
            Cli::try_parse_from([&["wasmount", "run"][..], flags].concat()).unwrap().command
        else {
            panic!("not run")
        };
        let options: Vec<_> = options.iter().map(|text| ArgOption::parse(text).unwrap()).collect();
        Reserved::new(&run.common, &options, Path::new("/etc/fluid/config/config.json"))
    }

    fn refusal(reserved: &Reserved, mount: serde_json::Value) -> Option<String> {
        let config = json!({"mounts": [{"mountPoint": "s3://good"}, mount]}).to_string();
        reserved.check(&RawConfig::parse(config.as_bytes()).unwrap()).err().map(|error| error.to_string())
    }

    fn volume(reserved: &Reserved, value: &str) -> Option<String> {
        refusal(reserved, json!({"mountPoint": "s3://b", "name": "m", "options": {OPTION: value}}))
    }

    #[test]
    fn what_is_the_operators_is_not_filled_by_a_dataset() {
        let flags = [
            "--plugin=/opt/own/s3.wasm",
            "--plugin-dir=/opt/more",
            "--cache-dir=/cache",
            "--registry-auth=/run/pull/.dockerconfigjson",
            "--plugin-key=/keys/cosign.pub",
        ];
        let options =
            ["s3:web-identity-token-file=/var/run/tokens/s3", "ca-file=/ca/root.pem", "region=@/r/r"];
        let all = reserved(&flags, &options);
        for (value, what) in [
            ("/etc:/etc/fluid/secrets/x", "the secrets directory"),
            ("/etc/fluid/secrets", "the secrets directory"),
            ("/x:/etc/fluid", "the secrets directory"),
            ("/x:/etc/./fluid/../fluid/secrets/", "the secrets directory"),
            ("/x:/", "the secrets directory"),
            ("/x:/etc/fluid/config", "the directory of the configuration"),
            ("/x:/cache/ab", "the cache directory"),
            ("/x:/cache/state/aot", "the state directory"),
            ("/x:/var/lib/wasmount/plugins", "the state directory"),
            ("/x:/opt/own", "a plugin"),
            ("/x:/opt/own/s3.wasm", "a plugin"),
            ("/x:/opt/more/sub", "a directory of plugins"),
            ("/plugins", "a directory of plugins"),
            ("/x:/run/pull", "--registry-auth"),
            ("/x:/keys", "--plugin-key"),
            ("/x:/var/run/tokens", "--option web-identity-token-file"),
            ("/x:/ca/root.pem", "--option ca-file"),
            ("/x:/r", "--option region"),
            ("/x:/in-pod:/cache", "the state directory"),
        ] {
            let why = volume(&all, value).unwrap_or_else(|| panic!("{value} is let through"));
            assert!(why.contains(what) && why.contains("mount \"m\""), "{value}: {why}");
        }
        for fine in
            ["/host-mountpoint:/in-pod", "/etc/fluid/secrets:/in-pod", "/etc/fluid-secrets", "/opt/mine"]
        {
            assert_eq!(volume(&all, fine), None, "{fine}");
        }
        // A path of the storage, and what is no file.
        let all = reserved(&[], &["ceph:path=/", "ceph:path=/tst1", "endpoint=http://a/b", "region=eu"]);
        assert_eq!(volume(&all, "/x:/tst1"), None);
    }

    #[test]
    fn links_do_not_lead_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("run/tokens")).unwrap();
        symlink("run", root.join("also-run")).unwrap();
        let path = |rest: &str| root.join(rest).display().to_string();
        let all = reserved(&[&format!("--secrets-dir={}", path("run/tokens"))], &[]);
        for over in ["also-run/tokens/s3", "also-run", "run"] {
            assert!(volume(&all, &format!("/x:{}", path(over))).is_some(), "{over}");
        }
        let all = reserved(&[&format!("--secrets-dir={}", path("also-run/tokens"))], &[]);
        assert!(volume(&all, &path("run/tokens/none")).is_some());
        assert_eq!(volume(&all, &path("run/other")), None);
    }

    #[test]
    fn a_mount_that_is_wrong_in_itself_has_a_volume_all_the_same() {
        for mount_point in [json!("     "), json!(7), json!(null)] {
            let options = json!({OPTION: "/x:/etc/fluid/secrets"});
            let why = refusal(&reserved(&[], &[]), json!({"mountPoint": mount_point, "options": options}));
            assert!(why.unwrap().contains("mount \"mounts[1]\""), "{mount_point}");
        }
    }
}
