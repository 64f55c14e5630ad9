//! A mount that outlives the command which asked for it: what `mount -t fuse.wasmount` leaves behind.
//!
//! The helper ([`mount_helper`](crate::commands::mount_helper)) starts this program anew and waits on its standard output; a process with
//! threads cannot fork. Until the mount is there the two share terminal and session, so that Ctrl-C ends both and errors are seen.
//!
//! Everybody may read a process's command line, and this one stays as long as the mount does, while options may be secrets. So the new
//! process is told its arguments on standard input.

use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// What the helper waits for.
pub(crate) const MOUNTED: &str = "mounted\n";

/// First argument of a process that reads the true ones from its standard input. What follows is for whoever looks at the list of
/// processes.
pub(crate) const TOLD: &str = "background";

/// Most bytes of arguments: as many as the kernel takes with a stack of 8 MiB (execve(2), a quarter of it).
const MOST: u64 = 2 << 20;

/// Arguments as they are told: each ends with a NUL, and so does the list.
pub(crate) fn told(arguments: &[OsString]) -> Vec<u8> {
    let parts = arguments.iter().flat_map(|argument| [argument.as_bytes(), b"\0"]);
    parts.chain([&b"\0"[..]]).collect::<Vec<_>>().concat()
}

/// The arguments of this process: those of its command line, unless that says that `input` has them.
///
/// # Errors
/// When `input` ends too early: whoever was to write it is gone.
pub(crate) fn arguments(line: impl Iterator<Item = OsString>, input: impl Read) -> io::Result<Vec<OsString>> {
    let mut line: Vec<OsString> = line.collect();
    if line.get(1).is_none_or(|first| first != OsStr::new(TOLD)) {
        return Ok(line);
    }
    let mut text = Vec::new();
    input.take(MOST).read_to_end(&mut text)?;
    let list = text.strip_suffix(b"\0\0").ok_or(io::ErrorKind::UnexpectedEof)?;
    line.truncate(1);
    line.extend(list.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec())));
    Ok(line)
}

/// How to go on once the mount is there.
#[derive(Clone, Debug)]
pub(crate) struct Background {
    /// What the kernel's table shows as source: `mount -a` leaves a line of fstab alone whose source and target are there.
    pub(crate) source: String,
    /// Where the log goes then; without it to the journal, if that is where standard error leads, else nowhere.
    pub(crate) log: Option<PathBuf>,
}

impl Background {
    /// Says that the mount is there, and lets go of terminal, session and pipes.
    ///
    /// # Errors
    /// When the log cannot be opened, or the helper is gone: nobody wants this mount then.
    pub(crate) fn mounted(&self) -> io::Result<()> {
        // Fails for the leader of a process group, which the helper does not make it.
        let _ = rustix::process::setsid();
        let null = File::options().read(true).write(true).open("/dev/null")?;
        match &self.log {
            Some(log) => dup2_stderr(File::options().append(true).create(true).mode(0o600).open(log)?)?,
            None if is_journal() => {}
            // Who captures what mount(8) prints waits for the end of this pipe.
            None => dup2_stderr(&null)?,
        }
        let mut out = io::stdout().lock();
        out.write_all(MOUNTED.as_bytes())?;
        out.flush()?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        Ok(())
    }
}

/// Whether standard error leads to systemd's journal: `systemd.exec(5)`, `$JOURNAL_STREAM`.
fn is_journal() -> bool {
    let Ok(error) = io::stderr().as_fd().try_clone_to_owned().map(File::from).and_then(|f| f.metadata())
    else {
        return false;
    };
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stream == format!("{}:{}", error.dev(), error.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str], input: &[u8]) -> io::Result<Vec<OsString>> {
        arguments(line.iter().map(OsString::from), input)
    }

    #[test]
    fn arguments_are_told_whole_or_not_at_all() {
        let list = ["mount", "--option=secret-key=a b\n", "--", "", "/mnt"].map(OsString::from);
        let whole = told(&list);
        assert_eq!(
            read(&["wasmount", TOLD, "/mnt"], &whole).unwrap(),
            [&[OsString::from("wasmount")], &list[..]].concat()
        );
        for end in 0..whole.len() - 1 {
            let cut = whole.get(..end).unwrap();
            // An argument may be empty.
            if !cut.ends_with(b"\0\0") {
                let error = read(&["wasmount", TOLD], cut).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
            }
        }
    }

    #[test]
    fn other_processes_have_their_command_line() {
        for line in [&["wasmount"][..], &["wasmount", "mount", "background", "/mnt"], &[]] {
            assert_eq!(read(line, b"x\0\0").unwrap(), line, "{line:?}");
        }
    }
}
