//! Failures to make a connection, said so that somebody can fix them.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use wasmount_types::{Blame, Error, ErrorKind, Retry};

/// `unavailable`, blame `origin`.
pub(crate) fn unavailable(message: String, retry_ms: u32) -> Error {
    Error::new(ErrorKind::Unavailable, Blame::Origin, message).with_retry(Retry::AfterMs(retry_ms))
}

/// `timed-out`, blame `origin`.
pub(crate) fn timed_out(message: String) -> Error {
    Error::new(ErrorKind::TimedOut, Blame::Origin, message).with_retry(Retry::AfterMs(0))
}

/// A failed TLS handshake.
pub(crate) fn from_handshake(target: &dyn Display, error: &io::Error, private_roots: bool) -> Error {
    match find::<rustls::Error>(error) {
        Some(tls) => from_tls(target, tls, private_roots),
        None if error.kind() == io::ErrorKind::UnexpectedEof => unavailable(
            format!(
                "{target}: the server closed the connection during the TLS handshake; does it speak TLS there?"
            ),
            1000,
        ),
        None => unavailable(format!("{target}: TLS handshake: {error}"), 200),
    }
}

pub(crate) fn from_tls(target: &dyn Display, error: &rustls::Error, private_roots: bool) -> Error {
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
        Tls::InvalidMessage(_) => {
            "the server does not speak TLS on this port; use its TLS port (https), or no TLS (http://)"
        }
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

/// The first error of this type in a chain of sources. An `io::Error` hides what it wraps from `source`.
pub(crate) fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
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
