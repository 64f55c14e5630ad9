//! What a mount asks to reach: its `endpoint` options, and the plugin's templates filled in with its options.
//!
//! Asking is not getting: every connection is also checked against the operator's policy, on the address that the
//! name resolved to. The one exception are endpoints on the command line: the operator who types one means it.
//!
//! A plugin whose storage system reveals addresses (`lifecycle.network-needs.revealed-addresses`) asks for all of them at once.
//! What it gets of them is bounded in the same way: every address in the default set, or what `--allow-net` covers; and where
//! the operator typed an endpoint, the same host with any port, since a cluster of one machine reveals ports of that machine.

use crate::description::{Description, EndpointRule, OptionKind, OptionSpec};
use crate::options::parse;
use crate::options::{Endpoint, Plain, Setting, Value};
use wasmount_net::{AllowNet, Grants, OriginGrant, ReachPolicy};

/// Longest origin made from a template: a scheme and a host name of 253 bytes fit.
const LONGEST: usize = 512;

/// Where an origin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginFrom {
    /// The `endpoint` option of this name.
    Option(String),
    /// This template of the plugin, as it stands in the description.
    Template(String),
}

/// One origin that a mount asks for.
pub(crate) struct Asked {
    /// What is granted, as far as it is the host's to grant.
    pub(crate) grant: OriginGrant,
    /// What asks for it.
    pub(crate) from: OriginFrom,
}

impl Asked {
    /// With the secrets whose options name what it comes from.
    fn new(
        description: &Description,
        endpoint: &Endpoint,
        read_methods: &[String],
        from: OriginFrom,
    ) -> Self {
        let (OriginFrom::Option(named) | OriginFrom::Template(named)) = &from;
        let takes = |spec: &&OptionSpec| matches!(&spec.kind, OptionKind::Secret { sent_to, .. } if sent_to.contains(named));
        let secrets = description.options.iter().filter(takes).map(|spec| spec.name.clone()).collect();
        let grant = OriginGrant {
            protocol: endpoint.protocol.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            read_methods: read_methods.to_vec(),
            secrets,
        };
        Self { grant, from }
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

/// The origins of a mount, those of its options first. A template whose options have no value asks for nothing.
pub(crate) fn asked(description: &Description, settings: &[Setting], mount_point: &str) -> Vec<Asked> {
    let mut asked = Vec::new();
    for (setting, endpoint, read_methods) in named(description, settings) {
        let from = OriginFrom::Option(setting.name.clone());
        asked.push(Asked::new(description, endpoint, read_methods, from));
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
            let from = || OriginFrom::Template(template.origin.clone());
            let ask = |endpoint| Asked::new(description, endpoint, &template.read_methods, from());
            asked.extend(endpoints.iter().map(ask));
        }
    }
    asked
}

/// What a mount with these origins may speak to.
pub(crate) fn grants(description: &Description, asked: &[Asked], read_only: bool) -> Grants {
    let origins = asked.iter().map(|asked| asked.grant.clone()).collect();
    Grants { origins, read_only, revealed: reveals(description) }
}

/// Whether the plugin has declared that its storage system reveals addresses.
pub(crate) fn reveals(description: &Description) -> bool {
    description.network.tcp && description.network.revealed_addresses.is_some()
}

/// Endpoints of options, with their read methods.
fn named<'a>(
    description: &'a Description,
    settings: &'a [Setting],
) -> impl Iterator<Item = (&'a Setting, &'a Endpoint, &'a [String])> {
    settings.iter().flat_map(|setting| {
        let methods = match description.option(&setting.name).map(|spec| &spec.kind) {
            Some(OptionKind::Endpoint(rule)) => rule.read_methods.as_slice(),
            _ => &[],
        };
        let endpoints = match &setting.value {
            Value::Plain(Plain::Endpoints(endpoints, _)) => endpoints.as_slice(),
            _ => &[],
        };
        endpoints.iter().map(move |endpoint| (setting, endpoint, methods))
    })
}

/// The operator's policy, and what the operator typed as an endpoint.
pub(crate) fn policy(description: &Description, settings: &[Setting], policy: &ReachPolicy) -> ReachPolicy {
    let typed = named(description, settings).filter(|(setting, ..)| setting.by_operator());
    typed.fold(policy.clone(), |policy, (_, endpoint, _)| {
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
#[path = "grants_tests.rs"]
mod tests;
