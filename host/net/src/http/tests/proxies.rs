//! Plain HTTP through a proxy.

use super::*;
use crate::tls::ProxySettings;
use wasmount_types::ErrorKind;

#[tokio::test]
async fn http_goes_to_the_proxy_in_absolute_form_and_exceptions_go_direct() {
    let origin = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\ndirect").await;
    let proxy = Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let authorized = head.contains("proxy-authorization: Basic dTpw\r\n");
            let line = head.lines().next().unwrap();
            let answer = format!("{line} {authorized}");
            peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())).await;
        }
    })
    .await;
    let port = origin.address.port();
    let settings = ProxySettings::default()
        .with_http_proxy("HTTP_PROXY", &format!("http://u:p@{}", proxy.address))
        .unwrap()
        .with_no_proxy("direct.example");
    let setup = Setup {
        tls: TlsSettings { proxy: settings, ..TlsSettings::default() },
        rules: vec!["direct.example", "s3.example:9000", "10.0.0.0/8"],
        hosts: vec![
            ("s3.example", 9000),
            ("s3.example", 9001),
            ("other.example", 9000),
            ("direct.example", port),
            ("127.0.0.1.", port),
            ("127.1", port),
            ("0x7f000001", port),
        ],
        resolver: Some(ScriptedResolver::new(vec![vec![origin.address]])),
        ..Setup::default()
    };
    let (_, net) = setup.build(origin.address);
    let seen = fetch(&net, "http://s3.example:9000/a%2Fb?c=%20").await.unwrap();
    assert_eq!(seen, "GET http://s3.example:9000/a%2Fb?c=%20 HTTP/1.1 true");
    assert_eq!(fetch(&net, format!("http://direct.example:{port}/")).await.unwrap(), "direct");
    // What is not named is not asked for: the proxy could resolve it to anything.
    for unnamed in ["http://s3.example:9001/", "http://other.example:9000/"] {
        let error = fetch(&net, unnamed).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{unnamed}: {error}");
        assert!(error.message.contains("the proxy that resolves the name"), "{error}");
    }
    assert_eq!(proxy.connections(), 1);
    // An address literal is judged here, since the proxy would not.
    let error = fetch(&net, origin.url("/")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    for disguise in ["127.0.0.1.", "127.1", "0x7f000001"] {
        let error = fetch(&net, format!("http://{disguise}:{port}/")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Denied, "{disguise}: {error}");
        assert!(error.message.contains("not covered by --allow-net"), "{error}");
    }
}

#[tokio::test]
async fn without_rules_a_name_is_the_proxys_to_refuse() {
    let proxy = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy").await;
    for rules in [vec![], vec!["default", "169.254.169.254"]] {
        let settings = ProxySettings::default().with_http_proxy("p", &proxy.address.to_string()).unwrap();
        let setup = Setup {
            tls: TlsSettings { proxy: settings, ..TlsSettings::default() },
            rules,
            hosts: vec![("s3.example", 80)],
            ..Setup::default()
        };
        assert_eq!(fetch(&setup.build(proxy.address).1, "http://s3.example/").await.unwrap(), "proxy");
    }
}

#[tokio::test]
async fn a_proxy_that_is_down_is_named() {
    let gone = Server::answering("").await;
    let address = gone.address;
    drop(gone);
    let settings = ProxySettings::default().with_http_proxy("HTTP_PROXY", &address.to_string()).unwrap();
    let setup = Setup {
        tls: TlsSettings { proxy: settings, ..TlsSettings::default() },
        rules: vec!["s3.example"],
        hosts: vec![("s3.example", 80)],
        ..Setup::default()
    };
    let error = fetch(&setup.build(address).1, "http://s3.example/").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("proxy for http://s3.example:80"), "{error}");
}
