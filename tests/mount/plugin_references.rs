//! Plugins by reference, against a real registry: a start finds them by tag and digest, keeps them over its absence, and is refused whenever
//! something is wrong.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use serde_json::json;
use wasmount_tests::bounded::{SOON, read};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths;
use wasmount_tests::plugin_tool::{Tool, digest_of, field, plugin_file, push, says};
use wasmount_tests::registry::{Registry, Setup, SigningKey, sha256};

const CONTENT: &[u8] = b"through a plugin from a registry";
const WASM: &str = "application/wasm";

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
fn what_is_pulled_is_where_a_start_with_a_cache_looks_for_it() -> Result<()> {
    let mut registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let tag = registry.reference("wasmount/s3:v1");
    let (_minio, files) = bucket()?;
    let cache = files.root().join("cache");
    let directory = cache.to_str().context("UTF-8")?;
    for command in ["inspect", "pull"] {
        let text = Tool::new()?.succeeds(&[
            command,
            &tag,
            "--cache-dir",
            directory,
            "--plain-http-registry",
            &registry.host(),
        ])?;
        assert!(field(&text, "file")?.starts_with(&format!("{directory}/state/plugins/")), "{text}");
    }
    registry.stop();
    let mount = launch(&files, &registry, &tag).without_arg("--state-dir").start()?;
    mount.log().wait_for(&["warn", &tag, "cannot be asked"], SOON)?;
    reads(&mount)
}

#[test]
fn servers_that_hang_do_not_keep_known_plugins_from_being_used_and_are_waited_for_all_at_once() -> Result<()>
{
    let registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let (tag, other) = (registry.reference("wasmount/s3:v1"), registry.reference("wasmount/rbd:v1"));
    let host = registry.host();
    Tool::new()?.succeeds(&["push", &plugin_file("rbd")?, &other, "--plain-http-registry", &host])?;
    let (_minio, files) = bucket()?;
    let both = || launch(&files, &registry, &tag).arg("--plugin").arg(&other);
    drop(both().start()?);
    let began = Instant::now();
    let mount = registry.paused(|| -> Result<Mount> {
        let mut mount = both().spawn()?;
        for reference in [&tag, &other] {
            mount.log().wait_for(&["warn", reference, "cannot be asked", "timeout"], 2 * SOON)?;
        }
        mount.wait_mounted()?;
        Ok(mount)
    })?;
    let took = began.elapsed();
    // 15 s for a registry that accepts and says nothing.
    assert!((15..30).contains(&took.as_secs()), "one after the other they would take 30 s: {took:?}");
    assert_eq!(mount.log().lines_with(&["plugin is loaded"]).len(), 2);
    reads(&mount)
}

#[test]
fn of_several_that_cannot_be_had_the_first_is_named() -> Result<()> {
    let registry = Registry::start()?;
    push(&registry, "v1", &[])?;
    let files = FluidFiles::new()?;
    let [good, first, second] =
        ["wasmount/s3:v1", "none/a:v1", "none/b:v1"].map(|name| registry.reference(name));
    for _ in 0..3 {
        let several =
            launch(&files, &registry, &good).arg("--plugin").arg(&first).arg("--plugin").arg(&second);
        let sentence = start_fails(several)?;
        says(&sentence, &["--plugin", &first, "has no tag v1"]);
        assert!(!sentence.contains(&second), "one at a time: {sentence}");
    }
    Ok(())
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
    mine.sign_beside(&registry, "wasmount/s3", &elsewhere, &digest)?;
    says(&fails("verify", &key)?, &["none of the 1 signatures", "they sign something else"]);
    mine.sign(&registry, "wasmount/s3", &digest)?;
    assert_eq!(succeeds("verify", &key)?, verified);
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
