//! What `tcp` and `crypto` cost a plugin, without FUSE and the core: throughput and processor time of payload, and the time of one turn.
//!
//! ```text
//! wires target/plugins/hostile.wasm [GIB]
//! ```
//!
//! The other side is a process of its own, so that its processor time is not counted.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wasmount_core::ports::{GetRequest, Provider, ProviderSource as _};
use wasmount_net::{AllowNet, HttpClient, ReachPolicy, TlsSettings};
use wasmount_plugin::{MountSpec, PluginHost, PluginHostConfig};
use wasmount_types::{MountId, ObjectKey, RequestCtx};

/// One frame of the stream: a header and 4 MiB.
const FRAME: usize = 32 + (4 << 20);

fn serve(mut stream: TcpStream, frames: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut word = [0; 6];
    stream.read_exact(&mut word)?;
    if &word == b"stream" {
        let frame = vec![7; FRAME];
        return (0..frames).try_for_each(|_| stream.write_all(&frame));
    }
    let mut turn = [0; 32];
    loop {
        stream.read_exact(&mut turn)?;
        stream.write_all(&turn)?;
    }
}

fn server(frames: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        // The other side may leave whenever it likes.
        std::thread::spawn(move || serve(stream.unwrap(), frames));
    }
}

/// User and system time of this process in seconds.
fn cpu() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let seconds = |at: usize| fields[at].parse::<f64>().unwrap() / 100.0;
    (seconds(11), seconds(12))
}

async fn run(plugin: String, gib: f64, address: String) {
    let host = PluginHost::new(PluginHostConfig::default()).unwrap();
    let plugin = host.load(plugin.as_ref()).unwrap();
    let spec = MountSpec {
        id: MountId::new("wires"),
        mount_point: "hostile://x".into(),
        entry: serde_json::json!({}),
        options: vec![],
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
    let ctx = || RequestCtx::internal(Instant::now() + Duration::from_secs(120));
    let (provider, _) = mount.open(ctx()).await.unwrap();
    let Provider::Objects(store) = provider else { panic!("the plugin is another") };
    for (what, gib, turns) in [
        ("turns", 0.0, 20_000),
        ("stream", gib, 0),
        ("turns", 0.0, 20_000),
        ("stream-checked", gib, 0),
        ("ciphers", 1.0, 0),
        ("turns", 0.0, 20_000),
    ] {
        let (before, started) = (cpu(), Instant::now());
        let key = ObjectKey::new(format!("tcp:{what}/{address}"));
        // What it answers is not read.
        drop(store.get(ctx(), GetRequest { key, range: None, pin: None, unless: None }).await.unwrap());
        let (after, took) = (cpu(), started.elapsed().as_secs_f64());
        let (user, system) = (after.0 - before.0, after.1 - before.1);
        if turns > 0 {
            let each = |seconds: f64| seconds * 1e6 / f64::from(turns);
            println!("{what}: {:.1} us a turn, {:.1} us of processor time", each(took), each(user + system));
        } else {
            println!(
                "{what}: {:.2} GB/s, per GiB {:.3} s user and {:.3} s system",
                gib * 1.073_741_824 / took,
                user / gib,
                system / gib
            );
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let gib: f64 = args.get(1).map_or(4.0, |text| text.parse().unwrap());
    let frames = (gib * 256.0) as usize;
    if args[0] == "serve" {
        return server(frames);
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["serve", &gib.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(args[0].clone(), gib, address.trim().into()));
    child.kill().unwrap();
    child.wait().unwrap();
}
