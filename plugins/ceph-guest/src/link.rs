//! One connection: its loop reads what the machine wants to read, until it ends.

use crate::driver::{Driver, HostMachine};
use crate::payload::HostBytes;
use futures::future::{AbortHandle, poll_fn};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use wasmount_ceph::msgr::{Arrived, Chunk, Want};
use wasmount_ceph::rados::LinkId;
use wasmount_sdk::tcp::{self, Address, ConnectOptions, Connection};
use wasmount_sdk::{Buffer, Error, ErrorKind, Result};

/// What the driver keeps of a connection.
pub(crate) struct Link {
    /// Where it leads, as people write it.
    pub(crate) address: String,
    /// Ends the loop.
    pub(crate) stop: AbortHandle,
    /// Ends the write that is under way. Dropping a write finishes the connection, which is what ending it means.
    pub(crate) stop_writing: Option<AbortHandle>,
    /// The connection, once it stands.
    pub(crate) connection: Option<Rc<Connection>>,
    /// The loop waits for something to read.
    pub(crate) waiting: Option<Waker>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.abort();
        if let Some(writing) = &self.stop_writing {
            writing.abort();
        }
    }
}

/// Connects, and reads until the connection ends.
pub(crate) async fn run<M: HostMachine>(driver: Rc<Driver<M>>, id: LinkId, address: Address, limit_ms: u64) {
    let options = ConnectOptions::default()
        .timeout(Duration::from_millis(limit_ms))
        // Ceph has its own way to find out that a peer is gone, and connections to OSDs rest for long.
        .idle_timeout(Duration::from_secs(24 * 3600));
    let connection = match tcp::connect(address, options).await {
        Ok(connection) => Rc::new(connection),
        Err(error) => return driver.broken(id, &error),
    };
    if !driver.stands(id, connection.clone()) {
        return;
    }
    let local: Option<IpAddr> = connection.local_address().host.parse().ok();
    driver.tell(|machine, now| machine.connected(id, local, now));
    while let Some(want) = next_want(&driver, id).await {
        let arrived = match want {
            Want::Bytes(length) => connection.read_exact(length).await.map(Arrived::Bytes),
            Want::Payload(length) => {
                connection.read_buffer(length).await.map(|buffer| Arrived::Payload(HostBytes(buffer)))
            }
        };
        match arrived {
            Ok(arrived) => driver.tell(|machine, now| machine.received(id, arrived, now)),
            Err(error) => return driver.broken(id, &error),
        }
    }
}

/// What is to be read; waits while there is nothing. `None`: the connection is not wanted any more.
async fn next_want<M: HostMachine>(driver: &Driver<M>, id: LinkId) -> Option<Want> {
    poll_fn(|context| {
        let mut links = driver.links.borrow_mut();
        let Some(link) = links.get_mut(&id) else { return Poll::Ready(None) };
        match driver.machine.borrow().want(id) {
            Some(want) => Poll::Ready(Some(want)),
            None => {
                link.waiting = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Writes all of this.
pub(crate) async fn write<M: HostMachine>(
    driver: Rc<Driver<M>>,
    id: LinkId,
    mut chunks: Vec<Chunk<HostBytes>>,
) {
    let Some(connection) = driver.connection(id) else { return };
    let pieces = chunks.iter_mut().map(|chunk| match chunk {
        Chunk::Bytes(bytes) => tcp::Chunk::Bytes(std::mem::take(bytes)),
        Chunk::Payload(payload) => tcp::Chunk::Buffer(&payload.0),
    });
    match connection.write(pieces.collect()).await {
        Ok(()) => driver.tell(|machine, now| machine.written(id, now)),
        Err(error) => driver.broken(id, &error),
    }
}

/// All of this text as buffers.
pub(crate) fn buffers(chunks: Vec<Chunk<HostBytes>>) -> Result<Vec<Buffer>> {
    let buffer = |chunk: Chunk<HostBytes>| match chunk {
        Chunk::Bytes(bytes) => Buffer::create(&bytes),
        Chunk::Payload(payload) => Ok(payload.0),
    };
    chunks.into_iter().map(buffer).collect()
}

/// Why a connection ended, in words that can follow its address, which the host may have put there already.
pub(crate) fn reason(error: &Error, address: &str) -> String {
    match error.kind {
        ErrorKind::Interrupted => "it is being closed".to_owned(),
        _ => {
            let rest = error.message.strip_prefix(address).and_then(|rest| rest.strip_prefix(": "));
            rest.unwrap_or(&error.message).to_owned()
        }
    }
}

/// All connections by number.
pub(crate) type Links = RefCell<std::collections::BTreeMap<LinkId, Link>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_do_not_repeat_the_address() {
        let error = Error::unavailable("10.0.0.1:3300: cannot connect: Connection refused");
        assert_eq!(reason(&error, "10.0.0.1:3300"), "cannot connect: Connection refused");
        assert_eq!(reason(&error, "10.0.0.1:330"), error.message);
        assert_eq!(reason(&Error::new(ErrorKind::Interrupted, "x"), ""), "it is being closed");
    }
}
