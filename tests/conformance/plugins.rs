//! `wasmount plugin test` on our own plugins, on a real server, and on a plugin that must not pass.

use std::process::Command;

use anyhow::{Context, Result};
use wasmount_tests::minio::Minio;
use wasmount_tests::paths;

/// Whether the plugin passed, and everything the program printed.
fn plugin_test(plugin: &str, more: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(paths::wasmount()?)
        .args(["plugin", "test", "--log-level", "error"])
        .arg(paths::plugin(plugin)?)
        .args(more)
        .output()
        .context("start wasmount")?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

#[test]
fn s3_passes_on_a_scripted_origin_and_every_check_applies_to_it() -> Result<()> {
    let (passed, text) = plugin_test("s3", &[])?;
    assert!(passed && text.contains(" 0 failed, 0 skipped"), "{text}");
    Ok(())
}

#[test]
fn the_example_of_the_sdk_passes_on_a_scripted_origin() -> Result<()> {
    let (passed, text) = plugin_test("static_site", &[])?;
    assert!(passed && text.contains(" 0 failed,"), "{text}");
    Ok(())
}

#[test]
fn a_block_store_passes_and_every_check_applies_to_it() -> Result<()> {
    let (passed, text) = plugin_test("pattern_disk", &["--source", "pattern://x", "-o", "size=5000001"])?;
    assert!(passed && text.contains(" 0 failed, 0 skipped"), "{text}");
    Ok(())
}

#[test]
fn a_file_system_passes_and_every_check_applies_to_it() -> Result<()> {
    let (passed, text) = plugin_test("memory_tree", &["--source", "tree://x"])?;
    assert!(passed && text.contains(" 0 failed, 0 skipped"), "{text}");
    Ok(())
}

#[test]
fn a_file_system_that_lies_does_not_pass() -> Result<()> {
    let (passed, text) = plugin_test("hostile_tree", &["--source", "hostile-tree://x"])?;
    assert!(!passed, "{text}");
    Ok(())
}

#[test]
fn s3_passes_with_a_real_server_behind_the_faults() -> Result<()> {
    let minio = Minio::start()?;
    let client = minio.client()?;
    client.make_bucket("suite")?;
    for (key, size) in
        [("a", 1), ("b", 5_000), ("dir/c d+e%", 200_000), ("dir/sub/ü", 3_000_000), ("empty", 0)]
    {
        client.put("suite", key, &vec![b'x'; size])?;
    }
    let options = "access-key=minioadmin,secret-key=minioadmin";
    let (passed, text) = plugin_test("s3", &["--endpoint", &minio.endpoint(), "-o", options])?;
    assert!(passed, "{text}");
    // What only a scripted origin can do: take a signed range away, and lie about versions.
    assert!(text.contains(" 0 failed, 2 skipped"), "{text}");
    Ok(())
}

#[test]
fn a_plugin_that_does_not_do_as_it_says_fails() -> Result<()> {
    let (passed, text) = plugin_test("hostile", &[])?;
    assert!(!passed, "{text}");
    for check in ["open/refused", "open/no-answer", "list/complete"] {
        let failed = text.lines().any(|line| line.starts_with(check) && line.contains("FAILED"));
        assert!(failed, "{check} passed: {text}");
    }
    Ok(())
}
