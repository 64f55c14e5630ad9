use super::*;
use crate::config::raw::RawConfig;
use crate::config::sources::Shared;
use crate::fluid::mounts::{Settings, Standing, resolve};
use crate::plugins::registry::{Claim, Registry, Strength};
use serde_json::{Value, json};
use std::path::Path;
use wasmount_core::mounts::Layout;
use wasmount_plugin::{NetworkNeeds, OptionKind, OptionSpec};

/// Knows `region` (also called `zone`) and `endpoint`.
fn description() -> Description {
    let option = |name: &str, alias: &str| OptionSpec {
        name: name.into(),
        aliases: vec![alias.into()],
        kind: OptionKind::Text,
        required: false,
        default: None,
        doc: String::new(),
    };
    Description {
        name: "s3".into(),
        version: "1".into(),
        summary: "x".into(),
        schemes: vec!["s3".into()],
        csi_drivers: vec![],
        options: vec![option("region", "zone"), option("endpoint", "url")],
        network: NetworkNeeds::default(),
    }
}

fn resolved(config: Value, standing: &Standing) -> Vec<Resolved<&'static str>> {
    let config = RawConfig::parse(config.to_string().as_bytes()).unwrap();
    let claim = Claim {
        plugin: "s3.wasm",
        file: "s3.wasm".into(),
        digest: "1".into(),
        name: "s3".into(),
        schemes: vec!["s3".into()],
        drivers: vec![],
        strength: Strength::Default,
    };
    let settings = Settings {
        registry: &Registry::build(&[claim]).ok().unwrap(),
        shared: &Shared::new(None, &config.runtime_options, vec![]),
        layout: Layout::Auto,
        standing,
        secrets_dir: Path::new("/secrets"),
        strict_options: false,
        cache_namespace: None,
    };
    resolve(&config, &settings)
}

fn mount(name: &str, bucket: &str) -> Value {
    json!({"name": name, "mountPoint": format!("s3://{bucket}")})
}

/// Names that stay, and the difference.
fn compare(before: Value, after: Value) -> (Vec<String>, Diff) {
    let active = resolved(before, &Standing::Nowhere);
    let next = resolved(after, &Standing::Nowhere.after(&active));
    let described = description();
    let diff = Diff::with(&active, &next, |plugin| ((*plugin).to_owned(), &described));
    let stays =
        next.iter().zip(&diff.stays).filter(|(_, stays)| **stays).map(|(mount, _)| mount.id.to_string());
    (stays.collect(), diff)
}

#[test]
fn what_did_not_change_stays() {
    let (stays, diff) = compare(
        json!({"mounts": [mount("a", "x"), mount("b", "x"), mount("c", "x")], "accessModes": ["ReadOnlyMany"]}),
        json!({"mounts": [mount("d", "x"), mount("c", "x"), mount("b", "y")], "accessModes": ["ReadWriteMany"]}),
    );
    assert_eq!(stays, ["c"], "whatever its place in the list and the access modes are");
    assert_eq!(
        (diff.added, diff.changed, diff.removed),
        (vec!["d".into()], vec!["b".into()], vec!["a".into()])
    );
    assert_eq!(diff.broken, None);
}

#[test]
fn options_from_elsewhere_count_as_well() {
    let mounts = json!([mount("a", "x"), mount("b", "x")]);
    let (stays, diff) =
        compare(json!({"mounts": mounts}), json!({"mounts": mounts, "runtimeOptions": {"region": "eu"}}));
    assert!(stays.is_empty());
    assert_eq!(diff.changed, ["a", "b"]);
}

#[test]
fn runtime_options_that_make_no_difference_to_a_mount_leave_it_alone() {
    let own = |name: &str, options: Value| json!({"name": name, "mountPoint": "s3://x", "options": options});
    let mounts =
        json!([mount("plain", "x"), own("zoned", json!({"zone": "us"})), own("owned", json!({"uid": 7}))]);
    let changed = |before: Value, after: Value| {
        let (_, diff) = compare(
            json!({"mounts": mounts, "runtimeOptions": before}),
            json!({"mounts": mounts, "runtimeOptions": after}),
        );
        diff.changed.join(" ")
    };
    assert_eq!(changed(json!({}), json!({"region": "eu"})), "plain owned", "one says itself where it is");
    assert_eq!(changed(json!({}), json!({"gid": "5"})), "plain zoned owned");
    assert_eq!(changed(json!({"uid": "5"}), json!({"uid": "6"})), "plain zoned");
    assert_eq!(changed(json!({"tier": "1"}), json!({"other-plugins": "2"})), "", "no plugin here knows them");
    assert_eq!(
        changed(json!({"url": "a"}), json!({"url": "a", "endpoint": "a"})),
        "plain zoned owned",
        "said twice"
    );
}

#[test]
fn the_only_mount_is_not_moved_by_others_that_come() {
    let (stays, diff) =
        compare(json!({"mounts": [mount("a", "x")]}), json!({"mounts": [mount("a", "x"), mount("b", "x")]}));
    assert_eq!((stays, diff.added), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let (stays, _) =
        compare(json!({"mounts": [mount("a", "x"), mount("b", "x")]}), json!({"mounts": [mount("b", "x")]}));
    assert_eq!(stays, ["b"], "nor is the last one that stays");
}

#[test]
fn places_over_time() {
    let mut standing = Standing::Nowhere;
    let mut places = |names: &[&str]| {
        let mounts: Vec<_> = names.iter().map(|name| mount(name, "x")).collect();
        let mounts = resolved(json!({"mounts": mounts}), &standing);
        standing = std::mem::take(&mut standing).after(&mounts);
        mounts.iter().map(|mount| mount.place.to_string()).collect::<Vec<_>>()
    };
    assert!(places(&[]).is_empty());
    assert_eq!(places(&["a"]), ["/"]);
    assert_eq!(places(&["b", "a"]), ["/b", "/"]);
    assert_eq!(places(&["b"]), ["/"], "the root is free again; this one moves, and is replaced for that");
    assert_eq!(places(&["b", "c"]), ["/", "/c"]);
}

#[test]
fn what_makes_no_sense_is_new_or_old() {
    let wrong = json!({"name": "w", "mountPoint": "s3://x", "options": 7});
    let both = json!({"mounts": [mount("a", "x"), wrong]});
    let (_, diff) = compare(json!({"mounts": [mount("a", "x"), mount("w", "x")]}), both.clone());
    assert_eq!(diff.broken, Some(1));
    let more = json!({"mounts": [mount("a", "x"), wrong, mount("b", "x")]});
    let (stays, diff) = compare(both, more);
    assert_eq!((stays.len(), diff.broken), (2, None), "it was wrong before, and keeps nobody from changing");
    let same_place = json!({"mounts": [mount("a", "x"), {"name": "b", "mountPoint": "s3://x", "path": "/a"}, mount("c", "x")]});
    let (_, diff) = compare(json!({"mounts": [mount("a", "x"), mount("c", "x")]}), same_place);
    assert_eq!(diff.broken, Some(1));
}
