use super::*;

fn request(arguments: &[&str]) -> Result<Option<Request>, Failure> {
    Request::parse(arguments.iter().map(OsString::from))
}

fn translated(options: &str) -> Vec<String> {
    let request = request(&["s3://b", "/mnt", "-o", options]).unwrap().unwrap();
    let arguments = request.translate().unwrap().arguments;
    arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
}

#[test]
fn other_names_are_not_the_helper() {
    for name in ["wasmount", "/usr/bin/wasmount", "mount", "mount.fuse", "umount"] {
        assert!(by_name([OsString::from(name)].into_iter()).is_none(), "{name}");
    }
    assert!(by_name(std::iter::empty()).is_none());
}

#[test]
fn what_mount_calls_it_with() {
    let parsed = request(&["s3://b/p", "/mnt", "-sn", "-o", "rw,a=b", "-oc=d", "-t", "fuse.own"]);
    let parsed = parsed.unwrap().unwrap();
    assert_eq!(parsed.options, ",rw,a=b,c=d");
    assert_eq!((parsed.source.to_str(), parsed.target.to_str()), (Some("s3://b/p"), Some("/mnt")));
    assert_eq!((parsed.subtype.as_deref(), parsed.fake), (Some("own"), false));
    assert!(request(&["a", "b", "-fv"]).unwrap().unwrap().fake);
    for bad in [&["a"][..], &["a", "b", "c"], &["a", "b", "-o"], &["a", "b", "-x"], &["a", "b", "-N", "1"]] {
        assert_eq!(request(bad).unwrap_err().code, INCORRECT_INVOCATION, "{bad:?}");
    }
}

#[test]
fn options_become_flags_options_of_the_plugin_or_nothing() {
    let arguments = translated(
        "rw,_netdev,nofail,x-systemd.automount,X-mount.mkdir,comment=mine,noauto,user,noexec,\
         plugin=/p/s3.wasm,allow-net=10.0.0.0/8,allow_net=default,strict-options,no_passthrough=true,\
         endpoint=http://h:1,user=admin,ro,monitors=\"10.0.0.1,10.0.0.2\",uid=5,log-file=/var/log/x",
    );
    let expected = [
        "mount",
        "--background",
        "--plugin=/p/s3.wasm",
        "--allow-net=10.0.0.0/8",
        "--allow-net=default",
        "--strict-options",
        "--no-passthrough",
        "--option=endpoint=http://h:1",
        "--option=user=admin",
        "--option=ro",
        "--option=monitors=10.0.0.1,10.0.0.2",
        "--option=uid=5",
        "--background-log=/var/log/x",
        "--log=human",
        "--",
        "s3://b",
        "/mnt",
    ];
    assert_eq!(arguments, expected);
}

#[test]
fn what_it_makes_is_understood() {
    use clap::Parser;
    let arguments = translated("plugin=a.wasm,memory=64MiB,log=json,a=b,no-keep-names=false");
    let cli = Cli::try_parse_from(std::iter::once("wasmount".to_owned()).chain(arguments)).unwrap();
    let crate::cli::Command::Mount(mount) = cli.command else { panic!("not mount") };
    assert!(mount.background && !mount.common.no_keep_names);
    assert_eq!((mount.common.memory, mount.common.option), (Some(64 << 20), vec!["a=b".to_owned()]));
}

#[test]
fn what_cannot_be_is_refused() {
    let translate = |options: &str| {
        let request = request(&["s3://b", "/mnt", "-o", options]).unwrap().unwrap();
        request.translate().map(|_| ()).unwrap_err()
    };
    assert_eq!(translate("remount,ro").code, MOUNT_FAILURE);
    assert_eq!(translate("a=\"b").code, INCORRECT_INVOCATION);
    assert_eq!(translate("no-passthrough=maybe").code, INCORRECT_INVOCATION);
    // Hidden flags are not part of what fstab can say.
    assert!(translated("background=x").contains(&"--option=background=x".to_owned()));
}

#[test]
fn only_what_matters_is_repeated() {
    let log = b"2026-01-01T00:00:00Z  INFO mounting\n2026-01-01T00:00:01Z ERROR no plugin serves s3://\n\n";
    assert_eq!(important(log), "2026-01-01T00:00:01Z ERROR no plugin serves s3://");
}

#[test]
fn a_source_with_a_password_is_refused_and_not_repeated() {
    for (source, refused) in [
        ("http://user:hunter2@files.example/dir", true),
        ("http://user:@files.example", true),
        ("x://:hunter2@[::1]:80?y", true),
        ("http://user@files.example", false),
        ("s3://bucket/a:b@c", false),
        ("rbd://10.0.0.1:3300,10.0.0.2:3300/pool/image@snap", false),
        ("user:word@host", false),
    ] {
        let translated = request(&[source, "/mnt"]).unwrap().unwrap().translate();
        let failure = translated.map(|_| ()).err();
        assert_eq!(failure.is_some(), refused, "{source}");
        if let Some(failure) = failure {
            assert_eq!(failure.code, INCORRECT_INVOCATION);
            assert!(
                failure.text.contains("password") && !failure.text.contains("hunter2"),
                "{}",
                failure.text
            );
        }
    }
}
