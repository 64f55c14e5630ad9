//! The configurations that real Fluid writes, on a real MinIO.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result};
use wasmount_tests::bounded::{SOON, names, read};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Launch;
use wasmount_tests::paths::fixture;

const ENDPOINT_OF_RICH: &str = "http://own:9000/?x=1&y=<2>";

#[test]
fn minio_demo_shows_its_bucket_at_the_root() -> Result<()> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket("my-first-bucket")?;
    client.put("my-first-bucket", "testfile", b"fluid-minio-test\n")?;
    client.put("my-first-bucket", "dir/inner", b"inner")?;

    let files = FluidFiles::new()?;
    files.write_secret("minio-secret", "minio-access-key", "minioadmin\n")?;
    files.write_secret("minio-secret", "minio-access-secret", "minioadmin\n")?;
    files.write_golden(
        &fixture("fluid/minio-demo.config.json"),
        &[("http://minio:9000", &minio.endpoint())],
    )?;
    let mount = Launch::run(&files)?.start()?;

    assert_eq!(read(mount.path("testfile"))??, b"fluid-minio-test\n");
    assert_eq!(names(mount.target())??, ["dir", "testfile"]);
    assert_eq!(names(mount.path("dir"))??, ["inner"]);
    assert_eq!(mount.entry()?.fs_type, "fuse.wasmount");
    Ok(())
}

#[test]
fn emptyds_is_an_empty_root() -> Result<()> {
    let files = FluidFiles::new()?;
    files.write_golden(&fixture("fluid/emptyds.config.json"), &[])?;
    let mut mount = Launch::run(&files)?.start()?;
    assert_eq!(names(mount.target())??, [""; 0]);
    assert!(read(mount.path("anything"))?.is_err_and(|error| error.kind() == ErrorKind::NotFound));
    assert!(mount.terminate()?.success());
    Ok(())
}

/// A mount that cannot work must not end the program: its place exists, fails, and the log says why.
fn fails_in_one_sentence(name: &str, named_in_log: &str) -> Result<()> {
    let files = FluidFiles::new()?;
    files.write_golden(&fixture(&format!("fluid/{name}.config.json")), &[])?;
    let mut mount = Launch::run(&files)?.start()?;
    mount.log().wait_for(&[named_in_log], SOON)?;

    // The root itself answers, or Fluid's readiness check would fail for every mount of the Dataset.
    let root = mount.target().to_path_buf();
    wasmount_tests::bounded::within("stat of the root", SOON, move || std::fs::metadata(root))??;
    let failed_at_root = names(mount.target())?.is_err();
    let failed_below = names(mount.path(if name == "pvcds" { "native" } else { "0" }))?.is_err();
    assert!(failed_at_root || failed_below, "{name} looks healthy");
    assert!(mount.process.ended().is_none(), "the program must live on");
    Ok(())
}

#[test]
fn minimal_without_a_scheme_fails_clearly() -> Result<()> {
    fails_in_one_sentence("minimal", "nfs.example:/export")
}

#[test]
fn pvcds_with_an_unknown_driver_fails_clearly() -> Result<()> {
    fails_in_one_sentence("pvcds", "native-pvc")
}

#[test]
fn rich_serves_a_and_explains_b() -> Result<()> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket("bucket-a")?;
    client.put("bucket-a", "prefix/file", b"in the prefix")?;
    client.put("bucket-a", "outside", b"not in the prefix")?;

    let files = FluidFiles::new()?;
    files.write_secret("own-cred", "ak", "minioadmin")?;
    // `token` is an old name of `session-token`; the keys here are permanent ones, which have none.
    files.write_secret("own-cred", "token", "")?;
    files.write_secret("shared-cred", "ak", "minioadmin")?;
    files.write_secret("shared-cred", "sk", "minioadmin")?;
    files.write_golden(&fixture("fluid/rich.config.json"), &[(ENDPOINT_OF_RICH, &minio.endpoint())])?;
    let mount = Launch::run(&files)?.start()?;

    assert_eq!(names(mount.path("data/a"))??, ["file"]);
    assert_eq!(read(mount.path("data/a/file"))??, b"in the prefix");
    let written = std::fs::write(mount.path("data/a/new"), b"x");
    assert_eq!(written.err().context("a is readOnly")?.kind(), ErrorKind::ReadOnlyFilesystem);

    for unknown in ["multi", "quote", "unicode"] {
        mount.log().wait_for(&[unknown], SOON)?;
    }
    assert!(names(mount.target())??.contains(&"b".to_owned()), "b has a place");
    assert!(names(mount.path("b"))?.is_err(), "nobody can serve ceph://");
    mount.log().wait_for(&["ceph"], Duration::from_secs(5))?;
    Ok(())
}
