//! Builder of what a plugin says about itself.

use crate::Options;
use crate::bindings::exports::wasmount::plugin::lifecycle::{Description, EndpointTemplate, NetworkNeeds};

impl Description {
    /// A plugin that speaks HTTP to its `endpoint` options and nothing else, until [`speaks_tcp`](Self::speaks_tcp) says so.
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

    /// It speaks other protocols than HTTP, through [`tcp`](crate::tcp), and no HTTP.
    #[must_use]
    pub fn speaks_tcp(mut self) -> Self {
        self.network.http = false;
        self.network.tcp = true;
        self
    }

    /// Adds a CSI driver whose volumes it can mount from the attributes of a PersistentVolume.
    #[must_use]
    pub fn csi_driver(mut self, name: &str) -> Self {
        self.csi_drivers.push(name.into());
        self
    }

    /// Why it must reach addresses that only the storage system reveals, such as the daemons of a cluster.
    #[must_use]
    pub fn revealed_addresses(mut self, why: &str) -> Self {
        self.network.revealed_addresses = Some(why.into());
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
