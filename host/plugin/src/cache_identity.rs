//! Whose bytes a mount's blocks are, so that a cache shows them to nobody else (`design.md`, section 4.9).
//!
//! Two mounts share blocks when their identities are equal, so everything that decides which bytes a key stands for, and who may
//! see them, is part of it. What is not: credentials. They are rotated while the data stays the same, and that this
//! mount's own ones are good is shown by its `open`, before which there is no identity.

use crate::artifact::Digest;
use crate::options::{Plain, Setting, Value};
use crate::spec::MountSpec;
use sha2::{Digest as _, Sha256};
use wasmount_core::ports::CacheIdentity;
use wasmount_net::Grants;

/// Changes when the meaning of the rest does; blocks of another version are never found.
const VERSION: &str = "wasmount cache identity 1";

/// All that is known before the plugin has opened the mount.
pub(crate) struct Facts(Sha256);

impl Facts {
    /// Each field says why it is there.
    pub(crate) fn new(
        namespace: &str,
        plugin: &Digest,
        spec: &MountSpec,
        settings: &[Setting],
        granted: &Grants,
    ) -> Self {
        let mut facts = Self(Sha256::new());
        facts.add(VERSION);
        // Who may share at all: one tenant's plugin could otherwise fill blocks that another tenant reads.
        facts.add(namespace);
        // Another plugin may give other bytes for the same key.
        facts.add(plugin.hex());
        // Where the data is, as the user names it.
        facts.add(&spec.mount_point);
        facts.add(spec.persistent_volume.as_ref().map(ToString::to_string).unwrap_or_default());
        // Who answers may not be who was asked: such a mount must not fill blocks for one that makes sure.
        facts.add(if spec.tls.insecure_skip_verify { "any certificate" } else { "" });
        // Whatever the plugin is told may change what it gives: the endpoint, a region, a transformation.
        let mut told: Vec<_> = settings.iter().filter_map(|s| Some((&s.name, value(&s.value)?))).collect();
        told.sort();
        facts.count(told.len());
        for (name, value) in told {
            facts.add(name);
            facts.add(value);
        }
        // Where it may get the bytes from, templates filled in.
        let mut origins: Vec<_> = granted.origins.iter().map(ToString::to_string).collect();
        origins.sort();
        facts.count(origins.len());
        for origin in origins {
            facts.add(origin);
        }
        facts
    }

    /// With the identity that the plugin claims for the data, which can only tell more apart.
    pub(crate) fn identity(mut self, claimed: &str) -> Option<CacheIdentity> {
        self.add(claimed);
        let digits: String = self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        CacheIdentity::new(&digits).ok()
    }

    /// With its length, so that no two sequences of fields look the same.
    fn add(&mut self, field: impl AsRef<[u8]>) {
        self.count(field.as_ref().len());
        self.0.update(field);
    }

    fn count(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }
}

/// A value as the plugin sees it; `None` for a secret.
fn value(value: &Value) -> Option<Vec<u8>> {
    let text = match value {
        Value::Secret { .. } => return None,
        Value::Content(bytes) => return Some([b"content ", &bytes[..]].concat()),
        Value::Plain(Plain::Text(text)) => format!("text {text}"),
        Value::Plain(Plain::Integer(number)) => format!("integer {number}"),
        Value::Plain(Plain::Boolean(is)) => format!("boolean {is}"),
        Value::Plain(Plain::Size(bytes)) => format!("size {bytes}"),
        Value::Plain(Plain::DurationMs(ms)) => format!("duration {ms}"),
        Value::Plain(Plain::Endpoints(endpoints, _)) => {
            let each =
                endpoints.iter().map(|e| format!("{}://[{}]:{}{}\n", e.protocol, e.host, e.port, e.path));
            format!("endpoints {}", each.collect::<String>())
        }
    };
    Some(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Endpoint;
    use crate::spec::OptionSource;
    use std::collections::HashSet;
    use std::time::Duration;
    use wasmount_net::{OriginGrant, SecretsDir, TlsSettings};
    use wasmount_types::MountId;

    /// Everything an identity is made of, and what it is not made of.
    struct Mount {
        namespace: &'static str,
        plugin: Digest,
        spec: MountSpec,
        settings: Vec<Setting>,
        grants: Grants,
        claimed: &'static str,
    }

    fn setting(name: &str, value: Value) -> Setting {
        Setting { name: name.into(), value, source: Some(OptionSource::Mount), file: None }
    }

    fn text(name: &str, value: &str) -> Setting {
        setting(name, Value::Plain(Plain::Text(value.into())))
    }

    fn endpoint(host: &str) -> Setting {
        let one = Endpoint { protocol: "http".into(), host: host.into(), port: 9000, path: String::new() };
        setting("endpoint", Value::Plain(Plain::Endpoints(vec![one], None)))
    }

    fn secret(value: &str) -> Setting {
        let secret = SecretsDir::new("/etc/fluid/secrets").secret("secret-key", value).unwrap();
        setting("secret-key", Value::Secret { secret, reveal: true })
    }

    fn origin(host: &str) -> OriginGrant {
        OriginGrant {
            protocol: "http".into(),
            host: host.into(),
            port: 9000,
            read_methods: vec![],
            secrets: vec![],
        }
    }

    fn mount() -> Mount {
        Mount {
            namespace: "team-a/imagenet",
            plugin: Digest::of(b"plugin"),
            spec: MountSpec {
                id: MountId::new("data"),
                mount_point: "s3://bucket/prefix".into(),
                entry: serde_json::json!({}),
                options: vec![],
                persistent_volume: None,
                read_only: true,
                strict_options: true,
                cache_namespace: None,
                secrets_dir: "/etc/fluid/secrets".into(),
                tls: TlsSettings::default(),
                trust: Vec::new(),
                request_timeout: Duration::from_secs(1),
            },
            settings: vec![endpoint("minio"), text("region", "r"), secret("one")],
            grants: Grants {
                origins: vec![origin("minio"), origin("other")],
                read_only: true,
                revealed: false,
            },
            claimed: "s3 http://minio:9000 bucket/prefix",
        }
    }

    fn identity(change: impl FnOnce(&mut Mount)) -> String {
        let mut m = mount();
        change(&mut m);
        let facts = Facts::new(m.namespace, &m.plugin, &m.spec, &m.settings, &m.grants);
        facts.identity(m.claimed).unwrap().to_string()
    }

    #[test]
    fn whatever_decides_about_the_bytes_or_their_readers_makes_another_identity() {
        let identities = [
            identity(|_| ()),
            identity(|m| m.namespace = "team-b/imagenet"),
            identity(|m| m.plugin = Digest::of(b"plugin 2")),
            identity(|m| m.spec.mount_point = "s3://bucket/other".into()),
            identity(|m| m.spec.persistent_volume = Some(serde_json::json!({"pool": "p"}))),
            identity(|m| m.spec.tls.insecure_skip_verify = true),
            identity(|m| m.settings[0] = endpoint("minio2")),
            identity(|m| m.settings[1] = text("region", "s")),
            identity(|m| m.settings[1] = text("regio", "nr")),
            identity(|m| m.settings[1] = setting("region", Value::Content("r".into()))),
            identity(|m| m.settings.push(text("zone", ""))),
            identity(|m| _ = m.settings.remove(1)),
            identity(|m| m.grants.origins.push(origin("third"))),
            identity(|m| m.grants.origins[1].port = 9001),
            identity(|m| m.claimed = "s3 http://minio:9000 bucket/"),
        ];
        let different: HashSet<_> = identities.iter().collect();
        assert_eq!(different.len(), identities.len(), "{identities:#?}");
        assert!(identities.iter().all(|id| id.len() == 64));
    }

    #[test]
    fn credentials_and_order_and_how_it_is_mounted_do_not() {
        let same = [
            identity(|_| ()),
            identity(|m| m.settings[2] = secret("two")),
            identity(|m| _ = m.settings.remove(2)),
            identity(|m| m.settings.reverse()),
            identity(|m| m.grants.origins.reverse()),
            identity(|m| m.grants.read_only = false),
            identity(|m| m.spec.id = MountId::new("renamed")),
            identity(|m| m.spec.request_timeout = Duration::from_secs(9)),
            identity(|m| m.settings[1].source = None),
        ];
        assert!(same.iter().all(|id| *id == same[0]), "{same:#?}");
    }
}
