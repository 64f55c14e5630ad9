//! `wasmount probe`: whether a mount is well, for the probes of Kubernetes. Needs no shell beside it.
//!
//! It asks the mount itself, through the kernel, as applications do: whatever keeps them from an answer keeps it from one, too.

use crate::cli::{ProbeArgs, Question};
use crate::fluid::discover;
use anyhow::{Context, bail};
use clap::ValueEnum;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long the mount may take: kubelet gives a probe one second, unless it is told otherwise.
const LIMIT: Duration = Duration::from_millis(950);

/// What a sentence of the one who asks begins with, if all is well.
const WELL: &str = "well: ";

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
    if args.itself {
        let (verdict, sentence) = match ask(args.question, &target) {
            Ok(sentence) => (WELL, sentence),
            Err(error) => ("", format!("{error:#}")),
        };
        write!(std::io::stdout(), "{verdict}{sentence}")?;
        return Ok(());
    }
    let mut asking = asker(args.question, &target)?;
    let pipe = asking.stdout.take().context("the pipe to the one who asks")?;
    let (tell, answer) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = tell.send(std::io::read_to_string(pipe));
    })?;
    let answered = tokio::task::spawn_blocking(move || answer.recv_timeout(LIMIT)).await?;
    let Ok(said) = answered else {
        // It may be one whom nothing ends before the kernel does (see `asker`), so it is not waited for.
        let _ = asking.kill();
        bail!("{} does not answer: no stat within a second", target.display());
    };
    let said = said.context("the one who asks")?;
    asking.wait().context("the one who asks")?;
    match said.strip_prefix(WELL) {
        Some(sentence) => writeln!(std::io::stdout(), "{sentence}")?,
        None => bail!("{said}"),
    }
    Ok(())
}

/// Starts this program again, to ask. Who waits for an answer to a message that a FUSE server has taken cannot be killed until the kernel ends
/// the connection, minutes later, and a process does not end before its last thread does: so whoever asks has to be another process.
fn asker(question: Question, target: &Path) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("the path of this program")?;
    let question = question.to_possible_value().context("the name of the question")?;
    Command::new(&program)
        // Called by another name it would be another program.
        .arg0("wasmount")
        .args(["probe", "--itself", question.get_name()])
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))
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
