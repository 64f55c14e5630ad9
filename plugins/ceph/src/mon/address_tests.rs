use super::*;
use proptest::prelude::*;

fn shown(text: &str) -> Vec<String> {
    let hosts = parse_mon_host(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    hosts.addresses.iter().map(ToString::to_string).collect()
}

#[test]
fn every_form_in_use_is_read() {
    let forms: &[(&str, &[&str])] = &[
        ("10.0.0.1", &["10.0.0.1:3300"]),
        ("10.0.0.1:3300", &["10.0.0.1:3300"]),
        ("10.0.0.1:0/0", &["10.0.0.1:3300"]),
        ("mon-a.ceph.svc:3333", &["mon-a.ceph.svc:3333"]),
        ("a,b;c d", &["a:3300", "b:3300", "c:3300", "d:3300"]),
        ("a , b\n", &["a:3300", "b:3300"]),
        ("v2:10.0.0.1:3300/0", &["10.0.0.1:3300"]),
        ("any:10.0.0.1:3300", &["10.0.0.1:3300"]),
        ("[v2:127.0.0.1:23300,v1:127.0.0.1:26789]", &["127.0.0.1:23300"]),
        (
            "[v2:10.10.197.200:3300/0,v1:10.10.197.200:6789/0] [v2:10.10.197.201:3300/0,v1:10.10.197.201:6789/0]",
            &["10.10.197.200:3300", "10.10.197.201:3300"],
        ),
        ("v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0", &["10.0.0.1:3300"]),
        ("v1:10.0.0.1:6789/0,v2:10.0.0.1:3300/0", &["10.0.0.1:3300"]),
        ("2001:db8::1", &["[2001:db8::1]:3300"]),
        ("[2001:db8::1]", &["[2001:db8::1]:3300"]),
        ("[2001:db8::1]:3301, a", &["[2001:db8::1]:3301", "a:3300"]),
        ("[v2:[2001:db8::1]:3300/0,v1:[2001:db8::1]:6789/0]", &["[2001:db8::1]:3300"]),
        ("a,a:3300,a", &["a:3300"]),
    ];
    for (text, expected) in forms {
        assert_eq!(shown(text), *expected, "{text}");
    }
}

#[test]
fn the_port_of_the_old_protocol_leads_to_the_new_one() {
    assert_eq!(
        shown("10.47.136.60:6789"),
        ["10.47.136.60:3300 (tried because 10.47.136.60:6789 is the port of the old protocol)"]
    );
    assert_eq!(
        shown("v1:[::1]:6789/0"),
        ["[::1]:3300 (tried because [::1]:6789 is the port of the old protocol)"]
    );
    assert_eq!(shown("v1:a"), ["a:3300 (tried because a:6789 is the port of the old protocol)"]);
    let mixed = parse_mon_host("v1:a:7000,b:3300").unwrap();
    assert_eq!(mixed.v1_only, ["a:7000"]);
    let error = parse_mon_host("v1:a:7000, [v1:b:26789/0]").unwrap_err();
    assert_eq!(error, MonHostError::V1Only(vec!["a:7000".to_owned(), "b:26789".to_owned()]));
    assert!(error.to_string().contains("a:7000, b:26789"), "{error}");
}

#[test]
fn what_is_no_address_is_refused_with_a_reason() {
    for empty in ["", " , ;", "[]"] {
        assert_eq!(parse_mon_host(empty).unwrap_err(), MonHostError::Empty, "{empty}");
    }
    for wrong in [
        "a:b",
        "a:70000",
        "v2:",
        ":3300",
        "[::1",
        "[v2:a:3300",
        "a/b",
        "[zz::1]:3300",
        "a b:c/d",
        "ä",
        "[::1]3300",
        "http://a",
    ] {
        assert!(matches!(parse_mon_host(wrong), Err(MonHostError::Malformed { .. })), "{wrong}");
    }
    assert_eq!(parse_mon_host(&"a,".repeat(MOST + 1)).unwrap_err(), MonHostError::TooMany);
}

proptest! {
    #[test]
    fn nothing_written_makes_it_panic(text in "[\\[\\]v12:,;/ a0.é]{0,40}") {
        if let Ok(hosts) = parse_mon_host(&text) {
            prop_assert!(!hosts.addresses.is_empty());
        }
    }
}
