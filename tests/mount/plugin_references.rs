//! Plugins by reference, against a real registry: found by tag and digest, kept over its absence, and refused whenever something is wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::json;
use tempfile::TempDir;
use wasmount_tests::bounded::{SOON, read, within};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths;
use wasmount_tests::registry::{BlobsAt, PASSWORD, Registry, Setup, SigningKey, USER, sha256};
use wasmount_tests::token_service::{IDENTITY_TOKEN, TokenService};

const CONTENT: &[u8] = b"through a plugin from a registry";
const WASM: &str = "application/wasm";
const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `wasmount plugin …` with a state directory of its own.
struct Tool {
    state: TempDir,
}

impl Tool {
    fn new() -> Result<Self> {
        Ok(Self { state: tempfile::tempdir()? })
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(paths::wasmount()?);
        command.arg("plugin").args(arguments);
        if arguments.first() == Some(&"pull") {
            command.arg("--state-dir").arg(self.state.path());
        }
        for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "WASMOUNT_LOG"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        within("wasmount plugin", SOON, move || command.output())?.context("run wasmount")
    }

    /// Its standard output, when it succeeds.
    fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.success(), "{arguments:?}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The one sentence with which it fails. It names what it was asked for, and shows no secret.
    fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        let error = String::from_utf8(output.stderr)?;
        anyhow::ensure!(output.status.code() == Some(1), "{arguments:?}: {:?} {error}", output.status);
        let last = error.lines().last().unwrap_or_default().to_owned();
        anyhow::ensure!(!error.contains(PASSWORD), "a password is shown: {error}");
        Ok(last)
    }
}

/// With `--registry-auth`.
fn with_auth<'a>(arguments: &[&'a str], file: &'a str) -> Vec<&'a str> {
    [arguments, &["--registry-auth", file]].concat()
}

/// A field of what the commands print.
fn field(text: &str, name: &str) -> Result<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in {text}"))?;
    Ok(line.trim().to_owned())
}

fn plugin_file(name: &str) -> Result<String> {
    Ok(paths::plugin(name)?.display().to_string())
}

/// Pushes s3.wasm; returns the pinned reference.
fn push(registry: &Registry, tag: &str, more: &[&str]) -> Result<String> {
    let (file, reference, host) =
        (plugin_file("s3")?, registry.reference(&format!("wasmount/s3:{tag}")), registry.host());
    let mut arguments = vec!["push", &file, &reference];
    if more.is_empty() {
        arguments.extend(["--plain-http-registry", &host]);
    }
    arguments.extend(more);
    field(&Tool::new()?.succeeds(&arguments)?, "pinned")
}

fn digest_of(pinned: &str) -> Result<&str> {
    pinned.split_once('@').map(|(_, digest)| digest).context("a digest")
}

/// A bucket to mount, and config.json for it.
fn bucket() -> Result<(Minio, FluidFiles)> {
    let minio = Minio::start()?;
    minio.client()?.make_bucket("data")?;
    minio.client()?.put("data", "file", CONTENT)?;
    let files = FluidFiles::new()?;
    let options = json!({"endpoint": minio.endpoint(), "access-key": files.write_secret("s3", "ak", "minioadmin")?,
        "secret-key": files.write_secret("s3", "sk", "minioadmin")?});
    files.write_mounts(&[json!({"mountPoint": "s3://data", "name": "data", "options": options})])?;
    Ok((minio, files))
}

fn launch(files: &FluidFiles, registry: &Registry, reference: &str) -> Launch {
    Launch::bare_run(files)
        .arg("--allow-net")
        .arg("127.0.0.1")
        .arg("--plain-http-registry")
        .arg(registry.host())
        .arg("--plugin")
        .arg(reference)
}

fn reads(mount: &Mount) -> Result<()> {
    assert_eq!(read(mount.path("file"))??, CONTENT);
    Ok(())
}

/// The sentence with which a start fails.
fn start_fails(launch: Launch) -> Result<String> {
    let mut mount = launch.spawn()?;
    let status = mount.process.wait(SOON)?;
    anyhow::ensure!(status.code() == Some(1), "{status}: {}", mount.log().text());
    Ok(mount.log().text().lines().last().unwrap_or_default().to_owned())
}

#[track_caller]
fn says(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "no {part:?} in: {sentence}");
    }
}

#[test]
fn by_tag_then_by_digest_and_with_the_registry_gone() -> Result<()> {
    let mut registry = Registry::start()?;
    let pinned = push(&registry, "v1", &[])?;
    assert_eq!(push(&registry, "again", &[])?, pinned, "the same plugin has the same digest");
    let tag = registry.reference("wasmount/s3:v1");
    let (_minio, files) = bucket()?;

    let mount = launch(&files, &registry, &tag).start()?;
    mount.log().wait_for(&["plugin is fetched", &tag, digest_of(&pinned)?], SOON)?;
    reads(&mount)?;
    drop(mount);
    let mount = launch(&files, &registry, &pinned).start()?;
    mount.log().wait_for(&["plugin is here already", &pinned], SOON)?;
    drop(mount);

    registry.stop();
    let mount = launch(&files, &registry, &tag).start()?;
    mount.log().wait_for(&["warn", &tag, "cannot be asked", "seconds ago", "does not answer"], SOON)?;
    reads(&mount)?;
    drop(mount);
    let mount = launch(&files, &registry, &pinned).start()?;
    reads(&mount)?;
    assert!(mount.log().lines_with(&["cannot be asked"]).is_empty(), "a digest asks nobody");
    drop(mount);
    // Nothing that was not fetched before.
    let sentence = start_fails(launch(&files, &registry, &registry.reference("wasmount/s3:again")))?;
    says(&sentence, &["--plugin", "wasmount/s3:again", "does not answer"]);
    Ok(())
}

#[test]
fn a_tag_that_moves_is_followed() -> Result<()> {
    let registry = Registry::start()?;
    let (tool, host, tag) = (Tool::new()?, registry.host(), registry.reference("plugins/moving:v1"));
    let plain = ["--plain-http-registry", &host];
    let pull = || tool.succeeds(&[&["pull", &tag][..], &plain].concat());
    for name in ["s3", "rbd"] {
        let file = plugin_file(name)?;
        tool.succeeds(&[&["push", &file, &tag][..], &plain].concat())?;
        assert_eq!(field(&pull()?, "plugin")?, sha256(&std::fs::read(&file)?), "{name}");
    }
    let copy = tool.state.path().join("copy.wasm").display().to_string();
    let text = tool.succeeds(&[&["pull", &tag, "-o", &copy][..], &plain].concat())?;
    assert_eq!(field(&text, "file")?, copy);
    assert_eq!(std::fs::read(&copy)?, std::fs::read(paths::plugin("rbd")?)?);
    Ok(())
}

#[test]
fn a_server_that_hangs_does_not_keep_a_known_plugin_from_being_used() -> Result<()> {
    let registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let tag = registry.reference("wasmount/s3:v1");
    let (_minio, files) = bucket()?;
    drop(launch(&files, &registry, &tag).start()?);
    let mount = registry.paused(|| -> Result<Mount> {
        let mut mount = launch(&files, &registry, &tag).spawn()?;
        // 15 s for a registry that accepts and says nothing.
        mount.log().wait_for(&["warn", "cannot be asked", "timeout"], 2 * SOON)?;
        mount.wait_mounted()?;
        Ok(mount)
    })?;
    reads(&mount)
}

#[test]
fn the_environment_names_several() -> Result<()> {
    let registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let (_minio, files) = bucket()?;
    let all = format!("WASMOUNT_PLUGIN={}\n  {}", registry.reference("wasmount/s3:v1"), plugin_file("rbd")?);
    let base = || {
        Launch::bare_run(&files)
            .arg("--allow-net")
            .arg("127.0.0.1")
            .arg("--plain-http-registry")
            .arg(registry.host())
    };
    let mount = base().under("env", &[&all]).start()?;
    reads(&mount)?;
    assert_eq!(mount.log().lines_with(&["plugin is loaded"]).len(), 2);
    drop(mount);
    // The command line wins.
    let mount = base()
        .arg("--plugin")
        .arg(plugin_file("s3")?)
        .under("env", &["WASMOUNT_PLUGIN=/nonexistent"])
        .start()?;
    drop(mount);
    let sentence = start_fails(base().under("env", &["WASMOUNT_PLUGIN=http://files.example/s3.wasm"]))?;
    says(&sentence, &["WASMOUNT_PLUGIN", "https://"]);
    Ok(())
}

#[test]
fn what_is_not_there_or_not_what_it_should_be() -> Result<()> {
    let registry = Registry::start()?;
    let (tool, host) = (Tool::new()?, registry.host());
    let pinned = push(&registry, "v1", &[])?;
    let plain = ["--plain-http-registry", &host];
    let fails = |reference: &str| tool.fails(&[&["pull", reference][..], &plain].concat());

    says(&fails(&registry.reference("wasmount/s3:v2"))?, &["wasmount/s3:v2", "has no tag v2", "push it"]);
    says(&fails(&registry.reference("wasmount/none:v1"))?, &["wasmount/none", "has no tag"]);
    let wrong = registry.reference(&format!("wasmount/s3:v1@sha256:{}", "0".repeat(64)));
    says(&fails(&wrong)?, &["has no digest sha256:000", "correct the reference"]);
    let told = tool.fails(&["pull", &registry.reference("wasmount/s3:v1")])?;
    says(&told, &["does not speak TLS", "--plain-http-registry", &host]);

    // What is in the registry, but is no plugin.
    let text = registry.put_blob("other", "text/plain", b"hello")?;
    registry.put_image("other", "text", &[text])?;
    says(
        &fails(&registry.reference("other:text"))?,
        &["neither a WebAssembly artifact nor an image", "text/plain"],
    );
    let core = registry.put_blob("other", WASM, b"\0asm\x01\0\0\0")?;
    registry.put_image("other", "core", &[core])?;
    let sentence = start_fails(launch(&FluidFiles::new()?, &registry, &registry.reference("other:core")))?;
    says(&sentence, &["other:core", "core WebAssembly module", "component"]);
    says(
        &tool.fails(&["push", "/etc/passwd", &registry.reference("other:x")])?,
        &["not a WebAssembly component"],
    );

    // Bytes that were changed at the registry: first the layer's, then the manifest's.
    let layer = sha256(&std::fs::read(paths::plugin("s3")?)?);
    change(&registry.blob_file(&layer))?;
    says(&fails(&pinned)?, &["layer", &layer, "it was changed there or on its way"]);
    change(&registry.blob_file(digest_of(&pinned)?))?;
    says(&fails(&pinned)?, &[&pinned, "manifest", "it was changed there or on its way"]);
    Ok(())
}

/// Changes one byte of a file, so that a manifest is still one.
fn change(file: &Path) -> Result<()> {
    let mut bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    // In a manifest, a letter of the title; elsewhere anything.
    let title = bytes.windows(7).position(|window| window == b"s3.wasm");
    let at = title.unwrap_or(bytes.len() / 2);
    bytes[at] ^= 0x20;
    Ok(std::fs::write(file, bytes)?)
}

#[test]
fn passwords() -> Result<()> {
    let registry = Registry::start_with(Setup { password: true, ..Setup::default() })?;
    let (tool, host, tag) = (Tool::new()?, registry.host(), registry.reference("wasmount/s3:v1"));
    let auth = registry.auth_file(USER, PASSWORD)?.display().to_string();
    push(&registry, "v1", &["--plain-http-registry", &host, "--registry-auth", &auth])?;
    let base = ["pull", &tag, "--plain-http-registry", &host];

    says(&tool.fails(&base)?, &[&host, "asks for a user and password", "--registry-auth FILE"]);
    let wrong = registry.auth_file(USER, "wrong")?.display().to_string();
    let sentence = tool.fails(&with_auth(&base, &wrong))?;
    says(&sentence, &["does not allow wasmount/s3 to be read", "401", "--registry-auth"]);
    assert!(!sentence.contains("wrong,") && !sentence.contains("\"wrong\""), "{sentence}");
    let missing = tool.fails(&with_auth(&base, "/nonexistent/.dockerconfigjson"))?;
    says(&missing, &["--registry-auth /nonexistent/.dockerconfigjson", "No such file"]);
    tool.succeeds(&with_auth(&base, &auth))?;
    Ok(())
}

#[test]
fn tokens() -> Result<()> {
    let service = TokenService::start()?;
    let registry = Registry::start_with(Setup { token: Some(service.for_registry()), ..Setup::default() })?;
    let (tool, host, tag) = (Tool::new()?, registry.host(), registry.reference("wasmount/s3:v1"));
    let auth = registry.auth_file(USER, PASSWORD)?.display().to_string();
    let at = service.host();
    // The password goes to the service without TLS only if it was named too.
    let half = ["push", &plugin_file("s3")?, &tag, "--plain-http-registry", &host, "--registry-auth", &auth];
    says(&tool.fails(&half)?, &[&at, "without TLS", "--plain-http-registry"]);
    assert_eq!(service.asked("GET") + service.asked("POST"), 0, "nothing was sent there");
    let plain = ["--plain-http-registry", &host, "--plain-http-registry", &at];
    push(&registry, "v1", &[&plain[..], &["--registry-auth", &auth]].concat())?;

    let base = [&["pull", &tag][..], &plain].concat();
    tool.succeeds(&with_auth(&base, &auth))?;
    says(
        &tool.fails(&base)?,
        &["does not allow wasmount/s3 to be read by everybody", "--registry-auth FILE"],
    );
    let wrong = registry.auth_file(USER, "wrong")?.display().to_string();
    says(&tool.fails(&with_auth(&base, &wrong))?, &["token service", &at, "does not accept"]);
    assert_eq!(service.asked("POST"), 0);
    let identity = registry.identity_file(IDENTITY_TOKEN)?.display().to_string();
    Tool::new()?.succeeds(&with_auth(&base, &identity))?;
    assert_eq!(service.asked("POST"), 1);
    Ok(())
}

#[test]
fn blobs_in_a_bucket_are_fetched_without_the_registrys_credentials() -> Result<()> {
    let minio = Minio::start()?;
    let setup = Setup { password: true, blobs: Some(BlobsAt::minio(&minio)?), ..Setup::default() };
    let registry = Registry::start_with(setup)?;
    let (tool, host, tag) = (Tool::new()?, registry.host(), registry.reference("wasmount/s3:v1"));
    let auth = registry.auth_file(USER, PASSWORD)?.display().to_string();
    push(&registry, "v1", &["--plain-http-registry", &host, "--registry-auth", &auth])?;
    let pull = ["pull", &tag, "--plain-http-registry", &host, "--registry-auth", &auth];
    // The bucket is elsewhere, and has no TLS either.
    let bucket = minio.endpoint().replace("http://", "");
    let sentence = tool.fails(&pull)?;
    says(&sentence, &["a redirect", &bucket, "--plain-http-registry"]);
    assert!(!sentence.contains("X-Amz"), "the signed URL is shown: {sentence}");
    // MinIO refuses a signed URL that comes with an `Authorization`.
    tool.succeeds(&[&pull[..], &["--plain-http-registry", &bucket]].concat())?;
    Ok(())
}

#[test]
fn signatures() -> Result<()> {
    let mut registry = Registry::start()?;
    let (tool, host, tag) = (Tool::new()?, registry.host(), registry.reference("wasmount/s3:v1"));
    let pinned = push(&registry, "v1", &[])?;
    let digest = digest_of(&pinned)?.to_owned();
    let (mine, other) = (SigningKey::new()?, SigningKey::new()?);
    let (key, other_key) = (mine.public().display().to_string(), other.public().display().to_string());
    let plain = ["--plain-http-registry", &host];
    let with = |command: &'static str, key: &str| -> Vec<String> {
        [command, &tag, "--plugin-key", key].iter().chain(&plain).map(|text| (*text).to_owned()).collect()
    };
    let fails =
        |command, key: &str| tool.fails(&with(command, key).iter().map(String::as_str).collect::<Vec<_>>());
    let succeeds = |command, key: &str| {
        tool.succeeds(&with(command, key).iter().map(String::as_str).collect::<Vec<_>>())
    };

    for command in ["pull", "verify"] {
        says(&fails(command, &key)?, &[&tag, "is not signed", "--plugin-key"]);
    }
    // It was fetched without a key: that does not count as signed.
    tool.succeeds(&[&["pull", &tag][..], &plain].concat())?;
    says(&fails("pull", &key)?, &["is not signed"]);

    other.sign(&registry, "wasmount/s3", &digest)?;
    says(&fails("verify", &key)?, &["none of the 1 signatures", "--plugin-key"]);
    mine.sign(&registry, "wasmount/s3", &digest)?;
    let verified = succeeds("verify", &key)?;
    assert_eq!(field(&verified, "manifest")?, digest);
    assert!(field(&verified, "signed by")?.starts_with("sha256:"));
    says(&fails("verify", &other_key)?, &["none of the 1 signatures"]);
    // A right signature of something else under this manifest's tag.
    let elsewhere = push_other(&registry)?;
    mine.sign(&registry, "other", &elsewhere)?;
    says(&fails("verify", "/etc/hostname")?, &["--plugin-key /etc/hostname", "no public key"]);

    let (_minio, files) = bucket()?;
    let keyed = |key: &str| launch(&files, &registry, &tag).arg("--plugin-key").arg(key);
    drop(keyed(&key).start()?);
    let (good, bad) = (keyed(&key), keyed(&other_key));
    registry.stop();
    let mount = good.start()?;
    mount.log().wait_for(&["warn", "cannot be asked"], SOON)?;
    drop(mount);
    // What one key vouched for is not good for another.
    says(&start_fails(bad)?, &[&tag, "does not answer"]);
    Ok(())
}

fn push_other(registry: &Registry) -> Result<String> {
    let layer = registry.put_blob("other", WASM, b"\0asm\x0d\0\x01\0")?;
    registry.put_image("other", "v1", &[layer])
}

/// A layer of these files, made by tar.
fn layer(registry: &Registry, repository: &str, files: &[(&str, &Path)]) -> Result<serde_json::Value> {
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    for (name, from) in files {
        let to = root.join(name);
        std::fs::create_dir_all(to.parent().context("a directory")?)?;
        std::fs::copy(from, to)?;
    }
    let output = Command::new("tar").arg("-C").arg(&root).args(["-czf", "-", "."]).output()?;
    anyhow::ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    registry.put_blob(repository, TAR_GZIP, &output.stdout)
}

#[test]
fn images_and_indexes() -> Result<()> {
    let registry = Registry::start()?;
    let (tool, host) = (Tool::new()?, registry.host());
    let plain = ["--plain-http-registry", &host];
    let pull = |reference: &str| {
        let reference = registry.reference(reference);
        tool.succeeds(&[&["pull", &reference][..], &plain].concat())
    };
    let (s3, rbd) = (paths::plugin("s3")?, paths::plugin("rbd")?);
    let s3_digest = sha256(&std::fs::read(&s3)?);

    // FROM scratch, COPY s3.wasm /, after a layer with what is no plugin.
    let readme = layer(&registry, "image", &[("README.md", &paths::repository().join("README.md"))])?;
    let plugin = layer(&registry, "image", &[("s3.wasm", &s3)])?;
    let size = plugin["size"].clone();
    let image = registry.put_image("image", "one", &[readme, plugin])?;
    assert_eq!(field(&pull("image:one")?, "plugin")?, s3_digest);

    let both = layer(&registry, "image", &[("plugins/s3.wasm", &s3), ("plugins/rbd.wasm", &rbd)])?;
    registry.put_image("image", "two", &[both])?;
    let reference = registry.reference("image:two");
    let sentence = tool.fails(&[&["pull", &reference][..], &plain].concat())?;
    says(&sentence, &["2 files *.wasm", "plugins/rbd.wasm, plugins/s3.wasm", "#path="]);
    assert_eq!(field(&pull("image:two#path=/plugins/s3.wasm")?, "plugin")?, s3_digest);
    assert_eq!(field(&pull("image:two#path=plugins/rbd.wasm")?, "plugin")?, sha256(&std::fs::read(&rbd)?));

    // An index, as BuildKit makes it: one image, and an attestation.
    let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image, "size": size,
        "platform": {"os": "linux", "architecture": "s390x"}});
    let attestation = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image, "size": size,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [attestation, entry]});
    let digest = registry.put_manifest("image", "index", &index)?;
    let text = pull("image:index")?;
    assert_eq!(field(&text, "plugin")?, s3_digest);
    assert!(field(&text, "pinned")?.ends_with(&digest), "the index is what is pinned: {text}");

    // Spin's type of layer.
    let spin =
        registry.put_blob("spin", "application/vnd.wasm.content.layer.v1+wasm", &std::fs::read(&s3)?)?;
    registry.put_image("spin", "v1", &[spin])?;
    assert_eq!(field(&pull("spin:v1")?, "plugin")?, s3_digest);
    Ok(())
}

#[test]
fn web_servers_and_registries_with_tls() -> Result<()> {
    let registry = Registry::start_with(Setup { tls: true, ..Setup::default() })?;
    // The operator's copy outlives the registry.
    let kept = tempfile::tempdir()?;
    let ca = kept.path().join("ca.crt");
    std::fs::copy(registry.ca_file()?, &ca)?;
    let (tool, host, ca) = (Tool::new()?, registry.host(), ca.display().to_string());
    let trusted = ["--registry-ca", &ca];
    let pinned = push(&registry, "v1", &trusted)?;
    tool.succeeds(&[&["pull", &pinned][..], &trusted].concat())?;
    let other = Tool::new()?;
    says(&other.fails(&["pull", &pinned])?, &[&host, "not trusted", "--registry-ca"]);

    // A registry's blobs are files on a web server.
    let digest = sha256(&std::fs::read(paths::plugin("s3")?)?);
    let hex = digest.trim_start_matches("sha256:");
    let url = format!("https://{host}/v2/wasmount/s3/blobs/{digest}");
    let reference = format!("{url}#sha256={hex}");
    says(&other.fails(&["pull", &reference])?, &["not trusted", "--registry-ca"]);
    let wrong = format!("{url}#sha256={}", "0".repeat(64));
    says(&other.fails(&[&["pull", &wrong][..], &trusted].concat())?, &[&digest, "not what #sha256= names"]);
    says(&other.fails(&[&["pull", &url][..], &trusted].concat())?, &["#sha256=HEX"]);
    let gone = format!("https://{host}/none#sha256={hex}");
    says(&other.fails(&[&["pull", &gone][..], &trusted].concat())?, &["no such file (404)"]);
    says(&other.fails(&["pull", &reference.replace("https:", "http:")])?, &["plain http"]);

    let (_minio, files) = bucket()?;
    let run = || {
        let launch =
            Launch::bare_run(&files).arg("--allow-net").arg("127.0.0.1").arg("--registry-ca").arg(&ca);
        launch.arg("--plugin").arg(format!("s3={reference}"))
    };
    reads(&run().start()?)?;
    drop(registry);
    reads(&run().start()?)?;
    Ok(())
}

#[test]
fn what_is_unused_for_long_is_removed() -> Result<()> {
    let registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let files = FluidFiles::new()?;
    let start = || launch(&files, &registry, &registry.reference("wasmount/s3:v1")).start();
    drop(start()?);
    let state = files.root().join("state");
    let old: Vec<PathBuf> =
        ["aot/old.cwasm", "plugins/sha256-old.wasm", "plugins/.tmp-old.tmp", "plugins/references/old.json"]
            .iter()
            .map(|name| state.join(name))
            .collect();
    for path in &old {
        std::fs::write(path, "old")?;
        let past = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
        std::fs::File::open(path)?.set_modified(past)?;
    }
    let mount = start()?;
    mount.log().wait_for(&["removed what was unused", "references"], SOON)?;
    wasmount_tests::bounded::wait_for("old files go", SOON, || {
        old.iter().all(|path| !path.exists()).then_some(())
    })?;
    assert_eq!(std::fs::read_dir(state.join("aot"))?.count(), 1, "the code in use stays");
    assert!(!mount.log().lines_with(&["plugin is here already"]).is_empty());
    Ok(())
}
