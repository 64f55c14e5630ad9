//! Which value of an option holds, and where it is kept.
//!
//! A later source wins over an earlier one ([`OptionSource`]). A value that begins with `/etc/fluid/secrets/` is the path of
//! a file, for an option of any kind and whoever wrote it. The operator, on the command line, may also name any
//! other file: `-o KEY=@PATH` or `-o KEY-file=PATH`.

use super::written::WrittenOption;
use super::{Plain, Setting, Value, parse, suggest};
use crate::description::{Description, OptionKind, OptionSpec};
use crate::limits::Limits;
use crate::reveal::{RevealPolicy, RevealRule};
use crate::spec::{OptionInput, OptionSource};
use bytes::Bytes;
use std::path::Path;
use wasmount_net::SecretsDir;
use wasmount_types::{Blame, Error, ErrorKind, MountId};

/// Options of one mount after validation.
pub(crate) struct Resolved {
    /// In the order of the plugin's table, with defaults.
    pub(crate) settings: Vec<Setting>,
    /// Sentences about things that were ignored.
    pub(crate) warnings: Vec<String>,
}

/// What the resolution needs to know.
pub(crate) struct Resolver<'a> {
    pub(crate) mount: &'a MountId,
    pub(crate) description: &'a Description,
    pub(crate) secrets: &'a SecretsDir,
    pub(crate) limits: &'a Limits,
    /// Which secrets the plugin may see.
    pub(crate) reveal: &'a RevealPolicy,
    /// [`MountSpec::trust`](crate::MountSpec::trust).
    pub(crate) trust: &'a [(String, OptionSource)],
    pub(crate) strict: bool,
}

impl Resolver<'_> {
    fn fail(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Invalid, Blame::Plugin, format!("mount {}: {what}", self.mount))
    }

    fn refused(&self, what: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Denied, Blame::Host, format!("mount {}: {what}", self.mount))
    }

    /// The operator does not show this to the plugin.
    fn hidden(&self, spec: &OptionSpec, rule: &RevealRule) -> Error {
        let (plugin, name) = (&self.description.name, &spec.name);
        self.refused(format_args!(
            "plugin {plugin} must see the secret of option `{name}` in clear, and the operator refuses that (--deny-reveal {rule}); \
             do without this option, or allow it with --allow-reveal {plugin}:{name}"
        ))
    }

    /// Checks all options of a mount.
    ///
    /// # Errors
    /// The first thing that is wrong: names the option, the mount and what to do.
    pub(crate) fn resolve(&self, inputs: &[OptionInput]) -> Result<Resolved, Error> {
        let mut warnings = Vec::new();
        for input in inputs.iter().filter(|input| !self.description.knows(input)) {
            warnings.extend(self.unknown(input)?);
        }
        let in_force = self.description.in_force(inputs);
        let mut settings = Vec::new();
        for spec in &self.description.options {
            if let Some(setting) = self.setting(spec, &in_force, &mut warnings)? {
                settings.push(setting);
            }
        }
        self.keep_apart(&settings)?;
        Ok(Resolved { settings, warnings })
    }

    /// Nobody but the operator says where a secret goes that is the operator's, and which servers are believed on the way there: whoever else
    /// could would get it sent. `MOUNT_OPTIONS` counts as anybody's, since Fluid fills it from the namespace's runtime as well as from the profile.
    fn keep_apart(&self, settings: &[Setting]) -> Result<(), Error> {
        for secret in settings.iter().filter(|setting| setting.by_operator()) {
            let Some(OptionKind::Secret { sent_to, .. }) =
                self.description.option(&secret.name).map(|spec| &spec.kind)
            else {
                continue;
            };
            let refused = |option: &str, source: OptionSource, what: &str| {
                let (place, secret) = (source.place(), &secret.name);
                self.refused(format_args!(
                    "option `{option}` stands in {place}, and `{secret}` on the command line: {what}; remove `{option}` there, or set it with \
                     --option too"
                ))
            };
            let mut places = settings.iter().filter(|s| sent_to.contains(&s.name) && !s.by_operator());
            if let Some((place, source)) = places.find_map(|s| Some((&s.name, s.source?))) {
                let what = "only the operator may say where a secret of the operator's is sent";
                return Err(refused(place, source, what));
            }
            if let Some((option, source)) =
                self.trust.iter().find(|(_, source)| *source != OptionSource::Args)
            {
                let what = "only the operator may say which servers a mount with a secret of the operator's believes";
                return Err(refused(option, *source, what));
            }
        }
        Ok(())
    }

    fn unknown(&self, input: &OptionInput) -> Result<Option<String>, Error> {
        // Fluid's own, merged into every mount.
        if input.name.starts_with("fluid.") {
            return Ok(None);
        }
        let plugin = &self.description.name;
        // Short and printable: a key may be as hostile as a value.
        let name = crate::text::printable(&input.name, 100);
        let known = self.description.options.iter().flat_map(OptionSpec::names);
        let hint = match suggest::nearest(&input.name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "see `wasmount plugin inspect` for the ones it has".to_owned(),
        };
        let text =
            format!("option `{name}` in {} is unknown to plugin {plugin}; {hint}", input.source.place());
        if matches!(input.source, OptionSource::Environment | OptionSource::Runtime) {
            // These are written for all mounts and plugins together.
            tracing::debug!(mount = %self.mount, "{text}");
            return Ok(None);
        }
        if self.strict {
            return Err(self.fail(text));
        }
        Ok(Some(format!("{text} It is ignored.")))
    }

    /// The value that holds, checked; the default; or nothing.
    fn setting(
        &self,
        spec: &OptionSpec,
        in_force: &[WrittenOption<'_>],
        warnings: &mut Vec<String>,
    ) -> Result<Option<Setting>, Error> {
        let name = &spec.name;
        let mut of_spec = in_force.iter().filter(|written| written.spec.name == *name);
        if let Some(holds) = of_spec.next() {
            if let Some(other) = of_spec.next() {
                return Err(self.fail(format_args!(
                    "options `{}` and `{}` in {} mean the same; remove one",
                    holds.input.name,
                    other.input.name,
                    holds.input.source.place()
                )));
            }
            let value = self.value(holds, warnings)?;
            let (source, file) = (Some(holds.input.source), holds.file().map(str::to_owned));
            return Ok(Some(Setting { name: name.clone(), value, source, file }));
        }
        if let Some(default) = &spec.default {
            let value = parse::value(&spec.kind, default)
                .map_err(|why| self.fail(format_args!("the default of option `{name}` {why}")))?;
            let value = Value::Plain(value);
            return Ok(Some(Setting { name: name.clone(), value, source: None, file: None }));
        }
        if spec.required {
            let mut names: Vec<String> = spec.names().map(|n| format!("`{n}`")).collect();
            let first = names.remove(0);
            let also = if names.is_empty() { String::new() } else { format!(" (or {})", names.join(", ")) };
            let where_ = match spec.kind {
                OptionKind::Secret { .. } => "the Dataset's encryptOptions",
                _ => "the mount's options in the Dataset",
            };
            return Err(
                self.fail(format_args!("option {first}{also} is missing; add it to {where_}: {}", spec.kind))
            );
        }
        Ok(None)
    }

    fn value(&self, written: &WrittenOption<'_>, warnings: &mut Vec<String>) -> Result<Value, Error> {
        let WrittenOption { input, spec, .. } = *written;
        let (name, reference) = (input.name.as_str(), written.text());
        // Below the secrets directory the usual rules hold, whoever wrote it.
        let path = written.operators_file().filter(|path| !SecretsDir::is_reference(path)).map(Path::new);
        let named = |error: Error| error.context(format_args!("mount {}", self.mount));
        match &spec.kind {
            OptionKind::Secret { reveal, .. } => {
                if let Some(rule) = self.reveal.refuses(self.description, spec) {
                    return Err(self.hidden(spec, rule));
                }
                let secret = match path {
                    Some(path) => self.secrets.secret_at(name, path),
                    None => self.secrets.secret(name, reference),
                };
                Ok(Value::Secret { secret: secret.map_err(named)?, reveal: *reveal })
            }
            OptionKind::FileContent => {
                let limit = self.limits.buffer as u64;
                let bytes = match path {
                    Some(path) => self.read(name, path, limit)?,
                    None => self.secrets.content(name, reference, limit).map_err(named)?,
                };
                Ok(Value::Content(Bytes::from(bytes)))
            }
            kind => {
                let from_file = path.is_some() || SecretsDir::is_reference(reference);
                let text = match path {
                    Some(path) => {
                        let bytes = self.read(name, path, wasmount_net::secrets::MAX_SECRET_BYTES)?;
                        let text = String::from_utf8(bytes).map_err(|_| {
                            self.fail(format_args!("option `{name}`: {} is not UTF-8", path.display()))
                        })?;
                        text.strip_suffix('\n')
                            .map(|t| t.strip_suffix('\r').unwrap_or(t))
                            .unwrap_or(&text)
                            .to_owned()
                    }
                    None if SecretsDir::is_reference(reference) => {
                        self.secrets.text(name, reference).map_err(named)?
                    }
                    None => reference.to_owned(),
                };
                let value = parse::value(kind, &text).map_err(|why| {
                    let place = input.source.place();
                    if from_file {
                        // Somebody may have given the wrong key of a Secret: its content is not repeated.
                        self.fail(format_args!(
                            "option `{name}` in {place}: the content of its file does not fit; it must be: {kind}"
                        ))
                    } else {
                        self.fail(format_args!("option `{name}` in {place} {why}"))
                    }
                })?;
                if let Plain::Endpoints(_, Some(warning)) = &value {
                    warnings.push(format!("option `{name}`: {warning}"));
                }
                Ok(Value::Plain(value))
            }
        }
    }

    /// A file the operator named.
    fn read(&self, name: &str, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
        use std::io::Read as _;
        let fail = |why: &dyn std::fmt::Display| {
            self.fail(format_args!("option `{name}`: {}: {why}", path.display()))
        };
        // A pipe or device could keep us waiting, already when it is opened, or never end.
        let file = crate::artifact::open_without_waiting(path).map_err(|e| fail(&e))?;
        if !file.metadata().map_err(|e| fail(&e))?.is_file() {
            return Err(fail(&"is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
        if bytes.len() as u64 > limit {
            return Err(fail(&format_args!("is larger than {limit} bytes")));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
