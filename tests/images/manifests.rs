//! The examples in `images/examples`: Fluid takes them, and makes of them what wasmount mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use wasmount_tests::fluid::{Example, Rendered, Schemas, documents, parse, render};
use wasmount_tests::paths::{self, fixture, repository};
use wasmount_tests::plugin_tool::{digest_of, plugin_file, push};
use wasmount_tests::registry::{PASSWORD, Registry, Setup, SigningKey, USER, sha256};

/// Each with its plugin, as a file of `target/plugins` and as its profile names it.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("minio", "s3", "/plugins/s3.wasm"),
    ("s3", "s3", "/plugins/s3.wasm"),
    ("cephfs", "cephfs", "/plugins/cephfs.wasm"),
    ("rbd", "rbd", "/plugins/rbd.wasm"),
    ("registry", "s3", "oci://registry.example/wasmount/s3:1.0"),
];

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
    let mut tested: Vec<_> = EXAMPLES.iter().map(|(name, _, _)| *name).collect();
    tested.sort_unstable();
    assert_eq!(found, tested);
    Ok(())
}

#[test]
fn fluid_would_take_every_example() -> Result<()> {
    let schemas = Schemas::load()?;
    for (name, _, _) in EXAMPLES {
        let example = Example::load(name)?;
        for object in example.objects() {
            match object["kind"].as_str() {
                Some(kind @ ("Secret" | "ConfigMap")) => {
                    assert_eq!(object["apiVersion"], "v1", "{name}");
                    example.data(kind, object["metadata"]["name"].as_str().context("a name")?)?;
                }
                _ => schemas.check(object).with_context(|| (*name).to_owned())?,
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
    let minio = Example::load("minio")?;
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
        let mut object = minio.the(kind)?.clone();
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
    for (name, _, reference) in EXAMPLES {
        let example = Example::load(name)?;
        let Rendered { config, pod, target } = example.render().context(*name)?;
        let expected = match *name {
            "minio" => fixture("fluid/minio-demo.config.json"),
            name => fixture(&format!("examples/{name}.config.json")),
        };
        assert_eq!(config, std::fs::read_to_string(expected)?, "{name}");
        let container = &pod["containers"][0];
        assert_eq!(container["command"], json!(["wasmount"]), "{name}");
        let arguments: Vec<_> =
            container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(arguments.contains(&format!("--plugin={reference}").as_str()), "{name}: {arguments:?}");
        assert_eq!(container["lifecycle"]["preStop"]["exec"]["command"], json!(["umount", target]), "{name}");
        assert_eq!(
            container["image"],
            format!("example.org/wasmount:{}", env!("CARGO_PKG_VERSION")),
            "{name}"
        );
        // Every secret that the Dataset names is in the example, with the key it names.
        for mount in serde_json::from_str::<Value>(&config)?["mounts"].as_array().into_iter().flatten() {
            for value in
                mount["options"].as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str())
            {
                let Some(path) = value.strip_prefix("/etc/fluid/secrets/") else { continue };
                let (of, key) = path.split_once('/').context("a key")?;
                assert!(
                    example.data("Secret", of)?.iter().any(|(each, _)| *each == key),
                    "{name}: no {path}"
                );
            }
        }
    }
    Ok(())
}

/// What is the user's part and what the administrator's can be seen from the files.
#[test]
fn a_users_file_has_a_dataset_and_nothing_else() -> Result<()> {
    for (name, _, _) in EXAMPLES {
        let dir = repository().join("images/examples").join(name);
        for (file, kind) in
            [("dataset", "Dataset"), ("runtime", "ThinRuntime"), ("profile", "ThinRuntimeProfile")]
        {
            let found = documents(&dir.join(format!("{file}.yaml")))?;
            assert!(found.len() == 1 && found[0]["kind"] == kind, "{name}/{file}.yaml: {found:?}");
        }
        let runtime = documents(&dir.join("runtime.yaml"))?.pop().context("a ThinRuntime")?;
        let says: Vec<_> = runtime["spec"].as_object().context("spec")?.keys().collect();
        assert_eq!(says, ["profileName"], "{name}: the profile decides what runs");
    }
    Ok(())
}

/// Starts the program as the example's container would be started, but for `--dry-run`, and returns whether it succeeds and what it
/// printed.
fn dry_run(arguments: &[String]) -> Result<(bool, String)> {
    let output =
        Command::new(paths::wasmount()?).args(arguments).args(["--dry-run", "--strict-options"]).output()?;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok((output.status.success(), text.concat()))
}

/// What the program itself says of the configuration: every mount has its plugin, its options are known, and nothing is missing.
#[test]
fn a_dry_run_finds_nothing_wrong_with_any_example() -> Result<()> {
    for (name, plugin, reference) in EXAMPLES {
        let mut example = Example::load(name)?;
        example.replace(reference, &plugin_file(plugin)?);
        let (_files, arguments) = example.place()?;
        let (succeeded, printed) = dry_run(&arguments)?;
        assert!(succeeded && printed.contains(plugin), "{name}: {printed}");
        for secret in example.all("Secret").flat_map(|secret| secret["stringData"].as_object()) {
            for value in secret.values().filter_map(Value::as_str) {
                // The user's name of the public sample is in many words.
                assert!(value == "minioadmin" || !printed.contains(value), "{name}: a secret is printed");
            }
        }
    }
    Ok(())
}

/// The example with a private registry, with a real one that asks for a password, and a plugin that is signed there.
#[test]
fn the_example_with_a_registry_fetches_what_is_signed() -> Result<()> {
    let registry = Registry::start_with(Setup { password: true, ..Setup::default() })?;
    let auth = registry.auth_file(USER, PASSWORD)?.display().to_string();
    let host = registry.host();
    let pinned = push(&registry, "1.0", &["--plain-http-registry", &host, "--registry-auth", &auth])?;
    let (ours, theirs) = (SigningKey::new()?, SigningKey::new()?);
    ours.sign(&registry, "wasmount/s3", digest_of(&pinned)?)?;

    let started_with = |password: &str, key: &SigningKey| -> Result<(bool, String)> {
        let mut example = Example::load("registry")?;
        example.replace("registry.example", &host);
        example.replace("puller", USER);
        example.replace("may-only-pull", password);
        let shown = example.data("ConfigMap", "wasmount-plugin-key")?;
        let [("cosign.pub", shown)] = shown[..] else { bail!("{shown:?}") };
        let (shown, key) = (shown.to_owned(), std::fs::read_to_string(key.public())?);
        example.replace(&shown, &key);
        let (_files, mut arguments) = example.place()?;
        arguments.push(format!("--plain-http-registry={host}"));
        dry_run(&arguments)
    };
    let (succeeded, printed) = started_with(PASSWORD, &ours)?;
    assert!(succeeded && printed.contains(&sha256(&std::fs::read(paths::plugin("s3")?)?)), "{printed}");
    for (password, key, complaint) in
        [("wrong", &ours, "--registry-auth"), (PASSWORD, &theirs, "none of the 1 signatures")]
    {
        let (succeeded, printed) = started_with(password, key)?;
        assert!(!succeeded && printed.contains(complaint), "{printed}");
    }
    Ok(())
}

/// The policy that keeps ThinRuntimes and Datasets from replacing what the profile says. What its expressions mean is not evaluated here: that
/// takes an API server. But they have to name fields that there are, and none of those that decide what runs.
#[test]
fn the_admission_policy_allows_what_does_not_decide_what_runs() -> Result<()> {
    let all = documents(&repository().join("images/admission-policy.yaml"))?;
    let of_kind = |kind: &'static str| all.iter().filter(move |each| each["kind"] == kind);
    let names = |kind, pointer: &str| -> Vec<Value> {
        of_kind(kind).filter_map(|each| each.pointer(pointer)).cloned().collect()
    };
    let policies = names("ValidatingAdmissionPolicy", "/metadata/name");
    assert_eq!(policies, ["fluid-thinruntimes", "fluid-datasets"]);
    assert_eq!(names("ValidatingAdmissionPolicyBinding", "/spec/policyName"), policies);
    assert_eq!(all.len(), 4);
    for each in &all {
        assert_eq!(each["apiVersion"], "admissionregistration.k8s.io/v1");
        let holds = match each["kind"].as_str() {
            Some("ValidatingAdmissionPolicy") => each["spec"]["failurePolicy"] == "Fail",
            _ => each["spec"]["validationActions"] == json!(["Deny"]),
        };
        assert!(holds, "{each}");
    }

    // `PART.all(field, field in [NAMES])`
    let schemas = Schemas::load()?;
    let text = |rule: &Value| rule["expression"].as_str().map(str::to_owned);
    let rules: Vec<String> = of_kind("ValidatingAdmissionPolicy")
        .flat_map(|policy| policy["spec"]["validations"].as_array())
        .flatten()
        .filter_map(text)
        .collect();
    let mut allowed = BTreeMap::new();
    for rule in &rules {
        let Some((part, names)) = rule.split_once(").all(field, field in") else { continue };
        let part = part.rsplit_once("dyn(object.").context("a part")?.1;
        let names: BTreeSet<_> = names.split('\'').skip(1).step_by(2).collect();
        let known = schemas.fields("ThinRuntime", part)?;
        assert!(names.iter().all(|name| known.contains(name)), "{part}: {names:?} of {known:?}");
        allowed.insert(part, names);
    }
    let rest = |part: &str| -> Result<Vec<&str>> {
        Ok(schemas
            .fields("ThinRuntime", part)?
            .into_iter()
            .filter(|name| !allowed[part].contains(name))
            .collect())
    };
    assert_eq!(rest("spec")?, ["imagePullSecrets", "runAs", "volumes"]);
    for field in [
        "image",
        "imageTag",
        "command",
        "args",
        "env",
        "volumeMounts",
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
    ] {
        assert!(rest("spec.fuse")?.contains(&field), "{field} of fuse is allowed");
    }
    for field in ["image", "env", "volumeMounts", "livenessProbe", "readinessProbe"] {
        assert!(rest("spec.worker")?.contains(&field), "{field} of worker is allowed");
    }
    let hostvolume =
        |place: &str| rules.iter().any(|rule| rule.contains(&format!("'fluid.fuse.hostvolume' in {place}")));
    assert!(hostvolume("mount.options") && hostvolume("object.spec.sharedOptions"));
    Ok(())
}
