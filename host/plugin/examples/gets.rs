//! What a `get` through a plugin costs, without FUSE and the core: processor time and context switches per request, or per GiB.
//!
//! Needs a server with objects, and says nothing about time when other programs run; the figures per request are steady.
//!
//! ```text
//! gets PLUGIN.wasm ENDPOINT ACCESS-KEY SECRET-KEY BUCKET PREFIX [CONCURRENCY [BYTES-OF-A-RANGE [REPEATS]]]
//! ```
//!
//! Lists PREFIX, then reads every object under it: whole, or in ranges of that many bytes.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use bytes::BytesMut;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmount_core::ports::{GetOutcome, GetRequest, ListRequest, ObjectStore, Provider, ProviderSource as _};
use wasmount_net::{AllowNet, HttpClient, ReachPolicy, TlsSettings};
use wasmount_plugin::{MountSpec, OptionInput, OptionSource, PluginHost, PluginHostConfig};
use wasmount_types::{ByteRange, MountId, Object, RequestCtx};

fn within(seconds: u64) -> RequestCtx {
    RequestCtx::internal(Instant::now() + Duration::from_secs(seconds))
}

/// User and system time in ticks of 10 ms, and voluntary and involuntary context switches of all threads.
fn usage() -> (u64, u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let mut switches = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        switches += status
            .lines()
            .filter(|line| line.contains("ctxt_switches"))
            .map(|line| line.split_whitespace().last().unwrap().parse::<u64>().unwrap())
            .sum::<u64>();
    }
    (fields[11].parse().unwrap(), fields[12].parse().unwrap(), switches)
}

async fn read(store: &dyn ObjectStore, object: &Object, range: Option<ByteRange>) -> u64 {
    let request = GetRequest { key: object.key.clone(), range, pin: object.version.clone(), unless: None };
    let Ok(GetOutcome::Found(found)) = store.get(within(60), request).await else {
        panic!("{} cannot be read", object.key)
    };
    let mut body = found.content;
    let left = body.len().unwrap();
    let mut total = 0;
    let mut block = BytesMut::with_capacity(left.min(1 << 20) as usize);
    while total < left {
        block.clear();
        total += body.read_into(&mut block).await.unwrap().unwrap() as u64;
    }
    total
}

async fn run(args: Vec<String>) {
    let [plugin, endpoint, access, secret, bucket, prefix] = &args[..6] else { panic!("see the source") };
    let number = |at: usize, default: u64| args.get(at).map_or(default, |text| text.parse().unwrap());
    let (concurrency, range, repeats) = (number(6, 16), number(7, 0), number(8, 1));
    let host = PluginHost::new(PluginHostConfig::default()).unwrap();
    let plugin = host.load(plugin.as_ref()).unwrap();
    let option = |(name, value): (&str, &String)| OptionInput {
        name: name.into(),
        value: value.clone(),
        source: OptionSource::Args,
    };
    let spec = MountSpec {
        id: MountId::new("gets"),
        mount_point: format!("s3://{bucket}"),
        entry: serde_json::json!({}),
        options: [("endpoint", endpoint), ("access-key", access), ("secret-key", secret)].map(option).into(),
        persistent_volume: None,
        read_only: true,
        strict_options: true,
        cache_namespace: None,
        secrets_dir: "/nonexistent".into(),
        tls: TlsSettings::default(),
        trust: Vec::new(),
        request_timeout: Duration::from_secs(30),
    };
    let client = HttpClient::new(tokio::runtime::Handle::current());
    let policy = ReachPolicy::new(vec![AllowNet::parse("127.0.0.1").unwrap()]);
    let mount = host.mount(plugin, spec, client, policy);
    let (Provider::Objects(store), _) = mount.open(within(20)).await.unwrap() else {
        panic!("not an object store")
    };

    let mut objects = Vec::new();
    let mut request = ListRequest { prefix: prefix.clone(), limit: 1000, ..ListRequest::default() };
    loop {
        let page = store.list(within(20), request.clone()).await.unwrap();
        objects.extend(page.objects);
        request.continuation = page.next;
        if request.continuation.is_none() {
            break;
        }
    }
    let mut jobs = Vec::new();
    for object in objects.into_iter().map(Arc::new) {
        let step = if range == 0 { object.size.max(1) } else { range };
        for offset in (0..object.size.max(1)).step_by(step as usize) {
            jobs.push((object.clone(), (range > 0).then(|| ByteRange::new(offset, step))));
        }
    }
    for _ in 0..repeats {
        let (before, started) = (usage(), Instant::now());
        // Tasks, as in the core: each may run on another thread than the next.
        let bytes: u64 = futures::stream::iter(jobs.clone())
            .map(|(object, range)| {
                let store = store.clone();
                let task = tokio::spawn(async move { read(&*store, &object, range).await });
                async { task.await.unwrap() }
            })
            .buffer_unordered(concurrency as usize)
            .fold(0, |sum, bytes| async move { sum + bytes })
            .await;
        let (after, took) = (usage(), started.elapsed());
        let (user, system) = ((after.0 - before.0) as f64 / 100.0, (after.1 - before.1) as f64 / 100.0);
        let (count, gib) = (jobs.len() as f64, bytes as f64 / f64::from(1 << 30));
        println!(
            "{count} gets, {gib:.3} GiB in {took:.2?}: per get {:.3} ms user, {:.3} ms system, {:.1} context switches; per GiB {:.2} s",
            user * 1e3 / count,
            system * 1e3 / count,
            (after.2 - before.2) as f64 / count,
            (user + system) / gib,
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(std::env::args().skip(1).collect()));
}
