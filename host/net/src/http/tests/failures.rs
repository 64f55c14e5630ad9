//! What goes wrong, and what is said about it.

use super::*;
use wasmount_types::{Blame, Effect, ErrorKind, Retry};

async fn failing(script: &'static str) -> (Server, Error) {
    let server = Server::start(move |mut peer| async move {
        let _ = peer.head().await;
        peer.say(script).await;
    })
    .await;
    let error = net(&server).send(get(server.url("/secret?x=signature"))).await.unwrap_err();
    assert!(!error.message.contains("signature"), "{error}");
    assert!(error.message.contains(&server.address.to_string()), "{error}");
    (server, error)
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_is_unavailable() {
    for (script, word) in [
        ("", "closed the connection without answering"),
        ("\x15\x03\x01\0\x02\x02\x46", "cannot be read"),
        ("SSH-2.0-OpenSSH\r\n", "cannot be read"),
        ("HTTP/1.1 200 OK\r\nbroken", "closed the connection"),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "not asked for"),
    ] {
        let (_, error) = failing(script).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
        assert!(error.message.contains(word), "{script:?}: {error}");
        assert_eq!(error.effect, Effect::None);
        assert!(matches!(error.retry, Retry::AfterMs(_)));
    }
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    for script in [long, many] {
        let (_, error) = failing(script.leak()).await;
        assert!(error.message.contains("too large"), "{error}");
    }
    let endless = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..1_000_000 {
            peer.say("x".repeat(1024)).await;
        }
    })
    .await;
    assert!(net(&endless).send(get(endless.url("/"))).await.unwrap_err().message.contains("too large"));
}

#[tokio::test]
async fn a_head_that_does_not_come_is_waited_for_as_long_as_was_said() {
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mount = |head| {
        Setup { response_head: Some(Duration::from_millis(head)), ..Setup::default() }.build(server.address).1
    };
    // The shorter of the two counts, and it is shorter by far.
    let (short, long) = (200, 60_000);
    for (head, timeout) in [(short, None), (long, Some(short)), (short, Some(long))] {
        let net = mount(head);
        let started = std::time::Instant::now();
        let timeout = timeout.map(Duration::from_millis);
        let request = HttpRequest { timeout, method: "PUT".into(), ..get(server.url("/")) };
        let error = net.send(request).await.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin));
        assert_eq!(error.effect, Effect::Unknown, "a PUT may have been carried out");
        assert!(error.message.contains("request-timeout"), "{error}");
        let took = started.elapsed();
        assert!((Duration::from_millis(short)..Duration::from_secs(20)).contains(&took), "{took:?}");
    }
    assert_eq!(fetch(&mount(short), server.url("/")).await.unwrap_err().effect, Effect::None);
}

#[tokio::test]
async fn uploading_is_not_silence() {
    use futures::StreamExt;
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        let _ = peer.read(6).await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let (_, net) =
        Setup { response_head: Some(Duration::from_millis(200)), ..Setup::default() }.build(server.address);
    let pieces = futures::stream::iter(0..6)
        .then(|_| async {
            tokio::time::sleep(Duration::from_millis(80)).await;
            Ok(bytes::Bytes::from("x"))
        })
        .boxed();
    let body = Some(crate::http::RequestBody::Stream { length: Some(6), pieces });
    let request = HttpRequest { method: "PUT".into(), body, ..get(server.url("/")) };
    assert_eq!(net.send(request).await.unwrap().status, 200);
}

#[tokio::test]
async fn nobody_there() {
    let server = Server::answering("").await;
    let address = server.address;
    let net = net(&server);
    drop(server);
    tokio::task::yield_now().await;
    let request = HttpRequest { method: "PUT".into(), ..get(format!("http://{address}/")) };
    let error = net.send(request).await.unwrap_err();
    assert_eq!(
        (error.kind, error.blame, error.effect),
        (ErrorKind::Unavailable, Blame::Origin, Effect::None)
    );
    assert!(error.message.contains("refused") && error.message.contains("is the server running"), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_exist() {
    let server = Server::answering("").await;
    let resolver = ScriptedResolver::new(vec![]);
    let hosts = vec![("no.such.name", 80)];
    let setup = Setup { resolver: Some(resolver), hosts, ..Setup::default() };
    let error = fetch(&setup.build(server.address).1, "http://no.such.name/").await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
    assert!(error.message.contains("no.such.name: the name cannot be resolved"), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let port = server.address.port();
    // A closed port, an address that swallows packets (TEST-NET-1, RFC 5737; or has no route here), the server.
    let dead = SocketAddr::new("127.0.0.2".parse().unwrap(), port);
    let silent = SocketAddr::new("192.0.2.1".parse().unwrap(), port);
    let resolver = ScriptedResolver::new(vec![vec![dead, silent, server.address]]);
    let setup = Setup {
        resolver: Some(resolver),
        hosts: vec![("many.example", port)],
        rules: vec!["many.example"],
        ..Setup::default()
    };
    let (_, net) = setup.build(server.address);
    let started = std::time::Instant::now();
    assert_eq!(fetch(&net, format!("http://many.example:{port}/")).await.unwrap(), "ok");
    assert!(started.elapsed() < Duration::from_secs(3));
}
