//! The examples of `images/examples`, and what their containers are started with where there is no container.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Rendered, manifests, render};
use crate::config::{FluidFiles, SECRETS};
use crate::paths::repository;

/// The manifests of one example.
#[derive(Debug)]
pub struct Example {
    objects: Vec<Value>,
}

impl Example {
    /// Reads all manifests of its directory.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn load(name: &str) -> Result<Self> {
        Ok(Self { objects: manifests(&repository().join("images/examples").join(name))? })
    }

    /// All of them.
    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// Those of a kind.
    pub fn all<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object.get("kind").is_some_and(|found| found == kind))
    }

    /// The only one of a kind.
    ///
    /// # Errors
    /// When there is none, or another.
    pub fn the(&self, kind: &str) -> Result<&Value> {
        let mut all = self.all(kind);
        let first = all.next().with_context(|| format!("no {kind}"))?;
        ensure!(all.next().is_none(), "more than one {kind}");
        Ok(first)
    }

    /// What a Secret (`stringData`) or a ConfigMap (`data`) has under its keys.
    ///
    /// # Errors
    /// When there is no such object, or not all of it is text.
    pub fn data(&self, kind: &str, name: &str) -> Result<Vec<(&str, &str)>> {
        let object = self.all(kind).find(|object| object["metadata"]["name"] == name);
        let object = object.with_context(|| format!("no {kind} {name}"))?;
        let data = object.get(if kind == "Secret" { "stringData" } else { "data" });
        let pairs = data.and_then(Value::as_object).with_context(|| format!("{kind} {name} has no data"))?;
        let text = |(key, value)| Some((String::as_str(key), Value::as_str(value)?));
        pairs.iter().map(text).collect::<Option<_>>().with_context(|| format!("{kind} {name}: not all text"))
    }

    /// Writes something else wherever `from` is part of a text.
    pub fn replace(&mut self, from: &str, to: &str) {
        fn walk(value: &mut Value, from: &str, to: &str) {
            match value {
                Value::String(text) => *text = text.replace(from, to),
                Value::Array(items) => items.iter_mut().for_each(|item| walk(item, from, to)),
                Value::Object(fields) => fields.values_mut().for_each(|field| walk(field, from, to)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        self.objects.iter_mut().for_each(|object| walk(object, from, to));
    }

    /// What Fluid makes of it.
    ///
    /// # Errors
    /// As [`render`].
    pub fn render(&self) -> Result<Rendered> {
        render(self.the("Dataset")?, self.the("ThinRuntime")?, self.the("ThinRuntimeProfile")?)
    }

    /// config.json, the secrets and all volumes of the container in a directory of this machine, and the arguments that name them there.
    ///
    /// # Errors
    /// When the container has a volume that is not understood here, or one of an object that is not part of the example.
    pub fn place(&self) -> Result<(FluidFiles, Vec<String>)> {
        let (files, Rendered { config, pod, .. }) = (FluidFiles::new()?, self.render()?);
        std::fs::write(files.config_file(), config)?;
        let container = &pod["containers"][0];
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut arguments: Vec<String> =
            list(&container["args"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        for mount in list(&container["volumeMounts"]) {
            let (name, path) = (mount["name"].as_str(), mount["mountPath"].as_str());
            let (name, path) = name.zip(path).context("a mount without name or path")?;
            let volumes = list(&pod["volumes"]);
            let volume =
                volumes.iter().find(|volume| volume["name"] == name).with_context(|| format!("no {name}"))?;
            let source = |pointer: &str| volume.pointer(pointer).and_then(Value::as_str);
            let data = match (source("/secret/secretName"), source("/configMap/name")) {
                // config.json itself.
                (None, Some(_)) if name == "thin-conf" => continue,
                (Some(secret), None) => self.data("Secret", secret)?,
                (None, Some(map)) => self.data("ConfigMap", map)?,
                (None, None) if source("/hostPath/path").is_some() => vec![],
                _ => bail!("volumes of this kind are not known here: {volume}"),
            };
            if let Some(secret) = path.strip_prefix(&format!("{SECRETS}/")) {
                for (key, value) in data {
                    files.write_secret(secret, key, value)?;
                }
                continue;
            }
            let here = files.root().join("volumes").join(name);
            std::fs::create_dir_all(&here)?;
            for (key, value) in data {
                std::fs::write(here.join(key), value)?;
            }
            for argument in &mut arguments {
                *argument = argument.replace(&format!("={path}"), &format!("={}", here.display()));
            }
        }
        arguments.extend([
            format!("--config={}", files.config_file().display()),
            format!("--secrets-dir={}", files.secrets_dir().display()),
        ]);
        Ok((files, arguments))
    }
}
