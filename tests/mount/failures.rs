//! One mount that fails takes nothing down, says why, and recovers by itself.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::bounded::{RECOVERY, SOON, names, read, reads_back, within};
use wasmount_tests::config::{FluidFiles, SECRETS};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};

const BUCKET: &str = "bucket";
const CONTENT: &[u8] = b"the content";

/// A MinIO with one bucket and one file.
fn server() -> Result<Minio> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket(BUCKET)?;
    client.put(BUCKET, "file", CONTENT)?;
    Ok(minio)
}

fn mount_of(name: &str, bucket: &str, endpoint: &str, secret: &str) -> Value {
    json!({"mountPoint": format!("minio://{bucket}"), "name": name, "options": {"minio-url": endpoint,
        "minio-access-key": format!("{SECRETS}/{secret}/ak"), "minio-access-secret": format!("{SECRETS}/{secret}/sk")}})
}

fn write_keys(files: &FluidFiles, secret: &str, secret_key: &str) -> Result<()> {
    files.write_secret(secret, "ak", "minioadmin")?;
    files.write_secret(secret, "sk", secret_key)?;
    Ok(())
}

/// Starts a good mount beside a `bad` one, and checks that the good one works, that the bad one has a directory
/// which fails, and that the log has a line about it with `words`.
fn good_beside_bad(files: &FluidFiles, endpoint: &str, bad: Value, words: &[&str]) -> Result<Mount> {
    write_keys(files, "good", "minioadmin")?;
    files.write_mounts(&[mount_of("good", BUCKET, endpoint, "good"), bad])?;
    let mut mount = Launch::run(files)?.start()?;
    assert_eq!(names(mount.target())??, ["bad", "good"]);
    assert_eq!(read(mount.path("good/file"))??, CONTENT);
    let error = names(mount.path("bad"))?.err().context("the bad mount lists")?;
    assert_ne!(error.kind(), std::io::ErrorKind::NotFound, "its directory must exist: {error}");
    assert!(read(mount.path("bad/file"))?.is_err());
    let mut parts = vec!["bad"];
    parts.extend(words);
    mount.log().wait_for(&parts, SOON)?;
    assert_eq!(read(mount.path("good/file"))??, CONTENT, "the good mount must not suffer");
    assert!(mount.process.ended().is_none());
    Ok(mount)
}

#[test]
fn a_wrong_key_fails_alone_and_recovers_when_the_secret_is_put_right() -> Result<()> {
    let minio = server()?;
    let files = FluidFiles::new()?;
    write_keys(&files, "bad", "not-the-key")?;
    let bad = mount_of("bad", BUCKET, &minio.endpoint(), "bad");
    let mount = good_beside_bad(&files, &minio.endpoint(), bad, &["secret"])?;
    assert!(!mount.log().text().contains("not-the-key"), "a secret is in the log");
    write_keys(&files, "bad", "minioadmin")?;
    reads_back(mount.path("bad/file"), CONTENT, RECOVERY)
}

#[test]
fn an_unknown_bucket_fails_alone_and_recovers_when_it_is_made() -> Result<()> {
    let minio = server()?;
    let files = FluidFiles::new()?;
    write_keys(&files, "bad", "minioadmin")?;
    let bad = mount_of("bad", "not-made-yet", &minio.endpoint(), "bad");
    let mount = good_beside_bad(&files, &minio.endpoint(), bad, &["not-made-yet"])?;
    let client = minio.client()?;
    client.make_bucket("not-made-yet")?;
    client.put("not-made-yet", "file", CONTENT)?;
    reads_back(mount.path("bad/file"), CONTENT, RECOVERY)
}

#[test]
fn a_missing_secret_fails_alone_and_recovers_when_it_appears() -> Result<()> {
    let minio = server()?;
    let files = FluidFiles::new()?;
    let bad = mount_of("bad", BUCKET, &minio.endpoint(), "later");
    let mount = good_beside_bad(&files, &minio.endpoint(), bad, &["later"])?;
    write_keys(&files, "later", "minioadmin")?;
    reads_back(mount.path("bad/file"), CONTENT, RECOVERY)
}

#[test]
fn a_server_that_is_down_at_the_start_is_used_once_it_is_up() -> Result<()> {
    let minio = server()?;
    let mut other = server()?;
    other.stop();
    let files = FluidFiles::new()?;
    write_keys(&files, "bad", "minioadmin")?;
    let bad = mount_of("bad", BUCKET, &other.endpoint(), "bad");
    let mount = good_beside_bad(&files, &minio.endpoint(), bad, &[])?;
    other.resume()?;
    reads_back(mount.path("bad/file"), CONTENT, RECOVERY)
}

#[test]
fn a_server_that_goes_away_and_comes_back() -> Result<()> {
    let mut minio = server()?;
    minio.client()?.put(BUCKET, "second", b"second")?;
    let files = FluidFiles::new()?;
    write_keys(&files, "good", "minioadmin")?;
    files.write_mounts(&[mount_of("only", BUCKET, &minio.endpoint(), "good")])?;
    let mut mount = Launch::run(&files)?.start()?;
    assert_eq!(read(mount.path("file"))??, CONTENT);

    minio.stop();
    assert!(read(mount.path("second"))?.is_err(), "nobody can have read that");
    // The root must answer at once, or Fluid and kubelet take the whole mount for dead.
    let root = mount.target().to_path_buf();
    within("stat of the root", std::time::Duration::from_secs(5), move || std::fs::metadata(root))??;
    assert!(mount.process.ended().is_none());

    minio.resume()?;
    reads_back(mount.path("second"), b"second", RECOVERY)
}
