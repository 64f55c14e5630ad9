use super::*;
use crate::config::sources::ArgOption;
use crate::plugins::registry::{Claim, Strength};

const DEMO: &[u8] = include_bytes!("../../../../tests/fixtures/fluid/minio-demo.config.json");
const EMPTY: &[u8] = include_bytes!("../../../../tests/fixtures/fluid/emptyds.config.json");
const MINIMAL: &[u8] = include_bytes!("../../../../tests/fixtures/fluid/minimal.config.json");
const RBD_VOLUME: &[u8] = include_bytes!("../../../../tests/fixtures/fluid/rbd-pvc.config.json");
const VOLUME: &[u8] = include_bytes!("../../../../tests/fixtures/fluid/pvcds.config.json");
const RICH: &[u8] = include_bytes!("../../../../tests/fixtures/fluid/rich.config.json");
const SECRET_MODE: &[u8] = include_bytes!("../../tests/fixtures/minio-secretmode.config.json");

fn registry(strengths: &[Strength]) -> Registry<&'static str> {
    let claims: Vec<_> = strengths
        .iter()
        .map(|strength| Claim {
            plugin: "s3.wasm",
            file: "s3.wasm".into(),
            digest: "1".into(),
            name: "s3".into(),
            schemes: vec!["s3".into(), "minio".into()],
            drivers: vec!["known.csi.example".into()],
            strength: strength.clone(),
        })
        .collect();
    Registry::build(&claims).ok().unwrap()
}

fn resolve_with(
    text: &[u8],
    layout: Layout,
    args: &[&str],
    strength: Strength,
) -> Vec<Resolved<&'static str>> {
    let config = RawConfig::parse(text).unwrap();
    let args = args.iter().map(|arg| ArgOption::parse(arg).unwrap()).collect();
    let shared = Shared::new(None, &config.runtime_options, args);
    let registry = registry(&[strength]);
    let secrets_dir = Path::new("/secrets");
    let settings = Settings {
        registry: &registry,
        shared: &shared,
        layout,
        standing: &Standing::Nowhere,
        secrets_dir,
        strict_options: false,
        cache_namespace: None,
    };
    resolve(&config, &settings)
}

fn golden(text: &[u8]) -> Vec<Resolved<&'static str>> {
    resolve_with(text, Layout::Auto, &[], Strength::Default)
}

fn served<'a>(resolved: &'a Resolved<&'static str>) -> &'a Served<&'static str> {
    match &resolved.serves {
        Ok(served) => served,
        Err(error) => panic!("{error}"),
    }
}

fn refused<'a>(resolved: &'a Resolved<&'static str>) -> &'a str {
    match &resolved.serves {
        Ok(_) => panic!("served"),
        Err(error) => &error.message,
    }
}

fn path(text: &str) -> Place {
    Place::Path(text.to_owned())
}

#[test]
fn the_documented_minio_dataset() {
    for text in [DEMO, SECRET_MODE] {
        let mounts = golden(text);
        assert_eq!(mounts.len(), 1);
        assert_eq!((mounts[0].id.as_str(), &mounts[0].place), ("minio", &Place::Root));
        let served = served(&mounts[0]);
        assert_eq!(served.spec.mount_point, "minio://my-first-bucket");
        let names: Vec<_> = served.spec.options.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["minio-access-key", "minio-access-secret", "minio-url"]);
        assert!(served.spec.read_only && !mounts[0].wants_writing);
    }
}

#[test]
fn no_mounts_is_an_empty_root() {
    assert!(golden(EMPTY).is_empty());
}

#[test]
fn no_scheme_fails_with_one_sentence_unless_the_plugin_is_obvious() {
    let mounts = golden(MINIMAL);
    assert_eq!(mounts[0].place, Place::Root);
    let text = refused(&mounts[0]);
    assert!(
        text.contains("no scheme") && text.contains("`type`") && text.contains("minio://, s3://"),
        "{text}"
    );
    // The only --plugin, or `type`.
    let mounts = resolve_with(MINIMAL, Layout::Auto, &[], Strength::Named);
    assert_eq!(served(&mounts[0]).plugin, "s3.wasm");
    let mounts = resolve_with(MINIMAL, Layout::Auto, &["type=s3"], Strength::Default);
    assert_eq!(served(&mounts[0]).plugin, "s3.wasm");
    let mounts = resolve_with(MINIMAL, Layout::Auto, &["type=nfs"], Strength::Default);
    assert!(refused(&mounts[0]).contains("\"nfs\""));
}

#[test]
fn volumes_go_by_their_csi_driver() {
    let mounts = golden(VOLUME);
    let text = refused(&mounts[0]);
    assert!(text.starts_with("no plugin mounts volumes of CSI driver my.csi.example"), "{text}");
    let known = String::from_utf8(VOLUME.to_vec()).unwrap().replace("my.csi.example", "known.csi.example");
    let mounts = golden(known.as_bytes());
    let volume = served(&mounts[0]).spec.persistent_volume.clone().unwrap();
    assert_eq!(volume["volumeAttributes"]["share"], "/exports/a");
    let rbd =
        String::from_utf8(RBD_VOLUME.to_vec()).unwrap().replace("rbd.csi.ceph.com", "known.csi.example");
    let mounts = golden(rbd.as_bytes());
    let spec = &served(&mounts[0]).spec;
    let volume = spec.persistent_volume.as_ref().unwrap();
    assert_eq!(volume["volumeAttributes"]["imageName"], "csi-vol-8f0b1d4e-1f0a-4a52-9d51-0d9f5ed3a0c1");
    assert_eq!(
        volume["nodeStageSecretRef"]["name"], "csi-rbd-secret",
        "told as it is: it names a secret and is none"
    );
    assert_eq!(spec.mount_point, "pvc://training-data");
    let null =
        br#"{"mounts":[{"mountPoint":"pvc://native-pvc"}],"persistentVolumeAttrs":{"native-pvc":null}}"#;
    assert!(refused(&golden(null)[0]).contains("native-pvc"));
}

#[test]
fn several_mounts_are_directories_and_fail_alone() {
    let mounts = golden(RICH);
    assert_eq!((&mounts[0].place, &mounts[1].place), (&path("/data/a"), &path("/b")));
    let served = served(&mounts[0]);
    let option = |name: &str| served.spec.options.iter().find(|o| o.name == name).map(|o| o.value.as_str());
    assert_eq!(option("multi"), Some("line1\nline2"));
    assert_eq!(option("endpoint"), Some("http://own:9000/?x=1&y=<2>"));
    assert_eq!(option("run-opt"), Some("run-value"));
    assert_eq!(served.spec.entry["options"]["unicode"], "žluťoučký 中文");
    assert!(refused(&mounts[1]).starts_with("no plugin serves ceph://"));
    // ReadWriteMany, but `a` is readOnly by itself.
    assert!(!mounts[0].wants_writing && mounts[1].wants_writing);
}

#[test]
fn layouts() {
    let places = |layout| resolve_with(DEMO, layout, &[], Strength::Default)[0].place.clone();
    assert_eq!(places(Layout::Root), Place::Root);
    assert_eq!(places(Layout::Dirs), path("/minio"));
}

#[test]
fn impossible_places_keep_a_directory_that_says_why() {
    let text = br#"{"mounts":[
        {"mountPoint":"s3://a","name":"a","path":"/x"},
        {"mountPoint":"s3://b","name":"b","path":"/x/"},
        {"mountPoint":"s3://c","name":"c","path":"/../../etc"},
        {"mountPoint":"s3://d","name":"../d"},
        {"mountPoint":"s3://e"},
        {"mountPoint":"s3://f","name":"a","path":"/f"}]}"#;
    let mounts = golden(text);
    let shown: Vec<_> = mounts.iter().map(|mount| mount.place.to_string()).collect();
    assert_eq!(shown, ["/x", "/b", "/c", "/mounts-3", "/mounts-4", "/f"]);
    assert!(mounts[0].serves.is_ok());
    assert!(refused(&mounts[1]).contains("place /x"));
    assert!(refused(&mounts[2]).contains(".."));
    assert!(refused(&mounts[3]).contains("../d"));
    assert!(refused(&mounts[4]).contains("neither"));
    assert!(refused(&mounts[5]).contains("\"a\""));
    let ids: BTreeSet<_> = mounts.iter().map(|mount| mount.id.as_str()).collect();
    assert_eq!(ids.len(), 6, "ids are unique: {ids:?}");
}

#[test]
fn a_misplaced_mount_takes_no_place_from_another() {
    let text = br#"{"mounts":[
        {"mountPoint":"s3://a","name":"a","path":"/x"},
        {"mountPoint":"s3://b","name":"b","path":"/x"},
        {"mountPoint":"s3://c","name":"c","path":"/b"},
        {"mountPoint":"s3://d"},
        {"mountPoint":"s3://e","name":"mounts-3"}]}"#;
    let mounts = golden(text);
    let shown: Vec<_> = mounts.iter().map(|mount| mount.place.to_string()).collect();
    assert_eq!(shown, ["/x", "/mounts-1", "/b", "/mounts-3-1", "/mounts-3"]);
    let works: Vec<_> = mounts.iter().map(|mount| mount.serves.is_ok()).collect();
    assert_eq!(works, [true, false, true, false, true]);
}

#[test]
fn ids_are_unique_whatever_the_names() {
    let text = br#"{"mounts":[{"mountPoint":"s3://a","name":"x#2"},{"mountPoint":"s3://b","name":"x"},
        {"mountPoint":"s3://c","name":"x"}]}"#;
    let mounts = golden(text);
    let ids: BTreeSet<_> = mounts.iter().map(|mount| mount.id.as_str()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn options_of_a_scheme_hold_for_the_type_as_well() {
    let mounts = resolve_with(MINIMAL, Layout::Auto, &["type=s3", "s3:region=eu"], Strength::Default);
    let options = &served(&mounts[0]).spec.options;
    assert!(options.iter().any(|option| option.name == "region" && option.value == "eu"));
}

#[test]
fn what_the_operator_says_about_a_plugin_holds_however_a_dataset_comes_to_it() {
    let text = br#"{"mounts":[
        {"mountPoint":"s3://a","name":"a","options":{"insecure-skip-verify":"true","region":"own"}},
        {"mountPoint":"MINIO://b","name":"b","options":{"insecure_skip_verify":"true","region":"own"}},
        {"mountPoint":"c","name":"c","options":{"type":"MinIO","insecure-skip-verify":"true","uid":"nobody"}},
        {"mountPoint":"d","name":"d","options":{"insecure-skip-verify":"true"}},
        {"mountPoint":"pvc://v","name":"e","options":{"insecure-skip-verify":"true"}}],
        "persistentVolumeAttrs":{"v":{"driver":"known.csi.example"}}}"#;
    for called in ["s3", "minio", "Minio"] {
        let args =
            ["insecure-skip-verify=false", "region=pinned", "uid=7"].map(|arg| format!("{called}:{arg}"));
        let args: Vec<&str> = args.iter().map(String::as_str).chain(["gs:region=of-another"]).collect();
        let mounts = resolve_with(text, Layout::Auto, &args, Strength::Named);
        assert_eq!(mounts.len(), 5);
        for mount in mounts {
            assert!(!mount.insecure && mount.files.uid == 7, "{called}: {}", mount.id);
            let region = served(&mount).spec.options.iter().rfind(|option| option.name == "region").unwrap();
            assert_eq!(
                (region.value.as_str(), region.source),
                ("pinned", OptionSource::Args),
                "{}",
                mount.id
            );
        }
    }
}

#[test]
fn own_options_are_not_shown_to_the_plugin() {
    let text = br#"{"mounts":[{"mountPoint":"s3://a","options":
        {"client-key":"-----BEGIN PRIVATE KEY-----","uid":"7","region":"eu"}}]}"#;
    let mounts = golden(text);
    let served = served(&mounts[0]);
    assert_eq!(served.spec.entry["options"], serde_json::json!({"region": "eu"}));
    assert!(served.spec.options.iter().all(|option| option.name == "region"));
    assert_eq!(mounts[0].files.uid, 7);
    assert!(served.spec.tls.client_key.is_some());
}

#[test]
fn a_bad_option_fails_its_mount_only() {
    let text = br#"{"mounts":[{"mountPoint":"s3://a","name":"a","options":{"uid":"root"}},
        {"mountPoint":"s3://b","name":"b","options":{"request-timeout":"5"}}]}"#;
    let mounts = golden(text);
    assert!(refused(&mounts[0]).contains("uid"));
    assert_eq!(served(&mounts[1]).request_timeout, Duration::from_secs(5));
    assert_eq!(served(&mounts[1]).spec.request_timeout, Duration::from_secs(5));
}

#[test]
fn schemes() {
    assert_eq!(scheme_of("S3://Bucket").as_deref(), Some("s3"));
    assert_eq!(scheme_of("ceph+rbd://a,b/pool").as_deref(), Some("ceph+rbd"));
    for none in ["nfs.example:/export", "://x", "1s3://b", "a b://c", "/local/path", ""] {
        assert_eq!(scheme_of(none), None, "{none}");
    }
}

#[test]
fn passwords_in_mount_points_are_not_shown() {
    assert_eq!(shown("s3://key:hunter2@bucket/a@b"), "s3://...@bucket/a@b");
    assert_eq!(shown("s3://bucket/a@b"), "s3://bucket/a@b");
    assert_eq!(shown("s3://AKIA:hun/ter2@bucket/p"), "s3://...@bucket/p");
    assert_eq!(shown("site://host:80/a@b?token=hunter2"), "site://host:80/a@b?...");
    assert_eq!(shown("ceph://10.0.0.1:6789,10.0.0.2:6789/pool"), "ceph://10.0.0.1:6789,10.0.0.2:6789/pool");
    let image = "rbd://10.0.0.1:3300,[fd00::2]:3300,mon-c/pool/ns/image@snap";
    assert_eq!(shown(image), image);
    assert_eq!(shown("rbd://10.0.0.1:3300,admin:hun/ter2@mon/pool"), "rbd://...@mon/pool");
    assert_eq!(shown("user:hunter2@nfs.example:/export"), "...@nfs.example:/export");
}
