//! `mount.fuse.wasmount SOURCE TARGET -o OPTIONS`: what mount(8) runs for `mount -t fuse.wasmount`, and for such lines of `/etc/fstab`.
//!
//! The program is installed under this name, or `mount.wasmount`, as a link in `/sbin`. It starts `wasmount mount` in the background,
//! waits until the mount is there, and ends with the codes of mount(8). What was asked for is told to that process and not written on its
//! command line, which everybody may read for as long as the mount is there. Options that are named like a flag of `wasmount mount` are
//! that flag; what only mount(8) itself and systemd understand is left out; the rest is for the plugin.

use crate::background::{self, MOUNTED};
use crate::cli::Cli;
use clap::{ArgAction, CommandFactory};
use rustix::mount::{MountFlags, mount_remount};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Names under which the program is this helper.
const NAMES: [&str; 2] = ["mount.fuse.wasmount", "mount.wasmount"];

/// Exit codes of mount(8), section EXIT STATUS.
const INCORRECT_INVOCATION: u8 = 1;
const SYSTEM_ERROR: u8 = 2;
const MOUNT_FAILURE: u8 = 32;

/// Most of what the mounting process prints that is kept for the case that it fails.
const KEPT: u64 = 64 * 1024;

/// Options that are for mount(8), systemd or other tools, or that say what is true anyway.
const LEFT_OUT: [&str; 22] = [
    "_netdev",
    "_rnetdev",
    "nofail",
    "auto",
    "noauto",
    "defaults",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "group",
    "async",
    "exec",
    "rw",
    "nosuid",
    "nodev",
    "diratime",
    "noiversion",
    "nomand",
    "silent",
    "relatime",
];

/// Does what mount(8) asks for, if the program was called by one of the helper's names.
pub(crate) fn by_name(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let called = arguments.next()?;
    let name = Path::new(&called).file_name()?.to_str()?;
    if !NAMES.contains(&name) {
        return None;
    }
    let code = match Request::parse(arguments) {
        Ok(Some(request)) => match request.translate() {
            Ok(translated) if request.fake => {
                drop(translated);
                Ok(())
            }
            Ok(translated) => mount(&translated),
            Err(failure) => Err(failure),
        },
        // Only asked for its version or for help.
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    Some(match code {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not `eprintln!`, which panics where nobody reads it.
            let text = crate::logging::redactor().redact(&failure.text).into_owned();
            let _ = writeln!(std::io::stderr(), "{name}: {text}");
            ExitCode::from(failure.code)
        }
    })
}

/// Why there is no mount.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    code: u8,
    text: String,
}

fn misuse(text: impl Into<String>) -> Failure {
    Failure { code: INCORRECT_INVOCATION, text: text.into() }
}

fn broken(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure { code: SYSTEM_ERROR, text: format!("{what}: {error}") }
}

/// What mount(8) asks for: `SOURCE TARGET [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]` (mount(8), section EXTERNAL HELPERS).
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    source: OsString,
    target: PathBuf,
    /// All `-o`, joined with commas.
    options: String,
    /// `-t fuse.SUBTYPE`
    subtype: Option<String>,
    /// `-f`: do everything but mount.
    fake: bool,
}

impl Request {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Option<Self>, Failure> {
        let (mut request, mut places, mut arguments) = (Self::default(), Vec::new(), arguments);
        while let Some(argument) = arguments.next() {
            let flags =
                argument.to_str().and_then(|text| text.strip_prefix('-')).filter(|flags| !flags.is_empty());
            let Some(flags) = flags else {
                places.push(argument);
                continue;
            };
            for (at, flag) in flags.char_indices() {
                let rest = flags.get(at + flag.len_utf8()..).unwrap_or_default();
                let mut value = || match rest {
                    "" => arguments.next().and_then(|value| value.into_string().ok()),
                    rest => Some(rest.to_owned()),
                };
                match flag {
                    'f' => request.fake = true,
                    's' | 'n' | 'v' | 'w' | 'r' => continue,
                    'h' | 'V' => return Ok(None),
                    'o' => {
                        let options = value().ok_or_else(|| misuse("-o needs options, as UTF-8"))?;
                        request.options = [request.options.as_str(), options.as_str()].join(",");
                    }
                    't' => {
                        let kind = value().ok_or_else(|| misuse("-t needs a type"))?;
                        request.subtype = kind.strip_prefix("fuse.").map(str::to_owned);
                    }
                    'N' => return Err(misuse("-N is not supported: run mount inside the namespace")),
                    other => {
                        return Err(misuse(format!("-{other} is unknown; this is a helper of mount(8)")));
                    }
                }
                if matches!(flag, 'o' | 't') {
                    break;
                }
            }
        }
        match <[OsString; 2]>::try_from(places) {
            Ok([source, target]) => {
                let target = std::path::absolute(target).map_err(|error| broken("the target", &error))?;
                Ok(Some(Self { source, target, ..request }))
            }
            Err(_) => Err(misuse("write: mount -t fuse.wasmount SOURCE TARGET [-o OPTIONS]")),
        }
    }

    fn translate(&self) -> Result<Translated, Failure> {
        if has_password(&self.source) {
            return Err(misuse(
                "SOURCE has a password, and everybody may read SOURCE in /proc/mounts: name the file of the secret in an option instead",
            ));
        }
        let mut arguments: Vec<OsString> = vec!["mount".into(), "--background".into()];
        let mut remount = MountFlags::empty();
        let (mut has_log, mut log_file) = (false, None);
        if let Some(subtype) = &self.subtype {
            arguments.push(format!("--subtype={subtype}").into());
        }
        let flags = Cli::command();
        let flags = flags.find_subcommand("mount").ok_or_else(|| misuse("no subcommand `mount`"))?;
        let flag_of = |name: &str| {
            flags.get_arguments().find(|flag| !flag.is_hide_set() && flag.get_long() == Some(name))
        };
        for (name, value) in split(&self.options)? {
            let plain = name.to_ascii_lowercase();
            let dashed = plain.replace('_', "-");
            let is_left_out = LEFT_OUT.contains(&plain.as_str()) && value.is_none();
            if is_left_out
                || plain.starts_with("x-")
                || matches!(plain.as_str(), "comment" | "uhelper" | "helper")
            {
                continue;
            }
            if let Some(flag) = kernels(&plain).filter(|_| value.is_none()) {
                remount |= flag;
                continue;
            }
            if plain == "remount" {
                let text =
                    "remount: wasmount cannot change a mount that is there; unmount it and mount it again";
                return Err(Failure { code: MOUNT_FAILURE, text: text.to_owned() });
            }
            has_log |= dashed == "log";
            let argument = match flag_of(&dashed) {
                _ if dashed == "log-file" => {
                    let file = value.unwrap_or_default();
                    log_file = Some(PathBuf::from(&file));
                    format!("--background-log={file}")
                }
                Some(flag) if matches!(flag.get_action(), ArgAction::SetTrue) => match value.as_deref() {
                    None | Some("" | "true") => format!("--{dashed}"),
                    Some("false") => continue,
                    Some(other) => {
                        return Err(misuse(format!("{name}={other}: it is on or off, without a value")));
                    }
                },
                Some(_) => format!("--{dashed}={}", value.unwrap_or_default()),
                None => match value {
                    Some(value) => format!("--option={name}={value}"),
                    None => format!("--option={name}"),
                },
            };
            arguments.push(argument.into());
        }
        if !has_log {
            // What fails is read by people, on a terminal or in the journal.
            arguments.push("--log=human".into());
        }
        arguments.extend(["--".into(), self.source.clone(), self.target.clone().into()]);
        Ok(Translated { arguments, target: self.target.clone(), log: log_file, remount })
    }
}

/// Whether there is a `USER:PASSWORD@` before the host.
fn has_password(source: &OsStr) -> bool {
    let text = source.to_string_lossy();
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

/// What to run, and what to change in the kernel's table afterwards.
struct Translated {
    arguments: Vec<OsString>,
    target: PathBuf,
    log: Option<PathBuf>,
    remount: MountFlags,
}

/// Flags of the kernel that wasmount does not set by itself.
fn kernels(option: &str) -> Option<MountFlags> {
    Some(match option {
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        _ => return None,
    })
}

/// `k=v,k,…`, where commas between double quotes separate nothing (fstab(5), mount(8)).
fn split(options: &str) -> Result<Vec<(String, Option<String>)>, Failure> {
    let (mut pieces, mut piece, mut quoted) = (Vec::new(), String::new(), false);
    for c in options.chars().chain([',']) {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => pieces.push(std::mem::take(&mut piece)),
            c => piece.push(c),
        }
    }
    if quoted {
        return Err(misuse("the options have an opening `\"` without a closing one"));
    }
    let pair = |piece: String| match piece.split_once('=') {
        Some((name, value)) => (name.trim().to_owned(), Some(value.to_owned())),
        None => (piece.trim().to_owned(), None),
    };
    Ok(pieces.into_iter().map(pair).filter(|(name, _)| !name.is_empty()).collect())
}

/// Starts the mounting process and waits until it has mounted or ended.
fn mount(translated: &Translated) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| broken("cannot find this program", &error))?;
    let mut child = Command::new(program)
        // Under the helper's name it would be the helper.
        .arg0("wasmount")
        .arg(background::TOLD)
        .arg(&translated.target)
        // It would keep the directory's file system from being unmounted.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| broken("cannot start wasmount", &error))?;
    let (Some(mut told), Some(out), Some(err)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(broken("cannot start wasmount", &"no pipes"));
    };
    // Read all the time, or the process would wait for room in the pipe.
    let errors = std::thread::spawn(move || kept(err));
    // Should it be gone already, its end says why.
    let _ = told.write_all(&background::told(&translated.arguments));
    drop(told);
    let mut line = String::new();
    let said = BufReader::new(out.take(MOUNTED.len() as u64)).read_line(&mut line);
    if said.is_ok() && line == MOUNTED {
        // It has let go of the pipe before it said so.
        tell(&errors.join().unwrap_or_default(), translated.log.as_deref());
        return set_flags(translated);
    }
    let ended = child.wait().map_err(|error| broken("cannot wait for wasmount", &error))?;
    let errors = errors.join().unwrap_or_default();
    // What clap says about a flag is a matter of who wrote the line.
    let code = if ended.code() == Some(2) { INCORRECT_INVOCATION } else { MOUNT_FAILURE };
    let text = important(&errors);
    let text = if text.is_empty() { format!("wasmount ended with {ended}") } else { text };
    Err(Failure { code, text })
}

/// What was logged before the mount was there: all of it belongs into the log, and warnings before the eyes of who mounts.
fn tell(logged: &[u8], log: Option<&Path>) {
    let append = |log: &Path| File::options().append(true).open(log)?.write_all(logged);
    let important = important(logged);
    // That it is mounted is not less true for a log that is full.
    let _ = log.map(append);
    if !important.is_empty() {
        let _ = writeln!(std::io::stderr(), "{important}");
    }
}

/// The end of what a process prints.
fn kept(mut from: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        all.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let most = usize::try_from(KEPT).unwrap_or(usize::MAX);
        if all.len() > 2 * most {
            all.drain(..all.len() - most);
        }
    }
    all
}

/// Lines that say what is wrong: none of those that only tell how things went.
fn important(log: &[u8]) -> String {
    let told =
        |line: &&str| !["  INFO ", " INFO ", " DEBUG ", " TRACE "].iter().any(|level| line.contains(level));
    let log = String::from_utf8_lossy(log);
    log.lines().map(str::trim_end).filter(told).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn set_flags(translated: &Translated) -> Result<(), Failure> {
    if translated.remount.is_empty() {
        return Ok(());
    }
    let own = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(&translated.target, own | translated.remount, OsStr::new("").as_bytes())
        .map_err(|error| broken("mounted, but noexec, noatime or nodiratime cannot be set", &error))
}

#[cfg(test)]
#[path = "mount_helper_tests.rs"]
mod tests;
