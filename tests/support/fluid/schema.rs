//! Checking a manifest as kube-apiserver does with strict field validation: against the structural schema of its kind.
//!
//! A structural schema is a small part of OpenAPI, and here an unknown field is an error although the schema does not say so: a
//! JSON schema library would need every object rewritten first, and forty crates. Not checked: patterns and formats.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::paths;

/// The schemas of Fluid's kinds.
#[derive(Debug)]
pub struct Schemas(Value);

impl Schemas {
    /// Reads `tests/fixtures/fluid/crds.json`, which names its source.
    ///
    /// # Errors
    /// When it is not there.
    pub fn load() -> Result<Self> {
        let text = std::fs::read_to_string(paths::fixture("fluid/crds.json"))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    /// The fields that a kind has below a place, such as `spec.fuse`.
    ///
    /// # Errors
    /// When there is no such place.
    pub fn fields(&self, kind: &str, place: &str) -> Result<Vec<&str>> {
        let mut at = self.0.get("kinds").and_then(|kinds| kinds.get(kind));
        for (depth, part) in place.split('.').enumerate() {
            at = match depth {
                0 => at.and_then(|kind| kind.get(part)),
                _ => at.and_then(|part| part.get("properties")).and_then(|known| known.get(part)),
            };
        }
        let fields = at.and_then(|at| at.get("properties")).and_then(Value::as_object);
        Ok(fields.with_context(|| format!("{kind} has no {place}"))?.keys().map(String::as_str).collect())
    }

    /// Checks one object.
    ///
    /// # Errors
    /// When Fluid's cluster would not take it; the message names each field and what is wrong with it.
    pub fn check(&self, object: &Value) -> Result<()> {
        let kind = object.get("kind").and_then(Value::as_str).context("no kind")?;
        let definition = self
            .0
            .get("kinds")
            .and_then(|kinds| kinds.get(kind))
            .with_context(|| format!("no schema of {kind}"))?;
        let mut faults = Vec::new();
        if object.get("apiVersion") != definition.get("apiVersion") {
            faults.push(format!("apiVersion: {:?}", object.get("apiVersion")));
        }
        let namespaced = definition.get("scope").is_some_and(|scope| scope == "Namespaced");
        if !namespaced && object.pointer("/metadata/namespace").is_some() {
            faults.push("metadata.namespace: this kind has none".to_owned());
        }
        if !object.pointer("/metadata/name").is_some_and(Value::is_string) {
            faults.push("metadata.name: missing".to_owned());
        }
        let spec = object.get("spec").context("no spec")?;
        check(definition.get("spec").context("no schema of spec")?, spec, "spec", &mut faults);
        if faults.is_empty() { Ok(()) } else { bail!("{kind}: {}", faults.join("; ")) }
    }
}

fn check(schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    if schema.get("x-kubernetes-int-or-string").is_some_and(|flag| *flag == true) {
        if !value.is_string() && !value.is_i64() {
            faults.push(format!("{at}: neither integer nor string"));
        }
        return;
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let fits = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        _ => false,
    };
    if !fits {
        faults.push(format!("{at}: not of type {kind:?}"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        faults.push(format!("{at}: not one of {allowed:?}"));
    }
    let at_least = |key| schema.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
    match value {
        Value::String(text) if text.chars().count() < at_least("minLength") => {
            faults.push(format!("{at}: too short"))
        }
        Value::Array(items) => {
            if items.len() < at_least("minItems") {
                faults.push(format!("{at}: too few"));
            }
            for (index, item) in items.iter().enumerate() {
                let Some(schema) = schema.get("items") else { continue };
                check(schema, item, &format!("{at}[{index}]"), faults);
            }
        }
        Value::Object(fields) => check_fields(schema, fields, at, faults),
        _ => {}
    }
}

fn check_fields(schema: &Value, fields: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    for (name, value) in fields {
        let known = schema.get("properties").and_then(|known| known.get(name));
        match known.or_else(|| schema.get("additionalProperties")) {
            Some(schema) => check(schema, value, &format!("{at}.{name}"), faults),
            None => faults.push(format!("{at}.{name}: unknown field")),
        }
    }
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            faults.push(format!("{at}.{name}: missing"));
        }
    }
}
