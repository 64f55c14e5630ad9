//! MinIO behind TLS with the certificate of a private authority.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wasmount_tests::bounded::{SOON, names, read};
use wasmount_tests::config::FluidFiles;
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::{Launch, Mount};

const CONTENT: &[u8] = b"over TLS";

fn start(
    options: impl Fn(&FluidFiles, &Minio, &mut Value) -> Result<()>,
) -> Result<(Minio, FluidFiles, Mount)> {
    let minio = Minio::start_tls()?;
    let client = minio.client()?;
    client.make_bucket("secure")?;
    client.put("secure", "file", CONTENT)?;
    client.put("secure", "large", &vec![7; 3 << 20])?;
    let files = FluidFiles::new()?;
    let mut all = json!({"endpoint": minio.endpoint(),
        "access-key": files.write_secret("s3", "ak", "minioadmin")?,
        "secret-key": files.write_secret("s3", "sk", "minioadmin")?});
    options(&files, &minio, &mut all)?;
    files.write_mounts(&[
        json!({"mountPoint": "s3://secure", "name": "tls", "path": "/tls", "options": all}),
    ])?;
    let mount = Launch::run(&files)?.start()?;
    Ok((minio, files, mount))
}

#[test]
fn the_private_authority_is_trusted_when_it_is_named() -> Result<()> {
    let (_minio, _files, mount) = start(|files, minio, options| {
        let pem = minio.ca().context("a TLS server has an authority")?.pem();
        options["ca-file"] = json!(files.write_secret("ca", "ca.crt", pem)?);
        Ok(())
    })?;
    assert_eq!(read(mount.path("tls/file"))??, CONTENT);
    assert_eq!(read(mount.path("tls/large"))??, vec![7; 3 << 20]);
    Ok(())
}

#[test]
fn without_it_the_mount_fails_and_says_why() -> Result<()> {
    let (_minio, _files, mount) = start(|_, _, _| Ok(()))?;
    assert!(names(mount.path("tls"))?.is_err());
    mount.log().wait_for(&["tls", "certificate"], SOON)?;
    Ok(())
}

#[test]
fn verification_can_be_skipped_with_a_warning() -> Result<()> {
    let (_minio, _files, mount) = start(|_, _, options| {
        options["insecure-skip-verify"] = json!("true");
        Ok(())
    })?;
    assert_eq!(read(mount.path("tls/file"))??, CONTENT);
    mount.log().wait_for(&["warn", "insecure-skip-verify"], SOON)?;
    Ok(())
}
