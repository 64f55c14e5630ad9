//! TLS with a private CA, client certificates, and what is said when trust is missing.

use super::*;
use crate::tls::PemSource;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use wasmount_types::{Blame, ErrorKind};

pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The server's side of TLS.
pub(crate) fn acceptor(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
    alpn: &[&str],
) -> TlsAcceptor {
    let (cert, key) = authority.issue(name, ExtendedKeyUsagePurpose::ServerAuth);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let mut config =
        builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A TLS server for `name`; with `clients`, it wants a certificate of that authority.
async fn tls_server(authority: &Authority, name: &str, clients: Option<&Authority>) -> Server {
    let acceptor = acceptor(authority, name, clients, &["h2", "http/1.1"]);
    Server::start(move |peer| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(peer.stream.into_inner()).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let mut peer = Peer { stream: BufReader::new(stream), number: peer.number };
            while peer.head().await.is_some() {
                peer.say("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret").await;
            }
        }
    })
    .await
}

fn https(server: &Server) -> String {
    format!("https://{}/", server.address)
}

async fn fetch_with(server: &Server, tls: TlsSettings) -> Result<String, Error> {
    fetch(&Setup { tls, ..Setup::default() }.build(server.address).1, https(server)).await
}

pub(crate) fn trusting(authority: &Authority) -> TlsSettings {
    TlsSettings { ca_file: Some(PemSource::from_bytes(authority.pem.as_str())), ..TlsSettings::default() }
}

#[tokio::test]
async fn a_private_ca_is_trusted_when_it_is_named() {
    let authority = Authority::new("ours");
    let server = tls_server(&authority, "127.0.0.1", None).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &authority.pem).unwrap();
    let tls = TlsSettings { ca_file: Some(file.path().to_owned().into()), ..TlsSettings::default() };
    let (client, net) = Setup { tls, ..Setup::default() }.build(server.address);
    for _ in 0..5 {
        assert_eq!(fetch(&net, https(&server)).await.unwrap(), "secret");
    }
    assert_eq!((server.connections(), client.idle_connections()), (1, 1));
}

#[tokio::test]
async fn without_trust_the_remedy_is_named() {
    let authority = Authority::new("ours");
    let server = tls_server(&authority, "127.0.0.1", None).await;
    let error = fetch_with(&server, TlsSettings::default()).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
    assert!(error.message.contains("unknown issuer") && error.message.contains("ca-file"), "{error}");
    // Another CA, and one that was made anew under the same name.
    for name in ["another", "ours"] {
        let error = fetch_with(&server, trusting(&Authority::new(name))).await.unwrap_err();
        assert!(error.message.contains("not signed by a CA of option ca-file"), "{error}");
    }
    let skip = TlsSettings { insecure_skip_verify: true, ..TlsSettings::default() };
    assert_eq!(fetch_with(&server, skip.clone()).await.unwrap(), "secret");
    // A ca-file does not make up for a wrong name; skipping does.
    let server = tls_server(&authority, "other.example", None).await;
    let error = fetch_with(&server, trusting(&authority)).await.unwrap_err();
    assert!(error.message.contains("another name"), "{error}");
    assert_eq!(fetch_with(&server, skip).await.unwrap(), "secret");
}

#[tokio::test]
async fn a_client_certificate_is_shown_when_asked_for() {
    let (authority, clients) = (Authority::new("a"), Authority::new("b"));
    let server = tls_server(&authority, "127.0.0.1", Some(&clients)).await;
    let error = fetch_with(&server, trusting(&authority)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("client-cert"), "{error}");
    let (cert, key) = clients.issue("me", ExtendedKeyUsagePurpose::ClientAuth);
    let tls = TlsSettings {
        client_cert: Some(PemSource::from_bytes(cert)),
        client_key: Some(PemSource::from_bytes(key)),
        ..trusting(&authority)
    };
    assert_eq!(fetch_with(&server, tls).await.unwrap(), "secret");
}

#[tokio::test]
async fn schemes_that_do_not_fit_the_port_are_explained() {
    let plain = Server::answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    // A TLS hello has no line end, so a plain server would wait for ever: this one answers what it sees.
    let blunt = Server::start(|mut peer| async move {
        let _ = peer.read(5).await;
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let error = fetch_with(&blunt, TlsSettings::default()).await.unwrap_err();
    assert!(error.message.contains("does not speak TLS") && error.message.contains("http://"), "{error}");
    let limits = NetLimits { handshake: Duration::from_millis(100), ..NetLimits::default() };
    let (_, net) = Setup { limits, ..Setup::default() }.build(plain.address);
    let error = fetch(&net, https(&plain)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!(error.message.contains("does the server speak https"), "{error}");

    let authority = Authority::new("ours");
    let server = tls_server(&authority, "127.0.0.1", None).await;
    let error = fetch(&super::net(&server), server.url("/")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("scheme"), "{error}");
}

#[tokio::test]
async fn https_through_a_tunnel() {
    let authority = Authority::new("ours");
    let server = tls_server(&authority, "s3.example", None).await;
    let target = server.address;
    let proxy = Server::start(move |mut peer| async move {
        let head = peer.head().await.unwrap();
        if !head.starts_with("CONNECT s3.example:443 HTTP/1.1\r\nhost: s3.example:443\r\n") {
            peer.say("HTTP/1.1 403 Forbidden\r\n\r\n").await;
        } else if !head.contains("proxy-authorization: Basic dTpw") {
            peer.say("HTTP/1.1 407 Who\r\n\r\n").await;
        } else {
            peer.say("HTTP/1.1 200 Established\r\nx: y\r\n\r\n").await;
            let mut onward = TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut peer.stream, &mut onward).await;
        }
    })
    .await;
    let through = |user: &str| {
        let url = format!("http://{user}{}", proxy.address);
        let tls = trusting(&authority);
        TlsSettings { proxy: tls.proxy.clone().with_https_proxy("HTTPS_PROXY", &url).unwrap(), ..tls }
    };
    // No rule allows the proxy's address, and s3.example resolves to nothing here: the proxy knows it.
    let setup = |user: &str| Setup {
        tls: through(user),
        rules: vec![],
        hosts: vec![("s3.example", 443), ("other.example", 443), ("10.0.0.1", 443), ("127.0.0.5", 443)],
        resolver: Some(ScriptedResolver::new(vec![])),
        ..Setup::default()
    };
    let (_, net) = setup("u:p@").build(server.address);
    for _ in 0..3 {
        assert_eq!(fetch(&net, "https://s3.example/x").await.unwrap(), "secret");
    }
    assert_eq!((proxy.connections(), server.connections()), (1, 1));
    let error = fetch(&net, "https://other.example/").await.unwrap_err();
    assert!(error.message.contains("403") && error.message.contains("NO_PROXY"), "{error}");
    let error = fetch(&net, "https://10.0.0.1/").await.unwrap_err();
    assert!(error.message.contains("403"), "an address that is allowed goes to the proxy: {error}");
    let error = fetch(&net, "https://127.0.0.5/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    let error = fetch(&setup("").build(server.address).1, "https://s3.example/").await.unwrap_err();
    assert!(error.message.contains("user and password"), "{error}");
}
