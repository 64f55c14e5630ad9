//! The table of addresses and rules.

use super::*;

fn policy(rules: &[&str]) -> ReachPolicy {
    ReachPolicy::new(rules.iter().map(|rule| AllowNet::parse(rule).unwrap()).collect())
}

fn check(rules: &[&str], host: &str, ip: &str, port: u16) -> Result<()> {
    policy(rules).check(host, SocketAddr::new(ip.parse().unwrap(), port))
}

#[test]
fn the_default_set_leaves_out_what_belongs_to_the_node() {
    for ip in [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "169.254.1.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ] {
        let error = check(&[], "name.example", ip, 80).expect_err(ip);
        assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
        assert!(error.message.contains("--allow-net name.example:80"), "{ip}: {error}");
    }
    for ip in ["10.1.2.3", "192.168.0.7", "8.8.8.8", "fd00::7", "2001:db8::1", "100.64.0.1"] {
        assert!(check(&[], "name.example", ip, 80).is_ok(), "{ip}");
    }
}

#[test]
fn addresses_of_the_nodes_interfaces_are_left_out() {
    let own = if_addrs::get_if_addrs().unwrap();
    for address in own.iter().map(if_addrs::Interface::ip) {
        assert!(ReachPolicy::default().check("x", SocketAddr::new(address, 80)).is_err(), "{address}");
    }
    let policy = ReachPolicy::default().with_node_addresses(vec!["10.9.8.7".parse().unwrap()]);
    assert!(policy.check("x", "10.9.8.7:80".parse().unwrap()).is_err());
    assert!(policy.check("x", "10.9.8.8:80".parse().unwrap()).is_ok());
}

#[test]
fn rules_are_the_exact_set() {
    assert!(check(&["10.0.0.0/8"], "n", "10.1.1.1", 80).is_ok());
    assert!(check(&["10.0.0.0/8"], "n", "::ffff:10.1.1.1", 80).is_ok());
    assert!(check(&["10.0.0.0/8"], "n", "11.1.1.1", 80).is_err());
    assert!(check(&["10.0.0.0/8", "default"], "n", "11.1.1.1", 80).is_ok());
    assert!(check(&["10.0.0.0/8", "default"], "n", "127.0.0.1", 80).is_err());
    assert!(check(&["127.0.0.1:9000"], "n", "127.0.0.1", 9000).is_ok());
    assert!(check(&["127.0.0.1:9000"], "n", "127.0.0.1", 9001).is_err());
    assert!(check(&["fd00::/8"], "n", "fd12::1", 1).is_ok());
    assert!(check(&["0.0.0.0/0"], "n", "127.0.0.1", 1).is_ok());
    assert!(check(&["0.0.0.0/0"], "n", "::1", 1).is_err());
}

#[test]
fn a_host_rule_holds_for_that_name_only() {
    assert!(check(&["minio.local:9000"], "MinIO.local.", "127.0.0.1", 9000).is_ok());
    assert!(check(&["minio.local:9000"], "minio.local", "127.0.0.1", 9001).is_err());
    assert!(check(&["minio.local"], "other.local", "127.0.0.1", 9000).is_err());
    assert!(check(&["minio.local"], "127.0.0.1", "127.0.0.1", 9000).is_err());
}

#[test]
fn a_typed_endpoint_is_that_host_and_no_other_name_of_its_address() {
    let at = |address: &str| address.parse().unwrap();
    let none: &[&str] = &[];
    for rules in [none, &["default"], &["10.0.0.0/8"]] {
        let typed = policy(rules).with_endpoint("169.254.170.2", 80).with_endpoint("Token.local.", 8080);
        typed.check("169.254.170.2", at("169.254.170.2:80")).unwrap();
        typed.check("[::ffff:169.254.170.2]", at("169.254.170.2:80")).unwrap();
        typed.check("token.local", at("127.0.0.1:8080")).unwrap();
        for (host, address) in [
            ("innocent.example", "169.254.170.2:80"),
            ("2852039170", "169.254.170.2:80"),
            ("169.254.170.2", "169.254.170.2:81"),
            ("innocent.example", "127.0.0.1:8080"),
            ("127.0.0.1", "127.0.0.1:8080"),
            ("x.token.local", "127.0.0.1:8080"),
        ] {
            let error = typed.check(host, at(address)).expect_err(host);
            assert!(error.message.contains("only the operator can allow it"), "{error}");
        }
        let others = typed.check("outside.example", at("93.184.216.34:80"));
        assert_eq!(others.is_ok(), rules != ["10.0.0.0/8"], "the rest is as it was: {rules:?}");
    }
    let prints = [
        policy(&[]),
        policy(&[]).with_endpoint("a", 1),
        policy(&[]).with_endpoint("a", 2),
        policy(&[]).with_revealing_host("a"),
    ];
    let prints: std::collections::BTreeSet<_> = prints.iter().map(ReachPolicy::fingerprint).collect();
    assert_eq!(prints.len(), 4, "connections are not shared by mounts with different policies");
}

#[test]
fn what_is_revealed_has_hosts_of_its_own() {
    let typed = ReachPolicy::default().with_revealing_host("127.0.0.1");
    let at = |address: &str| address.parse().unwrap();
    assert!(typed.check_revealed("127.0.0.1", at("127.0.0.1:6800")).is_ok());
    assert!(typed.check("127.0.0.1", at("127.0.0.1:6800")).is_err(), "for nothing else");
    assert!(typed.check_revealed("10.0.0.1", at("10.0.0.1:6800")).is_ok(), "the default set stays");
    assert!(typed.check_revealed("name.example", at("127.0.0.1:6800")).is_err(), "under no other name");
    for refused in ["127.0.0.2:6800", "169.254.169.254:80", "[::1]:6800"] {
        let error = typed.check_revealed("host", at(refused)).unwrap_err();
        assert!(error.message.contains("the storage system says"), "{error}");
        assert!(error.message.contains("--allow-net host:"), "{error}");
    }
}

#[test]
fn the_refusal_says_how_to_keep_the_default_set() {
    let first = check(&[], "127.0.0.1", "127.0.0.1", 9000).unwrap_err();
    assert!(first.message.contains("--allow-net 127.0.0.1:9000; add --allow-net default"), "{first}");
    let later = check(&["10.0.0.0/8"], "a.b", "1.2.3.4", 9000).unwrap_err();
    assert!(later.message.contains("a.b:9000 resolves to 1.2.3.4"), "{later}");
    assert!(later.message.contains("--allow-net 10.0.0.0/8"), "{later}");
}
