//! Builder of what a plugin says about itself.

use crate::Options;
use crate::bindings::exports::wasmount::plugin::lifecycle::{Description, EndpointTemplate, NetworkNeeds};

impl Description {
    /// A plugin that speaks HTTP to its `endpoint` options and nothing else.
    ///
    /// `name` is short and in lower case (`s3`), `version` is the plugin's own: `env!("CARGO_PKG_VERSION")`; `summary` is one line.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            summary: summary.into(),
            schemes: Vec::new(),
            csi_drivers: Vec::new(),
            options: Vec::new(),
            network: NetworkNeeds { http: true, tcp: false, templates: Vec::new(), revealed_addresses: None },
        }
    }

    /// Adds a URL scheme of mount points it serves, without `://`.
    #[must_use]
    pub fn scheme(mut self, scheme: &str) -> Self {
        self.schemes.push(scheme.into());
        self
    }

    /// Sets the option table.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options.into_specs();
        self
    }

    /// Adds an HTTP origin that is derived from options: `https://s3.{region}.example.com`. `{NAME}` is the value of an option
    /// (of an `endpoint` option: its `host:port`), `{mount-host}` is what stands between `://` and the next `/` in the mount
    /// point. `read_methods` are the methods that only read there.
    #[must_use]
    pub fn origin_template(mut self, origin: &str, read_methods: &[&str]) -> Self {
        self.network.templates.push(EndpointTemplate {
            origin: origin.into(),
            read_methods: read_methods.iter().map(|method| (*method).into()).collect(),
        });
        self
    }
}
