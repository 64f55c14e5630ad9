//! What a mount asks to reach: its `endpoint` options, and the plugin's templates filled in with its options.
//!
//! Asking is not getting: every connection is also checked against the operator's policy, on the address that the
//! name resolved to. The one exception are endpoints on the command line: the operator who types one means it, for that option. The address is
//! opened under the very name that was typed, and to nothing that somebody else has written: a Dataset's `endpoint` could otherwise read
//! as files what only the credentials of the mount are to be fetched from.
//!
//! A plugin whose storage system reveals addresses (`lifecycle.network-needs.revealed-addresses`) asks for all of them at once.
//! What it gets of them is bounded in the same way: every address in the default set, or what `--allow-net` covers; and where
//! the operator typed an endpoint, the same host with any port, since a cluster of one machine reveals ports of that machine. That too
//! holds only while nobody else names servers of the cluster.

use crate::description::{Description, EndpointRule, OptionKind, OptionSpec};
use crate::options::parse;
use crate::options::{Endpoint, Plain, Setting, Value};
use crate::spec::OptionSource;
use wasmount_net::policy::same_host;
use wasmount_net::{Foreseen, Grants, OriginGrant, ReachPolicy};
use wasmount_types::{Blame, Error, ErrorKind};

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
    /// Somebody other than the operator and the plugin's author has a say in what it is.
    pub(crate) foreign: bool,
}

impl Asked {
    /// With the secrets whose options name what it comes from.
    fn new(
        description: &Description,
        endpoint: &Endpoint,
        read_methods: &[String],
        from: OriginFrom,
        foreign: bool,
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
        Self { grant, from, foreign }
    }

    /// Whether it is this host and port.
    fn is(&self, host: &str, port: u16) -> bool {
        self.grant.port == port && same_host(&self.grant.host, host)
    }
}

/// Somebody other than the operator wrote it.
fn is_foreign(setting: &Setting) -> bool {
    setting.source.is_some_and(|source| source != OptionSource::Args)
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

/// Whether what fills a template in is somebody else's than the operator's. A mount point is the Dataset's.
fn takes_from_others(template: &str, settings: &[Setting]) -> bool {
    let mut placeholders = template.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let foreign = |name: &str| settings.iter().any(|setting| setting.name == name && is_foreign(setting));
    placeholders.any(|name| name == MOUNT_HOST || foreign(name))
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
        asked.push(Asked::new(description, endpoint, read_methods, from, is_foreign(setting)));
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
            let foreign = takes_from_others(&template.origin, settings);
            let ask = |endpoint| Asked::new(description, endpoint, &template.read_methods, from(), foreign);
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

/// The operator's policy, and what the operator typed as an endpoint, for that alone.
///
/// # Errors
/// `denied`, blame `host`: somebody else names what only the operator's endpoint opens; says what, and the remedy.
pub(crate) fn policy(
    description: &Description,
    settings: &[Setting],
    asked: &[Asked],
    policy: &ReachPolicy,
) -> Result<ReachPolicy, Error> {
    let others = || asked.iter().filter(|asked| asked.foreign);
    let reveals =
        reveals(description) && !others().any(|asked| asked.grant.protocol.eq_ignore_ascii_case("tcp"));
    let mut all = policy.clone();
    for (setting, endpoint, _) in named(description, settings).filter(|(setting, ..)| setting.by_operator()) {
        let (host, port) = (endpoint.host.as_str(), endpoint.port);
        match others().find(|asked| asked.is(host, port)) {
            None => all = all.with_endpoint(host, port),
            Some(other) => refuse_if_closed(policy, setting, other)?,
        }
        if reveals {
            all = all.with_revealing_host(host);
        }
    }
    Ok(all)
}

/// What somebody else names as well has to be allowed without it. Of a name that is not known before it is resolved: then the connect is
/// refused.
fn refuse_if_closed(policy: &ReachPolicy, typed: &Setting, other: &Asked) -> Result<(), Error> {
    let Foreseen::Refused(why) = policy.foresee(&other.grant.host, other.grant.port, false) else {
        return Ok(());
    };
    let place = match &other.from {
        OriginFrom::Option(name) => format!("option `{name}`"),
        OriginFrom::Template(template) => format!("what stands for {template}"),
    };
    let text = format!(
        "{place} is {}, which `{}` on the command line opens for that option alone: {why}",
        other.grant, typed.name
    );
    Err(Error::new(ErrorKind::Denied, Blame::Host, text))
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
