//! What went wrong on the wire, said so that somebody can fix it.

use super::exchange::Failed;
use super::url::Target;
use std::error::Error as StdError;
use std::io;
use wasmount_types::{Blame, Error, ErrorKind, Retry};

/// `unavailable`, blame `origin`.
pub(super) fn unavailable(message: String, retry_ms: u32) -> Error {
    Error::new(ErrorKind::Unavailable, Blame::Origin, message).with_retry(Retry::AfterMs(retry_ms))
}

/// `timed-out`, blame `origin`.
pub(super) fn timed_out(message: String) -> Error {
    Error::new(ErrorKind::TimedOut, Blame::Origin, message).with_retry(Retry::AfterMs(0))
}

/// A failed TLS handshake.
pub(super) fn from_handshake(target: &Target, error: &io::Error, private_roots: bool) -> Error {
    match find::<rustls::Error>(error) {
        Some(tls) => from_tls(target, tls, private_roots),
        None if error.kind() == io::ErrorKind::UnexpectedEof => unavailable(
            format!(
                "{target}: the server closed the connection during the TLS handshake; does it speak https there?"
            ),
            1000,
        ),
        None => unavailable(format!("{target}: TLS handshake: {error}"), 200),
    }
}

fn from_tls(target: &Target, error: &rustls::Error, private_roots: bool) -> Error {
    use rustls::{AlertDescription as Alert, CertificateError as Cert, Error as Tls};
    let remedy = match error {
        Tls::InvalidCertificate(Cert::UnknownIssuer | Cert::BadSignature) if private_roots => {
            "the certificate is not signed by a CA of option ca-file; put the server's CA there"
        }
        Tls::InvalidCertificate(Cert::UnknownIssuer) => {
            "the certificate is signed by an unknown issuer; give its CA with option ca-file"
        }
        Tls::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            "the certificate is for another name; use a name it contains in the endpoint option"
        }
        Tls::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            "the certificate has expired; renew it (or correct this machine's clock)"
        }
        Tls::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            "the certificate is not valid yet; correct this machine's clock"
        }
        Tls::InvalidCertificate(_) => "the certificate was not accepted",
        Tls::InvalidMessage(_) => "the server does not speak TLS on this port; use http:// or the https port",
        Tls::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::AccessDenied,
        ) => "the server wants a client certificate it trusts; give options client-cert and client-key",
        _ => "the TLS handshake failed",
    };
    unavailable(format!("{target}: {remedy} ({error})"), 5000)
}

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

/// The first error of this type in a chain of sources. An `io::Error` hides what it wraps from `source`.
pub(super) fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}
