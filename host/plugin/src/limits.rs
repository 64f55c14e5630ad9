//! Everything a plugin could use up, and how much of it there is.
//!
//! A plugin is treated as hostile: whatever it can make grow has a limit here. Each limit has a documented
//! default and can be changed in [`crate::PluginHostConfig`]. What exceeding one does is said at each of them:
//! either the call that wants more fails (`too-large`), or the instance traps and is replaced.

use std::time::Duration;

const MIB: usize = 1 << 20;

/// Limits of one plugin instance. One instance serves one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all linear memories together. An object store keeps no payload there; 256 MiB leaves room for the
    /// listings of 512 calls in flight. Growing further traps.
    pub linear_memory: usize,
    /// Elements of one WebAssembly table. Growing further traps.
    pub table_elements: usize,
    /// Core instances, tables and memories, each: what a component links itself together from. A Rust
    /// component has 1 to 10 of each. More is refused at instantiation.
    pub core_items: usize,
    /// Live handles of host resources (`buffer`, `body`, `secret`, `connection`, `cipher`). The creating call fails with `too-large`.
    pub handles: usize,
    /// Entries of the engine's own table of calls, imports that are being waited for, waitable sets, streams and futures. A
    /// call that waits for one import takes about four. More traps.
    pub tasks: usize,
    /// Bytes of one `buffer`, and of one `body.collect` or `body.read-all`. More is `too-large`.
    pub buffer: usize,
    /// Bytes of all live buffers of an instance. The creating call fails with `too-large`; `connection.read-buffer` waits, and
    /// leaves a reserve for what is made of the bytes it has received.
    pub buffers: usize,
    /// Bytes of one read of a file or an image. More is asked for in several. Less where the memory for all instances is small.
    pub read: u32,
    /// How long a call waits for room among the buffers. Then it is `timed-out`.
    pub buffers_wait: Duration,
    /// Bytes of one `connection.read-exact` (`tcp.wit`): more is `too-large`. `connection.read-some` gives no more.
    pub tcp_read: usize,
    /// Chunks of one `connection.write`: far more than any frame has. More is `too-large`. How many connections there can be is
    /// said in [`wasmount_net::NetLimits`].
    pub chunks: usize,
    /// Bytes of associated data of `cipher.seal` and `cipher.open`, which keep them while they wait; headers of protocols
    /// have tens. More is `too-large`.
    pub associated: usize,
    /// Buffers encrypted or decrypted on threads at the same time; others wait for their turn.
    pub ciphers: usize,
    /// Bytes copied from guest to host by one call: arguments of an import, result of an export. A page of 1,000 keys
    /// of 1,024 bytes is 1.1 MiB. More traps.
    pub reply: usize,
    /// Objects and prefixes in one page, whatever was asked. More is `corrupt`.
    pub page_entries: u32,
    /// Items of one `notify.invalidate` (`notify.wit`). More is `too-large`.
    pub invalidation: usize,
    /// Items of all `notify.invalidate` of an instance that have not returned. More is `too-large`: the caches of the host are full
    /// of what is to be forgotten.
    pub invalidations: usize,
    /// Time for one `notify.invalidate`. Then it is `timed-out`.
    pub invalidate_time: Duration,
    /// Bytes of a key. More is `corrupt`; in a request, `name-too-long`.
    pub key: usize,
    /// Bytes of a version (`objects.wit`). More is `corrupt`.
    pub version: usize,
    /// Bytes of a continuation token. More is `corrupt`.
    pub continuation: usize,
    /// Entries of user metadata of an object and bytes of all of it. More is `corrupt`.
    pub metadata: usize,
    /// Bytes of a message or title; longer ones are cut.
    pub message: usize,
    /// Log lines in a second; more are counted and dropped.
    pub log_lines: u32,
    /// Calls waiting to be taken by the instance. Callers wait, each until its deadline.
    pub queue: usize,
    /// Calls inside the instance at the same time. Others wait in the queue.
    pub in_flight: usize,
    /// Time guest code may run without any call ending or waiting for the host. Then it traps.
    pub cpu_budget: Duration,
    /// Time for `lifecycle.open`, unless the caller's deadline is earlier.
    pub open: Duration,
    /// Time for `lifecycle.describe` and for instantiation.
    pub describe: Duration,
    /// Time a call has to end after it was given up, before its instance is replaced.
    pub grace: Duration,
    /// Time for `lifecycle.close`.
    pub close: Duration,
    /// Bytes of a component file. More is refused.
    pub component: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            linear_memory: 256 * MIB,
            table_elements: 100_000,
            core_items: 100,
            handles: 8192,
            tasks: 16_384,
            buffer: 64 * MIB,
            buffers: 512 * MIB,
            read: 16 << 20,
            buffers_wait: Duration::from_secs(30),
            tcp_read: MIB,
            chunks: 1024,
            associated: 4096,
            ciphers: 4,
            reply: 16 * MIB,
            page_entries: 10_000,
            invalidation: 1000,
            invalidations: 20_000,
            invalidate_time: Duration::from_secs(60),
            key: 4096,
            version: 256,
            continuation: 16 * 1024,
            metadata: 64 * 1024,
            message: 1024,
            log_lines: 100,
            queue: 1024,
            in_flight: 512,
            cpu_budget: Duration::from_secs(1),
            open: Duration::from_secs(30),
            describe: Duration::from_secs(10),
            grace: Duration::from_secs(2),
            close: Duration::from_secs(5),
            component: 256 * MIB as u64,
        }
    }
}
