//! What the tests of the sandbox share: the hostile plugin, a host for it, and a server for it to speak to.
#![allow(clippy::unwrap_used, reason = "this is only used by tests")]
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod tree;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use wasmount_core::ports::{
    GetOutcome, GetRequest, GetResponse, ObjectStore, Provider, ProviderInfo, ProviderSource as _,
};
use wasmount_net::{AllowNet, HttpClient, ReachPolicy, TlsSettings};
use wasmount_plugin::{Limits, MountSpec, OptionInput, OptionSource, Plugin, PluginHost, PluginHostConfig};
use wasmount_types::{ByteRange, MountId, ObjectKey, RequestCtx, Result};

/// A plugin that `make plugins` has built, or one of another build in the directory `WASMOUNT_TEST_PLUGINS`.
pub fn wasm(name: &str) -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    let dir = std::env::var_os("WASMOUNT_TEST_PLUGINS").map_or_else(built, PathBuf::from);
    let path = dir.join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is missing: run `make plugins` first", path.display());
    path
}

/// A plugin host and the hostile plugin in it.
pub struct Sandbox {
    pub host: PluginHost,
    pub plugin: Arc<Plugin>,
}

impl Sandbox {
    pub fn with(change: impl FnOnce(&mut PluginHostConfig)) -> Self {
        // Compiling takes seconds on a busy machine; all tests of one program share the result.
        static AOT: OnceLock<tempfile::TempDir> = OnceLock::new();
        let aot = AOT.get_or_init(|| tempfile::tempdir().unwrap());
        let mut config =
            PluginHostConfig { aot_dir: Some(aot.path().join("aot")), ..PluginHostConfig::default() };
        change(&mut config);
        let host = PluginHost::new(config).unwrap();
        let plugin = host.load(&wasm("hostile")).unwrap();
        Self { host, plugin }
    }

    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        Self::with(|config| change(&mut config.limits))
    }

    /// Opens a mount with these options, of which `endpoint` may be reached if `allow` says so.
    pub async fn open(
        &self,
        options: &[(&str, &str)],
        allow: &[&str],
    ) -> Result<(Arc<dyn ObjectStore>, ProviderInfo)> {
        let options = options
            .iter()
            .map(|(name, value)| OptionInput {
                name: (*name).into(),
                value: (*value).into(),
                source: OptionSource::Mount,
            })
            .collect();
        let entry =
            serde_json::json!({"mountPoint": "hostile://x", "options": {"secret": "swordfish-literal"}});
        let spec = MountSpec {
            id: MountId::new("test"),
            mount_point: "hostile://x".into(),
            entry,
            options,
            persistent_volume: None,
            read_only: true,
            strict_options: false,
            cache_namespace: None,
            secrets_dir: "/nonexistent".into(),
            tls: TlsSettings::default(),
            trust: Vec::new(),
            request_timeout: Duration::from_secs(30),
        };
        let policy = ReachPolicy::new(allow.iter().map(|rule| AllowNet::parse(rule).unwrap()).collect());
        let http = HttpClient::new(tokio::runtime::Handle::current());
        let mount = self.host.mount(self.plugin.clone(), spec, http, policy);
        let (provider, info) = mount.open(within(10)).await?;
        let Provider::Objects(store) = provider else { panic!("not an object store") };
        Ok((store, info))
    }

    /// A mount that needs no network.
    pub async fn store(&self) -> Arc<dyn ObjectStore> {
        self.open(&[], &[]).await.unwrap().0
    }
}

/// A request with so many seconds to live.
pub fn within(seconds: u64) -> RequestCtx {
    RequestCtx::internal(Instant::now() + Duration::from_secs(seconds))
}

/// A request with so many milliseconds to live.
pub fn within_ms(milliseconds: u64) -> RequestCtx {
    RequestCtx::internal(Instant::now() + Duration::from_millis(milliseconds))
}

/// A question for the first KiB of an object.
pub fn first_kib(key: &str) -> GetRequest {
    GetRequest { key: ObjectKey::new(key), range: Some(ByteRange::new(4096, 1024)), pin: None, unless: None }
}

/// Asks for bytes and reads them to their end.
pub async fn get(store: &Arc<dyn ObjectStore>, ctx: RequestCtx, request: GetRequest) -> Result<Vec<u8>> {
    read(response(store, ctx, request).await?).await
}

pub async fn response(
    store: &Arc<dyn ObjectStore>,
    ctx: RequestCtx,
    request: GetRequest,
) -> Result<GetResponse> {
    match store.get(ctx, request).await? {
        GetOutcome::Found(response) => Ok(response),
        GetOutcome::Unchanged => panic!("`unchanged` without a condition"),
    }
}

pub async fn read(mut response: GetResponse) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = response.content.next().await {
        all.extend_from_slice(&bytes?);
    }
    Ok(all)
}

/// An honest `get` in the same mount works.
pub async fn assert_works(store: &Arc<dyn ObjectStore>) {
    let bytes = get(store, within(10), first_kib("honest")).await.unwrap();
    assert_eq!(bytes, [0; 1024]);
}

/// An HTTP server: `/size/N` answers with N bytes, `/hang` never, `/barrier` once `together` requests are waiting.
pub struct Server {
    pub origin: String,
    pub in_flight: Arc<AtomicUsize>,
    pub most: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub async fn start(together: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (in_flight, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let barrier = Arc::new(Barrier::new(together));
        let (now, peak) = (in_flight.clone(), most.clone());
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (now, peak, barrier, seen) = (now.clone(), peak.clone(), barrier.clone(), seen.clone());
                tokio::spawn(async move { serve(socket, &now, &peak, &barrier, &seen).await });
            }
        });
        Self { origin, in_flight, most, heads }
    }

    /// The head of every request so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    now: &AtomicUsize,
    peak: &AtomicUsize,
    barrier: &Barrier,
    heads: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut input = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = input.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8(input.drain(..end).collect()).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        heads.lock().unwrap().push(head);
        peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (what, argument) = path.trim_start_matches('/').split_once('/').unwrap_or((&path[1..], ""));
        let size: usize = argument.parse().unwrap_or(0);
        match what {
            "hang" => std::future::pending::<()>().await,
            "barrier" => {
                barrier.wait().await;
            }
            _ => {}
        }
        now.fetch_sub(1, Ordering::SeqCst);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.ok()?;
        socket.write_all(&vec![7; size]).await.ok()?;
    }
}
