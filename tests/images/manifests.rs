//! The examples in `images/examples`: Fluid takes them, and makes of them what wasmount mounts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::fluid::{Rendered, Schemas, documents, manifests, parse, render};
use wasmount_tests::paths::{self, fixture, repository};

/// Each with its plugin.
const EXAMPLES: &[(&str, &str)] = &[("minio", "s3"), ("s3", "s3"), ("cephfs", "cephfs"), ("rbd", "rbd")];

/// The manifests of one example by kind: each has exactly one of the four.
fn example(name: &str) -> Result<BTreeMap<String, Value>> {
    let all = manifests(&repository().join("images/examples").join(name))?;
    let kind = |object: &Value| object.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    let by_kind: BTreeMap<_, _> = all.iter().map(|object| (kind(object), object.clone())).collect();
    ensure!(by_kind.len() == all.len(), "{name}: two of a kind");
    ensure!(
        by_kind.keys().eq(["Dataset", "Secret", "ThinRuntime", "ThinRuntimeProfile"]),
        "{name}: {:?}",
        by_kind.keys()
    );
    Ok(by_kind)
}

fn rendered(name: &str) -> Result<Rendered> {
    let objects = example(name)?;
    render(&objects["Dataset"], &objects["ThinRuntime"], &objects["ThinRuntimeProfile"])
        .context(name.to_owned())
}

fn captured(name: &str, part: &str) -> Result<Value> {
    documents(&fixture(&format!("fluid/{name}.{part}.yaml")))?.pop().context("a document")
}

#[test]
fn every_directory_of_examples_is_tested() -> Result<()> {
    let entries = std::fs::read_dir(repository().join("images/examples"))?;
    let mut found = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    found.sort();
    let mut tested: Vec<_> = EXAMPLES.iter().map(|(name, _)| *name).collect();
    tested.sort_unstable();
    assert_eq!(found, tested);
    Ok(())
}

#[test]
fn fluid_would_take_every_example() -> Result<()> {
    let schemas = Schemas::load()?;
    for (name, _) in EXAMPLES {
        for (kind, object) in example(name)? {
            if kind == "Secret" {
                assert_eq!(object["apiVersion"], "v1");
                assert!(
                    object["stringData"].as_object().is_some_and(|data| data.values().all(Value::is_string)),
                    "{name}"
                );
            } else {
                schemas.check(&object).with_context(|| (*name).to_owned())?;
            }
        }
    }
    Ok(())
}

#[test]
fn fluid_would_take_what_the_documents_show() -> Result<()> {
    let schemas = Schemas::load()?;
    for (document, shown) in [("README.md", 1), ("images/docs/from-goofys-and-ceph-fuse.md", 2)] {
        let text = std::fs::read_to_string(repository().join(document))?;
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let whole: Vec<_> = blocks.filter(|block| block.contains("kind:")).collect();
        assert_eq!(whole.len(), shown, "{document}");
        for block in whole {
            schemas.check(&parse(block)?).with_context(|| document.to_owned())?;
        }
    }
    Ok(())
}

#[test]
fn what_fluid_would_refuse_is_refused() -> Result<()> {
    let schemas = Schemas::load()?;
    for name in ["minimal", "minio-demo", "rich"] {
        schemas.check(&captured(name, "dataset")?)?;
        schemas.check(&captured(name, "thinruntime")?)?;
    }
    let objects = example("minio")?;
    let mut edits: Vec<(&str, &str, Value, &str)> = vec![
        ("Dataset", "/spec/mounts/0/mountPoint", json!("s3:"), "spec.mounts[0].mountPoint: too short"),
        ("Dataset", "/spec/mounts/0/options/minio-url", json!(9000), "minio-url: not of type"),
        ("Dataset", "/spec/mounts", json!([]), "spec.mounts: too few"),
        ("Dataset", "/spec/mounts/0", json!({"name": "x"}), "spec.mounts[0].mountPoint: missing"),
        ("ThinRuntimeProfile", "/spec/fileSystemType", json!(null), "fileSystemType: not of type"),
        ("ThinRuntimeProfile", "/apiVersion", json!("data.fluid.io/v1"), "apiVersion"),
    ];
    // The field that Kubernetes has and Fluid does not: seen to be refused by the real one.
    edits.push((
        "ThinRuntimeProfile",
        "/spec/volumes/0",
        json!({"name": "p", "image": {"reference": "r"}}),
        "unknown field",
    ));
    for (kind, pointer, value, complaint) in edits {
        let mut object = objects[kind].clone();
        *object.pointer_mut(pointer).context(pointer)? = value;
        let message = schemas.check(&object).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(complaint), "{pointer}: {message:?}");
    }
    Ok(())
}

#[test]
fn the_renderer_writes_what_the_real_controller_wrote() -> Result<()> {
    for (name, profile) in profiles() {
        let (dataset, runtime) = (captured(name, "dataset")?, captured(name, "thinruntime")?);
        let rendered = render(&dataset, &runtime, &profile)?;
        assert_eq!(
            rendered.config,
            std::fs::read_to_string(fixture(&format!("fluid/{name}.config.json")))?,
            "{name}"
        );
        if name == "minimal" || name == "emptyds" {
            // Host volumes, and secrets without mounts: not rendered.
            continue;
        }
        let expected = captured(name, "daemonset")?.pointer("/spec/template/spec").context("a pod")?.clone();
        for part in
            ["env", "command", "args", "image", "lifecycle", "ports", "volumeMounts", "imagePullPolicy"]
        {
            let pointer = format!("/containers/0/{part}");
            let (ours, theirs) = (rendered.pod.pointer(&pointer), expected.pointer(&pointer));
            assert_eq!(ours.map(without_defaults), theirs.map(without_defaults), "{name} {part}");
        }
        assert_eq!(
            without_defaults(&rendered.pod["volumes"]),
            without_defaults(&expected["volumes"]),
            "{name}"
        );
        assert_eq!(rendered.pod.get("hostNetwork"), expected.get("hostNetwork"), "{name}");
    }
    Ok(())
}

/// The profiles that the captured pods came from.
fn profiles() -> Vec<(&'static str, Value)> {
    let profile = |name: &str, spec: Value| json!({"kind": "ThinRuntimeProfile", "metadata": {"name": name}, "spec": spec});
    let minio = profile(
        "minio-profile",
        json!({"fuse": {
            "image": "registry.example/fluid-minio-goofys", "imageTag": "demo", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "python3 /fluid-config-parse.py && chmod u+x ./mount-minio.sh && ./mount-minio.sh"],
        }}),
    );
    let rich = profile(
        "rich-profile",
        json!({
            "fuse": {
                "image": "registry.example/wasm-mount", "imageTag": "v1", "imagePullPolicy": "IfNotPresent",
                "command": ["/host"], "networkMode": "ContainerNetwork",
                "env": [
                    {"name": "PLUGIN", "value": "/plugins/plugin.wasm"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "options": {"flag-opt": "", "prof-opt": "prof-value", "both-opt": "from-profile"},
                "ports": [{"containerPort": 9100, "name": "wasm-metrics"}],
                "lifecycle": {"preStop": {"exec": {"command": ["/host", "umount"]}}},
                "volumeMounts": [
                    {"name": "plugin-cm", "mountPath": "/plugins", "readOnly": true},
                    {"name": "plugin-host", "mountPath": "/host-plugins", "readOnly": true},
                    {"name": "plugin-pvc", "mountPath": "/pvc-plugins", "readOnly": true},
                ],
            },
            "volumes": [
                {"name": "plugin-cm", "configMap": {"name": "plugin-wasm"}},
                {"name": "plugin-host", "hostPath": {"path": "/opt/plugins", "type": "DirectoryOrCreate"}},
                {"name": "plugin-pvc", "persistentVolumeClaim": {"claimName": "plugins", "readOnly": true}},
                {"name": "never-mounted", "emptyDir": {}},
            ],
        }),
    );
    let pvc = profile("pvc-profile", json!({}));
    vec![("minio-demo", minio), ("rich", rich), ("minimal", pvc.clone()), ("emptyds", pvc)]
}

/// Without what kube-apiserver fills in.
fn without_defaults(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let filled_in = |name: &str, value: &Value| {
                matches!(name, "defaultMode" | "apiVersion") || (name == "protocol" && value == "TCP")
            };
            let kept = fields.iter().filter(|(name, value)| !filled_in(name, value));
            Value::Object(
                kept.map(|(name, value)| (name.clone(), without_defaults(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(without_defaults).collect()),
        other => other.clone(),
    }
}

#[test]
fn the_examples_render_to_what_they_say() -> Result<()> {
    assert_eq!(rendered("minio")?.config, std::fs::read_to_string(fixture("fluid/minio-demo.config.json"))?);
    let s3: Value = serde_json::from_str(&rendered("s3")?.config)?;
    assert_eq!(
        s3["mounts"][1]["options"],
        json!({
            "access-key": "/etc/fluid/secrets/s3-secret/access-key", "secret-key": "/etc/fluid/secrets/s3-secret/secret-key",
            "region": "eu-central-1", "consistency": "open",
        })
    );
    for (name, plugin) in EXAMPLES {
        let Rendered { pod, target, .. } = rendered(name)?;
        let container = &pod["containers"][0];
        assert_eq!(container["command"], json!(["wasmount"]), "{name}");
        let arguments: Vec<_> =
            container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(
            arguments.contains(&format!("--plugin=/plugins/{plugin}.wasm").as_str()),
            "{name}: {arguments:?}"
        );
        assert_eq!(container["lifecycle"]["preStop"]["exec"]["command"], json!(["umount", target]), "{name}");
        assert_eq!(
            container["image"],
            format!("example.org/wasmount:{}", env!("CARGO_PKG_VERSION")),
            "{name}"
        );
        // Every secret that the Dataset names is in the example, with the key it names.
        let secret = &example(name)?["Secret"];
        for mount in
            serde_json::from_str::<Value>(&rendered(name)?.config)?["mounts"].as_array().into_iter().flatten()
        {
            for value in
                mount["options"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str())
            {
                let Some(path) = value.strip_prefix("/etc/fluid/secrets/") else { continue };
                let (of, key) = path.split_once('/').context("a key")?;
                assert_eq!(secret["metadata"]["name"], of, "{name}");
                assert!(secret["stringData"][key].is_string(), "{name}: no {key}");
            }
        }
    }
    Ok(())
}

/// What the program itself says of the configuration: every mount has its plugin, its options are known, and nothing is missing.
#[test]
fn a_dry_run_finds_nothing_wrong_with_any_example() -> Result<()> {
    for (name, plugin) in EXAMPLES {
        let files = FluidFiles::new()?;
        let Rendered { config, pod, .. } = rendered(name)?;
        std::fs::write(files.config_file(), config)?;
        let secret = &example(name)?["Secret"];
        for (key, value) in secret["stringData"].as_object().context("stringData")? {
            let of = secret["metadata"]["name"].as_str().context("a name")?;
            files.write_secret(of, key, value.as_str().context("a string")?)?;
        }
        // As the container would be started, but for what is elsewhere here.
        let arguments =
            pod["containers"][0]["args"].as_array().context("args")?.iter().filter_map(Value::as_str);
        let arguments = arguments.map(|argument| match argument.split_once('=') {
            Some(("--plugin", _)) => format!("--plugin={}", plugin_file(plugin)),
            Some(("--state-dir", _)) => format!("--state-dir={}", files.root().join("state").display()),
            _ => argument.to_owned(),
        });
        let output = Command::new(paths::wasmount()?)
            .args(arguments.collect::<Vec<_>>())
            .args(["--dry-run", "--strict-options"])
            .arg("--config")
            .arg(files.config_file())
            .arg("--secrets-dir")
            .arg(files.secrets_dir())
            .output()?;
        let printed =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{name}: {}\n{printed}", output.status);
        assert!(printed.contains(plugin), "{name}: {printed}");
        for value in
            secret["stringData"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str())
        {
            // The user's name of the public sample is in many words.
            assert!(value == "minioadmin" || !printed.contains(value), "{name}: a secret is printed");
        }
    }
    Ok(())
}

fn plugin_file(name: &str) -> String {
    let path: Result<PathBuf> = paths::plugin(name);
    path.map_or_else(|error| error.to_string(), |path| path.display().to_string())
}
