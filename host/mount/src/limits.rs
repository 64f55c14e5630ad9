//! Limits of the process itself.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows as many open files as the system lets us: connections and plugins need more than the usual 1,024.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Failing is no reason not to mount; running out of files names itself when it happens.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// Threads for the network and the plugins: half of the processors, as the other half answers the kernel (`wasmount_fuse`). Threads
/// that steal work from each other on two processors cost a tenth of what a small file costs.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1))
}
