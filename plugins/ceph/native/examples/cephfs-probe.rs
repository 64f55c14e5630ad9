//! Looks at a CephFS with wasmount's client, without a sandbox and without mounting anything:
//! `cargo run --release --example cephfs-probe -- --mon-host 127.0.0.1:3300 --keyring FILE ls -R /`.

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use std::collections::BTreeMap;
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
    /// Lists and reads all that is below a directory, again and again, and fails when it differs from what it was at first.
    Verify {
        path: String,
        /// How long.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// So many at the same time.
        #[arg(long, default_value_t = 4)]
        readers: usize,
        /// Reads only one of so many files.
        #[arg(long, default_value_t = 1)]
        every: u64,
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
        Command::Verify { path, seconds, readers, every } => {
            verify(&files, &path, every.max(1), Duration::from_secs(seconds), readers)
        }
    }
}

/// What there is below a directory: of each file its size, time and checksum.
fn contents(files: &Files, path: &str, every: u64) -> Result<BTreeMap<String, String>> {
    /// Of longer files only the beginning is read.
    const MOST: u64 = 1 << 20;
    let (mut seen, mut failed) = (BTreeMap::new(), None);
    list(files, path, resolve(files, path)?.vino, true, &mut |path, attributes| {
        let mut told = line(path, attributes);
        if attributes.kind == Kind::Regular && attributes.vino.ino.is_multiple_of(every) && failed.is_none() {
            match files.read(attributes.vino, 0, attributes.size.min(MOST)) {
                Ok(bytes) => told = format!("{told} {:08x}", wasmount_ceph::payload::crc32c(0, &bytes)),
                Err(error) => failed = Some(anyhow::Error::new(error).context(format!("read {path}"))),
            }
        }
        seen.insert(path.to_owned(), told);
    })?;
    failed.map_or(Ok(seen), Err)
}

fn verify(files: &Files, path: &str, every: u64, bound: Duration, readers: usize) -> Result<()> {
    let (begin, expected) = (Instant::now(), contents(files, path, every)?);
    println!("{} entries at first, after {:?}", expected.len(), begin.elapsed());
    std::thread::scope(|scope| {
        let round = || -> Result<(usize, Duration)> {
            let (mut rounds, mut longest) = (0, Duration::ZERO);
            while begin.elapsed() < bound {
                let began = Instant::now();
                let found = contents(files, path, every)
                    .with_context(|| format!("{:?} after the start", begin.elapsed()))?;
                longest = longest.max(began.elapsed());
                rounds += 1;
                for (name, line) in &expected {
                    let now = found.get(name);
                    ensure!(
                        now == Some(line),
                        "{:?} after the start: {line} has become {now:?}",
                        begin.elapsed()
                    );
                }
                ensure!(
                    found.len() == expected.len(),
                    "{} entries instead of {}",
                    found.len(),
                    expected.len()
                );
            }
            Ok((rounds, longest))
        };
        let readers: Vec<_> = (0..readers).map(|_| scope.spawn(round)).collect();
        for reader in readers {
            let (rounds, longest) = reader.join().map_err(|_| anyhow!("a reader panicked"))??;
            println!("{rounds} rounds, the longest took {longest:?}");
        }
        Ok(())
    })
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
