//! What went wrong on the wire, said so that somebody can fix it.

use super::exchange::Failed;
use super::url::Target;
use crate::failure::{find, from_tls, unavailable};
use std::io;
use wasmount_types::Error;

/// A request that failed on its connection.
pub(super) fn from_exchange(target: &Target, failed: Failed, private_roots: bool) -> Error {
    let closed =
        "the server closed the connection without answering; does it speak this scheme there?".to_owned();
    let message = match failed {
        Failed::Own(own) => return own,
        Failed::Closed => closed,
        // What TLS calls a connection that was closed without a word.
        Failed::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => closed,
        Failed::Io(error) => match find::<rustls::Error>(&error) {
            Some(tls) => return from_tls(target, tls, private_roots),
            None => format!("the connection broke: {error}"),
        },
        Failed::Malformed(what) => {
            format!("the answer cannot be read ({what}); check scheme and port of the endpoint option")
        }
        Failed::Upgrade(status) => format!("it answered {status}, which was not asked for"),
    };
    unavailable(format!("{target}: {message}"), 0)
}
