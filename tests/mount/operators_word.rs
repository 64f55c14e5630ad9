//! What the operator says on the command line holds for that, and whoever writes a Dataset neither borrows nor undoes it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmount_tests::bounded::{RECOVERY, SOON, names, read, reads_back, within};
use wasmount_tests::config::{FluidFiles, hostile, options};
use wasmount_tests::mount::Launch;
use wasmount_tests::paths;
use wasmount_tests::plugin_tool::says;
use wasmount_tests::scripted::bucket::Buckets;
use wasmount_tests::scripted::{Answer, Server};

/// What must turn up nowhere.
const CANARY: &str = "canary-c41e7f20-not-for-anybodys-eyes";

/// What `wasmount run` prints and its exit code; it must end by itself.
fn run(files: &FluidFiles, more: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(paths::wasmount()?);
    command.arg("run").arg("--config").arg(files.config_file()).arg("--secrets-dir").arg(files.secrets_dir());
    command.arg("--state-dir").arg(paths::state());
    for plugin in ["s3", "hostile"] {
        command.arg("--plugin").arg(paths::plugin(plugin)?);
    }
    command.args(more);
    let output = within("a run", Duration::from_secs(240), move || command.output())??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn an_address_that_is_typed_for_one_option_is_not_read_as_files() -> Result<()> {
    let credentials =
        json!({"AccessKeyId": "ak", "SecretAccessKey": CANARY, "Expiration": "2099-01-01T00:00:00Z"});
    let agent = Server::start(move |_| Answer::new(200, credentials.to_string()))?;
    let buckets = Buckets::new();
    buckets.put("bucket", "f", "content");
    let store = Server::start(move |request| buckets.answer(request))?;
    let port = agent.endpoint().rsplit_once(':').context("a port")?.1.to_owned();
    let files = FluidFiles::new()?;
    let s3 = |name: &str, endpoint: &str, credentials: &str| {
        let all = [("endpoint", endpoint), ("credentials", credentials), ("path-style", "true")];
        json!({"mountPoint": "s3://bucket", "name": name, "options": options(&all)})
    };
    files.write_mounts(&[
        s3("good", &store.endpoint(), "container"),
        s3("same", &agent.endpoint(), "anonymous"),
        s3("resolved", &format!("http://localhost:{port}"), "anonymous"),
        s3("disguised", &format!("http://2130706433:{port}"), "anonymous"),
    ])?;
    let uri = format!("{}/v2/{CANARY}-path", agent.endpoint());
    let mount = Launch::bare_run(&files)
        .arg("--plugin")
        .arg(paths::plugin("s3")?)
        .arg("--allow-net")
        .arg("default")
        .arg("--allow-net")
        .arg(store.endpoint().trim_start_matches("http://"))
        .long_option("s3:container-credentials-uri", &uri)
        .start()?;
    reads_back(mount.path("good/f"), b"content", RECOVERY)?;
    let opened =
        ["same", "option `endpoint` is", "`container-credentials-uri` on the command line", "--allow-net"];
    mount.log().wait_for(&opened, SOON)?;
    mount.log().wait_for(&["resolved", &format!("localhost:{port} resolves to"), "loopback"], SOON)?;
    for name in ["same", "resolved", "disguised"] {
        ensure!(names(mount.path(name))?.is_err(), "{name} is served");
    }
    for request in agent.requests() {
        assert_eq!(request.path, format!("/v2/{CANARY}-path"), "asked for credentials, and for nothing else");
    }
    ensure!(!agent.requests().is_empty(), "what was typed is opened for what it was typed for");
    let config = read(mount.path(".wasmount/config"))??;
    let shown: Value = serde_json::from_slice(&config)?;
    assert_eq!(shown["mounts"][0]["options"]["container-credentials-uri"], agent.endpoint());
    ensure!(!String::from_utf8_lossy(&config).contains(CANARY), "the path is as good as a key");
    Ok(())
}

#[test]
fn where_a_secret_is_the_operators_nobody_else_weakens_what_protects_it() -> Result<()> {
    let files = FluidFiles::new()?;
    let ca = files.write_secret("tls", "ca.crt", "no certificate, and not even read")?;
    let token = files.root().join("token");
    std::fs::write(&token, CANARY)?;
    let token = format!("s3:web-identity-token-file={}", token.display());
    let web = ["--option", "s3:role-arn=arn:aws:iam::1:role/r", "--option", &token];
    let keys = ["--option", "s3:access-key=ak", "--option", "s3:secret-key=sk-of-the-operator"];
    let outcome = |pairs: &[(&str, &str)], flags: &[&str]| -> Result<(Option<i32>, String)> {
        let own = json!({"mountPoint": "s3://bucket", "name": "only", "options": options(pairs)});
        files.write_mounts(&[own])?;
        let (code, out, err) = run(&files, &[&["--dry-run"][..], flags].concat())?;
        ensure!(!out.contains(CANARY) && !err.contains(CANARY), "a secret is shown");
        Ok((code, out))
    };
    for (pair, flags, secret) in [
        (("insecure-skip-verify", "true"), &web, "web-identity-token"),
        (("insecure_skip_verify", ""), &keys, "access-key"),
        (("ca-file", ca.as_str()), &web, "web-identity-token"),
    ] {
        let (code, out) = outcome(&[pair], flags)?;
        assert_eq!(code, Some(1), "{out}");
        let secret = format!("`{secret}` on the command line");
        says(&out, &["only the operator may say which servers", &secret, "the mount's options"]);
    }
    let endpoint = ("endpoint", "https://minio.example");
    let session = [&keys[..], &["--option", "s3:session-token=token-of-the-operator"]].concat();
    let (code, out) = outcome(&[endpoint], &session)?;
    assert_eq!(code, Some(1), "{out}");
    says(&out, &["`endpoint` stands in the mount's options", "`session-token` on the command line"]);

    // What is in order: keys that only sign, whoever names the store; the operator's own word; a Dataset's own keys.
    let skip = ("insecure-skip-verify", "true");
    let operators = [&web[..], &["--option", "s3:insecure-skip-verify=true"]].concat();
    for (pairs, flags) in [
        (&[endpoint][..], &keys[..]),
        (&[("insecure-skip-verify", "false")][..], &web[..]),
        (&[skip][..], &operators[..]),
        (&[skip, ("access-key", "ak"), ("secret-key", "sk-of-the-author")][..], &[][..]),
    ] {
        let (code, out) = outcome(pairs, flags)?;
        assert_eq!(code, Some(0), "{pairs:?} {flags:?}: {out}");
    }
    Ok(())
}

#[test]
fn files_of_the_node_are_not_mounted_over_what_is_the_operators() -> Result<()> {
    let files = FluidFiles::new()?;
    let with = |value: &str| hostile("volume", &[("fluid.fuse.hostvolume", value)]);
    let secrets = files.secrets_dir().join("s").display().to_string();
    for (volume, over) in [
        (format!("/etc:{secrets}"), "the secrets directory"),
        (files.root().display().to_string(), "the secrets directory"),
        ("/some/dir:/plugins".to_owned(), "a directory of plugins"),
        (format!("/some/dir:{}", paths::plugin("s3")?.display()), "a plugin"),
        (format!("/x:{}", files.config_file().display()), "the directory of the configuration"),
    ] {
        files.write_mounts(&[hostile("good", &[]), with(&volume)])?;
        for more in [vec![], vec!["--dry-run"]] {
            let (code, out, err) = run(&files, &more)?;
            assert_eq!(code, Some(1), "{volume}: {out}{err}");
            says(&err, &["config.json", "fluid.fuse.hostvolume", over, "only the operator"]);
        }
    }
    ensure!(!files.target().exists(), "nothing was mounted");

    // While it runs: what is there stays.
    files.write_mounts(&[hostile("good", &[]), with("/host:/in-pod")])?;
    let plugin = paths::plugin("hostile")?;
    let mount = Launch::bare_run(&files).arg("--plugin").arg(plugin).start()?;
    ensure!(names(mount.path("volume"))?.is_ok(), "a volume elsewhere is nobody's business here");
    files.write_mounts(&[hostile("new", &[]), with(&format!("/etc:{secrets}"))])?;
    mount.log().wait_for(&["this configuration is not put in force", "fluid.fuse.hostvolume"], SOON)?;
    assert_eq!(names(mount.target())??, ["good", "volume"]);
    Ok(())
}

/// What another user than root sees of a path.
fn as_somebody(uid: u32, path: &Path) -> Result<String> {
    let mut command = Command::new("setpriv");
    let uid = uid.to_string();
    command.args(["--reuid", &uid, "--regid", &uid, "--clear-groups", "ls"]).arg(path);
    let output = within("look as somebody", SOON, move || command.output())??;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_owner_that_a_dataset_names_does_not_see_who_reads_what() -> Result<()> {
    let files = FluidFiles::new()?;
    std::fs::set_permissions(files.root(), std::fs::Permissions::from_mode(0o755))?;
    files.write_mounts(&[hostile("m", &[("uid", "1000"), ("gid", "1000"), ("dir-mode", "0700")])])?;
    let mount = Launch::bare_run(&files)
        .arg("--plugin")
        .arg(paths::plugin("hostile")?)
        .arg("--layout=root")
        .start()?;
    // The files are theirs, as they wanted.
    let seen = as_somebody(1000, mount.target())?;
    ensure!(seen.contains("one"), "{seen}");
    let seen = as_somebody(1000, &mount.path(".wasmount"))?;
    ensure!(seen.contains("Permission denied") && !seen.contains("config"), "{seen}");
    ensure!(names(mount.path(".wasmount"))??.contains(&"config".to_owned()), "root may");
    Ok(())
}

#[test]
fn a_secret_that_json_spells_otherwise_is_not_shown() -> Result<()> {
    let files = FluidFiles::new()?;
    let secret = format!("pa\"ss\\wo\nrd-{CANARY}");
    let key = files.write_secret("s", "k", &secret)?;
    files.write_mounts(&[
        // Its author has it in a place where nobody expects a secret. The other mount's is read later.
        hostile("first", &[("mode", &format!("mode {secret}")), ("uid", "7")]),
        hostile("second", &[("secret", &key)]),
    ])?;
    for format in ["--dry-run=json", "--dry-run=text"] {
        let (code, out, err) = run(&files, &[format])?;
        assert_eq!(code, Some(0), "{out}{err}");
        ensure!(!out.contains("canary") && !err.contains("canary"), "{format}: {out}{err}");
        says(&out, &["mode [redacted]"]);
    }
    let mount = Launch::bare_run(&files).arg("--plugin").arg(paths::plugin("hostile")?).start()?;
    for name in ["first", "second"] {
        // An open mount.
        ensure!(!names(mount.path(name))??.is_empty(), "{name}");
    }
    let config = String::from_utf8(read(mount.path(".wasmount/config"))??)?;
    ensure!(!config.contains("canary"), "{config}");
    let shown: Value = serde_json::from_str(&config)?;
    assert_eq!(shown["mounts"][0]["options"]["mode"], "mode [redacted]");
    Ok(())
}
