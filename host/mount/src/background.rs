//! A mount that outlives the command which asked for it: what `mount -t fuse.wasmount` leaves behind.
//!
//! The helper ([`mount_helper`](crate::commands::mount_helper)) starts this program anew and waits on its standard output; a process with
//! threads cannot fork. Until the mount is there the two share terminal and session, so that Ctrl-C ends both and errors are seen.

use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// What the helper waits for.
pub(crate) const MOUNTED: &str = "mounted\n";

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
