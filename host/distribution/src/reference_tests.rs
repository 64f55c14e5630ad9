use super::*;
use crate::error::ErrorKind;

const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn oci(text: &str) -> OciReference {
    match Reference::parse(text).unwrap() {
        Reference::Remote(Remote::Oci(oci)) => oci,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_is_what_is_shown() {
    for text in [
        "oci://registry.example/wasmount/s3:v1".to_owned(),
        "oci://127.0.0.1:5000/a/b-c__d.e:latest".to_owned(),
        format!("oci://[::1]:5000/s3@sha256:{HEX}"),
        format!("oci://registry.example/s3:v1@sha256:{HEX}#path=plugins/s3.wasm"),
        format!("https://files.example:8443/a/s3.wasm#sha256={HEX}"),
    ] {
        let Reference::Remote(remote) = Reference::parse(&text).unwrap() else { panic!("{text}") };
        assert_eq!(remote.to_string(), text);
    }
    assert_eq!(Reference::parse("/plugins/s3.wasm").unwrap(), Reference::Path("/plugins/s3.wasm".into()));
}

#[test]
fn parts_that_are_left_out() {
    let plain = oci("oci://registry.example/s3");
    assert_eq!((plain.tag.as_deref(), plain.asked().as_str()), (Some("latest"), "latest"));
    let pinned = oci(&format!("oci://registry.example/s3@sha256:{HEX}"));
    assert_eq!((pinned.tag.clone(), pinned.asked()), (None, format!("sha256:{HEX}")));
    assert_eq!(plain.pinned(pinned.digest.unwrap()), pinned);
    assert_eq!(oci("oci://docker.io/wasmount/s3").api_host(), "registry-1.docker.io");
    assert_eq!(oci("oci://r/s3#path=/x.wasm").path.as_deref(), Some("x.wasm"));
}

#[test]
fn mistakes_are_named() {
    let long = format!("oci://r/{}", "a".repeat(256));
    for (text, named) in [
        ("http://files.example/s3.wasm", "plain http"),
        ("s3://bucket/s3.wasm", "`s3://`"),
        ("https://files.example/s3.wasm", "#sha256=HEX"),
        ("https://files.example/s3.wasm#sha256=abc", "64 lower-case"),
        (&format!("https://user:geheim@files.example/s3.wasm#sha256={HEX}"), "user name or password"),
        ("oci://registry.example", "no repository"),
        ("oci://regi stry/s3", "no registry"),
        ("oci://registry:99999/s3", "no registry"),
        ("oci:///s3", "no registry"),
        ("oci://r/S3", "no name of a repository"),
        ("oci://r/a//b", "no name of a repository"),
        ("oci://r/a___b", "no name of a repository"),
        ("oci://r/../x", "no name of a repository"),
        (&long, "no name of a repository"),
        ("oci://r/s3:", "no tag"),
        ("oci://r/s3:a/b", "no tag"),
        ("oci://r/s3@sha256:12", "64 lower-case"),
        ("oci://r/s3#sha256=12", "path=FILE"),
        ("oci://r/s3#path=/", "path=FILE"),
    ] {
        let error = Reference::parse(text).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Mistake);
        assert!(error.message.contains(named), "{text}: {error}");
        assert!(!error.message.contains("geheim"), "{error}");
    }
}

#[test]
fn a_query_may_be_a_secret() {
    let text = format!("https://files.example/s3.wasm?X-Amz-Signature=geheim#sha256={HEX}");
    let Reference::Remote(remote) = Reference::parse(&text).unwrap() else { panic!("{text}") };
    assert_eq!(remote.to_string(), format!("https://files.example/s3.wasm?…#sha256={HEX}"));
}
