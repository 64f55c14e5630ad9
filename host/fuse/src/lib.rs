//! The kernel side: decodes FUSE requests and answers them from a [`wasmount_core::FileSystem`].
//!
//! A request takes this way: a thread of [`fuser`] reads it from `/dev/fuse` and calls the adapter; the adapter
//! builds a [`wasmount_types::RequestCtx`] with a deadline and polls the file system's future once, right there. What
//! can be answered from memory is answered without a task switch; the rest moves to the tokio runtime, so a
//! thread that reads requests never waits for a provider. Every request is answered by its deadline, because
//! a process that waits for FUSE cannot be killed before that.
//!
//! Mounting cleans up first: what a dead predecessor left at the target is detached ([`stale`]), and never
//! anything that somebody else uses. After mounting, the kernel's read-ahead is raised ([`bdi`]).
//!
//! What the kernel is told unasked (bytes, dropped pages, attributes and names) goes through `kernel`; how long it waits
//! for us is said in `patience`.
//!
//! A file that lies wholly in the disk cache is handed to the kernel, which then reads it by itself ([`Passthrough`]).

mod adapter;
mod attach;
pub mod bdi;
mod device;
mod drops;
mod init;
mod kernel;
mod mountinfo;
mod options;
mod pages;
mod passthrough;
mod patience;
mod piped;
mod readdir;
mod reply;
mod serve;
mod session;
pub mod stale;
mod task;

pub use mountinfo::{MountEntry, parse as parse_mountinfo, read as read_mountinfo};
pub use options::MountOptions;
pub use passthrough::{NoPassthrough, Passthrough};
pub use session::{MountError, Mounted, mount};
