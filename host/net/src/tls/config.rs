//! From settings to a rustls configuration.

use super::verifier::AcceptAny;
use super::{PemSource, TlsSettings};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use wasmount_types::{Blame, Error, ErrorKind, Result};

/// Settings whose files have been read.
#[derive(Clone)]
pub(crate) struct TlsContext {
    /// What a handshake needs.
    pub(crate) config: Arc<ClientConfig>,
    /// Differs when the trust or the shown certificate differs. Connections are shared only within one identity.
    pub(crate) identity: [u8; 32],
    /// A `ca-file` replaced the bundled roots; for messages.
    pub(crate) private_roots: bool,
}

impl TlsContext {
    /// Reads the files and checks that they fit together.
    pub(crate) fn build(settings: &TlsSettings) -> Result<Self> {
        let mut identity = Sha256::new();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(format!("TLS cannot be set up: {error}")))?;
        let builder = if settings.insecure_skip_verify {
            identity.update(b"skip");
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny::new(provider)))
        } else {
            builder.with_root_certificates(roots(settings.ca_file.as_ref(), &mut identity)?)
        };
        let mut config = match (&settings.client_cert, &settings.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates("client-cert", cert, &mut identity)?;
                let key = private_key(key, &mut identity)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    invalid(format!(
                        "options client-cert and client-key: they do not belong together: {error}"
                    ))
                })?
            }
            (Some(_), None) => {
                return Err(invalid(
                    "option client-cert: client-key is missing; give both or none".to_owned(),
                ));
            }
            (None, Some(_)) => {
                return Err(invalid(
                    "option client-key: client-cert is missing; give both or none".to_owned(),
                ));
            }
        };
        // HTTP/2 would put all requests of an origin on one connection, which is slower for bulk transfer.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            identity: identity.finalize().into(),
            private_roots: settings.ca_file.is_some(),
        })
    }
}

/// The name to verify a certificate against.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(ServerName::from(ip)),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                Blame::Caller,
                format!("{host} is not a name that a certificate can be for; correct the endpoint option"),
            )
        }),
    }
}

fn roots(ca_file: Option<&PemSource>, identity: &mut Sha256) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(source) = ca_file else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    for certificate in certificates("ca-file", source, identity)? {
        roots.add(certificate).map_err(|error| {
            invalid(format!(
                "option ca-file: {}: a certificate cannot be used as a root: {error}",
                source.name()
            ))
        })?;
    }
    Ok(roots)
}

fn certificates(
    option: &str,
    source: &PemSource,
    identity: &mut Sha256,
) -> Result<Vec<CertificateDer<'static>>> {
    let text = source.read(option)?;
    identity.update(option);
    identity.update(&text[..]);
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(format!("option {option}: {}: broken PEM: {error:?}", source.name())))?;
    if found.is_empty() {
        return Err(invalid(format!(
            "option {option}: {}: there is no certificate in it; it must be PEM (BEGIN CERTIFICATE)",
            source.name()
        )));
    }
    Ok(found)
}

fn private_key(source: &PemSource, identity: &mut Sha256) -> Result<PrivateKeyDer<'static>> {
    let text = source.read("client-key")?;
    identity.update(b"client-key");
    identity.update(&text[..]);
    // The parser's message is left out: it could quote a line of the key.
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        invalid(format!(
            "option client-key: {}: there is no unencrypted private key in it; it must be PEM (BEGIN PRIVATE KEY)",
            source.name()
        ))
    })
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, Blame::Caller, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &TlsSettings) -> String {
        TlsContext::build(settings).err().expect("refused").message
    }

    #[test]
    fn mistakes_name_option_and_file() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().join("ca.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let ca = |source| TlsSettings { ca_file: Some(source), ..TlsSettings::default() };
        let message = refusal(&ca(PemSource::File(empty.clone())));
        assert!(message.contains("ca-file") && message.contains(empty.to_str().unwrap()), "{message}");
        let message = refusal(&ca(PemSource::File("/does/not/exist".into())));
        assert!(message.contains("ca-file") && message.contains("/does/not/exist"), "{message}");
        let message = refusal(&ca(PemSource::from_bytes("-----BEGIN CERTIFICATE-----\nAAAA")));
        assert!(message.contains("ca-file"), "{message}");

        let made = rcgen::generate_simple_self_signed(vec!["a".into()]).unwrap();
        let cert = PemSource::from_bytes(made.cert.pem());
        let only = TlsSettings { client_cert: Some(cert.clone()), ..TlsSettings::default() };
        assert!(refusal(&only).contains("client-key is missing"));
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = Some(PemSource::from_bytes(other));
        let wrong =
            TlsSettings { client_cert: Some(cert.clone()), client_key: key, ..TlsSettings::default() };
        assert!(refusal(&wrong).contains("belong together"), "{}", refusal(&wrong));
        let no_key = TlsSettings { client_key: Some(cert), ..only };
        assert!(refusal(&no_key).contains("client-key"));
    }

    #[test]
    fn settings_that_differ_have_different_identities() {
        let pem = || {
            PemSource::from_bytes(rcgen::generate_simple_self_signed(vec!["a".into()]).unwrap().cert.pem())
        };
        let one = TlsSettings { ca_file: Some(pem()), ..TlsSettings::default() };
        let two = TlsSettings { ca_file: Some(pem()), ..TlsSettings::default() };
        let skip = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
        let identity = |settings: &TlsSettings| TlsContext::build(settings).unwrap().identity;
        assert_eq!(identity(&one), identity(&one.clone()));
        let all = [identity(&one), identity(&two), identity(&skip), identity(&TlsSettings::default())];
        for (index, each) in all.iter().enumerate() {
            assert!(!all[..index].contains(each));
        }
    }
}
