//! Which options lead where.

use super::*;
use wasmount_sdk::{OptionSetting, OptionValue};

fn endpoint(origin: &str) -> OptionValue {
    let (protocol, rest) = origin.split_once("://").unwrap();
    let (host, path) =
        rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
    let port = if protocol == "http" { 80 } else { 443 };
    OptionValue::Endpoints(vec![Endpoint { protocol: protocol.into(), host: host.into(), port, path }])
}

/// Options somebody wrote, and the defaults.
fn settings(written: &[(&str, &str)]) -> Settings {
    let defaults = [
        ("credentials", OptionValue::Text("auto".into())),
        ("anonymous", OptionValue::Boolean(false)),
        ("role-session-name", OptionValue::Text("wasmount".into())),
        ("session-duration", OptionValue::DurationMs(3_600_000)),
    ];
    let written = written.iter().map(|(name, text)| {
        let value = match *name {
            "endpoint" | "sts-endpoint" | "container-credentials-uri" | "instance-metadata" => endpoint(text),
            "anonymous" => OptionValue::Boolean(*text == "true"),
            "session-duration" => OptionValue::DurationMs(text.parse().unwrap()),
            _ => OptionValue::Text((*text).into()),
        };
        OptionSetting { name: (*name).into(), value, explicit: true }
    });
    let written: Vec<_> = written.collect();
    let defaults = defaults
        .into_iter()
        .filter(|(name, _)| !written.iter().any(|setting| setting.name == *name))
        .map(|(name, value)| OptionSetting { name: name.into(), value, explicit: false });
    let defaults: Vec<_> = defaults.collect();
    written.into_iter().chain(defaults).collect()
}

fn planned(written: &[(&str, &str)]) -> Result<(Role, Vec<String>)> {
    let mut warnings = Vec::new();
    role(&settings(written), "eu-west-1", &mut warnings).map(|role| (role, warnings))
}

#[test]
fn auto_takes_what_options_name_and_nothing_else() {
    let choose = |written: &[(&str, &str)]| Kind::choose(&settings(written)).unwrap();
    let (keys, token, uri) = (
        ("access-key", "a"),
        ("web-identity-token", "t"),
        ("container-credentials-uri", "http://127.0.0.1/"),
    );
    assert_eq!(choose(&[]), Kind::Static, "to say what is missing");
    assert_eq!(choose(&[keys, token, uri]), Kind::Static);
    assert_eq!(choose(&[("secret-key", "s")]), Kind::Static);
    assert_eq!(choose(&[token, uri]), Kind::WebIdentity);
    assert_eq!(choose(&[uri]), Kind::Container);
    assert_eq!(
        choose(&[("instance-metadata", "http://127.0.0.1")]),
        Kind::Static,
        "never the metadata service"
    );
    assert_eq!(choose(&[("role-arn", "r")]), Kind::Static, "nor STS without a token");
    assert_eq!(choose(&[("anonymous", "true"), keys]), Kind::Anonymous);
}

#[test]
fn a_word_decides_whatever_else_is_set() {
    let keys = ("access-key", "a");
    for (word, kind) in [
        ("static", Kind::Static),
        ("web-identity", Kind::WebIdentity),
        ("container", Kind::Container),
        ("instance", Kind::Instance),
        ("anonymous", Kind::Anonymous),
    ] {
        assert_eq!(Kind::choose(&settings(&[keys, ("credentials", word)])).unwrap(), kind);
        let both = Kind::choose(&settings(&[("anonymous", "true"), ("credentials", word)]));
        match kind {
            Kind::Anonymous => assert_eq!(both.unwrap(), kind),
            _ => assert!(both.unwrap_err().message.contains("contradict"), "{word}"),
        }
    }
}

#[test]
fn the_sts_of_aws_is_the_regions_and_others_are_named() {
    let (role, warnings) = planned(&[("role-arn", " arn:aws:iam::1:role/r ")]).unwrap();
    assert_eq!((role.origin.as_str(), role.seconds), ("https://sts.eu-west-1.amazonaws.com", 3600));
    assert_eq!(role.arn.as_deref(), Some("arn:aws:iam::1:role/r"));
    assert!(warnings.is_empty());
    assert!(planned(&[]).unwrap_err().message.contains("role-arn is missing"));
    let error = planned(&[("endpoint", "https://minio"), ("role-arn", "r")]).unwrap_err();
    assert!(error.message.contains("sts-endpoint is missing") && error.message.contains("https://minio"));
    let (role, warnings) =
        planned(&[("endpoint", "https://minio"), ("sts-endpoint", "https://sts")]).unwrap();
    assert_eq!((role.origin.as_str(), role.arn, warnings.len()), ("https://sts", None, 0));
}

#[test]
fn what_is_risky_or_ignored_is_said() {
    let (_, warnings) = planned(&[("sts-endpoint", "http://sts/path")]).unwrap();
    assert!(warnings[0].contains("not encrypted") && warnings[1].contains("/path"), "{warnings:?}");
    let (_, warnings) = planned(&[("sts-endpoint", "http://127.0.0.1")]).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn what_an_sts_would_refuse_is_refused_at_once() {
    for (name, value) in [
        ("role-session-name", "x"),
        ("role-session-name", "a b"),
        ("role-session-name", "a&Action=x"),
        ("session-duration", "899000"),
        ("session-duration", "43201000"),
    ] {
        let error = planned(&[("role-arn", "r"), (name, value)]).unwrap_err();
        assert!(error.message.contains(&format!("option {name} is")), "{}", error.message);
    }
    assert!(planned(&[("role-arn", "r"), ("session-duration", "900000")]).is_ok());
}

#[test]
fn what_allows_the_metadata_service_takes_nothing_else_away() {
    let table = crate::options::description().options;
    let doc = &table.iter().find(|spec| spec.name == "credentials").unwrap().doc;
    // A rule by itself replaces the default set, and the bucket is in that.
    assert!(doc.contains("`--allow-net default --allow-net 169.254.169.254`"), "{doc}");
    assert_eq!(doc.matches("--allow-net").count(), 2, "{doc}");
}

#[test]
fn what_is_sent_where_is_in_the_option_table() {
    use wasmount_sdk::OptionKind;
    // The host goes by it: what a Dataset names gets no token that is the operator's.
    let table = crate::options::description().options;
    let sent_to = |name: &str| match &table.iter().find(|spec| spec.name == name).unwrap().kind {
        OptionKind::Secret(rule) => rule.sent_to.clone(),
        _ => panic!("{name} is no secret"),
    };
    assert_eq!(sent_to("web-identity-token"), ["sts-endpoint"]);
    assert_eq!(sent_to("container-authorization-token"), ["container-credentials-uri"]);
    assert_eq!(sent_to("session-token"), ["endpoint"]);
    // Whoever has them still cannot sign with them, and they go wherever the store is.
    assert!(["access-key", "secret-key"].iter().all(|name| sent_to(name).is_empty()));
}
