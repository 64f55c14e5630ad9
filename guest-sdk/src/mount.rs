//! What the host wants mounted, with typed access to the options, and what the plugin answers.

use crate::bindings::exports::wasmount::plugin::lifecycle;
use crate::bindings::wasmount::plugin::buffers::Buffer;
use crate::bindings::wasmount::plugin::capabilities::ProviderCapabilities;
use crate::bindings::wasmount::plugin::options::{Endpoint, OptionSetting, OptionValue};
use crate::bindings::wasmount::plugin::secrets::Secret;
use crate::{Error, Result, SavedState};
use std::time::Duration;

/// What to mount.
#[derive(Debug)]
pub struct Mount {
    /// Name of the mount, unique in this host, stable over restarts.
    pub id: String,
    /// `mountPoint` of config.json: `s3://bucket/prefix`.
    pub mount_point: String,
    /// This mount's element of `mounts[]` in config.json (JSON), secrets replaced by `secret:NAME`. Most plugins need only
    /// [`settings`](Self::settings).
    pub entry: String,
    /// What of `runtimeOptions` in config.json holds for this mount; it is among the [`settings`](Self::settings), too.
    pub runtime_options: Vec<(String, String)>,
    /// The PersistentVolume attributes of a `pvc://` mount (JSON).
    pub persistent_volume: Option<String>,
    /// Nothing will be written.
    pub read_only: bool,
    /// The options, validated by the host against the plugin's table.
    pub settings: Settings,
    /// State of a previous instance of this mount. Ignore what you do not understand.
    pub resume: Option<SavedState>,
}

impl Mount {
    pub(crate) fn new(wire: lifecycle::Mount) -> Self {
        Self {
            id: wire.id,
            mount_point: wire.mount_point,
            entry: wire.entry,
            runtime_options: wire.runtime_options.into_iter().map(|pair| (pair.name, pair.value)).collect(),
            persistent_volume: wire.persistent_volume,
            read_only: wire.read_only,
            settings: Settings(wire.settings),
            resume: wire.resume,
        }
    }

    /// The mount point without its scheme: `bucket/prefix` of `s3://bucket/prefix`. All of it if there is no scheme.
    pub fn location(&self) -> &str {
        self.mount_point.split_once("://").map_or(self.mount_point.as_str(), |(_, rest)| rest)
    }
}

/// The options of a mount, by canonical name.
///
/// The host has already filled in defaults, refused what is malformed and insisted on what is required, so the plain accessors
/// are for options that are required or have a default; for the others there are `optional_…` ones. Asking for an option
/// that the table does not have, or for another kind, is an error that names it.
#[derive(Debug, Default)]
pub struct Settings(Vec<OptionSetting>);

macro_rules! accessor {
    ($(#[$doc:meta])* $name:ident, $optional:ident, $variant:ident($value:ident) -> $type:ty, $convert:expr, $kind:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// `invalid`, if it is absent or of another kind.
        pub fn $name(&self, name: &str) -> Result<$type> {
            self.$optional(name)?.ok_or_else(|| missing(name))
        }

        #[doc = concat!("As [`", stringify!($name), "`](Self::", stringify!($name), "), `None` if it is absent.")]
        ///
        /// # Errors
        /// `invalid`, if it is of another kind.
        pub fn $optional(&self, name: &str) -> Result<Option<$type>> {
            match self.find(name) {
                None => Ok(None),
                Some(OptionValue::$variant($value)) => Ok(Some($convert)),
                Some(_) => Err(mismatch(name, $kind)),
            }
        }
    };
}

impl Settings {
    accessor!(
        /// The value of a `text` or `choice` option.
        text, optional_text, Text(value) -> &str, value.as_str(), "text or choice"
    );
    accessor!(
        /// The value of an `integer` option.
        integer, optional_integer, Integer(value) -> i64, *value, "integer"
    );
    accessor!(
        /// The value of a `boolean` option.
        boolean, optional_boolean, Boolean(value) -> bool, *value, "boolean"
    );
    accessor!(
        /// The value of a `size` option, in bytes.
        size, optional_size, Size(value) -> u64, *value, "size"
    );
    accessor!(
        /// The value of a `duration` option.
        duration, optional_duration, DurationMs(value) -> Duration, Duration::from_millis(*value), "duration"
    );
    accessor!(
        /// All addresses of an `endpoint` option.
        endpoints, optional_endpoints, Endpoints(value) -> &[Endpoint], value.as_slice(), "endpoint"
    );

    /// The one address of an `endpoint` option.
    ///
    /// # Errors
    /// `invalid`, if it is absent or of another kind.
    pub fn endpoint(&self, name: &str) -> Result<&Endpoint> {
        self.optional_endpoint(name)?.ok_or_else(|| missing(name))
    }

    /// As [`endpoint`](Self::endpoint), `None` if it is absent.
    ///
    /// # Errors
    /// `invalid`, if it is of another kind.
    pub fn optional_endpoint(&self, name: &str) -> Result<Option<&Endpoint>> {
        Ok(self.optional_endpoints(name)?.and_then(<[Endpoint]>::first))
    }

    /// Takes the handle of a `secret` option out of the settings.
    ///
    /// # Errors
    /// `invalid`, if it is absent, already taken or of another kind.
    pub fn secret(&mut self, name: &str) -> Result<Secret> {
        self.optional_secret(name)?.ok_or_else(|| missing(name))
    }

    /// As [`secret`](Self::secret), `None` if it is absent or already taken.
    ///
    /// # Errors
    /// `invalid`, if it is of another kind.
    pub fn optional_secret(&mut self, name: &str) -> Result<Option<Secret>> {
        match self.take(name) {
            None => Ok(None),
            Some(OptionValue::Secret(secret)) => Ok(Some(secret)),
            Some(_) => Err(mismatch(name, "secret")),
        }
    }

    /// Takes the content of a `file-content` option out of the settings, `None` if it is absent or already taken.
    ///
    /// # Errors
    /// `invalid`, if it is of another kind.
    pub fn optional_content(&mut self, name: &str) -> Result<Option<Buffer>> {
        match self.take(name) {
            None => Ok(None),
            Some(OptionValue::Content(content)) => Ok(Some(content)),
            Some(_) => Err(mismatch(name, "file-content")),
        }
    }

    /// Whether the user wrote the option, as opposed to its default.
    pub fn is_explicit(&self, name: &str) -> bool {
        self.0.iter().any(|setting| setting.name == name && setting.explicit)
    }

    fn find(&self, name: &str) -> Option<&OptionValue> {
        self.0.iter().find(|setting| setting.name == name).map(|setting| &setting.value)
    }

    fn take(&mut self, name: &str) -> Option<OptionValue> {
        let place = self.0.iter().position(|setting| setting.name == name)?;
        Some(self.0.remove(place).value)
    }
}

impl FromIterator<OptionSetting> for Settings {
    /// Settings made by hand, for tests.
    fn from_iter<I: IntoIterator<Item = OptionSetting>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

fn missing(name: &str) -> Error {
    Error::invalid(format!("option {name} is missing: set it in the mount's options"))
}

fn mismatch(name: &str, kind: &str) -> Error {
    Error::invalid(format!("option {name} is not of kind {kind} in this plugin's option table"))
}

impl Endpoint {
    /// `http://host:port`, an IPv6 address in brackets, without the port if it is the protocol's own. URLs that begin so make
    /// the host send the `host` header that the signature covers.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.protocol, self.authority())
    }

    /// The part of [`origin`](Self::origin) after `://`.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.protocol.as_str(), self.port) {
            ("http", 80) | ("https", 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// What was mounted.
#[derive(Debug)]
pub struct Info {
    identity: String,
    title: String,
    capabilities: ProviderCapabilities,
    warnings: Vec<String>,
}

impl Info {
    /// `identity` names the data, independent of credentials (endpoint, bucket, prefix); never the same for different data.
    /// `title` is one line for people: `bucket on http://127.0.0.1:9000`. The capabilities are those of the plugin's kind.
    pub fn new(
        identity: impl Into<String>,
        title: impl Into<String>,
        capabilities: impl Into<ProviderCapabilities>,
    ) -> Self {
        let (identity, title) = (identity.into(), title.into());
        Self { identity, title, capabilities: capabilities.into(), warnings: Vec::new() }
    }

    /// Adds a sentence for the administrator about something that works but should be changed.
    #[must_use]
    pub fn warning(mut self, sentence: impl Into<String>) -> Self {
        self.warnings.push(sentence.into());
        self
    }

    pub(crate) fn into_wire(self) -> lifecycle::Info {
        lifecycle::Info {
            identity: self.identity,
            title: self.title,
            capabilities: self.capabilities,
            warnings: self.warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: OptionValue, explicit: bool) -> OptionSetting {
        OptionSetting { name: name.into(), value, explicit }
    }

    fn endpoint(protocol: &str, host: &str, port: u16) -> Endpoint {
        Endpoint { protocol: protocol.into(), host: host.into(), port, path: String::new() }
    }

    #[test]
    fn accessors_tell_absent_from_another_kind() {
        let settings: Settings = [
            setting("region", OptionValue::Text("eu-1".into()), true),
            setting("wait", OptionValue::DurationMs(1500), false),
        ]
        .into_iter()
        .collect();
        assert_eq!(settings.text("region").unwrap(), "eu-1");
        assert_eq!(settings.duration("wait").unwrap(), Duration::from_millis(1500));
        assert!(settings.is_explicit("region") && !settings.is_explicit("wait"));
        assert_eq!(settings.optional_text("zone").unwrap(), None);
        assert!(settings.text("zone").unwrap_err().message.contains("zone is missing"));
        assert!(settings.boolean("region").unwrap_err().message.contains("not of kind boolean"));
    }

    #[test]
    fn origins_drop_the_default_port() {
        assert_eq!(endpoint("https", "s3.example.com", 443).origin(), "https://s3.example.com");
        assert_eq!(endpoint("http", "s3.example.com", 443).origin(), "http://s3.example.com:443");
        assert_eq!(endpoint("http", "127.0.0.1", 9000).origin(), "http://127.0.0.1:9000");
        assert_eq!(endpoint("http", "::1", 80).origin(), "http://[::1]");
        assert_eq!(endpoint("http", "[::1]", 81).origin(), "http://[::1]:81");
    }
}
