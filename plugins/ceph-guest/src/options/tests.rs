use super::*;
use wasmount_sdk::{Endpoint, OptionSetting, OptionValue};

const NOTHING: Named<'static> = Named {
    mount_point: None,
    volume: None,
    cluster_id: None,
    with_monitors: "x://MON/Y",
    without_monitors: "x:///Y",
};

/// Settings with these values and the defaults.
fn settings(options: &[(&str, &str)]) -> Settings {
    let value = |name: &str, text: &str| match name {
        "monitors" => OptionValue::Endpoints(
            text.split(',')
                .map(|host| Endpoint {
                    protocol: "tcp".into(),
                    host: host.into(),
                    port: 3300,
                    path: String::new(),
                })
                .collect(),
        ),
        _ => OptionValue::Text(text.into()),
    };
    let defaults = [("user", "admin"), ("ms-mode", "auto")];
    let defaults = defaults.into_iter().filter(|(name, _)| options.iter().all(|(own, _)| own != name));
    options
        .iter()
        .copied()
        .chain(defaults)
        .map(|(name, text)| OptionSetting { name: name.into(), value: value(name, text), explicit: true })
        .collect()
}

fn access(named: Named<'_>, options: &[(&str, &str)]) -> Result<Access> {
    Access::new(&named, &settings(options))
}

fn addresses(access: &Access) -> Vec<String> {
    access.monitors.addresses.iter().map(|mon| format!("{}:{}", mon.host, mon.port)).collect()
}

#[test]
fn the_usual() {
    let found = access(Named { mount_point: Some("10.0.0.1,10.0.0.2:3301"), ..NOTHING }, &[]).unwrap();
    assert_eq!(addresses(&found), ["10.0.0.1:3300", "10.0.0.2:3301"]);
    assert_eq!((found.user.as_str(), found.authenticates), ("admin", true));
    assert_eq!(found.modes.mon, [Mode::Secure, Mode::Crc]);
    assert_eq!(found.modes.daemons, [Mode::Crc, Mode::Secure]);
    assert!(found.warnings.is_empty());
    let config = found.cluster(None);
    assert_eq!((config.entity.as_str(), config.fsid), ("client.admin", None));
}

#[test]
fn options_say_everything() {
    let fsid = "0d59323b-7668-41b0-b6d7-c7a413842814";
    let options = [("monitors", "a,b"), ("user", "client.k"), ("ms-mode", "crc"), ("fsid", fsid)];
    let found = access(NOTHING, &options).unwrap();
    assert_eq!(addresses(&found), ["a:3300", "b:3300"]);
    assert_eq!((found.user.as_str(), &found.modes.daemons[..]), ("k", &[Mode::Crc][..]));
    assert_eq!(found.fsid, Fsid::parse(fsid));
}

/// A mount made from a ceph.conf has the monitors twice.
#[test]
fn mon_host_may_stand_beside_a_mount_point() {
    let list = "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]";
    let named = Named { mount_point: Some("10.0.0.1:6789"), ..NOTHING };
    let found = access(named, &[("mon-host", list)]).unwrap();
    assert_eq!(addresses(&found), ["10.0.0.1:3300", "10.0.0.2:3300"]);
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn the_old_port_is_replaced_with_a_word() {
    let found = access(NOTHING, &[("mon-host", "10.47.136.60:6789")]).unwrap();
    assert_eq!(addresses(&found), ["10.47.136.60:3300"]);
    assert!(found.warnings[0].contains("6789"), "{:?}", found.warnings);
}

#[test]
fn a_list_of_clusters_names_monitors() {
    let list = r#"[{"clusterID": "b", "monitors": ["x"]},
                   {"clusterID": "c", "monitors": ["10.0.0.1:6789"], "rbd": {"radosNamespace": "n"}}]"#;
    let volume = Named { cluster_id: Some("c"), ..NOTHING };
    let found = access(volume, &[("csi-config", list)]).unwrap();
    assert_eq!(addresses(&found), ["10.0.0.1:3300"]);
    assert_eq!(found.csi.and_then(|csi| csi.rbd_namespace).as_deref(), Some("n"));
    let other = access(volume, &[("cluster-id", "b"), ("csi-config", list)]).unwrap();
    assert_eq!(addresses(&other), ["x:3300"]);
    let own = access(Named { volume: Some("m:3300"), ..volume }, &[]).unwrap();
    assert_eq!(addresses(&own), ["m:3300"]);
}

#[test]
fn contradictions_are_named() {
    let fails = |named, options: &[(&str, &str)]| access(named, options).unwrap_err().message;
    let there = Named { mount_point: Some("a"), ..NOTHING };
    assert!(fails(NOTHING, &[]).contains("nothing says where the cluster's monitors are"));
    assert!(fails(NOTHING, &[]).contains("mountPoint (x://MON/Y)"));
    let both = fails(there, &[("monitors", "b")]);
    assert!(
        both.contains("mountPoint and option monitors both name monitors") && both.contains("is x:///Y"),
        "{both}"
    );
    assert!(fails(there, &[("fsid", "x")]).contains("option fsid"));
    assert!(fails(NOTHING, &[("mon-host", "[v1:10.0.0.1:7000/0]")]).contains("option mon-host"));
}

#[test]
fn a_cluster_may_believe_everybody() {
    let named = Named { mount_point: Some("a"), ..NOTHING };
    let asks = |text: &str| access(named, &[("auth-client-required", text)]).map(|found| found.authenticates);
    assert!(asks("cephx").unwrap() && asks("cephx, none").unwrap() && asks(" ").unwrap());
    assert!(!asks("none").unwrap());
    assert!(asks("gss").unwrap_err().message.contains("authenticates with cephx"));
}
