//! The user namespace that this process is in (`user_namespaces(7)`), and what it means for a FUSE mount.
//!
//! A mount belongs to the namespace it was made in. The kernel lets nobody use it whose own is another one and not below that
//! (`fuse_allow_current_process` in `fs/fuse/dir.c`), whatever `allow_other` says: a server there could do with them what it likes.

use wasmount_fuse::MountError;

/// Of the machine's own namespace: every user is who he is.
const EVERYBODY: [&str; 3] = ["0", "0", "4294967295"];

/// Whether this process is in a user namespace other than the machine's own.
pub(crate) fn is_confined() -> bool {
    // Without /proc, or without such namespaces, there is nothing to say.
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_some(&map))
}

fn maps_some(map: &str) -> bool {
    !map.split_ascii_whitespace().eq(EVERYBODY)
}

/// Says who can use the mount, where that is not everybody.
pub(crate) fn announce() {
    if is_confined() {
        tracing::warn!(
            "this process is in a user namespace of its own (rootless, hostUsers: false): the mount is for processes in that \
             namespace, all others get EACCES, and it does not propagate to the node"
        );
    }
}

/// Why there is no mount, with the reason that only such a namespace has.
pub(crate) fn explain(error: MountError) -> anyhow::Error {
    let refused = matches!(error, MountError::Mount { .. });
    let error = anyhow::Error::new(error);
    if !(refused && is_confined()) {
        return error;
    }
    error.context(
        "this process is in a user namespace of its own (rootless, hostUsers: false), and mounts only in a mount namespace that belongs to it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_users_are_the_machines() {
        assert!(!maps_some("         0          0 4294967295\n"));
        assert!(maps_some("         0       1000          1\n         1     100000      65536\n"));
        assert!(maps_some("         0          0      65536\n"));
        assert!(maps_some("\n"), "nobody yet");
    }
}
