//! What a plugin says about itself, as plain data, checked.
//!
//! Mirrors `lifecycle.description` and `options.option-spec` (`wit/`). A description is not trusted: names are
//! checked, because they end up in log lines, metrics and messages, and contradictions in the option
//! table are refused at load, not discovered at the first mount.

mod check;
mod json;
mod show;

pub(crate) use check::check;

/// What an `endpoint` option may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRule {
    /// Schemes or protocols, the first is the default.
    pub protocols: Vec<String>,
    /// Port when the value has none.
    pub default_port: u16,
    /// Several addresses, separated by commas or semicolons.
    pub many: bool,
    /// HTTP methods that only read there.
    pub read_methods: Vec<String>,
}

/// How the value of an option is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// As it is.
    Text,
    /// Decimal, within inclusive limits.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// `true false yes no on off 1 0`, or nothing at all for true.
    Boolean,
    /// Bytes, with powers of 1024 as units.
    Size,
    /// Time; a bare number is seconds.
    Duration,
    /// One of these words.
    Choice(Vec<String>),
    /// An address the plugin asks to reach.
    Endpoint(EndpointRule),
    /// A credential.
    Secret {
        /// The plugin must see it in clear.
        reveal: bool,
        /// `endpoint` options and templates whose origins the host may send it to in a header.
        sent_to: Vec<String>,
    },
    /// The content of a file.
    FileContent,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// Canonical name.
    pub name: String,
    /// Other accepted names.
    pub aliases: Vec<String>,
    /// How its value is read.
    pub kind: OptionKind,
    /// A mount without it is refused.
    pub required: bool,
    /// Value when it is absent.
    pub default: Option<String>,
    /// What it does, for the user.
    pub doc: String,
}

impl OptionSpec {
    /// Canonical name and aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// An origin derived from options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTemplate {
    /// URL or `host:port` with `{NAME}` placeholders.
    pub origin: String,
    /// HTTP methods that only read there.
    pub read_methods: Vec<String>,
}

/// What the plugin needs from the network beyond its `endpoint` options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkNeeds {
    /// It speaks HTTP.
    pub http: bool,
    /// It speaks protocols of its own over TCP.
    pub tcp: bool,
    /// Origins it derives from its options.
    pub templates: Vec<EndpointTemplate>,
    /// Why it must reach addresses that only the storage system reveals.
    pub revealed_addresses: Option<String>,
}

/// Who the plugin is. Its `Display` is the page that `wasmount plugin inspect` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Short name.
    pub name: String,
    /// Version of the plugin.
    pub version: String,
    /// One line about it.
    pub summary: String,
    /// URL schemes of `mountPoint` it serves, without `://`.
    pub schemes: Vec<String>,
    /// CSI drivers whose volumes it can mount.
    pub csi_drivers: Vec<String>,
    /// Everything it accepts.
    pub options: Vec<OptionSpec>,
    /// What it must reach.
    pub network: NetworkNeeds,
}

impl Description {
    /// The option of this name or alias.
    pub fn option(&self, name: &str) -> Option<&OptionSpec> {
        self.options.iter().find(|spec| spec.names().any(|known| known == name))
    }

    /// Whether a secret option must be seen in clear.
    pub fn sees_secrets(&self) -> bool {
        self.options.iter().any(|spec| matches!(spec.kind, OptionKind::Secret { reveal: true, .. }))
    }
}
