//! What leaves the host.

use super::*;
use crate::http::RequestBody;
use bytes::Bytes;
use futures::StreamExt;
use wasmount_types::{Blame, Effect, ErrorKind};

/// A server that answers with the head it was sent, and what followed it if that has a length.
async fn echo() -> Server {
    Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let body = match length.map(|length| length.parse().unwrap()) {
                Some(length) => peer.read(length).await,
                None if head.contains("transfer-encoding: chunked") => {
                    peer.read(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".len()).await
                }
                None => Vec::new(),
            };
            let answer = format!("{head}|{}", String::from_utf8(body).unwrap());
            peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())).await;
        }
    })
    .await
}

#[tokio::test]
async fn the_url_and_the_headers_arrive_as_they_are_and_nothing_is_added() {
    let server = echo().await;
    let mut request = get(server.url("/b/%2F%c3%A4+//..?a=%20&list-type=2&x"));
    request.headers = vec![
        ("X-First".into(), b"1".to_vec()),
        ("authorization".into(), b"AWS4 x=y".to_vec()),
        ("x-twice".into(), b"a".to_vec()),
        ("x-twice".into(), b"\xe4".to_vec()),
    ];
    let seen = net(&server).send(request).await.unwrap();
    // The echoed body is not UTF-8 any more.
    let seen = seen.body.collect(1 << 16).await;
    let seen = String::from_utf8_lossy(&seen.unwrap()).into_owned();
    let mut lines: Vec<&str> = seen.split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /b/%2F%c3%A4+//..?a=%20&list-type=2&x HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", server.address);
    assert_eq!(
        lines,
        ["authorization: AWS4 x=y", host.as_str(), "x-first: 1", "x-twice: a", "x-twice: \u{fffd}", "|"]
    );
}

#[tokio::test]
async fn bodies_are_framed_by_what_is_known_of_them() {
    let server = echo().await;
    let net = net(&server);
    let send = |body: Option<RequestBody>| {
        let request = HttpRequest { body, method: "PUT".into(), ..get(server.url("/")) };
        let net = &net;
        async move { text(net.send(request).await.unwrap()).await.unwrap() }
    };
    let pieces =
        |all: Vec<&'static str>| futures::stream::iter(all).map(|text| Ok(Bytes::from(text))).boxed();
    assert!(!send(None).await.contains("content-length"));
    assert!(send(Some(RequestBody::Chunks(vec![]))).await.contains("content-length: 0\r\n"));
    let chunks = RequestBody::Chunks(vec![Bytes::from("ab"), Bytes::new(), Bytes::from("cd")]);
    let seen = send(Some(chunks)).await;
    assert!(seen.contains("content-length: 4\r\n") && seen.ends_with("|abcd"), "{seen}");
    let known = RequestBody::Stream { length: Some(5), pieces: pieces(vec!["abc", "de"]) };
    assert!(send(Some(known)).await.ends_with("|abcde"));
    let unknown = RequestBody::Stream { length: None, pieces: pieces(vec!["abc", "de"]) };
    let seen = send(Some(unknown)).await;
    assert!(
        !seen.contains("content-length") && seen.ends_with("|3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        "{seen}"
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_body_that_fails_or_lies_fails_the_request() {
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let net = net(&server);
    let own = Error::new(ErrorKind::Corrupt, Blame::Host, "the cache is broken");
    let lies = "as long as its content-length";
    let bad = [
        (None, vec![Ok(Bytes::from("a")), Err(own.clone())], "the cache is broken"),
        (Some(5), vec![Ok(Bytes::from("abc"))], lies),
        (Some(2), vec![Ok(Bytes::from("abc"))], lies),
    ];
    for (length, pieces, message) in bad {
        for (pause, effect) in [(0, Effect::None), (50, Effect::Unknown)] {
            // The first piece comes at once and begins the request; what is wrong shows at once, or when it has left.
            let first = futures::stream::iter([Ok(Bytes::from("x"))]);
            let rest = futures::stream::iter(pieces.clone()).then(move |piece| async move {
                if pause > 0 {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                piece
            });
            let length = length.map(|length| length + 1);
            let body = Some(RequestBody::Stream { length, pieces: first.chain(rest).boxed() });
            let request = HttpRequest { body, method: "PUT".into(), ..get(server.url("/")) };
            let error = net.send(request).await.unwrap_err();
            assert!(error.message.contains(message), "{error}");
            assert_eq!(error.effect, effect, "{error}");
        }
    }
}

#[tokio::test]
async fn expect_continue_holds_the_body_back() {
    let server = Server::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(
            head.contains("expect: 100-continue\r\n") && head.contains("content-length: 3\r\n"),
            "{head}"
        );
        if head.starts_with("PUT /refuse") {
            peer.say("HTTP/1.1 412 Precondition Failed\r\ncontent-length: 2\r\n\r\nno").await;
        } else {
            if head.starts_with("PUT /go") {
                peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            let body = peer.read(3).await;
            peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n").await;
            peer.say(body).await;
        }
        // Whatever still comes: nothing may.
        assert_eq!(peer.head().await, None);
    })
    .await;
    // A connection of its own for each.
    let send = |path: &str, patience: u64| {
        let limits = NetLimits { expect_continue: Duration::from_millis(patience), ..NetLimits::default() };
        let (_, net) = Setup { limits, ..Setup::default() }.build(server.address);
        let request = HttpRequest {
            method: "PUT".into(),
            body: Some(Bytes::from("abc").into()),
            expect_continue: true,
            ..get(server.url(path))
        };
        async move {
            let started = std::time::Instant::now();
            let response = net.send(request).await.unwrap();
            (response.status, text(response).await.unwrap(), started.elapsed().as_millis())
        }
    };
    let (status, body, took) = send("/go", 20_000).await;
    assert_eq!((status, body.as_str()), (200, "abc"));
    assert!(took < 10_000, "{took} ms");
    let (status, body, _) = send("/refuse", 20_000).await;
    assert_eq!((status, body.as_str()), (412, "no"));
    // A server that does not know the header gets the body after a while.
    let (status, body, took) = send("/silent", 300).await;
    assert_eq!((status, body.as_str()), (200, "abc"));
    assert!(took >= 300, "{took} ms");
}

#[tokio::test]
async fn a_read_only_mount_cannot_write() {
    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let (_, net) = Setup { read_only: true, ..Setup::default() }.build(server.address);
    fetch(&net, server.url("/")).await.unwrap();
    let error = net.send(HttpRequest { method: "DELETE".into(), ..get(server.url("/")) }).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
    let error = fetch(&net, "http://127.0.0.1:1/").await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host));
}
