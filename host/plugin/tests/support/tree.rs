//! A mount of one of the file systems.

use super::{wasm, within};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wasmount_core::ports::{
    Body, FileStore, NodeNumber, Opened, Provider, ProviderSource as _, Resolution, StoreHandle,
};
use wasmount_net::{HttpClient, ReachPolicy, TlsSettings};
use wasmount_plugin::{Kind, MountSpec, OptionInput, OptionSource, PluginHost, PluginHostConfig};
use wasmount_types::{MountId, Name, Result};

/// An open mount.
pub struct Tree {
    pub store: Arc<dyn FileStore>,
    /// Lives as long as it does.
    _host: PluginHost,
}

/// A name that is one.
pub fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

impl Tree {
    /// A mount of this plugin with these options.
    pub async fn open(plugin: &str, options: &[(&str, &str)]) -> Self {
        static AOT: OnceLock<tempfile::TempDir> = OnceLock::new();
        let aot = AOT.get_or_init(|| tempfile::tempdir().unwrap());
        let config =
            PluginHostConfig { aot_dir: Some(aot.path().join("aot")), ..PluginHostConfig::default() };
        let host = PluginHost::new(config).unwrap();
        let plugin = host.load(&wasm(plugin)).unwrap();
        assert_eq!(plugin.kind(), Kind::Files);
        let mount_point = format!("{}://x", plugin.description().schemes[0]);
        let input = |(name, value): &(&str, &str)| OptionInput {
            name: (*name).into(),
            value: (*value).into(),
            source: OptionSource::Mount,
        };
        let spec = MountSpec {
            id: MountId::new("test"),
            entry: serde_json::json!({"mountPoint": mount_point}),
            mount_point,
            options: options.iter().map(input).collect(),
            persistent_volume: None,
            read_only: true,
            strict_options: true,
            cache_namespace: None,
            secrets_dir: "/nonexistent".into(),
            tls: TlsSettings::default(),
            trust: Vec::new(),
            request_timeout: Duration::from_secs(30),
        };
        let http = HttpClient::new(tokio::runtime::Handle::current());
        let mount = host.mount(plugin, spec, http, ReachPolicy::new(vec![]));
        let (provider, _) = mount.open(within(20)).await.unwrap();
        let Provider::Files(store) = provider else { panic!("not a file system") };
        Self { store, _host: host }
    }

    /// Opens a file of the root, and forgets it again.
    pub async fn opened(&self, file: &str) -> Opened {
        let found = self.store.resolve(within(10), NodeNumber::ROOT, name(file)).await.unwrap();
        let Resolution::Found(entry) = found else { panic!("there is no {file}") };
        let opened = self.store.open(within(10), entry.node, false).await.unwrap();
        self.store.forget(vec![(entry.node, 1)]);
        opened
    }

    /// Bytes of an open file.
    pub async fn read(&self, handle: StoreHandle, offset: u64, length: u32) -> Result<Vec<u8>> {
        let mut body: Box<dyn Body> = self.store.read(within(10), handle, offset, length).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }
}
