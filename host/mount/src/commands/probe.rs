//! `wasmount probe`: whether a mount is well, for the probes of Kubernetes. Needs no shell beside it.
//!
//! It asks the mount itself, through the kernel, as applications do: whatever keeps them from an answer keeps it from one, too.

use crate::cli::{ProbeArgs, Question};
use crate::fluid::discover;
use anyhow::{Context, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// How long the mount may take: kubelet gives a probe one second, unless it is told otherwise.
const LIMIT: Duration = Duration::from_millis(950);

/// Where Fluid says what the target is.
const MOUNT_POINT: &str = "MOUNT_POINT";

/// Asks, and prints one sentence if all is well.
///
/// # Errors
/// One sentence that says what is not well.
pub(crate) async fn run(args: ProbeArgs) -> anyhow::Result<()> {
    let target = match args.target {
        Some(target) => target,
        None => default_target()?,
    };
    let question = args.question;
    // A mount that does not answer cannot be left; the thread ends with the process.
    let (tell, answer) = mpsc::sync_channel(1);
    let asked = target.clone();
    std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = tell.send(ask(question, &asked));
    })?;
    let answered = tokio::task::spawn_blocking(move || answer.recv_timeout(LIMIT)).await?;
    let sentence = match answered {
        Ok(answer) => answer?,
        Err(_) => bail!("{} does not answer: no stat within a second", target.display()),
    };
    writeln!(std::io::stdout(), "{sentence}")?;
    Ok(())
}

fn default_target() -> anyhow::Result<PathBuf> {
    if let Some(target) = std::env::var_os(MOUNT_POINT).filter(|target| !target.is_empty()) {
        return Ok(target.into());
    }
    let (file, config) =
        discover::load(None).context("name the mount point: wasmount probe live|ready TARGET")?;
    match config.target_path {
        Some(target) => Ok(target.into()),
        None => bail!("{}: targetPath is missing; name the mount point", file.display()),
    }
}

fn ask(question: Question, target: &Path) -> anyhow::Result<String> {
    let shown = target.display();
    // The parent has to answer for that, and not the mount.
    let real = std::path::absolute(target)?;
    let real = match (real.parent().and_then(|parent| parent.canonicalize().ok()), real.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => real,
    };
    let mounts = wasmount_fuse::read_mountinfo().context("/proc/self/mountinfo")?;
    let Some(entry) = mounts.iter().rev().find(|entry| entry.mount_point == real) else {
        bail!("nothing is mounted at {shown}; it is still starting, or it has ended");
    };
    if !entry.is_fuse() {
        bail!("{shown} is a mount of type {}, which nobody serves over FUSE", entry.fs_type);
    }
    // A stat may be answered from the kernel's memory, long after whoever served it has died. This always asks.
    rustix::fs::statvfs(target).map_err(std::io::Error::from).with_context(|| format!("{shown} is dead"))?;
    std::fs::metadata(target).with_context(|| format!("{shown} cannot be looked at"))?;
    if question == Question::Live {
        return Ok(format!("{shown} answers"));
    }
    let file = target.join(".wasmount/stats");
    let stats = std::fs::read_to_string(&file)
        .with_context(|| format!("{} cannot be read; is this a mount of wasmount?", file.display()))?;
    match waiting(&stats).as_slice() {
        [] => Ok(format!("{shown} is ready")),
        waiting => {
            let list = waiting.iter().map(|(name, state)| format!("`{name}` is {state}"));
            bail!("{shown}: {}; the log says why", list.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Mounts that are not ready, and what they are instead: the section `Mounts` of `.wasmount/stats`.
fn waiting(stats: &str) -> Vec<(&str, &str)> {
    let section = stats.lines().skip_while(|line| *line != "Mounts").skip(1);
    let lines = section.take_while(|line| line.starts_with("  "));
    let states = lines.filter_map(|line| line.trim().rsplit_once(' '));
    states.map(|(name, state)| (name.trim_end(), state)).filter(|(_, state)| *state != "ready").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_ready() {
        let stats = "wasmount 1, up 3 s\n\nMounts\n  a                            ready\n  b c                          failed\n  d opening\n\nReads\n  x y\n";
        assert_eq!(waiting(stats), [("b c", "failed"), ("d", "opening")]);
        assert!(waiting("wasmount 1\n\nReads\n  x y\n").is_empty());
    }

    #[test]
    fn what_is_no_mount_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let error = ask(Question::Live, dir.path()).unwrap_err().to_string();
        assert!(error.contains("nothing is mounted"), "{error}");
        let error = ask(Question::Ready, Path::new("/proc")).unwrap_err().to_string();
        assert!(error.contains("type proc"), "{error}");
        assert!(ask(Question::Live, &dir.path().join("none")).is_err());
    }
}
