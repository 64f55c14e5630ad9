//! The program under the name `umount`: enough of it for images that have no other, whose containers Kubernetes ends with
//! `umount TARGET`.
//!
//! Messages and codes are those of `umount(8)`, since Fluid reads them.

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

/// Wrong use (`umount(8)`, exit status).
const USAGE: u8 = 1;
/// It could not be unmounted.
const FAILURE: u8 = 32;

/// Unmounts if the program was called `umount`; `None`: it was not.
pub(crate) fn by_name(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let name = args.next()?;
    if Path::new(&name).file_name() != Some(OsStr::new("umount")) {
        return None;
    }
    let code = match Call::parse(args) {
        Ok(call) => call.targets.iter().map(|target| call.unmount(target)).max().unwrap_or(USAGE),
        Err(message) => {
            say(&format!("{message}\nusage: umount [-l] [-f] DIRECTORY..."));
            USAGE
        }
    };
    Some(code.into())
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    targets: Vec<OsString>,
    flags: UnmountFlags,
}

impl Call {
    fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut call = Self { targets: Vec::new(), flags: UnmountFlags::empty() };
        let mut only_targets = false;
        for arg in args {
            match arg.as_bytes() {
                b"--" if !only_targets => only_targets = true,
                b"--lazy" if !only_targets => call.flags |= UnmountFlags::DETACH,
                b"--force" if !only_targets => call.flags |= UnmountFlags::FORCE,
                [b'-', letters @ ..] if !only_targets && !letters.is_empty() => {
                    for letter in letters {
                        match letter {
                            b'l' => call.flags |= UnmountFlags::DETACH,
                            b'f' => call.flags |= UnmountFlags::FORCE,
                            // There is no mtab, nothing to say, and no helper to call.
                            b'n' | b'v' | b'q' | b'i' | b'c' => {}
                            _ => return Err(format!("{}: there is no such flag here", arg.display())),
                        }
                    }
                }
                _ => call.targets.push(arg),
            }
        }
        if call.targets.is_empty() { Err("what is to be unmounted?".to_owned()) } else { Ok(call) }
    }

    fn unmount(&self, target: &OsStr) -> u8 {
        let Err(errno) = unmount(target, self.flags) else { return 0 };
        let why = match errno {
            Errno::INVAL => "not mounted.".to_owned(),
            Errno::BUSY => "target is busy.".to_owned(),
            Errno::NOENT => "no mount point specified.".to_owned(),
            Errno::PERM => "must be superuser to unmount.".to_owned(),
            other => format!("umount failed: {}.", std::io::Error::from(other)),
        };
        say(&format!("{}: {why}", target.display()));
        FAILURE
    }
}

/// Not `eprintln!`, which panics where nobody reads it.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "umount: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Call, String> {
        Call::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn flags_and_targets() {
        let call = parse(&["-lf", "/a", "--", "-b"]).unwrap();
        assert_eq!(call.targets, ["/a", "-b"]);
        assert_eq!(call.flags, UnmountFlags::DETACH | UnmountFlags::FORCE);
        assert_eq!(parse(&["--lazy", "-n", "/a"]).unwrap().flags, UnmountFlags::DETACH);
        assert!(parse(&["-x", "/a"]).unwrap_err().contains("-x"));
        assert!(parse(&["-l"]).is_err() && parse(&[]).is_err());
    }

    #[test]
    fn only_under_its_name() {
        let call = |args: &[&str]| by_name(args.iter().map(OsString::from));
        assert!(call(&["/usr/bin/wasmount", "umount"]).is_none());
        assert!(call(&["umount.nfs", "/a"]).is_none());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(
            format!("{:?}", call(&["/bin/umount", path])),
            format!("{:?}", Some(ExitCode::from(FAILURE)))
        );
        assert_eq!(format!("{:?}", call(&["umount"])), format!("{:?}", Some(ExitCode::from(USAGE))));
    }
}
