//! The places an option can come from, and their order.
//!
//! From weak to strong: environment variable `MOUNT_OPTIONS`, `runtimeOptions`, the mount's own options, the command line.
//! What comes from the command line is the operator's, the rest belongs to users of the cluster.
//!
//! `--option SCHEME:…` is meant for a plugin, by whichever of its schemes, or by its name: a Dataset chooses among the schemes of a plugin, and must not get
//! around what the operator has said about it. So the plugin of a mount is known before its options are.

use crate::config::raw::RawMount;
use std::collections::BTreeMap;
use wasmount_plugin::{OptionInput, OptionSource};

/// Environment variable that Fluid fills from profile and runtime: `k=v,k,…`.
pub(crate) const MOUNT_OPTIONS: &str = "MOUNT_OPTIONS";

/// One option of the command line.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ArgOption {
    /// Only for mounts of the plugin that serves this scheme, or has this name; `None`: for all.
    pub(crate) scheme: Option<String>,
    /// Its key.
    pub(crate) name: String,
    /// Its value; may be a secret, so there is no `Debug`.
    pub(crate) value: String,
}

impl ArgOption {
    /// Reads `[SCHEME:]KEY=VALUE` or `[SCHEME:]KEY`.
    ///
    /// # Errors
    /// A sentence that does not repeat the value.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (scheme, name) = match key.split_once(':') {
            Some((scheme, name)) => (Some(scheme), name),
            None => (None, key),
        };
        if name.trim().is_empty() || scheme.is_some_and(|scheme| scheme.trim().is_empty()) {
            return Err("an option is written [SCHEME:]KEY=VALUE".to_owned());
        }
        Ok(Self {
            scheme: scheme.map(|scheme| scheme.trim().to_ascii_lowercase()),
            name: name.trim().to_owned(),
            value: value.to_owned(),
        })
    }

    /// Reads one `-o`: several options with commas between them.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        split_list(text)
            .map(|(name, value)| {
                if name.is_empty() {
                    return Err(
                        "-o takes KEY=VALUE[,KEY=VALUE]...; a value with a comma needs --option".to_owned()
                    );
                }
                Ok(Self { scheme: None, name: name.to_owned(), value: value.to_owned() })
            })
            .collect()
    }
}

/// `k=v,k,…` as pairs; nothing in it is escaped. Empty pieces are left out.
fn split_list(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').map(str::trim).filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        (name.trim(), value)
    })
}

/// What all mounts share.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    environment: Vec<(String, String)>,
    runtime: Vec<(String, String)>,
    args: Vec<ArgOption>,
}

impl Shared {
    /// Takes the value of [`MOUNT_OPTIONS`], `runtimeOptions` and the command line.
    pub(crate) fn new(
        environment: Option<&str>,
        runtime: &BTreeMap<String, String>,
        args: Vec<ArgOption>,
    ) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            // Nobody checks what is in there, so what makes no sense (`=x`) is left out.
            environment: split_list(environment.unwrap_or(""))
                .filter(|(name, _)| !name.is_empty())
                .map(own)
                .collect(),
            runtime: runtime.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            args,
        }
    }

    /// The same with other `runtimeOptions`.
    pub(crate) fn with_runtime(&self, runtime: &BTreeMap<String, String>) -> Self {
        let runtime = runtime.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { runtime, ..self.clone() }
    }

    /// Options that hold for the whole process: all but those of mounts and of single schemes.
    pub(crate) fn global(&self) -> Vec<OptionInput> {
        self.layers(|_| false, &BTreeMap::new())
    }

    /// All options of one mount, weak ones first; `called`: whether what `--option` calls so is its plugin.
    pub(crate) fn for_mount(&self, called: impl Fn(&str) -> bool, mount: &RawMount) -> Vec<OptionInput> {
        self.layers(called, &mount.options)
    }

    fn layers(&self, called: impl Fn(&str) -> bool, mount: &BTreeMap<String, String>) -> Vec<OptionInput> {
        let input = |source| {
            move |(name, value): (&String, &String)| OptionInput {
                name: name.clone(),
                value: value.clone(),
                source,
            }
        };
        let pair = |(name, value): &(String, String)| (name.clone(), value.clone());
        let mut all: Vec<OptionInput> = Vec::new();
        for (source, list) in
            [(OptionSource::Environment, &self.environment), (OptionSource::Runtime, &self.runtime)]
        {
            all.extend(list.iter().map(pair).map(|(name, value)| OptionInput { name, value, source }));
        }
        all.extend(mount.iter().map(input(OptionSource::Mount)));
        let applies = |arg: &&ArgOption| arg.scheme.as_deref().is_none_or(&called);
        // What is said about one plugin is more exact than what is said about all.
        for exact in [false, true] {
            let chosen = self.args.iter().filter(applies).filter(|arg| arg.scheme.is_some() == exact);
            for arg in chosen {
                // The same key twice on the command line: the last one counts.
                all.retain(|old| old.source != OptionSource::Args || old.name != arg.name);
                let (name, value) = (arg.name.clone(), arg.value.clone());
                all.push(OptionInput { name, value, source: OptionSource::Args });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(list: &[&str]) -> Vec<ArgOption> {
        list.iter().map(|text| ArgOption::parse(text).unwrap()).collect()
    }

    fn show(options: &[OptionInput]) -> Vec<String> {
        options.iter().map(|o| format!("{:?} {}={}", o.source, o.name, o.value)).collect()
    }

    #[test]
    fn arg_options() {
        let option = ArgOption::parse("S3:endpoint=http://a:1/?x=1").unwrap();
        assert_eq!(option.scheme.as_deref(), Some("s3"));
        assert_eq!((option.name.as_str(), option.value.as_str()), ("endpoint", "http://a:1/?x=1"));
        let option = ArgOption::parse("endpoint=http://a:1").unwrap();
        assert_eq!((option.scheme, option.value.as_str()), (None, "http://a:1"));
        assert_eq!(ArgOption::parse("ro").unwrap().value, "");
        for bad in ["", "=hunter2", ":k=hunter2", "s3:=hunter2"] {
            let message = ArgOption::parse(bad).err().unwrap();
            assert!(!message.contains("hunter2"));
        }
    }

    #[test]
    fn dash_o_lists() {
        let list = ArgOption::parse_list("endpoint=http://h:9000,ro, key=a=b,").unwrap();
        let pairs: Vec<_> = list.iter().map(|o| (o.name.as_str(), o.value.as_str())).collect();
        assert_eq!(pairs, [("endpoint", "http://h:9000"), ("ro", ""), ("key", "a=b")]);
        assert!(ArgOption::parse_list("=x").is_err());
    }

    #[test]
    fn order_of_precedence() {
        let runtime = BTreeMap::from([("a".to_owned(), "runtime".to_owned())]);
        let shared = Shared::new(
            Some("a=env,ro,,=junk"),
            &runtime,
            args(&["s3:a=s3-arg", "a=arg", "a=arg2", "gs:a=gs", "b=1"]),
        );
        let mount = RawMount {
            options: BTreeMap::from([("a".to_owned(), "mount".to_owned())]),
            ..RawMount::default()
        };
        assert_eq!(
            show(&shared.for_mount(|called| called == "s3", &mount)),
            [
                "Environment a=env",
                "Environment ro=",
                "Runtime a=runtime",
                "Mount a=mount",
                "Args b=1",
                "Args a=s3-arg"
            ],
        );
        assert_eq!(
            show(&shared.global()),
            ["Environment a=env", "Environment ro=", "Runtime a=runtime", "Args a=arg2", "Args b=1"],
        );
    }
}
