//! `wasmount plugin push`, `pull` and `inspect` against real registries: passwords, tokens, redirects, images and indexes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::minio::Minio;
use wasmount_tests::paths;
use wasmount_tests::plugin_tool::{Tool, digest_of, field, plugin_file, push, says, with_auth};
use wasmount_tests::registry::{BlobsAt, PASSWORD, Registry, Setup, USER, sha256};
use wasmount_tests::token_service::{IDENTITY_TOKEN, TokenService};

const TAR_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

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

fn inspect<'a>(trusted: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["inspect"], more, trusted].concat()
}

#[test]
fn a_reference_is_inspected_without_a_file_of_it() -> Result<()> {
    let mut registry = Registry::start_with(Setup { tls: true, ..Setup::default() })?;
    let kept = tempfile::tempdir()?;
    let ca = kept.path().join("ca.crt");
    std::fs::copy(registry.ca_file()?, &ca)?;
    let (tool, ca, host) = (Tool::new()?, ca.display().to_string(), registry.host());
    let trusted = ["--registry-ca", &ca];
    let pinned = push(&registry, "v1", &trusted)?;
    let tag = registry.reference("wasmount/s3:v1");
    let digest = sha256(&std::fs::read(paths::plugin("s3")?)?);

    let page = tool.succeeds(&inspect(&trusted, &[&tag]))?;
    assert_eq!((field(&page, "plugin")?, field(&page, "digest")?), (tag.clone(), digest.clone()));
    says(&page, &["Options:", "Secrets it sees in clear: access-key"]);
    let json: Value = serde_json::from_str(&tool.succeeds(&inspect(&trusted, &[&pinned, "--json"]))?)?;
    assert_eq!((&json["reference"], &json["digest"]), (&json!(pinned), &json!(digest)));
    let url = format!(
        "https://{host}/v2/wasmount/s3/blobs/{digest}#sha256={}",
        digest.trim_start_matches("sha256:")
    );
    let json: Value = serde_json::from_str(&Tool::new()?.succeeds(&inspect(&trusted, &[&url, "--json"]))?)?;
    assert_eq!((&json["reference"], &json["digest"]), (&json!(url), &json!(digest)));
    assert_eq!(json["refusedToReveal"], json!([]));

    says(&tool.fails(&inspect(&trusted, &[&registry.reference("wasmount/s3:v2")]))?, &["has no tag v2"]);
    let stranger = Tool::new()?.fails(&["inspect", &url])?;
    says(&stranger, &[&host, "not trusted", "--registry-ca"]);
    says(&tool.fails(&["inspect", "/usr"])?, &["/usr is a directory"]);
    // What was fetched is here, whoever wants to look at it.
    registry.stop();
    let page = tool.succeeds(&inspect(&trusted, &[&pinned]))?;
    assert_eq!(field(&page, "digest")?, digest);
    assert!(field(&page, "file")?.starts_with(&tool.state().display().to_string()), "{page}");
    assert_eq!(digest_of(&pinned)?, digest_of(&field(&page, "plugin")?)?);
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
    let copy = tool.state().join("copy.wasm").display().to_string();
    let text = tool.succeeds(&[&["pull", &tag, "-o", &copy][..], &plain].concat())?;
    assert_eq!(field(&text, "file")?, copy);
    assert_eq!(std::fs::read(&copy)?, std::fs::read(paths::plugin("rbd")?)?);
    Ok(())
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
fn transfers_are_seen_on_a_terminal_and_in_a_log() -> Result<()> {
    let registry = Registry::start()?;
    let (tool, host, tag) = (Tool::new()?, registry.host(), registry.reference("wasmount/s3:v1"));
    let file = plugin_file("s3")?;
    let plain = ["--plain-http-registry", &host];
    let (push, pull) =
        ([&["push", &file, &tag][..], &plain].concat(), [&["pull", &tag][..], &plain].concat());
    let kib = std::fs::metadata(&file)?.len() as f64 / 1024.0;
    let whole = if kib < 1024.0 { format!("/{kib:.2} KiB") } else { format!("/{:.2} MiB", kib / 1024.0) };
    let is_line = |line: &str| line.contains("wasmount/s3") && line.contains("to transfer");

    let shown = tool.on_terminal(&push)?;
    says(&shown, &["wasmount/s3", &whole, "B/s"]);
    assert!(!shown.lines().any(is_line), "both a bar and lines: {shown}");
    let shown = tool.on_terminal(&pull)?;
    says(&shown, &["wasmount/s3", &whole, "B/s", "plugin     sha256:"]);
    let shown = tool.on_terminal(&pull)?;
    assert!(!shown.contains(&whole), "it was there already: {shown}");

    let log = Tool::new()?.log(&pull)?;
    assert_eq!(log.lines().filter(|line| is_line(line)).count(), 1, "{log}");
    assert!(!log.contains('\u{1b}'), "a bar where there is no terminal: {log}");
    Ok(())
}
