//! What a mount would be and do, found out without opening it: `wasmount run --dry-run`.

use crate::description::Description;
use crate::grants::{self, Asked, OriginFrom};
use crate::mount::PluginMount;
use crate::options::{Plain, Setting, Value};
use crate::spec::OptionSource;
use wasmount_net::{Foreseen, MountNet, ProxySettings, ReachPolicy, Secret};
use wasmount_types::Error;

/// Longest value that is shown whole: more than any name or path that people write.
const SHOWN: usize = 4096;

/// A mount that was checked and not opened.
pub struct MountPlan {
    /// Its options, in the order of the plugin's table, defaults included.
    pub options: Vec<PlannedOption>,
    /// What it may speak to.
    pub grant: EffectiveGrant,
    /// Options of it whose secrets the plugin sees in clear.
    pub sees: Vec<String>,
    /// Sentences about what was ignored.
    pub warnings: Vec<String>,
    /// Its secrets: a redactor knows them for as long as they live.
    pub secrets: Vec<Secret>,
}

/// One option, fit to be shown: neither a secret nor what stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOption {
    /// Canonical name.
    pub name: String,
    /// Its value, or in parentheses what is in its place.
    pub value: String,
    /// Who wrote it; `None`: it is the plugin's default.
    pub source: Option<OptionSource>,
}

/// What a mount asks to reach, and what the operator's policy makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveGrant {
    /// Origins: what options name, and templates filled in.
    pub origins: Vec<EffectiveOrigin>,
    /// Templates of the plugin that stand for nothing here, since an option that they are made from has no value that could be part
    /// of an address.
    pub unused_templates: Vec<String>,
    /// Its storage system reveals addresses.
    pub revealed: Option<RevealedGrant>,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveOrigin {
    /// `https://host:443`
    pub origin: String,
    /// What asks for it.
    pub from: OriginFrom,
    /// HTTP methods that may be used; empty: it is not HTTP, or nothing may be sent.
    pub methods: Vec<String>,
    /// Options of this mount whose secrets may be sent there in headers.
    pub secrets: Vec<String>,
    /// What the operator's policy says.
    pub reach: Foreseen,
}

/// Addresses that only the storage system knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevealedGrant {
    /// Why, in the plugin's words.
    pub why: String,
    /// Which the operator's policy allows.
    pub within: String,
}

impl EffectiveGrant {
    /// Nothing that options name can be reached, whatever names resolve to; without such options, nothing that templates stand for.
    pub fn is_refused(&self) -> bool {
        let named = |origin: &&EffectiveOrigin| matches!(origin.from, OriginFrom::Option(_));
        let refused = |origin: &EffectiveOrigin| matches!(origin.reach, Foreseen::Refused(_));
        let mut named = self.origins.iter().filter(named).peekable();
        match named.peek() {
            Some(_) => named.all(refused),
            None => !self.origins.is_empty() && self.origins.iter().all(refused),
        }
    }
}

impl PluginMount {
    /// Checks everything that is checked when the mount is opened, and starts and connects nothing. Reads the files that options name.
    ///
    /// # Errors
    /// Those of an open, up to the point where the plugin is started.
    pub fn plan(&self) -> Result<MountPlan, Error> {
        let (spec, description) = (&self.spec, self.plugin.description());
        let resolved = self.resolve()?;
        let asked = grants::asked(description, &resolved.settings, &spec.mount_point);
        let named = |error: Error| error.context(format_args!("mount {}", spec.id));
        let policy = grants::policy(description, &resolved.settings, &asked, &self.policy).map_err(named)?;
        let granted = grants::grants(description, &asked, spec.read_only);
        // Certificates and keys are read here, and nothing is sent.
        drop(
            MountNet::new(self.http.clone(), granted, policy.clone(), &spec.tls, Some(spec.request_timeout))
                .map_err(named)?,
        );
        let is_set = |name: &String| resolved.settings.iter().any(|setting| setting.name == *name);
        let sees = |setting: &&Setting| matches!(setting.value, Value::Secret { reveal: true, .. });
        let secret = |setting: &Setting| match &setting.value {
            Value::Secret { secret, .. } => Some(secret.clone()),
            Value::Plain(_) | Value::Content(_) => None,
        };
        Ok(MountPlan {
            options: resolved.settings.iter().map(|setting| self.show(setting)).collect(),
            sees: resolved.settings.iter().filter(sees).map(|setting| setting.name.clone()).collect(),
            grant: effective(description, &asked, (&policy, &spec.tls.proxy), is_set),
            secrets: resolved.settings.iter().filter_map(secret).collect(),
            warnings: resolved.warnings,
        })
    }

    fn show(&self, setting: &Setting) -> PlannedOption {
        let value = match (&setting.value, &setting.file) {
            // Somebody may have named the wrong key of a Secret: what stands in a file is not repeated.
            (_, Some(file)) => format!("(the content of {})", crate::text::printable(file, SHOWN)),
            (Value::Secret { .. }, None) => "(hidden)".to_owned(),
            (Value::Content(bytes), None) => format!("({} bytes)", bytes.len()),
            (Value::Plain(plain), None) => {
                let shown = text(plain, setting.by_operator());
                crate::text::printable(&self.redactor.redact(&shown), SHOWN)
            }
        };
        PlannedOption { name: setting.name.clone(), value, source: setting.source }
    }
}

/// As people write it; of an operator's endpoint without the path ([`WrittenOption::shown`](crate::WrittenOption::shown)).
fn text(value: &Plain, by_operator: bool) -> String {
    match value {
        Plain::Text(text) => text.clone(),
        Plain::Integer(number) => number.to_string(),
        Plain::Boolean(is) => is.to_string(),
        Plain::Size(bytes) => format!("{bytes} bytes"),
        Plain::DurationMs(ms) => format!("{ms} ms"),
        Plain::Endpoints(endpoints, _) => {
            let one = |e: &crate::options::Endpoint| {
                let host = if e.host.contains(':') { format!("[{}]", e.host) } else { e.host.clone() };
                let path = if by_operator { "" } else { e.path.as_str() };
                format!("{}://{host}:{}{path}", e.protocol, e.port)
            };
            endpoints.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

fn effective(
    description: &Description,
    asked: &[Asked],
    (policy, proxy): (&ReachPolicy, &ProxySettings),
    is_set: impl Fn(&String) -> bool,
) -> EffectiveGrant {
    let origin = |asked: &Asked| EffectiveOrigin {
        origin: asked.grant.to_string(),
        from: asked.from.clone(),
        methods: asked.grant.read_methods.clone(),
        secrets: asked.grant.secrets.iter().filter(|name| is_set(name)).cloned().collect(),
        reach: {
            let (host, port) = (asked.grant.host.as_str(), asked.grant.port);
            policy.foresee(host, port, proxy.is_used(&asked.grant.protocol, host, port))
        },
    };
    let stands_for_nothing = |template: &&crate::EndpointTemplate| {
        !asked.iter().any(|asked| asked.from == OriginFrom::Template(template.origin.clone()))
    };
    let templates = description.network.templates.iter();
    EffectiveGrant {
        origins: asked.iter().map(origin).collect(),
        unused_templates: templates.filter(stands_for_nothing).map(|t| t.origin.clone()).collect(),
        revealed: description
            .network
            .revealed_addresses
            .clone()
            .filter(|_| grants::reveals(description))
            .map(|why| RevealedGrant { why, within: policy.bounds_of_revealed() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Endpoint;

    #[test]
    fn values_are_shown_as_people_write_them() {
        let endpoint = |host: &str, path: &str| Endpoint {
            protocol: "http".into(),
            host: host.into(),
            port: 9000,
            path: path.into(),
        };
        for (value, shown) in [
            (Plain::Text("a b".into()), "a b"),
            (Plain::Boolean(true), "true"),
            (Plain::Size(65536), "65536 bytes"),
            (Plain::DurationMs(500), "500 ms"),
            (
                Plain::Endpoints(vec![endpoint("minio", "/p"), endpoint("fd00::1", "")], None),
                "http://minio:9000/p, http://[fd00::1]:9000",
            ),
        ] {
            assert_eq!(text(&value, false), shown);
        }
        let operators = Plain::Endpoints(vec![endpoint("minio", "/canary")], None);
        assert_eq!(text(&operators, true), "http://minio:9000");
    }
}
