use super::*;
use wasmount_sdk::{Endpoint, OptionSetting, OptionValue};

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

fn config(location: &str, options: &[(&str, &str)]) -> Result<Config> {
    Config::from_settings(&Location::parse(location).unwrap(), None, &settings(options))
}

fn addresses(config: &Config) -> Vec<String> {
    config.access.monitors.addresses.iter().map(|mon| format!("{}:{}", mon.host, mon.port)).collect()
}

#[test]
fn every_name_in_use_is_known() {
    let names: Vec<String> =
        description().options.into_iter().flat_map(|spec| [spec.aliases, vec![spec.name]].concat()).collect();
    for name in
        ["monitors", "pool", "image", "user", "key", "readOnly", "clusterID", "imageName", "radosNamespace"]
    {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
}

#[test]
fn the_mount_point_names_everything() {
    let config = config("10.0.0.1,10.0.0.2:3301/p/n/i@s", &[]).unwrap();
    assert_eq!(addresses(&config), ["10.0.0.1:3300", "10.0.0.2:3301"]);
    let only = Some(("i".to_owned(), Some("s".to_owned())));
    let target = Target { pool: Pool::Name("p".into()), namespace: "n".into(), only };
    assert_eq!(config.target, target);
}

#[test]
fn options_name_what_the_mount_point_does_not() {
    let options = [("monitors", "a,b"), ("pool", "p"), ("image", "i@s")];
    let config = config("", &options).unwrap();
    assert_eq!(addresses(&config), ["a:3300", "b:3300"]);
    assert_eq!(config.target.only, Some(("i".into(), Some("s".into()))));
}

#[test]
fn contradictions_are_named() {
    let fails = |location: &str, options: &[(&str, &str)]| config(location, options).unwrap_err().message;
    assert!(fails("/p", &[]).contains("mountPoint (rbd://MON,MON/POOL)"));
    assert!(fails("a/p", &[("monitors", "b")]).contains("mountPoint and option monitors both name monitors"));
    assert!(fails("a", &[]).contains("no pool is named"));
    assert!(fails("a/p", &[("pool", "q")]).contains("option pool says q and mountPoint p"));
    assert!(fails("a/p/i", &[("image", "j")]).contains("option image says j and mountPoint i"));
    assert!(fails("a/p", &[("image", "@s")]).contains("IMAGE@SNAPSHOT"));
    config("a/p/i@s", &[("pool", "p"), ("image", "i@s")]).unwrap();
}

#[test]
fn volumes_of_ceph_csi() {
    let volume = Volume {
        cluster_id: "c".into(),
        pool: Pool::Name("p".into()),
        namespace: None,
        image: "csi-vol-1".into(),
    };
    let list = r#"[{"clusterID": "b", "monitors": ["x"]},
                   {"clusterID": "c", "monitors": ["10.0.0.1:6789"], "rbd": {"radosNamespace": "n"}}]"#;
    let location = Location::default();
    let config =
        |volume, options: &[(&str, &str)]| Config::from_settings(&location, Some(volume), &settings(options));
    let found = config(volume.clone(), &[("csi-config", list)]).unwrap();
    assert_eq!(addresses(&found), ["10.0.0.1:3300"]);
    let only = Some(("csi-vol-1".to_owned(), None));
    assert_eq!(found.target, Target { pool: Pool::Name("p".into()), namespace: "n".into(), only });
    let other = config(volume.clone(), &[("cluster-id", "b"), ("csi-config", list)]).unwrap();
    assert_eq!(addresses(&other), ["x:3300"]);
    let old = Volume { pool: Pool::Id(4), ..volume };
    assert_eq!(config(old, &[("monitors", "m")]).unwrap().target.pool, Pool::Id(4));
}
