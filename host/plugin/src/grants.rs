//! What a mount asks to reach: its `endpoint` options, and the plugin's templates filled in with its options.
//!
//! Asking is not getting: every connection is also checked against the operator's policy, on the address that the
//! name resolved to. The one exception are endpoints on the command line: the operator who types one means it.
//!
//! A plugin whose storage system reveals addresses (`lifecycle.network-needs.revealed-addresses`) asks for all of them at once.
//! What it gets of them is bounded in the same way: every address in the default set, or what `--allow-net` covers; and where
//! the operator typed an endpoint, the same host with any port, since a cluster of one machine reveals ports of that machine.

use crate::description::{Description, EndpointRule, OptionKind};
use crate::options::parse;
use crate::options::{Endpoint, Plain, Setting, Value};
use wasmount_net::{AllowNet, Grants, OriginGrant, ReachPolicy};

/// Longest origin made from a template: a scheme and a host name of 253 bytes fit.
const LONGEST: usize = 512;

fn grant(endpoint: &Endpoint, read_methods: &[String]) -> OriginGrant {
    OriginGrant {
        protocol: endpoint.protocol.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        read_methods: read_methods.to_vec(),
    }
}

/// Placeholder for the host part of the mount point: the bucket of `s3://bucket/prefix`.
pub(crate) const MOUNT_HOST: &str = "mount-host";

/// Most hosts in one mount point, as many as one option may name.
const MAX_HOSTS: usize = 64;

/// The hosts of a mount point: one bucket, or the monitors of a cluster. None is no host at all.
fn mount_hosts(mount_point: &str) -> Vec<&str> {
    let rest = mount_point.split_once("://").map_or("", |(_, rest)| rest);
    let hosts = rest.split(['/', '?', '#']).next().unwrap_or("");
    hosts.split([',', ';']).filter(|host| !host.is_empty()).take(MAX_HOSTS).collect()
}

/// The text that takes a placeholder's place; `None` if there is no value, or none that can be part of an origin.
fn substitute(settings: &[Setting], mount_host: Option<&str>, name: &str) -> Option<String> {
    let text = if name == MOUNT_HOST {
        // Brackets are those of an IPv6 address: anywhere else they make no origin.
        mount_host?.to_owned()
    } else {
        match &settings.iter().find(|s| s.name == name)?.value {
            Value::Plain(Plain::Text(text)) => text.clone(),
            Value::Plain(Plain::Integer(number)) => number.to_string(),
            Value::Plain(Plain::Boolean(is)) => is.to_string(),
            Value::Plain(Plain::Endpoints(endpoints, _)) => match endpoints.as_slice() {
                [first, ..] if !first.host.contains(':') => format!("{}:{}", first.host, first.port),
                _ => return None,
            },
            _ => return None,
        }
    };
    // Nothing that could end the host name and begin something else.
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'[' | b']');
    (!text.is_empty() && text.bytes().all(part)).then_some(text)
}

/// A template with its placeholders filled in.
fn fill(template: &str, settings: &[Setting], mount_host: Option<&str>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&substitute(settings, mount_host, name)?);
        rest = after;
    }
    filled.push_str(rest);
    (filled.len() <= LONGEST).then_some(filled)
}

/// The origins of a mount. A template whose options have no value grants nothing.
pub(crate) fn grants(
    description: &Description,
    settings: &[Setting],
    mount_point: &str,
    read_only: bool,
) -> Grants {
    let mut origins = Vec::new();
    for (endpoint, read_methods, _) in named(description, settings) {
        origins.push(grant(endpoint, read_methods));
    }
    let hosts = mount_hosts(mount_point);
    let filled = description.network.templates.iter().flat_map(|template| {
        // Once for each host, or once for all where the template does not name them.
        let count = if template.origin.contains(MOUNT_HOST) { hosts.len() } else { 1 };
        let fill = |at| fill(&template.origin, settings, hosts.get(at).copied());
        (0..count).filter_map(fill).map(|origin| (template, origin)).collect::<Vec<_>>()
    });
    for (template, origin) in filled {
        let rule = EndpointRule {
            protocols: vec!["https".into(), "http".into(), "tcp".into()],
            // That of the protocol; `tcp` has none, and must name one.
            default_port: 0,
            many: false,
            read_methods: vec![],
        };
        if let Ok(Plain::Endpoints(endpoints, _)) = parse::value(&OptionKind::Endpoint(rule), &origin) {
            origins.extend(endpoints.iter().map(|e| grant(e, &template.read_methods)));
        }
    }
    Grants { origins, read_only, revealed: reveals(description) }
}

/// Whether the plugin has declared that its storage system reveals addresses.
fn reveals(description: &Description) -> bool {
    description.network.tcp && description.network.revealed_addresses.is_some()
}

/// Endpoints of options, their read methods, and whether the operator wrote them.
fn named<'a>(
    description: &'a Description,
    settings: &'a [Setting],
) -> impl Iterator<Item = (&'a Endpoint, &'a [String], bool)> {
    settings.iter().flat_map(|setting| {
        let methods = match description.option(&setting.name).map(|spec| &spec.kind) {
            Some(OptionKind::Endpoint(rule)) => rule.read_methods.as_slice(),
            _ => &[],
        };
        let endpoints = match &setting.value {
            Value::Plain(Plain::Endpoints(endpoints, _)) => endpoints.as_slice(),
            _ => &[],
        };
        endpoints.iter().map(move |endpoint| (endpoint, methods, setting.by_operator))
    })
}

/// The operator's policy, and what the operator typed as an endpoint.
pub(crate) fn policy(description: &Description, settings: &[Setting], policy: &ReachPolicy) -> ReachPolicy {
    let typed = named(description, settings).filter(|(_, _, by_operator)| *by_operator);
    typed.fold(policy.clone(), |policy, (endpoint, _, _)| {
        let host =
            if endpoint.host.contains(':') { format!("[{}]", endpoint.host) } else { endpoint.host.clone() };
        let (rule, any_port) =
            (AllowNet::parse(&format!("{host}:{}", endpoint.port)), AllowNet::parse(&host));
        match (rule, any_port) {
            (Ok(rule), Ok(any_port)) if reveals(description) => policy.also(rule).also_revealed(any_port),
            (Ok(rule), _) => policy.also(rule),
            // Not an address a rule can name: it stays what it was without the exception.
            (Err(_), _) => policy,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{EndpointTemplate, NetworkNeeds, OptionSpec};

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

    fn setting(name: &str, kind: &OptionKind, text: &str, by_operator: bool) -> Setting {
        Setting {
            name: name.into(),
            value: Value::Plain(parse::value(kind, text).unwrap()),
            explicit: true,
            by_operator,
        }
    }

    fn origins(settings: &[Setting], mount_point: &str) -> Vec<String> {
        let grants = grants(&description(), settings, mount_point, true);
        grants.origins.iter().map(|o| format!("{o} {}", o.read_methods.join(","))).collect()
    }

    #[test]
    fn options_and_templates_are_asked_for() {
        let description = description();
        let endpoint = setting("endpoint", &description.options[0].kind, "http://minio:9000", false);
        let region = |text: &str| setting("region", &OptionKind::Text, text, false);
        assert_eq!(
            origins(&[endpoint, region("eu")], "s3://bucket/prefix"),
            [
                "http://minio:9000 GET",
                "https://bucket.s3.eu.example:443 HEAD",
                "http://bucket.minio:9000 HEAD"
            ]
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
        let rule = EndpointRule {
            protocols: vec!["tcp".into()],
            default_port: 3300,
            many: true,
            read_methods: vec![],
        };
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
            let grants = grants(&cluster(), &[], mount_point, true);
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
            policy(description, &[typed], &ReachPolicy::default())
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
        assert!(!grants(&silent, &[], "rbd://a/b", true).revealed);
    }

    #[test]
    fn only_the_operator_grants_reach_by_typing() {
        let description = description();
        let loopback = "127.0.0.1:9000".parse().unwrap();
        let outside = "93.184.216.34:80".parse().unwrap();
        let reach = |by_operator| {
            let endpoint =
                setting("endpoint", &description.options[0].kind, "http://127.0.0.1:9000", by_operator);
            policy(&description, &[endpoint], &ReachPolicy::default())
        };
        assert!(reach(false).check("127.0.0.1", loopback).is_err());
        assert!(reach(true).check("127.0.0.1", loopback).is_ok());
        assert!(reach(true).check("127.0.0.1", "127.0.0.1:9001".parse().unwrap()).is_err());
        assert!(reach(true).check("example", outside).is_ok(), "the default set stays");
    }
}
