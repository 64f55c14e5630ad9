//! A small tool on wasmount's own Ceph client: looks at objects of a cluster, and measures reading them.
//!
//! ```text
//! rados-probe --mon-host 127.0.0.1:3300 --id admin --keyring ceph.client.admin.keyring --pool rbd stat rbd_directory
//! rados-probe … omap rbd_directory
//! rados-probe … get OBJECT > FILE
//! rados-probe … seq --run-name benchmark_last_metadata --depth 4
//! ```
#![allow(clippy::print_stdout, reason = "a tool that prints what it finds")]

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Parser, Subcommand, ValueEnum};
use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;
use wasmount_ceph::auth::{Key, keyring};
use wasmount_ceph::mon::parse_mon_host;
use wasmount_ceph::msgr::Mode;
use wasmount_ceph::osd::{Extent, OmapVals, Op, Output, Stat};
use wasmount_ceph::rados::{Config, OpReply, OpRequest};
use wasmount_ceph_native::Client;

/// Looks at objects of a Ceph cluster.
#[derive(Parser)]
struct Arguments {
    /// Where monitors are, in any form that ceph.conf knows.
    #[arg(long)]
    mon_host: String,
    /// The user, without `client.`.
    #[arg(long, default_value = "admin")]
    id: String,
    /// File with the user's key.
    #[arg(long)]
    keyring: PathBuf,
    /// Mode of connections to OSDs.
    #[arg(long, value_enum, default_value = "crc")]
    mode: WantedMode,
    /// The pool.
    #[arg(long)]
    pool: String,
    /// The namespace in it.
    #[arg(long, default_value = "")]
    namespace: String,
    /// Seconds after which a request is given up.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum WantedMode {
    Crc,
    Secure,
}

#[derive(Subcommand)]
enum Command {
    /// Size and time of an object.
    Stat { object: String },
    /// The bytes of an object, to standard output.
    Get { object: String },
    /// Keys and values of an object's map.
    Omap { object: String },
    /// Reads what `rados bench write --no-cleanup` wrote, one object after the other, and tells how fast.
    Seq {
        /// Names of the objects before their number: `benchmark_data_HOST_PID_object`.
        #[arg(long)]
        prefix: String,
        /// How many objects there are.
        #[arg(long)]
        count: u64,
        /// Requests under way at once.
        #[arg(long, default_value_t = 4)]
        depth: usize,
    },
}

fn main() -> Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let arguments = Arguments::parse();
    let entity = format!("client.{}", arguments.id);
    let text = std::fs::read_to_string(&arguments.keyring)
        .with_context(|| format!("cannot read {}", arguments.keyring.display()))?;
    let key: Key = keyring::parse(&text, &entity)?;
    let mut config = Config::new(parse_mon_host(&arguments.mon_host)?, entity, Some(key));
    config.osd_modes = match arguments.mode {
        WantedMode::Crc => vec![Mode::Crc],
        WantedMode::Secure => vec![Mode::Secure],
    };
    let client = Client::connect(config, 30_000)?;
    let probe = Probe::new(client, &arguments)?;
    match arguments.command {
        Command::Stat { object } => probe.stat(&object),
        Command::Get { object } => probe.get(&object),
        Command::Omap { object } => probe.omap(&object),
        Command::Seq { prefix, count, depth } => probe.sequential(&prefix, count, depth),
    }
}

struct Probe {
    client: Client,
    pool: i64,
    namespace: String,
    timeout_ms: u64,
}

impl Probe {
    fn new(client: Client, arguments: &Arguments) -> Result<Self> {
        let name = arguments.pool.clone();
        let pool = client.with_map(move |map| map.pool_by_name(&name).map(|(id, _)| id))?.flatten();
        let pool = pool.with_context(|| format!("no pool {}", arguments.pool))?;
        let (namespace, timeout_ms) = (arguments.namespace.clone(), arguments.timeout * 1000);
        Ok(Self { client, pool, namespace, timeout_ms })
    }

    fn request(&self, object: &str, op: Op<Bytes>) -> OpRequest<Bytes> {
        let deadline = self.client.deadline(self.timeout_ms);
        OpRequest::new(self.pool, object, vec![op]).namespace(self.namespace.as_str()).deadline(deadline)
    }

    fn small(&self, object: &str, op: Op<Bytes>) -> Result<Vec<u8>> {
        let reply = self.client.execute(self.request(object, op)).with_context(|| object.to_owned())?;
        match reply.results.into_iter().next().map(|result| result.output) {
            Some(Output::Bytes(bytes)) => Ok(bytes),
            _ => bail!("{object}: an answer of another form"),
        }
    }

    fn stat(&self, object: &str) -> Result<()> {
        let stat = Stat::decode(&self.small(object, Op::Stat)?)?;
        println!(
            "{object} size {} mtime {}.{:09}",
            stat.size, stat.modified.seconds, stat.modified.nanoseconds
        );
        Ok(())
    }

    fn get(&self, object: &str) -> Result<()> {
        let reply = self.client.execute(self.request(object, Op::Read(Extent::new(0, 0))))?;
        std::io::stdout().write_all(&payload(reply))?;
        Ok(())
    }

    fn omap(&self, object: &str) -> Result<()> {
        let mut start_after = Vec::new();
        loop {
            let op = Op::OmapGetVals { start_after: start_after.clone(), max: 512, prefix: Vec::new() };
            let page = OmapVals::decode(&self.small(object, op)?)?;
            for (key, value) in &page.values {
                println!("{} {}", key.escape_ascii(), value.escape_ascii());
            }
            match page.values.last() {
                Some((key, _)) if page.more => start_after.clone_from(key),
                _ => return Ok(()),
            }
        }
    }

    fn sequential(&self, prefix: &str, count: u64, depth: usize) -> Result<()> {
        let begin = Instant::now();
        let machine = self.client.machine_time()?;
        let mut pending = VecDeque::new();
        let mut bytes = 0_u64;
        for number in 0..count {
            if pending.len() >= depth {
                bytes += take(&mut pending)?;
            }
            let op = Op::Read(Extent::new(0, 4 << 20));
            pending.push_back(self.client.submit(self.request(&format!("{prefix}{number}"), op))?);
        }
        while !pending.is_empty() {
            bytes += take(&mut pending)?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let machine = (self.client.machine_time()? - machine) as f64 / 1e6;
        let mib = bytes as f64 / f64::from(1 << 20);
        println!(
            "{mib:.0} MiB in {seconds:.2} s: {:.0} MiB/s; machines: {:.1} ms per GiB, of which checksums {:.1} ms (mode crc)",
            mib / seconds,
            machine / mib * 1024.0,
            checksum_ms()
        );
        Ok(())
    }
}

/// Milliseconds for the checksums of 1 GiB in objects of 4 MiB.
fn checksum_ms() -> f64 {
    let object = vec![0x5a; 4 << 20];
    let begin = Instant::now();
    let mut register = u32::MAX;
    for _ in 0..256 {
        register = wasmount_ceph::payload::crc32c(register, std::hint::black_box(&object));
    }
    std::hint::black_box(register);
    begin.elapsed().as_secs_f64() * 1e3
}

fn take(pending: &mut VecDeque<wasmount_ceph_native::Pending>) -> Result<u64> {
    let Some(first) = pending.pop_front() else { return Ok(0) };
    Ok(payload(first.wait()?).len() as u64)
}

fn payload(reply: OpReply<Bytes>) -> Bytes {
    match reply.results.into_iter().next().map(|result| result.output) {
        Some(Output::Payload(Some(bytes))) => bytes,
        _ => Bytes::new(),
    }
}
