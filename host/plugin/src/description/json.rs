//! The reference page of a plugin, for programs.

use super::{Description, OptionKind, OptionSpec};
use serde_json::{Value, json};

impl Description {
    /// What `wasmount plugin inspect --json` prints: everything that the page for people says, under stable names.
    pub fn to_json(&self) -> Value {
        let network = &self.network;
        let template =
            |t: &super::EndpointTemplate| json!({"origin": t.origin, "readMethods": t.read_methods});
        json!({
            "name": self.name,
            "version": self.version,
            "summary": self.summary,
            "schemes": self.schemes,
            "csiDrivers": self.csi_drivers,
            "options": self.options.iter().map(option).collect::<Vec<_>>(),
            "network": {
                "http": network.http,
                "tcp": network.tcp,
                "templates": network.templates.iter().map(template).collect::<Vec<_>>(),
                "revealedAddresses": network.revealed_addresses,
            },
            "seesSecrets": self.sees_secrets(),
        })
    }
}

fn option(spec: &OptionSpec) -> Value {
    let mut shown = json!({
        "name": spec.name,
        "aliases": spec.aliases,
        "required": spec.required,
        "default": spec.default,
        "doc": spec.doc,
    });
    let (kind, rule) = match &spec.kind {
        OptionKind::Text => ("text", Value::Null),
        OptionKind::Integer { min, max } => ("integer", json!({"min": min, "max": max})),
        OptionKind::Boolean => ("boolean", Value::Null),
        OptionKind::Size => ("size", Value::Null),
        OptionKind::Duration => ("duration", Value::Null),
        OptionKind::Choice(words) => ("choice", json!({"words": words})),
        OptionKind::Endpoint(rule) => (
            "endpoint",
            json!({
                "protocols": rule.protocols,
                "defaultPort": rule.default_port,
                "many": rule.many,
                "readMethods": rule.read_methods,
            }),
        ),
        OptionKind::Secret { reveal, sent_to } => ("secret", json!({"reveal": reveal, "sentTo": sent_to})),
        OptionKind::FileContent => ("file-content", Value::Null),
    };
    shown["kind"] = json!(kind);
    if !rule.is_null() {
        shown["rule"] = rule;
    }
    shown
}
