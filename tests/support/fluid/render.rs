//! From Fluid's resources to config.json and the pod, as its thinruntime controller does it.
//!
//! Read from `pkg/ddc/thin` and `charts/thin` of Fluid at the commit that `tests/fixtures/fluid/crds.json` names. Left out is what no
//! test needs: `pvc://` mounts, `fluid.fuse.hostvolume`, workers, and the secret mode of the controller.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What the controller produces.
#[derive(Debug)]
pub struct Rendered {
    /// config.json, byte for byte as an update writes it.
    pub config: String,
    /// `spec` of the pods of the FUSE DaemonSet, as far as the resources decide it.
    pub pod: Value,
    /// Where the file system is mounted.
    pub target: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DatasetSpec {
    #[serde(default)]
    mounts: Vec<DatasetMount>,
    #[serde(default)]
    shared_options: BTreeMap<String, String>,
    #[serde(default)]
    shared_encrypt_options: Vec<EncryptOption>,
    #[serde(default)]
    access_modes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DatasetMount {
    mount_point: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
    #[serde(default)]
    encrypt_options: Vec<EncryptOption>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    shared: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EncryptOption {
    name: String,
    value_from: ValueFrom,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ValueFrom {
    secret_key_ref: SecretKeyRef,
}

#[derive(Deserialize)]
struct SecretKeyRef {
    name: String,
    key: String,
}

/// `Config` of Fluid's `pkg/ddc/thin/type.go`: the order of the fields is that of its JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    mounts: Vec<ConfigMount>,
    target_path: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    runtime_options: Map<String, Value>,
    access_modes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMount {
    mount_point: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    path: String,
    #[serde(skip_serializing_if = "is_false")]
    read_only: bool,
    #[serde(skip_serializing_if = "is_false")]
    shared: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What Fluid makes of the three resources. Without a namespace they are in `default`.
///
/// # Errors
/// When a resource lacks what its schema requires, or has what is not rendered here.
pub fn render(dataset: &Value, runtime: &Value, profile: &Value) -> Result<Rendered> {
    let text = |pointer: &str| dataset.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").context("the Dataset has no name")?.to_owned();
    let namespace = text("/metadata/namespace").unwrap_or("default").to_owned();
    ensure!(
        runtime.pointer("/metadata/name") == dataset.pointer("/metadata/name"),
        "Dataset and ThinRuntime differ in name"
    );
    ensure!(
        runtime.pointer("/spec/profileName") == profile.pointer("/metadata/name"),
        "the ThinRuntime names another profile"
    );
    let spec: DatasetSpec =
        serde_json::from_value(dataset.get("spec").context("the Dataset has no spec")?.clone())?;
    ensure!(
        spec.mounts.iter().all(|mount| !mount.mount_point.starts_with("pvc://")),
        "pvc:// is not rendered here"
    );

    let directory = format!("/runtime-mnt/thin/{namespace}/{name}");
    let target = format!("{directory}/thin-fuse");
    let secrets = secrets(&spec);
    let access_modes = if spec.access_modes.is_empty() {
        vec!["ReadOnlyMany".to_owned()]
    } else {
        spec.access_modes.clone()
    };
    let fuse = Merged { profile: field(profile, "fuse"), runtime: field(runtime, "fuse") };
    let mut env = vec![
        json!({"name": "FLUID_RUNTIME_TYPE", "value": "thin"}),
        json!({"name": "FLUID_RUNTIME_NS", "value": namespace}),
        json!({"name": "FLUID_RUNTIME_NAME", "value": name}),
    ];
    env.extend(fuse.both("env"));
    env.push(json!({"name": "MOUNT_POINT", "value": target}));
    if let Some(options) = fuse.mount_options(&access_modes) {
        env.push(json!({"name": "MOUNT_OPTIONS", "value": options}));
    }

    let config = Config {
        mounts: spec
            .mounts
            .into_iter()
            .map(|mount| config_mount(mount, &spec.shared_options, &spec.shared_encrypt_options))
            .collect(),
        target_path: target.clone(),
        runtime_options: fuse.runtime.get("options").and_then(Value::as_object).cloned().unwrap_or_default(),
        access_modes,
    };
    let pod = pod(
        &Pod { name: &name, directory: &directory, target: &target, secrets: &secrets, profile, runtime },
        &fuse,
        env,
    );
    Ok(Rendered { config: go_json(&config)?, pod, target })
}

fn config_mount(
    mount: DatasetMount,
    shared: &BTreeMap<String, String>,
    shared_secrets: &[EncryptOption],
) -> ConfigMount {
    // Later ones win: the mount's over the shared ones, secrets over plain values.
    let mut options = shared.clone();
    options.extend(mount.options);
    for option in shared_secrets.iter().chain(&mount.encrypt_options) {
        let SecretKeyRef { name, key } = &option.value_from.secret_key_ref;
        options.insert(option.name.clone(), format!("/etc/fluid/secrets/{name}/{key}"));
    }
    ConfigMount {
        mount_point: mount.mount_point,
        options,
        name: mount.name,
        path: mount.path,
        read_only: mount.read_only,
        shared: mount.shared,
    }
}

/// The secrets that are named, each once, in the order of their first mention.
fn secrets(spec: &DatasetSpec) -> Vec<String> {
    let all =
        spec.shared_encrypt_options.iter().chain(spec.mounts.iter().flat_map(|mount| &mount.encrypt_options));
    let mut seen = BTreeSet::new();
    all.map(|option| option.value_from.secret_key_ref.name.clone())
        .filter(|name| seen.insert(name.clone()))
        .collect()
}

fn field(object: &Value, name: &str) -> Value {
    object.get("spec").and_then(|spec| spec.get(name)).cloned().unwrap_or_default()
}

/// `fuse` of the profile and of the ThinRuntime.
struct Merged {
    profile: Value,
    runtime: Value,
}

impl Merged {
    /// Of the runtime, else of the profile.
    fn one(&self, name: &str) -> Option<&Value> {
        [&self.runtime, &self.profile].into_iter().find_map(|fuse| fuse.get(name))
    }

    /// Lists of both, the profile's first.
    fn both(&self, name: &str) -> Vec<Value> {
        let lists = [&self.profile, &self.runtime].into_iter().filter_map(|fuse| fuse.get(name)?.as_array());
        lists.flatten().cloned().collect()
    }

    /// `MOUNT_OPTIONS`. The default `ro` is lost as soon as the profile has options of its own.
    fn mount_options(&self, access_modes: &[String]) -> Option<String> {
        let of = |fuse: &Value| fuse.get("options").and_then(Value::as_object).cloned();
        let mut options = of(&self.profile).unwrap_or_else(|| {
            let read_only = access_modes.iter().any(|mode| mode == "ReadOnlyMany");
            if read_only { Map::from_iter([("ro".to_owned(), json!(""))]) } else { Map::new() }
        });
        options.extend(of(&self.runtime).unwrap_or_default());
        let word = |(name, value): (&String, &Value)| match value.as_str() {
            None | Some("") => name.clone(),
            Some(value) => format!("{name}={value}"),
        };
        // Fluid's own order is random; sorted, like the captured one.
        let words: BTreeSet<_> = options.iter().map(word).collect();
        (!words.is_empty()).then(|| words.into_iter().collect::<Vec<_>>().join(","))
    }
}

struct Pod<'a> {
    name: &'a str,
    directory: &'a str,
    target: &'a str,
    secrets: &'a [String],
    profile: &'a Value,
    runtime: &'a Value,
}

fn pod(of: &Pod<'_>, fuse: &Merged, env: Vec<Value>) -> Value {
    let mut mounts = vec![
        json!({"name": "thin-fuse-mount", "mountPath": of.directory, "mountPropagation": "Bidirectional"}),
        json!({"name": "thin-conf", "mountPath": "/etc/fluid/config", "readOnly": true}),
    ];
    let mut volumes = vec![
        json!({"name": "thin-fuse-mount", "hostPath": {"path": of.directory, "type": "DirectoryOrCreate"}}),
    ];
    if let Some(path) = of.runtime.pointer("/spec/tieredstore/levels/0/path") {
        mounts.push(json!({"name": "cache-dir", "mountPath": path}));
        volumes.push(json!({"name": "cache-dir", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}));
    }
    volumes.push(json!({"name": "thin-conf", "configMap": {
        "name": format!("{}-fuse-conf", of.name), "items": [{"key": "config.json", "path": "config.json"}],
    }}));
    let users = fuse.both("volumeMounts");
    let used = |volume: &Value| users.iter().any(|mount| mount.get("name") == volume.get("name"));
    for object in [of.profile, of.runtime] {
        volumes.extend(
            field(object, "volumes").as_array().into_iter().flatten().filter(|volume| used(volume)).cloned(),
        );
    }
    mounts.extend(users);
    for secret in of.secrets {
        let name = format!("thin-fuseconfig-{secret}");
        mounts.push(
            json!({"name": name, "mountPath": format!("/etc/fluid/secrets/{secret}"), "readOnly": true}),
        );
        volumes.push(json!({"name": name, "secret": {"secretName": secret}}));
    }

    let text = |name| fuse.one(name).and_then(Value::as_str).unwrap_or_default();
    let mut container = json!({
        "name": "thin-fuse",
        "image": format!("{}:{}", text("image"), text("imageTag")),
        "env": env,
        "lifecycle": {"preStop": fuse.one("lifecycle").and_then(|all| all.get("preStop")).cloned()
            .unwrap_or_else(|| json!({"exec": {"command": ["umount", of.target]}}))},
        "securityContext": {"privileged": true, "runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": mounts,
    });
    if let Some(container) = container.as_object_mut() {
        for name in ["command", "args", "imagePullPolicy", "livenessProbe", "readinessProbe"] {
            container.extend(fuse.one(name).map(|value| (name.to_owned(), value.clone())));
        }
        let ports = fuse.both("ports");
        container.extend((!ports.is_empty()).then(|| ("ports".to_owned(), json!(ports))));
    }
    let mut pod = json!({"containers": [container], "volumes": volumes});
    if text("networkMode") != "ContainerNetwork"
        && let Some(pod) = pod.as_object_mut()
    {
        pod.insert("hostNetwork".to_owned(), json!(true));
    }
    pod
}

/// JSON as Go's `encoding/json` writes it.
fn go_json(config: &Config) -> Result<String> {
    let text = serde_json::to_string(config)?;
    let escapes = [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ];
    Ok(escapes.into_iter().fold(text, |text, (from, to)| text.replace(from, to)))
}
