//! A mounted CephFS: the inodes that are known, the capabilities that are held of them, and what may be answered, kept and read under these.
//!
//! - `client` is the machine: calls of a user on one side, what [metadata servers](crate::mds) say on the other.
//! - `inode`, `cap`, `directory`, `table`, `realm` are what it knows; `ids`, `answer`, `error`, `config` are the words of its user.
//! - `mount` is the whole: the machine, its [sessions](crate::mds::Sessions), and the [cluster](crate::rados) that carries both.
//!
//! Behaviour follows `fs/ceph` of Linux and `client/Client.cc` of Ceph, as far as a reader needs it; the names of the functions that rules come
//! from are at the rules.

mod answer;
mod cap;
mod client;
mod config;
mod directory;
mod error;
mod ids;
mod inode;
mod mount;
mod realm;
mod table;

pub use answer::{
    Answer, Attributes, Done, Entry, EntryRight, Invalid, Kind, ListedEntry, ReadPlan, RecursiveStat, Rights,
    Xattrs,
};
pub use client::{Command, FsClient};
pub use config::{FsConfig, INODE_BYTES};
pub use error::FsError;
pub use ids::{CallId, FileId, ListingId, Token, Vino};
pub use mount::FsMount;
