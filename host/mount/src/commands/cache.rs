//! `wasmount cache`: looking at a cache directory and tidying it up, also while mounts use it.

use crate::cli::{CacheArgs, CacheCommand};
use crate::config::size;
use crate::logging;
use anyhow::bail;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;
use wasmount_cache::admin::{self, Filter, Listed};

/// Runs one of the commands.
///
/// # Errors
/// The directory cannot be used, there is nothing to say what to remove, or `verify` has found damage.
pub(crate) fn run(command: CacheCommand) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match command {
        CacheCommand::Ls(args) => list(&args, &mut out),
        CacheCommand::Du(args) => usage(&args, &mut out),
        CacheCommand::Rm { all, args } => remove(all, &args, &mut out),
        CacheCommand::Verify(args) => verify(&args, &mut out),
    }
}

fn begin(args: &CacheArgs) -> anyhow::Result<Filter> {
    logging::init(&args.log)?;
    Ok(Filter { identity: args.identity.clone(), key_prefix: args.prefix.clone() })
}

/// What an identity stands for, else itself.
fn source(entry: &Listed) -> &str {
    entry.label.as_deref().map_or(&entry.identity, str::trim)
}

fn list(args: &CacheArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = begin(args)?;
    let mut failed = None;
    admin::list(&args.cache_dir, &filter, |entry| {
        let line = writeln!(
            out,
            "{:>10} {:>10} {:<8} {:<6} {:>8} {}\t{}",
            size::show(entry.cached_bytes),
            size::show(entry.size),
            if entry.complete { "complete" } else { "partial" },
            if entry.in_use { "open" } else { "" },
            ago(entry.last_used),
            source(&entry),
            entry.key.escape_debug(),
        );
        failed = line.err();
        failed.is_none()
    })?;
    finish(failed)
}

fn usage(args: &CacheArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = begin(args)?;
    let mut sums: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    admin::list(&args.cache_dir, &filter, |entry| {
        let sum = sums.entry((source(&entry).to_owned(), entry.identity)).or_default();
        sum.0 += entry.disk_bytes;
        sum.1 += 1;
        true
    })?;
    let total = sums.values().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
    for ((source, identity), (bytes, files)) in &sums {
        writeln!(out, "{:>10} {files:>8} files  {source}  ({identity})", size::show(*bytes))?;
    }
    writeln!(out, "{:>10} {:>8} files  in all", size::show(total.0), total.1)?;
    Ok(())
}

fn remove(all: bool, args: &CacheArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = begin(args)?;
    if !all && filter.identity.is_none() && filter.key_prefix.is_none() {
        bail!("say what to remove: --prefix, --identity (see `wasmount cache du`), or --all");
    }
    let removed = admin::remove(&args.cache_dir, &filter)?;
    writeln!(out, "removed {} files, {}", removed.entries, size::show(removed.bytes))?;
    if removed.in_use > 0 {
        writeln!(out, "{} files are open in a mount and were left", removed.in_use)?;
    }
    Ok(())
}

fn verify(args: &CacheArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let filter = begin(args)?;
    let mut failed = None;
    let found = admin::verify(&args.cache_dir, &filter, |entry, one| {
        if one.damaged_pages > 0 {
            let line = writeln!(
                out,
                "damaged: {} pages of {}\t{}",
                one.damaged_pages,
                source(entry),
                entry.key.escape_debug()
            );
            failed = line.err();
        }
        failed.is_none()
    })?;
    finish(failed)?;
    writeln!(out, "{} files, {} are as they were written", found.entries, size::show(found.bytes))?;
    if found.damaged_pages > 0 {
        bail!(
            "{} pages of {} files were damaged and are removed; they will be fetched again",
            found.damaged_pages,
            found.damaged_entries
        );
    }
    Ok(())
}

/// A pipe whose reader has gone is no failure of ours.
fn finish(failed: Option<io::Error>) -> anyhow::Result<()> {
    match failed {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `5m`: how long ago.
fn ago(time: SystemTime) -> String {
    let seconds = time.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
