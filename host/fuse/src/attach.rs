//! The `mount(2)` call.
//!
//! fuser could do this itself, but a session of fuser 0.18 that mounts also unmounts when it ends, whatever is at the
//! target by then: it takes the error that poll reports on a dead connection for a sign of life. After an umount from
//! outside that would take away the mount of whoever came next. So wasmount mounts, and fuser gets the descriptor.

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Mounts at `target`, read-only and for all users, and returns the connection to the kernel. Parameters are described in
/// the kernel's `Documentation/filesystems/fuse.rst`.
pub(crate) fn attach(target: &Path, source: &str, subtype: &str) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    // `rootmode` is octal: a directory. The kernel decides on access by owner and mode.
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},allow_other,default_permissions",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount(source, target, format!("fuse.{subtype}"), flags, Some(CString::new(data)?.as_c_str()))?;
    Ok(device.into())
}

/// Takes the topmost mount away; who uses it may go on.
pub(crate) fn detach(target: &Path) -> rustix::io::Result<()> {
    unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}
