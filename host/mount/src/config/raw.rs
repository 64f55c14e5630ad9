//! config.json, as Fluid's thin runtime writes it (`pkg/ddc/thin/type.go`, `Config`).
//!
//! Read leniently: unknown keys are ignored, missing ones and `null` are fine, since every version of Fluid writes
//! a little more or less. What is there must have the right type, or the message says where it does not; a mount that is wrong in
//! itself does not take the others with it.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RawConfig {
    /// `mounts`, in order.
    pub(crate) mounts: Vec<RawMount>,
    /// `targetPath`: where to mount.
    pub(crate) target_path: Option<String>,
    /// `runtimeOptions`: the ThinRuntime's `spec.fuse.options`.
    pub(crate) runtime_options: BTreeMap<String, String>,
    /// `persistentVolumeAttrs`: by claim, the CSI source of its volume.
    pub(crate) volume_attributes: BTreeMap<String, Value>,
    /// `accessModes`: of the Dataset.
    pub(crate) access_modes: Vec<String>,
}

/// One element of `mounts`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RawMount {
    /// `mountPoint`: `s3://bucket/prefix`.
    pub(crate) mount_point: String,
    /// `options`, encrypted ones being paths of files.
    pub(crate) options: BTreeMap<String, String>,
    /// `name`.
    pub(crate) name: Option<String>,
    /// `path` below the target.
    pub(crate) path: Option<String>,
    /// `readOnly`; `None` when it is not written.
    pub(crate) read_only: Option<bool>,
    /// The whole element, for the plugin.
    pub(crate) entry: Value,
    /// It cannot be mounted, for this reason. Of the other fields, those are filled in that say where it would have appeared, and options that are texts.
    pub(crate) fault: Option<RawError>,
}

/// A value of the wrong type, or no JSON at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RawError {
    /// Not JSON.
    #[error("this is not JSON (line {line}, column {column}); expected the object that Fluid writes")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Wrong type.
    #[error("{path}: expected {expected}, found {found}; correct it in the Dataset or ThinRuntime")]
    Type {
        /// `mounts[0].options.region`
        path: String,
        /// What should be there.
        expected: &'static str,
        /// What kind of value is there; never the value, which may be a secret.
        found: &'static str,
    },
    /// A required key.
    #[error("{0}: missing; every mount needs a mountPoint, like s3://bucket/prefix")]
    NoMountPoint(String),
}

impl RawConfig {
    /// Reads the text of the file.
    ///
    /// # Errors
    /// Say where in the file; messages quote no values. What is wrong within one mount is its [`RawMount::fault`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self, RawError> {
        let value: Value = serde_json::from_slice(text)
            .map_err(|error| RawError::Syntax { line: error.line(), column: error.column() })?;
        let root = object(&value, "the file")?;
        let mounts = list(root, "mounts")?
            .iter()
            .enumerate()
            .map(|(index, mount)| RawMount::read_or_fault(mount, &format!("mounts[{index}]")))
            .collect();
        let volume_attributes = match root.get("persistentVolumeAttrs") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(value) => {
                let volumes = object(value, "persistentVolumeAttrs")?;
                volumes.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
            }
        };
        let access_modes = list(root, "accessModes")?
            .iter()
            .enumerate()
            .map(|(index, mode)| text_of(mode, &format!("accessModes[{index}]")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            mounts,
            target_path: optional_text(root, "targetPath", "targetPath")?,
            runtime_options: options(root, "runtimeOptions", "runtimeOptions")?,
            volume_attributes,
            access_modes,
        })
    }

    /// Whether somebody may expect to write: any mode of Kubernetes but `ReadOnlyMany`.
    pub(crate) fn wants_writing(&self) -> bool {
        self.access_modes.iter().any(|mode| mode.starts_with("ReadWrite"))
    }
}

impl RawMount {
    /// The mount, or its name and place and why there is no more.
    fn read_or_fault(value: &Value, at: &str) -> Self {
        Self::read(value, at).unwrap_or_else(|fault| {
            let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
            let filled = |key: &str| text(key).filter(|text| !text.is_empty());
            let written = value.get("options").and_then(Value::as_object);
            let option = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            Self {
                // Fluid reads them all the same.
                options: written.into_iter().flatten().filter_map(option).collect(),
                mount_point: text("mountPoint").unwrap_or_default(),
                name: filled("name"),
                path: filled("path"),
                fault: Some(fault),
                ..Self::default()
            }
        })
    }

    fn read(value: &Value, at: &str) -> Result<Self, RawError> {
        let mount = object(value, at)?;
        let key = |name: &str| format!("{at}.{name}");
        let read_only = match mount.get("readOnly") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(other) => return Err(wrong(&key("readOnly"), "true or false", other)),
        };
        let mount_point = optional_text(mount, "mountPoint", &key("mountPoint"))?
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| RawError::NoMountPoint(key("mountPoint")))?;
        let filled = |name: &str| -> Result<Option<String>, RawError> {
            Ok(optional_text(mount, name, &key(name))?.filter(|text| !text.is_empty()))
        };
        Ok(Self {
            mount_point,
            options: options(mount, "options", &key("options"))?,
            name: filled("name")?,
            path: filled("path")?,
            read_only,
            entry: value.clone(),
            fault: None,
        })
    }
}

fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, RawError> {
    value.as_object().ok_or_else(|| wrong(at, "an object", value))
}

fn list<'a>(root: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], RawError> {
    match root.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong(key, "a list", other)),
    }
}

fn optional_text(object: &Map<String, Value>, key: &str, at: &str) -> Result<Option<String>, RawError> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text_of(value, at).map(Some),
    }
}

fn options(parent: &Map<String, Value>, key: &str, at: &str) -> Result<BTreeMap<String, String>, RawError> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(value) => object(value, at)?
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| Ok((name.clone(), scalar(value, &format!("{at}.{name}"))?)))
            .collect(),
    }
}

fn text_of(value: &Value, at: &str) -> Result<String, RawError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(at, "text", value))
}

/// Fluid writes texts only; a file written by hand may well have a number or a boolean.
fn scalar(value: &Value, at: &str) -> Result<String, RawError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        other => Err(wrong(at, "text, a number or a boolean", other)),
    }
}

fn wrong(path: &str, expected: &'static str, found: &Value) -> RawError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    RawError::Type { path: path.to_owned(), expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        RawConfig::parse(text.as_bytes()).unwrap_err().to_string()
    }

    /// Why the last of the mounts, and no other, is wrong.
    fn fault(text: &str) -> String {
        let mut mounts = RawConfig::parse(text.as_bytes()).unwrap().mounts;
        let last = mounts.pop().unwrap();
        assert!(mounts.iter().all(|mount| mount.fault.is_none()));
        last.fault.unwrap().to_string()
    }

    #[test]
    fn nearly_nothing_is_enough() {
        assert_eq!(RawConfig::parse(b"{}").unwrap(), RawConfig::default());
        let text = br#"{"mounts":null,"runtimeOptions":null,"persistentVolumeAttrs":null,"accessModes":null,"new":[1]}"#;
        assert_eq!(RawConfig::parse(text).unwrap(), RawConfig::default());
        // Helm writes a newline at the end, updates do not.
        assert_eq!(RawConfig::parse(b"{\"mounts\":[]}\n").unwrap(), RawConfig::default());
    }

    #[test]
    fn mistakes_are_named_and_values_are_not() {
        assert!(error("").contains("not JSON"));
        assert!(error("{\"mounts\": [}").contains("line 1"));
        assert!(error("[]").contains("expected an object, found a list"));
        assert!(error(r#"{"mounts":{}}"#).starts_with("mounts: expected a list"));
        assert!(fault(r#"{"mounts":[{"name":"a"}]}"#).starts_with("mounts[0].mountPoint: missing"));
        assert!(fault(r#"{"mounts":[{"mountPoint":" "}]}"#).starts_with("mounts[0].mountPoint: missing"));
        let text =
            r#"{"mounts":[{"mountPoint":"s3://b"},{"mountPoint":"s3://b","options":{"key":["hunter2"]}}]}"#;
        let message = fault(text);
        assert!(message.starts_with("mounts[1].options.key: expected text"), "{message}");
        assert!(!message.contains("hunter2"));
        assert!(error(r#"{"accessModes":[1]}"#).starts_with("accessModes[0]"));
        assert!(error(r#"{"targetPath":1}"#).starts_with("targetPath"));
        assert!(fault(r#"{"mounts":[{"mountPoint":"s3://b","readOnly":"yes"}]}"#).contains("readOnly"));
        assert!(fault(r#"{"mounts":[{"mountPoint":"s3://b"},7]}"#).contains("mounts[1]: expected an object"));
    }

    #[test]
    fn a_mount_that_is_wrong_in_itself_keeps_its_place() {
        let text = br#"{"mounts":[{"mountPoint":"s3://b","name":"a","path":"/p","options":7},{"name":[1],"path":""}]}"#;
        let mounts = RawConfig::parse(text).unwrap().mounts;
        let (first, second) = (&mounts[0], &mounts[1]);
        assert_eq!((first.name.as_deref(), first.path.as_deref()), (Some("a"), Some("/p")));
        assert_eq!((second.name.as_deref(), second.path.as_deref()), (None, None));
        assert!(mounts.iter().all(|mount| mount.fault.is_some()));
    }

    #[test]
    fn scalars_become_text() {
        let text = br#"{"mounts":[{"mountPoint":"s3://b","options":{"n":5,"b":true,"t":"x","none":null}}]}"#;
        let config = RawConfig::parse(text).unwrap();
        let options: Vec<_> =
            config.mounts[0].options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(options, [("b", "true"), ("n", "5"), ("t", "x")]);
    }

    #[test]
    fn who_wants_to_write() {
        let config =
            |modes: &str| RawConfig::parse(format!("{{\"accessModes\":{modes}}}").as_bytes()).unwrap();
        assert!(!config("[]").wants_writing());
        assert!(!config(r#"["ReadOnlyMany"]"#).wants_writing());
        assert!(config(r#"["ReadOnlyMany","ReadWriteMany"]"#).wants_writing());
        assert!(config(r#"["ReadWriteOnce"]"#).wants_writing());
    }
}
