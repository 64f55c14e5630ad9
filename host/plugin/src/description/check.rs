//! Refuses descriptions that contradict themselves or could confuse a reader of logs.

use super::{Description, OptionKind, OptionSpec};
use crate::grants::MOUNT_HOST;
use crate::options::parse;
use std::collections::HashSet;

/// Most options, aliases of one option, schemes and templates: far above any real plugin.
const MANY: usize = 256;
/// Longest paragraph in bytes.
const LONG: usize = 16 * 1024;

fn word(text: &str, extra: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
}

/// Canonical names are all in one style; an alias is what another tool calls it: `clusterID`.
fn option_name(spec: &OptionSpec, name: &str) -> bool {
    word(name, "-_.") || (*name != spec.name && word(&name.to_ascii_lowercase(), "-_."))
}

fn line(text: &str) -> bool {
    text.len() <= 1024 && !text.chars().any(char::is_control)
}

fn paragraph(text: &str) -> bool {
    text.len() <= LONG && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}

/// Names of the placeholders of a template, or `None` if its braces do not match.
pub(crate) fn placeholders(template: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        if before.contains('}') || name.contains('{') {
            return None;
        }
        names.push(name);
        rest = after;
    }
    (!rest.contains('}')).then_some(names)
}

/// Checks a description; the error completes the sentence "its description …".
pub(crate) fn check(description: &Description) -> Result<(), String> {
    let Description { name, version, summary, schemes, csi_drivers, options, network } = description;
    let fail = |what: String| Err(what);
    if !word(name, "-_.") {
        return fail(format!(
            "has the name {name:?}; lower case letters, digits, `-`, `_` and `.` are allowed"
        ));
    }
    if version.is_empty() || !line(version) || !line(summary) {
        return fail("has a version or summary that is empty, longer than 1 KiB or not one line".into());
    }
    if [schemes.len(), csi_drivers.len(), options.len(), network.templates.len()].iter().any(|n| *n > MANY) {
        return fail(format!("has more than {MANY} schemes, drivers, options or templates"));
    }
    if let Some(bad) = schemes.iter().find(|s| !word(s, "+-.")) {
        return fail(format!(
            "has the scheme {bad:?}; RFC 3986 allows lower case letters, digits, `+`, `-` and `.`"
        ));
    }
    if let Some(bad) = csi_drivers.iter().find(|s| !word(s, "-.")) {
        return fail(format!("has the CSI driver {bad:?}"));
    }
    if network.revealed_addresses.as_ref().is_some_and(|why| !line(why)) {
        return fail(
            "gives a reason for revealed addresses that is longer than 1 KiB or not one line".into(),
        );
    }
    let mut seen = HashSet::new();
    for spec in options {
        check_option(spec)?;
        for name in spec.names() {
            if !option_name(spec, name) {
                return fail(format!("has the option name {name:?}"));
            }
            if !seen.insert(name) {
                return fail(format!("has two options named `{name}`"));
            }
        }
    }
    for spec in options {
        check_sent_to(description, spec)?;
    }
    for template in &network.templates {
        if !line(&template.origin) {
            return fail("has an endpoint template that is too long or not one line".into());
        }
        check_methods(&template.read_methods)?;
        let Some(names) = placeholders(&template.origin) else {
            return fail(format!(
                "has the endpoint template {:?}, whose braces do not match",
                template.origin
            ));
        };
        for name in names.into_iter().filter(|name| *name != MOUNT_HOST) {
            let known = options.iter().find(|spec| spec.name == name);
            match known.map(|spec| &spec.kind) {
                Some(OptionKind::Secret { .. } | OptionKind::FileContent) | None => {
                    return fail(format!(
                        "has the endpoint template {:?}, where `{name}` is no option it could be made from",
                        template.origin
                    ));
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// A secret may be sent to what `endpoint` options and templates of this very description stand for.
fn check_sent_to(description: &Description, spec: &OptionSpec) -> Result<(), String> {
    let OptionKind::Secret { sent_to, .. } = &spec.kind else { return Ok(()) };
    if sent_to.len() > MANY {
        return Err(format!("sends the option `{}` to more than {MANY} origins", spec.name));
    }
    let known = |origin: &String| {
        let endpoint =
            |option: &OptionSpec| option.name == *origin && matches!(option.kind, OptionKind::Endpoint(_));
        description.options.iter().any(endpoint)
            || description.network.templates.iter().any(|template| template.origin == *origin)
    };
    match sent_to.iter().find(|origin| !known(origin)) {
        Some(bad) => Err(format!(
            "sends the option `{}` to {bad:?}, which is neither an `endpoint` option nor one of its templates",
            spec.name
        )),
        None => Ok(()),
    }
}

/// Methods are tokens (RFC 9110, section 9.1); they are shown by `plugin inspect` and in messages.
fn check_methods(methods: &[String]) -> Result<(), String> {
    let token = |method: &String| {
        (1..=64).contains(&method.len())
            && method.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    match methods.iter().find(|method| !token(method)) {
        Some(bad) => Err(format!("has {bad:?} among its read methods, which is no method")),
        None if methods.len() > MANY => Err(format!("has more than {MANY} read methods")),
        None => Ok(()),
    }
}

fn check_option(spec: &OptionSpec) -> Result<(), String> {
    let name = &spec.name;
    if spec.aliases.len() > MANY || !paragraph(&spec.doc) {
        return Err(format!("has too long a documentation or too many aliases for the option `{name}`"));
    }
    match &spec.kind {
        OptionKind::Choice(words)
            if words.is_empty() || words.len() > MANY || !words.iter().all(|w| line(w)) =>
        {
            return Err(format!("has no usable words for the option `{name}`"));
        }
        OptionKind::Endpoint(rule)
            if rule.protocols.is_empty() || !rule.protocols.iter().all(|p| word(p, "+-.")) =>
        {
            return Err(format!("has no usable protocols for the option `{name}`"));
        }
        OptionKind::Endpoint(rule) => check_methods(&rule.read_methods)?,
        OptionKind::Secret { .. } | OptionKind::FileContent if spec.default.is_some() => {
            return Err(format!("has a default for the option `{name}`, which comes from a file"));
        }
        _ => {}
    }
    if let Some(default) = &spec.default {
        if !line(default) {
            return Err(format!("has a default for the option `{name}` that is too long or not one line"));
        }
        parse::value(&spec.kind, default)
            .map_err(|why| format!("has a default for the option `{name}` that {why}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{EndpointTemplate, NetworkNeeds};
    use super::*;

    fn description() -> Description {
        let option = |name: &str, kind| OptionSpec {
            name: name.into(),
            aliases: vec![],
            kind,
            required: false,
            default: None,
            doc: String::new(),
        };
        Description {
            name: "s3".into(),
            version: "1.0.0".into(),
            summary: "a store".into(),
            schemes: vec!["s3".into()],
            csi_drivers: vec![],
            options: vec![
                option("region", OptionKind::Text),
                option("secret-key", OptionKind::Secret { reveal: false, sent_to: vec![] }),
            ],
            network: NetworkNeeds {
                templates: vec![EndpointTemplate {
                    origin: "https://s3.{region}.example".into(),
                    read_methods: vec![],
                }],
                ..NetworkNeeds::default()
            },
        }
    }

    fn sent_to(origin: &str) -> OptionKind {
        OptionKind::Secret { reveal: false, sent_to: vec![origin.into()] }
    }

    #[test]
    fn contradictions_are_refused() {
        let mut good = description();
        good.options[0].aliases.push("regionID".into());
        good.options[1].kind = sent_to("https://s3.{region}.example");
        check(&good).unwrap();
        type Change = fn(&mut Description);
        let cases: &[(Change, &str)] = &[
            (|d| d.name = "S3\n".into(), "has the name"),
            (|d| d.schemes.push("s3://".into()), "has the scheme"),
            (|d| d.summary = "a\x1b[31m".into(), "summary"),
            (|d| d.options[0].aliases.push("secret-key".into()), "two options named `secret-key`"),
            (|d| d.options[0].name = "regionID".into(), "has the option name \"regionID\""),
            (|d| d.options[0].aliases.push("region id".into()), "has the option name \"region id\""),
            (|d| d.options[0].kind = OptionKind::Choice(vec![]), "no usable words"),
            (|d| d.options[1].default = Some("x".into()), "comes from a file"),
            (
                |d| {
                    d.options[0].kind = OptionKind::Integer { min: 0, max: 9 };
                    d.options[0].default = Some("10".into());
                },
                "default for the option `region`",
            ),
            (|d| d.network.templates[0].origin = "https://{regoin}.example".into(), "`regoin` is no option"),
            (
                |d| d.network.templates[0].origin = "https://{secret-key}.example".into(),
                "`secret-key` is no option",
            ),
            (|d| d.network.templates[0].origin = "https://{region".into(), "braces"),
            (|d| d.options[1].kind = sent_to("region"), "sends the option `secret-key` to \"region\""),
            (|d| d.options[1].kind = sent_to("https://elsewhere.example"), "neither an `endpoint` option"),
            (|d| d.network.templates[0].read_methods = vec!["GET\x1b[2J".into()], "no method"),
            (|d| d.network.revealed_addresses = Some("why\x1b[2J".into()), "revealed addresses"),
            (|d| d.options[0].default = Some("x\x1b[2J".into()), "default for the option `region`"),
            (
                |d| {
                    d.options[0].kind = OptionKind::Endpoint(crate::EndpointRule {
                        protocols: vec!["http".into()],
                        default_port: 80,
                        many: false,
                        read_methods: vec!["GET\n".into()],
                    });
                },
                "no method",
            ),
        ];
        for (change, expected) in cases {
            let mut changed = description();
            change(&mut changed);
            let message = check(&changed).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
