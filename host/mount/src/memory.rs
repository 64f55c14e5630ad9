//! The one memory number, and who gets how much of it.
//!
//! Three kinds of users, each with a hard limit of its own, so that the sum can never be more than the number: what is read
//! (windows, kept blocks, blocks on their way to the disk cache), what plugins hold (linear memories and the buffers they
//! make), and what the network holds (bodies between socket and reader).

use crate::cgroup;
use crate::config::size;
use anyhow::bail;

/// Without `--memory` and without a cgroup limit.
const DEFAULT: u64 = 512 << 20;
/// Below this a plugin has no room to work in.
pub(crate) const LEAST: u64 = 48 << 20;

/// How much memory there is, in bytes, and its shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) total: u64,
    /// Windows, kept blocks, blocks that wait for the disk.
    pub(crate) reads: u64,
    /// Linear memories of all plugin instances and the buffers they make.
    pub(crate) guests: u64,
    /// Bodies between socket and reader.
    pub(crate) bodies: u64,
    /// Beside all that: how much of the kernel's page cache may be filled with bytes that nobody has asked for yet. The kernel
    /// takes it back when it needs it, but charges it to this process's cgroup until then.
    pub(crate) page_cache: u64,
}

impl Memory {
    /// The operator's number, else half of what the cgroup allows, else 512 MiB.
    ///
    /// # Errors
    /// The operator's number is too small.
    pub(crate) fn new(named: Option<u64>) -> anyhow::Result<Self> {
        let limit = cgroup::memory_limit();
        let total = match (named, limit) {
            (Some(named), _) if named < LEAST => {
                bail!(
                    "--memory {}: at least {} are needed for plugins and reads",
                    size::show(named),
                    size::show(LEAST)
                )
            }
            (Some(named), Some(limit)) if named > limit => {
                tracing::warn!(
                    memory = size::show(named),
                    limit = size::show(limit),
                    "--memory is more than the cgroup's limit: the kernel may kill this process before the number is reached"
                );
                named
            }
            (Some(named), _) => named,
            (None, Some(limit)) => (limit / 2).max(LEAST),
            (None, None) => DEFAULT,
        };
        let page_cache = match limit {
            Some(limit) => limit.saturating_sub(total) / 2,
            None => cgroup::available().unwrap_or(0) / 4,
        };
        Ok(Self { page_cache, ..Self::shares(total) })
    }

    fn shares(total: u64) -> Self {
        // What is read over HTTP lies in `bodies`, what plugins receive over TCP in buffers of their own: several objects at a time.
        let guests = (total / 4).clamp(16 << 20, 512 << 20);
        let bodies = (total / 8).clamp(8 << 20, 64 << 20);
        Self { total, guests, bodies, reads: total - guests - bodies, page_cache: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_all_there_is() {
        for total in [LEAST, 128 << 20, 512 << 20, 64 << 30] {
            let memory = Memory::new(Some(total)).unwrap();
            assert_eq!(memory.reads + memory.guests + memory.bodies, total);
            assert!(memory.reads >= total / 2, "{memory:?}");
        }
    }

    #[test]
    fn too_little_is_said() {
        let message = Memory::new(Some(1 << 20)).unwrap_err().to_string();
        assert!(message.contains("--memory 1.0 MiB") && message.contains("48.0 MiB"), "{message}");
    }
}
