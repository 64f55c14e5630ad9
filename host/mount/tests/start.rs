//! What the command says when it cannot start, and how it ends then.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

fn wasmount(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmount"))
        .args(args)
        .env_remove("WASMOUNT_LOG")
        .env_remove("MOUNT_OPTIONS")
        .output()
        .unwrap()
}

/// Runs `wasmount run` on a configuration, with directories of its own, and expects it to fail; returns its log.
fn run_fails(dir: &Path, config: &str, more: &[&str]) -> String {
    let file = dir.join("config.json");
    std::fs::write(&file, config).unwrap();
    let state = dir.join("state");
    let mut args = vec!["run", "--config", file.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    args.extend(more);
    failure(&args)
}

fn failure(args: &[&str]) -> String {
    let output = wasmount(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn no_configuration_names_both_places_and_the_flag() {
    if Path::new("/etc/fluid").exists() {
        // Inside a Fluid container there is one.
        return;
    }
    let log = failure(&["run"]);
    for part in ["/etc/fluid/config/config.json", "/etc/fluid/config.json", "--config"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

#[test]
fn mistakes_in_the_file_are_named_with_file_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let log = run_fails(dir.path(), r#"{"mounts":{},"targetPath":"/x"}"#, &[]);
    assert!(log.contains("config.json: mounts: expected a list"), "{log}");
    let log = run_fails(dir.path(), r#"{"mounts":[]}"#, &[]);
    assert!(log.contains("targetPath is missing") && log.contains("--target"), "{log}");
    let log = run_fails(dir.path(), r#"{"mounts":[],"targetPath":"/a/../etc"}"#, &[]);
    assert!(log.contains("config.json: targetPath"), "{log}");
}

#[test]
fn a_mistake_in_one_mount_is_that_mounts() {
    let dir = tempfile::tempdir().unwrap();
    let (file, state) = (dir.path().join("config.json"), dir.path().join("state"));
    std::fs::write(&file, r#"{"mounts":[{"mountPoint":"s3://b","options":{"k":[]}}],"targetPath":"/x"}"#)
        .unwrap();
    let (file, state) = (file.to_str().unwrap(), state.to_str().unwrap());
    let output = wasmount(&["run", "--dry-run", "--config", file, "--state-dir", state]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("mounts[0].options.k: expected text"), "{said}");
}

#[test]
fn mistakes_on_the_command_line_are_named_with_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    let config = format!(r#"{{"mounts":[],"targetPath":{target:?}}}"#);
    let log = run_fails(dir.path(), &config, &["--allow-net", "10.0.0.1/8"]);
    assert!(log.contains("--allow-net 10.0.0.1/8"), "{log}");
    let log = run_fails(dir.path(), &config, &["--plugin", "/does/not/exist.wasm"]);
    assert!(log.contains("--plugin /does/not/exist.wasm"), "{log}");
    let log = run_fails(dir.path(), &config, &["--plugin-dir", "/does/not/exist"]);
    assert!(log.contains("--plugin-dir /does/not/exist"), "{log}");
    let log = run_fails(dir.path(), &config, &["--option", "=hunter2"]);
    assert!(log.contains("--option number 1") && !log.contains("hunter2"), "{log}");
    let log = run_fails(dir.path(), &config, &["--log-level", "loud=very"]);
    assert!(log.contains("--log-level"), "{log}");
    assert!(!target.exists(), "nothing was mounted");
}

#[test]
fn log_lines_are_json_outside_of_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let log = run_fails(dir.path(), "{", &[]);
    let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("not JSON"), "{line}");
    let log = run_fails(dir.path(), "{", &["--log", "human"]);
    assert!(!log.contains('{') && log.contains("ERROR"), "{log}");
}

#[test]
fn what_is_no_plugin_is_not_inspected() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text.wasm");
    std::fs::write(&file, "text").unwrap();
    let log = failure(&["plugin", "inspect", file.to_str().unwrap()]);
    assert!(log.contains("text.wasm") && log.contains("component"), "{log}");
}
