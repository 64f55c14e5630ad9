//! TCP and TLS connections for protocols that are not HTTP.
//!
//! [`MountNet::connect`](crate::MountNet::connect) makes a [`TcpConnection`]; nothing is pooled, since such protocols have
//! sessions. One read and one write may be under way at the same time, each in the task of whoever asks.
//!
//! What arrives is received into a small read-ahead ([`READ_AHEAD`]), so that the headers of a protocol cost no system call
//! each; payload goes into memory of exactly its size: what is in the read-ahead already is moved there, the rest comes from
//! the socket without another copy. Whatever a connection keeps or gives away is paid for by its [`Memory`].

mod connect;
mod connection;
mod memory;
mod read;
mod wire;
mod write;

pub use connect::{TcpAddress, TcpOptions, TcpTls};
pub use connection::TcpConnection;
pub use memory::{Memory, Received};

/// Bytes received at once where nobody has given memory for them, and what a connection costs its [`Memory`] while it is
/// open. Headers and small answers of storage protocols come several at a time; of a large one so much at most is copied once.
pub const READ_AHEAD: usize = 16 * 1024;

#[cfg(test)]
mod tests;
