//! Looks at a CephFS with wasmount's client, without a sandbox and without mounting anything:
//! `cargo run --release --example cephfs-probe -- --mon-host 127.0.0.1:3300 --keyring FILE ls -R /`.

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wasmount_ceph::auth::{Key, keyring};
use wasmount_ceph::cephfs::{Attributes, Kind, Vino};
use wasmount_ceph::mds::SessionConfig;
use wasmount_ceph::mon::parse_mon_host;
use wasmount_ceph::msgr::Mode;
use wasmount_ceph::rados::Config;
use wasmount_ceph_native::Files;

#[derive(Parser)]
#[command(about = "Looks at a CephFS")]
struct Arguments {
    /// Monitors, as `mon_host` of ceph.conf lists them.
    #[arg(long)]
    mon_host: String,
    /// The user, without "client.".
    #[arg(long, default_value = "admin")]
    id: String,
    /// A keyring that holds the user's key.
    #[arg(long)]
    keyring: PathBuf,
    /// The file system; the cluster's default if it is not given.
    #[arg(long)]
    fs: Option<String>,
    /// The directory to mount.
    #[arg(long, default_value = "/")]
    root: String,
    /// How connections to OSDs and metadata servers are protected.
    #[arg(long, value_enum, default_value = "crc")]
    mode: WantedMode,
    /// Seconds that a call may take.
    #[arg(long, default_value_t = 30)]
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
    /// Entries of a directory, with attributes.
    Ls {
        path: String,
        /// And of all directories in it.
        #[arg(short = 'R', long)]
        recursive: bool,
        /// Tells only how many there are, and how long it took.
        #[arg(long)]
        count: bool,
    },
    /// The bytes of a file, to standard output.
    Cat { path: String },
    /// Attributes, again and again as they change.
    Watch { path: String },
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
    let mut session = SessionConfig::new(&arguments.root, &arguments.id);
    session.fs_name = arguments.fs;
    let files = Files::mount(config, session, arguments.timeout * 1000)?;
    match arguments.command {
        Command::Ls { path, recursive, count } => {
            let begin = Instant::now();
            let mut listed = 0;
            list(&files, &path, resolve(&files, &path)?.vino, recursive, &mut |path, attributes| {
                listed += 1;
                if !count {
                    println!("{}", line(path, attributes));
                }
            })?;
            if count {
                println!("{listed} entries in {:.3} s", begin.elapsed().as_secs_f64());
            }
            Ok(())
        }
        Command::Cat { path } => {
            const STEP: u64 = 16 << 20;
            let file = resolve(&files, &path)?.vino;
            let (mut offset, mut out) = (0, std::io::stdout().lock());
            loop {
                let bytes = files.read(file, offset, STEP)?;
                if bytes.is_empty() {
                    return Ok(());
                }
                out.write_all(&bytes)?;
                offset += bytes.len() as u64;
            }
        }
        Command::Watch { path } => {
            let mut before = None;
            loop {
                let attributes = resolve(&files, &path)?;
                if before.as_ref() != Some(&attributes) {
                    println!("{}", line(&path, &attributes));
                    before = Some(attributes);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn resolve(files: &Files, path: &str) -> Result<Attributes> {
    let mut attributes = files.attributes(files.root())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let found = files.lookup(attributes.vino, name.as_bytes())?;
        attributes = found.with_context(|| format!("{path}: there is no {name}"))?;
    }
    Ok(attributes)
}

fn list(
    files: &Files,
    path: &str,
    directory: Vino,
    recursive: bool,
    show: &mut impl FnMut(&str, &Attributes),
) -> Result<()> {
    for entry in files.list(directory).with_context(|| path.to_owned())? {
        let name = entry.name.escape_ascii();
        let below = format!("{}/{name}", path.trim_end_matches('/'));
        let attributes = match entry.entry {
            Some(known) => *known.attributes,
            None => match files.lookup(directory, &entry.name)? {
                Some(attributes) => attributes,
                // It was removed meanwhile.
                None => continue,
            },
        };
        show(&below, &attributes);
        if recursive && attributes.kind == Kind::Directory {
            list(files, &below, attributes.vino, true, show)?;
        }
    }
    Ok(())
}

fn line(path: &str, attributes: &Attributes) -> String {
    let target = attributes.symlink.as_ref().map(|target| format!(" -> {}", target.escape_ascii()));
    format!(
        "{:06o} {:>3} {:>5} {:>5} {:>12} {}.{:09} {path}{}",
        attributes.mode,
        attributes.nlink,
        attributes.uid,
        attributes.gid,
        attributes.size,
        attributes.mtime.seconds,
        attributes.mtime.nanoseconds,
        target.unwrap_or_default(),
    )
}
