//! What the author of a Dataset cannot do, whatever they write into it: one test each, through the real program.

use std::io::Read;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmount_tests::bounded::{SOON, names, read, within};
use wasmount_tests::config::{FluidFiles, SECRETS, hostile, options};
use wasmount_tests::mount::{Launch, Mount};
use wasmount_tests::paths;
use wasmount_tests::plugin_tool::another_version;
use wasmount_tests::port::Port;
use wasmount_tests::registry::sha256;
use wasmount_tests::scripted::{Answer, Server};

const EACCES: i32 = 13;

/// What must turn up nowhere.
const CANARY: &str = "canary-7b1f0c52-not-for-anybodys-eyes";

/// The hostile plugin on these files, with nothing allowed beyond the default.
fn launch(files: &FluidFiles) -> Result<Launch> {
    Ok(Launch::bare_run(files).arg("--plugin").arg(paths::plugin("hostile")?))
}

/// The errno of a read, or how many bytes there were.
fn attempt(mount: &Mount, path: &str) -> Result<Result<usize, i32>> {
    let path = mount.path(path);
    within("a read", SOON, move || {
        let mut bytes = [0; 4096];
        let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut bytes));
        read.map_err(|error| error.raw_os_error().unwrap_or(0))
    })
}

fn address(server: &Server) -> String {
    server.endpoint().trim_start_matches("http://").to_owned()
}

/// The mounts as `.wasmount/config` has them.
fn in_force(mount: &Mount) -> Result<Vec<Value>> {
    let text = read(mount.path(".wasmount/config"))??;
    let config: Value = serde_json::from_slice(&text).context(".wasmount/config is JSON")?;
    Ok(config["mounts"].as_array().context("mounts")?.clone())
}

#[test]
fn choose_a_plugin() -> Result<()> {
    let files = FluidFiles::new()?;
    let wasm = paths::plugin("hostile")?;
    let wasm = wasm.to_str().context("UTF-8")?;
    // Any port that nobody listens on: no mount has to work, only its plugin matters.
    let nobody = Port::free()?;
    let endpoint = format!("http://127.0.0.1:{nobody}");
    let s3 = |name: &str, more: &[(&str, &str)]| {
        let all = [&[("endpoint", endpoint.as_str()), ("anonymous", "true")], more].concat();
        json!({"mountPoint": "s3://bucket", "name": name, "options": options(&all)})
    };
    let mounts = [
        s3(
            "by-plugin",
            &[("plugin", wasm), ("--plugin", wasm), ("plugin-dir", "/"), ("WASMOUNT_PLUGIN", wasm)],
        ),
        // A scheme decides, not the option.
        s3("by-type", &[("type", "hostile")]),
        json!({"mountPoint": "nobody://x", "name": "by-scheme", "options": options(&[("plugin", wasm)])}),
        json!({"mountPoint": "bucket", "name": "by-file", "options": options(&[("type", wasm)])}),
        json!({"mountPoint": wasm, "name": "by-path"}),
        json!({"mountPoint": format!("file://{wasm}"), "name": "by-url"}),
        // Among those that the operator has loaded, a Dataset may choose, by scheme or by `type`.
        json!({"mountPoint": "bucket", "name": "loaded", "options": options(&[("type", "s3"), ("anonymous", "true")])}),
        // These are beside the program, in a default directory. The operator has named another one, and not them.
        json!({"mountPoint": "rbd://127.0.0.1:1/pool", "name": "unnamed-scheme"}),
        json!({"mountPoint": "pool", "name": "unnamed-type", "options": options(&[("type", "rbd")])}),
        json!({"mountPoint": "pvc://claim", "name": "unnamed-driver"}),
    ];
    paths::plugin("rbd")?;
    files.write_config(&json!({"mounts": mounts, "targetPath": files.target(), "accessModes": ["ReadOnlyMany"],
        "persistentVolumeAttrs": {"claim": {"driver": "rbd.csi.ceph.com", "volumeHandle": "0001", "volumeAttributes": {}}}}))?;
    let mount = Launch::run(&files)?.start()?;
    assert_eq!(mount.log().lines_with(&["plugin is loaded"]).len(), 1, "{}", mount.log().text());
    let mounts = in_force(&mount)?;
    let plugin = |name: &str| -> Result<Option<String>> {
        let mount = mounts.iter().find(|mount| mount["name"] == name).context("in .wasmount/config")?;
        Ok(mount["plugin"]["name"].as_str().map(str::to_owned))
    };
    for name in ["by-plugin", "by-type", "loaded"] {
        assert_eq!(plugin(name)?.as_deref(), Some("s3"), "{name}");
    }
    // Without a scheme, the only plugin of the command line serves; never the file that the Dataset names.
    assert_eq!(plugin("by-path")?.as_deref(), Some("s3"));
    for name in ["by-scheme", "by-file", "by-url", "unnamed-scheme", "unnamed-type", "unnamed-driver"] {
        assert_eq!(plugin(name)?, None, "{name}");
        assert!(names(mount.path(name))?.is_err(), "{name}");
    }
    let sentences =
        ["no plugin serves rbd://", "no plugin is of the type \"rbd\"", "CSI driver rbd.csi.ceph.com"];
    for (name, sentence) in ["unnamed-scheme", "unnamed-type", "unnamed-driver"].iter().zip(sentences) {
        let mount = mounts.iter().find(|mount| mount["name"] == *name).context("a mount")?;
        let error = mount["error"].as_str().context("an error")?;
        assert!(error.contains(sentence) && error.contains("--plugin FILE"), "{error}");
    }
    Ok(())
}

#[test]
fn choose_a_plugin_that_the_operator_has_beside_a_better_one() -> Result<()> {
    let files = FluidFiles::new()?;
    let set = files.root().join("set");
    std::fs::create_dir(&set)?;
    for name in ["s3", "rbd"] {
        symlink(paths::plugin(name)?, set.join(format!("{name}.wasm")))?;
    }
    let better = files.root().join("better.wasm");
    another_version("s3", &better)?;
    let nobody = Port::free()?;
    let endpoint = format!("http://127.0.0.1:{nobody}");
    let anonymous = options(&[("endpoint", &endpoint), ("anonymous", "true")]);
    files.write_mounts(&[
        json!({"mountPoint": "minio://bucket", "name": "named", "options": anonymous}),
        json!({"mountPoint": "rbd://127.0.0.1:1/pool", "name": "found"}),
        json!({"mountPoint": "bucket", "name": "only", "options": anonymous}),
    ])?;
    let launch = Launch::bare_run(&files).arg("--plugin").arg(&better).arg("--plugin-dir").arg(&set);
    // Where their compiled code is, but for the first time.
    let mount = launch.replace_arg("--state-dir", paths::state()).start()?;
    let digest = sha256(&std::fs::read(&better)?);
    let mounts = in_force(&mount)?;
    let plugin = |index: usize| mounts[index]["plugin"].clone();
    assert_eq!(plugin(0)["digest"], json!(digest), "one that is named itself wins over those of a directory");
    assert_eq!(plugin(1)["name"], "rbd");
    assert_eq!(plugin(2)["digest"], json!(digest));
    Ok(())
}

#[test]
fn undo_what_the_operator_has_set_by_another_scheme_of_the_plugin() -> Result<()> {
    let files = FluidFiles::new()?;
    let own = |more: &[(&str, &str)]| {
        options(
            &[&[("insecure-skip-verify", "true"), ("region", "own"), ("anonymous", "true")], more].concat(),
        )
    };
    files.write_mounts(&[
        json!({"mountPoint": "s3://bucket", "name": "pinned", "options": own(&[])}),
        json!({"mountPoint": "minio://bucket", "name": "alias", "options": own(&[])}),
        json!({"mountPoint": "bucket", "name": "type", "options": own(&[("type", "minio")])}),
        json!({"mountPoint": "bucket", "name": "only", "options": own(&[])}),
    ])?;
    let pins = ["--option", "s3:insecure-skip-verify=false", "--option", "s3:region=us-west-2"];
    let mount = pins.into_iter().fold(Launch::run(&files)?, Launch::arg).start()?;
    let mounts = in_force(&mount)?;
    assert_eq!(mounts.len(), 4);
    for one in &mounts {
        assert_eq!(one["options"]["region"], "us-west-2", "{one}");
    }
    assert!(mount.log().lines_with(&["insecure-skip-verify is set"]).is_empty(), "{}", mount.log().text());
    Ok(())
}

#[test]
fn reach_an_address_outside_its_endpoints() -> Result<()> {
    let server = Server::start(|_| Answer::new(200, vec![b'r'; 16 << 20]))?;
    let port = address(&server).rsplit_once(':').context("a port")?.1.to_owned();
    let disguises = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ];
    let metadata =
        ["169.254.169.254:80", "[::ffff:169.254.169.254]:80", "2852039166:80", "[fd00:ec2::254]:80"];
    let addresses: Vec<String> =
        disguises.iter().map(|host| format!("{host}:{port}")).chain(metadata.map(str::to_owned)).collect();
    let files = FluidFiles::new()?;
    let wide = [("allow-net", "0.0.0.0/0"), ("allow_net", "default"), ("--allow-net", "127.0.0.1")];
    let mounts: Vec<_> = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| {
            let endpoint = format!("http://{address}");
            hostile(&format!("m{index}"), &[&[("endpoint", endpoint.as_str())], wide.as_slice()].concat())
        })
        .collect();
    files.write_mounts(&mounts)?;
    let mount = launch(&files)?.start()?;
    for (index, address) in addresses.iter().enumerate() {
        let read = attempt(&mount, &format!("m{index}/connect-to:{address}"))?;
        // An address that the parser of URLs does not take is as good as one that is refused.
        assert!(matches!(read, Err(EACCES | 22)), "{address}: {read:?}; log:\n{}", mount.log().text());
    }
    assert_eq!(attempt(&mount, "m0/one")?, Ok(4096), "the mount itself works");
    assert_eq!(server.requests().len(), 0, "nothing has left the host");
    Ok(())
}

#[test]
fn reach_another_address_through_its_endpoint() -> Result<()> {
    let other = Server::start(|_| Answer::new(200, vec![b'r'; 16 << 20]))?;
    let to = format!("{}/latest/meta-data", other.endpoint());
    let server = Server::start(move |_| Answer::new(302, "").header("location", to.clone()))?;
    let files = FluidFiles::new()?;
    let proxy = other.endpoint();
    let endpoint = server.endpoint();
    files.write_mounts(&[
        hostile("redirected", &[("endpoint", &endpoint)]),
        // A proxy could reach everything; only the operator may name one.
        hostile("proxied", &[("endpoint", &endpoint), ("http-proxy", &proxy)]),
    ])?;
    // The operator allows both addresses; the grant is for one of them.
    let mount = launch(&files)?.arg("--allow-net").arg("127.0.0.1").start()?;
    assert!(attempt(&mount, &format!("redirected/connect-to:{}", address(&server)))?.is_err());
    assert!(!server.requests().is_empty(), "the endpoint was asked");
    let direct = attempt(&mount, &format!("redirected/connect-to:{}", address(&other)))?;
    assert_eq!(direct, Err(EACCES), "no option names it");
    assert!(names(mount.path("proxied"))?.is_err());
    mount.log().wait_for(&["proxied", "http-proxy", "only the operator"], SOON)?;
    assert_eq!(other.requests().len(), 0, "no redirect is followed, no proxy is used");
    Ok(())
}

#[test]
fn read_a_file_outside_the_secrets_directory() -> Result<()> {
    let files = FluidFiles::new()?;
    let outside = files.root().join("outside");
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("canary"), CANARY)?;
    let secrets = files.secrets_dir();
    files.write_secret("s", "k", "content")?;
    // A Secret's author cannot make links; should anything else have made them, they lead nowhere.
    symlink(outside.join("canary"), secrets.join("s/link"))?;
    symlink(&outside, secrets.join("s/dir"))?;
    symlink("../../outside/canary", secrets.join("s/relative"))?;
    let absolute = outside.join("canary");
    let absolute = absolute.to_str().context("UTF-8")?;
    let below = |rest: &str| format!("{SECRETS}/{rest}");
    let paths = [
        below("../outside/canary"),
        below("s/../../outside/canary"),
        below("s/./../../outside/canary"),
        below("/../outside/canary"),
        below("s/link"),
        below("s/dir/canary"),
        below("s/relative"),
        below("s/link\0"),
        below("s/k\0/../../../outside/canary"),
        below(""),
        below("s"),
        below(&format!("s/{}", "x".repeat(5000))),
        below(&"../".repeat(2000)),
    ];
    let keys = ["file", "secret", "confession", "mode", "endpoint", "ca-file", "client-key", "client-cert"];
    let mut mounts = vec![hostile("good", &[("file", &below("s/k"))])];
    let mut bad = 0;
    for path in &paths {
        for key in keys {
            mounts.push(hostile(&format!("bad{bad}"), &[(key, path)]));
            bad += 1;
        }
    }
    // Forms that only the operator has, on the command line.
    let mut odd = 0;
    for (key, value) in [
        ("file", absolute.to_owned()),
        ("file", format!("@{absolute}")),
        ("secret-file", absolute.to_owned()),
        ("confession-file", absolute.to_owned()),
        ("confession", format!("@{absolute}")),
        ("mode", format!("@{absolute}")),
        ("mode-file", absolute.to_owned()),
        ("ca-file", absolute.to_owned()),
        ("confession", format!("file://{absolute}")),
    ] {
        mounts.push(hostile(&format!("odd{odd}"), &[(key, &value)]));
        odd += 1;
    }
    files.write_mounts(&mounts)?;
    let mount = launch(&files)?.start()?;
    for index in 0..bad {
        assert!(names(mount.path(&format!("bad{index}")))?.is_err(), "{}", mounts[index + 1]);
    }
    for index in 0..odd {
        // Some are taken literally, or are unknown options: what matters is what they do not give.
        let _ = names(mount.path(&format!("odd{index}")))?;
    }
    mount.log().wait_for(&["good", "file of 7 bytes"], SOON)?;
    let log = mount.log().text();
    assert!(
        !log.contains(CANARY) && !log.contains(&format!("confession of {} bytes", CANARY.len())),
        "{log}"
    );
    assert!(log.contains("leads out of the secrets directory"), "{log}");
    // The plugin gets bytes as numbers.
    assert!(!log.contains(&format!("{:?}", CANARY.as_bytes())), "{log}");
    assert!(!String::from_utf8_lossy(&read(mount.path(".wasmount/config"))??).contains(CANARY));
    Ok(())
}

#[test]
fn leave_the_target() -> Result<()> {
    let files = FluidFiles::new()?;
    let paths = [
        "..".to_owned(),
        "../outside".to_owned(),
        "/../../outside".to_owned(),
        "a/../../b".to_owned(),
        "/a/..".to_owned(),
        "a\0b".to_owned(),
        "x".repeat(256),
        "x".repeat(1 << 20),
        "a/".repeat(1 << 19) + "..",
        ".wasmount".to_owned(),
        "/.wasmount/config".to_owned(),
        "//.wasmount".to_owned(),
    ];
    let mut mounts =
        vec![hostile("good", &[]), json!({"mountPoint": "hostile://x", "name": "deep", "path": "//a/./b//"})];
    for (index, path) in paths.iter().enumerate() {
        mounts.push(json!({"mountPoint": "hostile://x", "name": format!("bad{index}"), "path": path}));
    }
    mounts.push(json!({"mountPoint": "hostile://x", "name": "../up"}));
    mounts.push(json!({"mountPoint": "hostile://x", "name": ".wasmount"}));
    mounts.push(json!({"mountPoint": "hostile://x", "name": ""}));
    files.write_mounts(&mounts)?;
    let mount = launch(&files)?.start()?;
    assert_eq!(attempt(&mount, "good/one")?, Ok(4096));
    assert_eq!(attempt(&mount, "a/b/one")?, Ok(4096));
    for index in 0..paths.len() {
        assert!(names(mount.path(&format!("bad{index}")))?.is_err(), "bad{index}");
    }
    // Each that could not be where it wanted to be says so where it can be found, and no other directory has appeared.
    let mut expected = vec!["a".to_owned(), "good".to_owned()];
    expected.extend((0..paths.len()).map(|index| format!("bad{index}")));
    expected.extend((paths.len()..paths.len() + 3).map(|index| format!("mounts-{}", index + 2)));
    expected.sort();
    assert_eq!(names(mount.target())??, expected);
    assert!(names(mount.path(".wasmount"))??.contains(&"config".to_owned()), "it is still wasmount's own");
    let beside = mount.target().parent().context("a parent")?;
    assert_eq!(names(beside)??, ["thin-fuse"]);
    assert!(!files.root().join("outside").exists() && !files.root().join("runtime-mnt/b").exists());
    Ok(())
}

#[test]
fn a_config_that_is_not_utf_8_is_refused_with_a_sentence() -> Result<()> {
    let files = FluidFiles::new()?;
    std::fs::write(
        files.config_file(),
        b"{\"mounts\":[{\"mountPoint\":\"hostile://x\",\"path\":\"a\xff\"}]}",
    )?;
    let mut mount = launch(&files)?.spawn()?;
    let ended = mount.process.wait(SOON)?;
    assert_eq!(ended.code(), Some(1));
    mount.log().wait_for(&["config.json", "this is not JSON"], SOON)?;
    Ok(())
}

#[test]
fn break_other_mounts_by_a_wrong_type() -> Result<()> {
    let files = FluidFiles::new()?;
    files.write_mounts(&[
        hostile("good", &[]),
        json!({"mountPoint": "hostile://x", "name": "wrong", "options": {"mode": [CANARY]}}),
        json!({"mountPoint": 7, "name": "number"}),
        json!("not even an object"),
    ])?;
    let mount = launch(&files)?.start()?;
    assert_eq!(attempt(&mount, "good/one")?, Ok(4096));
    for name in ["wrong", "number", "mounts-3"] {
        assert!(names(mount.path(name))?.is_err(), "{name}");
    }
    mount.log().wait_for(&["mounts[1].options.mode: expected text", "found a list"], SOON)?;
    assert!(!mount.log().text().contains(CANARY), "values are not repeated");
    Ok(())
}

#[test]
fn see_another_mounts_secret() -> Result<()> {
    let secrets = ["first-canary-access-key-0001", "first-canary-secret-key-0002"];
    // A server that repeats all it is told, as some do in their errors.
    let server = Server::start(|request| {
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value} ")).collect();
        let body = format!("<Error><Code>AccessDenied</Code><Message>you said {headers}</Message></Error>");
        Answer::new(403, body).header("content-type", "application/xml")
    })?;
    let files = FluidFiles::new()?;
    let access = files.write_secret("first", "ak", secrets[0])?;
    let secret = files.write_secret("first", "sk", secrets[1])?;
    let endpoint = server.endpoint();
    let echo = [("endpoint", endpoint.as_str()), ("access-key", &access), ("secret-key", &secret)];
    files.write_mounts(&[
        json!({"mountPoint": "s3://bucket", "name": "first", "options": options(&echo)}),
        // In other places than those of secrets: an option that nobody knows, a plain one.
        hostile("second", &[("number", "5"), ("endpoint", &endpoint), ("acces-key", &access)]),
    ])?;
    let port = Port::free()?;
    let mount = Launch::run(&files)?
        .arg("--plugin")
        .arg(paths::plugin("hostile")?)
        .arg("--log-level")
        .arg("debug")
        .arg("--metrics-addr")
        .arg(format!("127.0.0.1:{port}"))
        .start()?;
    let log_of_operations = within("open the access log", SOON, {
        let path = mount.path(".wasmount/accesslog");
        move || std::fs::File::open(path)
    })??;
    mount.log().wait_for(&["first", "AccessDenied"], SOON)?;
    let error = names(mount.path("first"))?.err().context("the server refuses")?;
    assert!(!server.requests().is_empty());
    assert_eq!(attempt(&mount, "second/one")?, Ok(4096));
    // What its plugin was told: its own entry, nothing of the other.
    let told = mount.log().wait_for(&["second", "entry "], SOON)?;
    assert!(!told.contains("s3://bucket"), "{told}");
    let mut everything = format!("{error} {told} ");
    for file in ["config", "stats", "slow"] {
        everything.push_str(&String::from_utf8_lossy(&read(mount.path(&format!(".wasmount/{file}")))??));
    }
    let lines = within("read the access log", SOON, move || {
        let (mut file, mut bytes) = (log_of_operations, [0; 64 * 1024]);
        file.read(&mut bytes)
            .map(|count| String::from_utf8_lossy(bytes.get(..count).unwrap_or_default()).into_owned())
    })??;
    ensure!(!lines.is_empty(), "the access log has lines");
    everything.push_str(&lines);
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let metrics =
        agent.get(format!("http://127.0.0.1:{port}/metrics")).call()?.body_mut().read_to_string()?;
    ensure!(metrics.contains("wasmount_"), "metrics");
    everything.push_str(&metrics);
    for name in ["first", "second"] {
        let path = mount.path(name);
        let value = within("an attribute", SOON, move || {
            let mut value = [0; 4096];
            let length = rustix::fs::getxattr(path, "user.wasmount.error", value.as_mut_slice()).unwrap_or(0);
            String::from_utf8_lossy(value.get(..length).unwrap_or_default()).into_owned()
        })?;
        everything.push_str(&value);
    }
    everything.push_str(&mount.log().text());
    for secret in secrets {
        assert!(!everything.contains(secret), "{secret} in:\n{everything}");
    }
    assert!(everything.contains("AccessDenied"), "the error is told, without what is secret in it");
    Ok(())
}

#[test]
fn a_plugin_sends_a_secret_only_where_its_table_says() -> Result<()> {
    let answer = |_: &wasmount_tests::scripted::Request| Answer::new(200, vec![b'r'; 16 << 20]);
    let (server, own) = (Server::start(answer)?, Server::start(answer)?);
    let files = FluidFiles::new()?;
    let token = files.write_secret("s", "token", CANARY)?;
    let (endpoint, elsewhere) = (server.endpoint(), address(&own));
    files.write_mounts(&[hostile(
        "h",
        &[("endpoint", &endpoint), ("elsewhere", &elsewhere), ("secret", &token)],
    )])?;
    let mount = launch(&files)?.arg("--allow-net").arg("127.0.0.1").start()?;
    assert_eq!(attempt(&mount, &format!("send-secret-to:{}", address(&server)))?, Ok(4096));
    let sent = |server: &Server| {
        server
            .requests()
            .iter()
            .any(|request| request.headers.iter().any(|(_, value)| value.contains(CANARY)))
    };
    assert!(sent(&server));
    // Its template grants it the origin; the table does not send the secret there.
    assert_eq!(attempt(&mount, &format!("connect-to:{elsewhere}"))?, Ok(4096));
    assert_eq!(attempt(&mount, &format!("send-secret-to:{elsewhere}"))?, Err(EACCES));
    assert!(!own.requests().is_empty(), "it was asked without the secret");
    assert!(!sent(&own));
    mount.log().wait_for(&["the secret of option secret may not be sent to"], SOON)?;
    Ok(())
}
