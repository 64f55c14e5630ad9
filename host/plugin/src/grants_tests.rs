use super::*;
use crate::description::{EndpointTemplate, NetworkNeeds};
use wasmount_net::AllowNet;

fn description() -> Description {
    let option = |name: &str, kind| OptionSpec {
        name: name.into(),
        aliases: vec![],
        kind,
        required: false,
        default: None,
        doc: String::new(),
    };
    let rule = EndpointRule {
        protocols: vec!["https".into(), "http".into()],
        default_port: 443,
        many: false,
        read_methods: vec!["GET".into()],
    };
    let template =
        |origin: &str| EndpointTemplate { origin: origin.into(), read_methods: vec!["HEAD".into()] };
    Description {
        name: "s3".into(),
        version: "1".into(),
        summary: "x".into(),
        schemes: vec!["s3".into()],
        csi_drivers: vec![],
        options: vec![option("endpoint", OptionKind::Endpoint(rule)), option("region", OptionKind::Text)],
        network: NetworkNeeds {
            templates: vec![
                template("https://{mount-host}.s3.{region}.example"),
                template("http://{mount-host}.{endpoint}"),
            ],
            ..NetworkNeeds::default()
        },
    }
}

/// The policy of a mount with these settings.
fn policy_of(
    description: &Description,
    settings: &[Setting],
    mount_point: &str,
    policy: &ReachPolicy,
) -> Result<ReachPolicy, Error> {
    super::policy(description, settings, &asked(description, settings, mount_point), policy)
}

fn setting(name: &str, kind: &OptionKind, text: &str, by_operator: bool) -> Setting {
    Setting {
        name: name.into(),
        value: Value::Plain(parse::value(kind, text).unwrap()),
        source: Some(if by_operator { OptionSource::Args } else { OptionSource::Mount }),
        file: None,
    }
}

fn origins(settings: &[Setting], mount_point: &str) -> Vec<String> {
    let description = description();
    let grants = super::grants(&description, &asked(&description, settings, mount_point), true);
    grants.origins.iter().map(|o| format!("{o} {}", o.read_methods.join(","))).collect()
}

#[test]
fn options_and_templates_are_asked_for() {
    let description = description();
    let endpoint = setting("endpoint", &description.options[0].kind, "http://minio:9000", false);
    let region = |text: &str| setting("region", &OptionKind::Text, text, false);
    assert_eq!(
        origins(&[endpoint, region("eu")], "s3://bucket/prefix"),
        ["http://minio:9000 GET", "https://bucket.s3.eu.example:443 HEAD", "http://bucket.minio:9000 HEAD"]
    );
    assert_eq!(origins(&[region("eu")], "s3://b"), ["https://b.s3.eu.example:443 HEAD"]);
    assert!(origins(&[region("evil.com/")], "s3://b").is_empty());
    assert!(origins(&[region("x@evil")], "s3://b").is_empty());
    assert!(origins(&[], "s3://b").is_empty());
    assert!(origins(&[region("eu")], "no scheme").is_empty());
}

fn cluster() -> Description {
    let template = |origin: &str| EndpointTemplate { origin: origin.into(), read_methods: vec![] };
    let mut description = description();
    let rule =
        EndpointRule { protocols: vec!["tcp".into()], default_port: 3300, many: true, read_methods: vec![] };
    description.options[0].kind = OptionKind::Endpoint(rule);
    description.network = NetworkNeeds {
        tcp: true,
        // The first without a port, the second with one: of each host exactly one of them is an origin.
        templates: vec![template("tcp://{mount-host}:3300"), template("tcp://{mount-host}")],
        revealed_addresses: Some("OSDs".into()),
        ..NetworkNeeds::default()
    };
    description
}

#[test]
fn a_mount_point_may_name_several_hosts() {
    let origins = |mount_point: &str| {
        let grants = grants(&cluster(), &asked(&cluster(), &[], mount_point), true);
        assert!(grants.revealed);
        grants.origins.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        origins("rbd://10.0.0.1:6789,mon-b,[fd00::1]:23300;[fd00::2]/pool/image@snap"),
        ["tcp://mon-b:3300", "tcp://[fd00::2]:3300", "tcp://10.0.0.1:6789", "tcp://[fd00::1]:23300"]
    );
    assert!(origins("rbd:///pool").is_empty());
    assert!(origins("rbd://a b,x@y/pool").is_empty());
    assert_eq!(origins(&format!("rbd://{}/p", "m,".repeat(1000))).len(), MAX_HOSTS);
}

#[test]
fn a_typed_endpoint_covers_what_its_host_reveals() {
    let reach = |description: &Description, by_operator| {
        let typed = setting("endpoint", &cluster().options[0].kind, "127.0.0.1:23300", by_operator);
        policy_of(description, &[typed], "rbd:///pool", &ReachPolicy::default()).unwrap()
    };
    let osd = "127.0.0.1:26800".parse().unwrap();
    assert!(reach(&cluster(), true).check_revealed("127.0.0.1", osd).is_ok());
    assert!(reach(&cluster(), true).check("127.0.0.1", osd).is_err(), "for what is revealed alone");
    assert!(reach(&cluster(), false).check_revealed("127.0.0.1", osd).is_err(), "a Dataset's author");
    let other = "127.0.0.2:26800".parse().unwrap();
    assert!(reach(&cluster(), true).check_revealed("127.0.0.2", other).is_err());
    let mut silent = cluster();
    silent.network.revealed_addresses = None;
    assert!(reach(&silent, true).check_revealed("127.0.0.1", osd).is_err());
    assert!(!grants(&silent, &[], true).revealed);
}

#[test]
fn only_the_operator_grants_reach_by_typing() {
    let description = description();
    let loopback = "127.0.0.1:9000".parse().unwrap();
    let outside = "93.184.216.34:80".parse().unwrap();
    let reach = |by_operator| {
        let endpoint =
            setting("endpoint", &description.options[0].kind, "http://127.0.0.1:9000", by_operator);
        policy_of(&description, &[endpoint], "s3://b", &ReachPolicy::default()).unwrap()
    };
    assert!(reach(false).check("127.0.0.1", loopback).is_err());
    assert!(reach(true).check("127.0.0.1", loopback).is_ok());
    assert!(reach(true).check("127.0.0.1", "127.0.0.1:9001".parse().unwrap()).is_err());
    assert!(reach(true).check("example", outside).is_ok(), "the default set stays");
    assert!(reach(true).check("localhost", loopback).is_err(), "under the address as it was typed");
}

/// An `endpoint`, and `token-uri` for something else.
fn with_token_uri() -> (Description, OptionKind) {
    let mut description = description();
    let kind = description.options[0].kind.clone();
    description.options.push(OptionSpec { name: "token-uri".into(), ..description.options[0].clone() });
    (description, kind)
}

#[test]
fn what_the_operator_types_for_one_option_opens_nothing_to_another() {
    let (description, kind) = with_token_uri();
    let agent: std::net::SocketAddr = "169.254.170.2:80".parse().unwrap();
    let reach = |endpoint: &str, by_operator, policy: &ReachPolicy| {
        let settings = [
            setting("token-uri", &kind, "http://169.254.170.2/v2/x", true),
            setting("endpoint", &kind, endpoint, by_operator),
        ];
        policy_of(&description, &settings, "s3://b", policy).map_err(|error| (error.kind, error.message))
    };
    let default = ReachPolicy::default();
    let both = reach("https://minio", false, &default).unwrap();
    both.check("169.254.170.2", agent).unwrap();
    assert!(both.check("minio", agent).is_err(), "a name that resolves to it");
    for same in ["http://169.254.170.2", "https://169.254.170.2:80/x", "http://[::ffff:169.254.170.2]"] {
        let (kind, text) = reach(same, false, &default).err().unwrap();
        assert_eq!(kind, ErrorKind::Denied);
        for part in ["option `endpoint` is http", "`token-uri` on the command line", "--allow-net"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        reach(same, true, &default).unwrap().check("169.254.170.2", agent).unwrap();
    }
    // Another notation is a name of its own, and another port another place.
    for other in ["http://2852039170", "http://169.254.170.2:8080"] {
        let policy = reach(other, false, &default).unwrap();
        assert!(policy.check("2852039170", agent).is_err());
        assert!(policy.check("169.254.170.2", "169.254.170.2:8080".parse().unwrap()).is_err());
    }
    let allowed = ReachPolicy::new(vec![AllowNet::parse("169.254.170.2").unwrap()]);
    reach("http://169.254.170.2", false, &allowed).unwrap().check("169.254.170.2", agent).unwrap();
}

#[test]
fn a_name_that_both_use_is_judged_by_its_address() {
    let (description, kind) = with_token_uri();
    let settings = |endpoint| {
        [
            setting("token-uri", &kind, "http://agent.local:80", true),
            setting("endpoint", &kind, endpoint, false),
        ]
    };
    let reach = |endpoint| {
        let policy = policy_of(&description, &settings(endpoint), "s3://b", &ReachPolicy::default()).unwrap();
        policy.check("agent.local", "127.0.0.1:80".parse().unwrap()).is_ok()
    };
    assert!(reach("http://minio"));
    assert!(!reach("http://Agent.local"), "the Dataset's endpoint could read it");
}

#[test]
fn a_mount_point_does_not_make_an_address_out_of_pieces() {
    let (description, kind) = with_token_uri();
    let token_uri = setting("token-uri", &kind, "http://169.254.170.2/v2/x", true);
    let pieces = setting("endpoint", &kind, "http://2:80", false);
    let settings = [token_uri.clone(), pieces];
    let made = asked(&description, &settings, "s3://169.254.170");
    assert!(made.iter().any(|asked| asked.grant.to_string() == "http://169.254.170.2:80" && asked.foreign));
    let error =
        policy_of(&description, &settings, "s3://169.254.170", &ReachPolicy::default()).err().unwrap();
    assert!(error.message.contains("what stands for http://{mount-host}.{endpoint}"), "{error}");
    // What the plugin itself names is nobody's who could misuse it.
    let mut description = description;
    let own = EndpointTemplate { origin: "http://169.254.170.2".into(), read_methods: vec![] };
    description.network.templates = vec![own];
    policy_of(&description, &[token_uri], "s3://b", &ReachPolicy::default()).unwrap();
}

#[test]
fn a_cluster_of_somebody_else_reveals_nothing_of_the_operators_host() {
    let typed = setting("endpoint", &cluster().options[0].kind, "127.0.0.1:23300", true);
    let reach = |mount_point: &str| {
        let policy =
            policy_of(&cluster(), std::slice::from_ref(&typed), mount_point, &ReachPolicy::default())
                .unwrap();
        policy.check_revealed("127.0.0.1", "127.0.0.1:10250".parse().unwrap()).is_ok()
    };
    assert!(reach("rbd:///pool"));
    assert!(!reach("rbd://mon.example/pool"));
}

#[test]
fn secrets_go_to_the_origins_that_their_options_name() {
    let mut description = description();
    let secret = |name: &str, sent_to: &[&str]| OptionSpec {
        name: name.into(),
        aliases: vec![],
        kind: OptionKind::Secret {
            reveal: false,
            sent_to: sent_to.iter().map(|origin| (*origin).into()).collect(),
        },
        required: false,
        default: None,
        doc: String::new(),
    };
    description.options.push(secret("key", &[]));
    description.options.push(secret("token", &["endpoint"]));
    description.options.push(secret("ticket", &["https://{mount-host}.s3.{region}.example"]));
    let endpoint = setting("endpoint", &description.options[0].kind, "http://minio:9000", false);
    let region = setting("region", &OptionKind::Text, "eu", false);
    let asked = asked(&description, &[endpoint, region], "s3://b");
    let shown: Vec<_> = asked.iter().map(|a| (a.grant.to_string(), a.grant.secrets.join(","))).collect();
    let expected = [
        ("http://minio:9000", "token"),
        ("https://b.s3.eu.example:443", "ticket"),
        ("http://b.minio:9000", ""),
    ];
    assert_eq!(shown, expected.map(|(origin, secrets)| (origin.to_owned(), secrets.to_owned())));
    let template = "http://{mount-host}.{endpoint}".to_owned();
    assert_eq!(asked[0].from, OriginFrom::Option("endpoint".into()));
    assert_eq!(asked[2].from, OriginFrom::Template(template));
}
