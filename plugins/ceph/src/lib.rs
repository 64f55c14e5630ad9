//! Ceph's client side without I/O: what a client says to monitors and OSDs, as state machines that take bytes and time and return
//! bytes and timers.
//!
//! Nothing here opens a socket, reads a clock or makes a random number. A *driver* does: it moves bytes between a
//! transport and these machines, tells them the time, and gives them randomness ([`Entropy`]). So the same code runs inside a
//! sandboxed component, in a native program, against a recorded session and under a fuzzer.
//!
//! Payload of objects is never looked at. It passes through as a [`Payload`], which inside a component is a handle to bytes that stay in
//! the host, and natively [`bytes::Bytes`].
//!
//! Sources: the protocol is described in `doc/dev/msgr2.rst` and `doc/dev/cephx_protocol.rst` of Ceph; where those are silent, in
//! its headers, named at each item.

pub mod auth;
pub mod cephfs;
pub mod crush;
pub mod encoding;
pub mod entropy;
pub mod mds;
pub mod mon;
pub mod msgr;
pub mod osd;
pub mod osdmap;
pub mod payload;
pub mod rados;
pub mod striper;
pub mod time;
pub mod types;

pub use entropy::Entropy;
pub use payload::Payload;
pub use time::Now;
