//! What the operator sees before anything is mounted, and decides about it: grants, and which secrets plugins see.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmount_tests::bounded::{RECOVERY, SOON, names, reads_back, within};
use wasmount_tests::config::{FluidFiles, SECRETS, hostile, options};
use wasmount_tests::minio::Minio;
use wasmount_tests::mount::Launch;
use wasmount_tests::paths;
use wasmount_tests::plugin_tool::{Tool, plugin_file, says};
use wasmount_tests::scripted::{Answer, Server};

const EACCES: i32 = 13;

/// What must turn up nowhere.
const CANARY: &str = "canary-2f9d60b4-not-for-anybodys-eyes";

/// What `wasmount run --dry-run…` prints, and its exit code.
fn dry_run(files: &FluidFiles, more: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(paths::wasmount()?);
    command.arg("run").arg("--config").arg(files.config_file()).arg("--secrets-dir").arg(files.secrets_dir());
    command.arg("--state-dir").arg(files.root().join("state"));
    command
        .arg("--plugin")
        .arg(paths::plugin("s3")?)
        .arg("--plugin")
        .arg(paths::plugin("hostile")?)
        .args(more);
    command.env("MOUNT_OPTIONS", "region=from-environment,uid=7");
    let output = within("a dry run", Duration::from_secs(240), move || command.output())??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn the_operator_sees_the_effective_grant_before_anything_is_opened() -> Result<()> {
    let server = Server::start(|_| Answer::new(200, ""))?;
    let files = FluidFiles::new()?;
    let key = files.write_secret("s", "k", CANARY)?;
    let endpoint = server.endpoint();
    let good = json!({"mountPoint": "s3://bucket", "name": "good", "options": options(&[
        ("endpoint", &endpoint), ("access-key", &key), ("secret-key", &key), ("regoin", "x")])});
    files.write_mounts(std::slice::from_ref(&good))?;
    let allowed = ["--dry-run=json", "--allow-net", "127.0.0.1", "--option", "s3:path-style=true"];
    let (code, out, err) = dry_run(&files, &allowed)?;
    assert_eq!(code, Some(0), "{err}");
    let all: Value = serde_json::from_str(&out).context("JSON")?;
    let mount = &all["mounts"][0];
    assert_eq!(mount["plugin"]["name"], "s3");
    assert!(
        mount["plugin"]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")),
        "{mount}"
    );
    let option = |name: &str| {
        let options = mount["options"].as_array().into_iter().flatten();
        let found = options.into_iter().find(|option| option["name"] == name);
        found.map(|option| format!("{} from {}", option["value"], option["from"])).unwrap_or_default()
    };
    assert_eq!(option("region"), "\"from-environment\" from \"MOUNT_OPTIONS\"");
    assert_eq!(option("uid"), "\"7\" from \"MOUNT_OPTIONS\"");
    assert_eq!(option("path-style"), "\"true\" from \"the command line\"");
    assert_eq!(option("endpoint"), format!("\"{endpoint}\" from \"the mount's options\""));
    assert_eq!(option("secret-key"), format!("\"(the content of {key})\" from \"the mount's options\""));
    let origins = mount["grant"]["origins"].as_array().context("origins")?;
    let of = |from: &str| origins.iter().find(|origin| origin["from"] == from);
    let named = of("option endpoint").context("the endpoint")?;
    assert_eq!((&named["origin"], &named["reach"]), (&json!(endpoint), &json!("allowed")));
    assert_eq!(named["why"], "--allow-net 127.0.0.1/32");
    let template = of("template https://s3.{region}.amazonaws.com").context("a template, filled in")?;
    assert_eq!(template["origin"], "https://s3.from-environment.amazonaws.com:443");
    assert!(mount["warnings"].to_string().contains("did you mean `region`?"), "{mount}");
    assert!(!out.contains(CANARY) && !err.contains(CANARY));

    // Without consent it would not work, and neither would these; a page for people, and 1.
    files.write_mounts(&[
        good,
        json!({"mountPoint": "nobody://x", "name": "unserved"}),
        hostile("disguised", &[("endpoint", "http://2130706433:80")]),
        hostile("missing", &[("secret", &format!("{SECRETS}/not/there"))]),
    ])?;
    let (code, out, err) = dry_run(&files, &["--dry-run"])?;
    assert_eq!(code, Some(1), "{out}{err}");
    for expected in [
        "/good (good)",
        "[option endpoint; GET, HEAD]",
        "is a loopback address: only the operator can allow it, with --allow-net",
        "no plugin serves nobody://",
        "2130706433:80 resolves to 127.0.0.1",
        "check that the Secret exists",
        "addresses that the storage system reveals: the tests reveal some to it",
        "[template https://s3.{region}.amazonaws.com; GET, HEAD]",
        "if it resolves to an allowed address: every address but loopback",
    ] {
        assert!(out.contains(expected), "{expected} in:\n{out}");
    }
    assert!(err.contains("4 of 4 mounts would not work"), "{err}");
    assert!(!out.contains(CANARY) && !err.contains(CANARY));
    assert_eq!(server.requests().len(), 0, "nothing was asked");
    assert!(!files.target().exists(), "nothing was made");
    Ok(())
}

#[test]
fn a_plugin_sees_no_secret_that_the_operator_hides_from_it() -> Result<()> {
    let minio = Minio::start()?;
    minio.client()?.make_bucket("bucket")?;
    minio.client()?.put("bucket", "f", b"content")?;
    let files = FluidFiles::new()?;
    let key = files.write_secret("s", "k", "minioadmin")?;
    let endpoint = minio.endpoint();
    files.write_mounts(&[
        json!({"mountPoint": "s3://bucket", "name": "keys", "options": options(&[
            ("endpoint", &endpoint), ("access-key", &key), ("secret-key", &key)])}),
        json!({"mountPoint": "s3://bucket", "name": "open", "options": options(&[
            ("endpoint", &endpoint), ("anonymous", "true")])}),
    ])?;
    let refusal = [
        "plugin s3 must see the secret of option `access-key` in clear",
        "--deny-reveal s3:*",
        "--allow-reveal s3:access-key",
    ];

    // Before, in both forms.
    let hidden = ["--allow-net", "127.0.0.1", "--deny-reveal", "s3:*"];
    let (code, out, err) = dry_run(&files, &[&["--dry-run"][..], &hidden].concat())?;
    assert_eq!(code, Some(1), "{out}{err}");
    says(&out, &refusal);
    says(&err, &["1 of 2 mounts would not work"]);
    let allowed = [&["--dry-run=json"][..], &hidden, &["--allow-reveal", "s3:access-key"]].concat();
    let (code, out, err) = dry_run(&files, &allowed)?;
    assert_eq!(code, Some(0), "{out}{err}");
    let plan: Value = serde_json::from_str(&out)?;
    assert_eq!(plan["mounts"][0]["seesSecrets"], json!(["access-key"]));
    assert_eq!(plan["mounts"][1]["seesSecrets"], json!([]));

    // Mounted: that one fails with the same sentence, and whoever reads gets EACCES.
    let mount = Launch::run(&files)?.arg("--deny-reveal").arg("s3:*").start()?;
    let line = mount.log().wait_for(&refusal, SOON)?;
    assert!(line.contains("keys"), "{line}");
    let refused = names(mount.path("keys"))?.err().context("it must not open")?;
    assert_eq!(refused.raw_os_error(), Some(EACCES));
    drop(mount);
    let mount =
        Launch::run(&files)?.arg("--deny-reveal").arg("*").arg("--allow-reveal").arg("access-key").start()?;
    reads_back(mount.path("keys/f"), b"content", RECOVERY)?;
    drop(mount);

    // And where one decides whether to trust a plugin.
    let (tool, file) = (Tool::new()?, plugin_file("s3")?);
    let page = tool.succeeds(&["inspect", &file, "--deny-reveal", "s3:*", "--allow-reveal", "access-key"])?;
    says(
        &page,
        &["Secrets it sees in clear: access-key", "Refused to it: session-token (--deny-reveal s3:*)"],
    );
    assert!(!page.contains("Refused to it: access-key"), "{page}");
    let page: Value = serde_json::from_str(&tool.succeeds(&[
        "inspect",
        &file,
        "--json",
        "--deny-reveal",
        "access-key",
    ])?)?;
    assert_eq!(page["refusedToReveal"], json!([{"option": "access-key", "rule": "access-key"}]));
    let output = Command::new(paths::wasmount()?)
        .args(["plugin", "inspect", &file, "--deny-reveal", "a b"])
        .output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    says(&String::from_utf8_lossy(&output.stderr), &["--deny-reveal", "[PLUGIN:]OPTION"]);
    Ok(())
}
