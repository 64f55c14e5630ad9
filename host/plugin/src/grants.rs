//! What a mount asks to reach: its `endpoint` options, and the plugin's templates filled in with its options.
//!
//! Asking is not getting: every connection is also checked against the operator's policy, on the address that the
//! name resolved to. The one exception are endpoints on the command line: the operator who types one means it.

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

/// The text that takes a placeholder's place; `None` if there is no value, or none that can be part of an origin.
fn substitute(settings: &[Setting], mount_point: &str, name: &str) -> Option<String> {
    let text = if name == MOUNT_HOST {
        let (_, rest) = mount_point.split_once("://")?;
        rest.split(['/', '?', '#']).next()?.to_owned()
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
    let part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (!text.is_empty() && text.bytes().all(part)).then_some(text)
}

/// A template with its placeholders filled in.
fn fill(template: &str, settings: &[Setting], mount_point: &str) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&substitute(settings, mount_point, name)?);
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
    for template in &description.network.templates {
        let Some(origin) = fill(&template.origin, settings, mount_point) else { continue };
        let rule = EndpointRule {
            protocols: vec!["https".into(), "http".into(), "tcp".into()],
            default_port: 443,
            many: false,
            read_methods: vec![],
        };
        if let Ok(Plain::Endpoints(endpoints, _)) = parse::value(&OptionKind::Endpoint(rule), &origin) {
            origins.extend(endpoints.iter().map(|e| grant(e, &template.read_methods)));
        }
    }
    Grants { origins, read_only }
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
        match AllowNet::parse(&format!("{host}:{}", endpoint.port)) {
            Ok(rule) => policy.also(rule),
            // Not an address a rule can name: it stays what it was without the exception.
            Err(_) => policy,
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
