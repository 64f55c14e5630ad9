//! The gates, with real names and connections.

use super::*;
use wasmount_types::{Blame, ErrorKind};

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn loopback_needs_the_operator() {
    let server = Server::answering(OK).await;
    let (_, net) = Setup { rules: vec![], ..Setup::default() }.build(server.address);
    let error = fetch(&net, server.url("/")).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
    assert!(error.message.contains(&format!("--allow-net {}", server.address)), "{error}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_that_points_to_the_node_is_refused() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    for addresses in [vec![server.address], vec![format!("[::ffff:127.0.0.1]:{port}").parse().unwrap()]] {
        let setup = Setup {
            rules: vec![],
            hosts: vec![("innocent.example", port)],
            resolver: Some(ScriptedResolver::new(vec![addresses])),
            ..Setup::default()
        };
        let error = fetch(&setup.build(server.address).1, format!("http://innocent.example:{port}/")).await;
        let error = error.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
        assert!(error.message.contains("innocent.example") && error.message.contains("loopback"), "{error}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn rebinding_gains_nothing() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    // First an address that is allowed, then the one the attacker is after.
    let resolver = ScriptedResolver::new(vec![vec![server.address], vec!["127.0.0.9:1".parse().unwrap()]]);
    let setup = Setup {
        rules: vec!["127.0.0.1"],
        hosts: vec![("rebind.example", port)],
        resolver: Some(Arc::clone(&resolver) as Arc<dyn Resolver>),
        ..Setup::default()
    };
    let (_, net) = setup.build(server.address);
    let url = format!("http://rebind.example:{port}/");
    assert_eq!(fetch(&net, url.as_str()).await.unwrap(), "ok");
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1, "resolved once for check and connect together");
    let error = fetch(&net, url.as_str()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("127.0.0.9"), "{error}");
}

#[tokio::test]
async fn of_several_addresses_only_those_allowed_are_used() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let other = SocketAddr::new("127.0.0.7".parse().unwrap(), port);
    let resolver = ScriptedResolver::new(vec![vec![other, server.address]]);
    let setup = Setup { hosts: vec![("n.example", port)], resolver: Some(resolver), ..Setup::default() };
    assert_eq!(
        fetch(&setup.build(server.address).1, format!("http://n.example:{port}/")).await.unwrap(),
        "ok"
    );
}

#[tokio::test]
async fn a_host_rule_allows_what_the_name_resolves_to() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let setup = Setup {
        rules: vec!["minio.local"],
        hosts: vec![("minio.local", port), ("other.local", port)],
        resolver: Some(ScriptedResolver::new(vec![vec![server.address]])),
        ..Setup::default()
    };
    let (_, net) = setup.build(server.address);
    assert_eq!(fetch(&net, format!("http://minio.local:{port}/")).await.unwrap(), "ok");
    for url in [format!("http://other.local:{port}/"), server.url("/")] {
        assert_eq!(fetch(&net, url).await.unwrap_err().kind, ErrorKind::Denied);
    }
}
