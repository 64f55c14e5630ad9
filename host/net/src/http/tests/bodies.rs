//! What comes back.

use super::*;
use bytes::BytesMut;
use wasmount_types::{Blame, ErrorKind};

#[tokio::test]
async fn heads_and_bodies_of_every_framing_are_read() {
    let server = Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let answer: &[u8] = match head.split(' ').nth(1).unwrap() {
                "/length" => b"HTTP/1.1 200 OK\r\nX-Up: \xe4\r\nx-utf8: \xc3\xa4\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 5\r\n\r\nhello",
                "/chunked" => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
                "/none" => b"HTTP/1.1 204 No Content\r\n\r\n",
                "/redirect" => b"HTTP/1.1 307 x\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n",
                "/error" => b"HTTP/1.1 503 Slow Down\r\nretry-after: 3\r\ncontent-length: 4\r\n\r\nslow",
                "/head" => b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n",
                _ => b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
            };
            peer.say(answer).await;
            if head.contains(" /close ") {
                return;
            }
        }
    })
    .await;
    let net = net(&server);
    let response = net.send(get(server.url("/length"))).await.unwrap();
    assert_eq!((response.status, response.body.len()), (200, Some(5)));
    assert_eq!((response.header("x-up"), response.header("x-utf8")), (Some("\u{e4}"), Some("\u{e4}")));
    assert_eq!(response.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 2);
    assert_eq!(text(response).await.unwrap(), "hello");
    let response = net.send(get(server.url("/chunked"))).await.unwrap();
    assert_eq!(response.body.len(), None);
    assert_eq!(text(response).await.unwrap(), "hello");
    let response = net.send(get(server.url("/none"))).await.unwrap();
    assert_eq!((response.status, text(response).await.unwrap().as_str()), (204, ""));
    let response = net.send(get(server.url("/redirect"))).await.unwrap();
    assert_eq!((response.status, response.header("location")), (307, Some("http://elsewhere/")));
    let response = net.send(get(server.url("/error"))).await.unwrap();
    assert_eq!((response.status, response.header("retry-after")), (503, Some("3")));
    assert_eq!(text(response).await.unwrap(), "slow");
    let head = HttpRequest { method: "HEAD".into(), ..get(server.url("/head")) };
    let response = net.send(head).await.unwrap();
    assert_eq!((response.header("content-length"), response.body.len()), (Some("5000"), Some(0)));
    assert_eq!(text(response).await.unwrap(), "");
    assert_eq!(fetch(&net, server.url("/close")).await.unwrap(), "until the end");
    assert_eq!(server.connections(), 1, "all over one connection");
}

#[tokio::test]
async fn a_body_that_ends_too_early_says_how_much_came() {
    let server = Server::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        if head.contains("chunked") {
            peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        } else {
            peer.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
        }
    })
    .await;
    let net = net(&server);
    for (path, counted) in [("/length", "5 of 10 bytes"), ("/chunked", "5 bytes of unknown length")] {
        let mut body = net.send(get(server.url(path))).await.unwrap().body;
        assert_eq!(body.next().await.unwrap().unwrap(), "hello");
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
        assert!(error.message.contains(counted), "{error}");
        assert!(body.next().await.is_none());
    }
}

#[tokio::test]
async fn a_body_may_go_through_pipes_where_nothing_lies_between_its_bytes() {
    let sent = Arc::new((0..3_000_000).map(|at| (at % 251) as u8).collect::<Vec<_>>());
    let bytes = sent.clone();
    let server = Server::start(move |mut peer| {
        let bytes = bytes.clone();
        async move {
            while let Some(head) = peer.head().await {
                if head.contains("chunked") {
                    peer.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
                        .await;
                } else {
                    peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len())).await;
                    peer.say(if head.contains("broken") { &bytes[..700_000] } else { &bytes[..] }).await;
                    if head.contains("broken") {
                        return;
                    }
                }
            }
        }
    })
    .await;
    let net = net(&server);
    let pipes = wasmount_pipe::Pipes::new(8, 1 << 20);
    let mut body = net.send(get(server.url("/whole"))).await.unwrap().body;
    let mut all = BytesMut::new();
    // A part as memory, in between.
    while all.len() < 500_000 {
        all.extend_from_slice(&body.next().await.unwrap().unwrap());
    }
    while body.received() < sent.len() as u64 {
        assert!(body.pours());
        let mut pipe = pipes.take().unwrap();
        while pipe.len() < 1_000_000 && body.received() < sent.len() as u64 {
            let left = 1_000_000 - pipe.len();
            let poured = body.pour(&mut pipe, left).await.unwrap().unwrap();
            assert!(poured <= left);
            if poured == 0 {
                break;
            }
        }
        pipe.read_into(&mut all).unwrap();
    }
    assert!(all[..] == sent[..] && !body.pours());
    assert!(body.pour(&mut pipes.take().unwrap(), 5).await.is_none());

    let body = net.send(get(server.url("/chunked"))).await.unwrap().body;
    assert!(!body.pours(), "there are sizes between the bytes");
    assert_eq!(server.connections(), 1, "the connection was free again");
    let mut body = net.send(get(server.url("/broken"))).await.unwrap().body;
    let (mut pipe, mut came) = (pipes.take().unwrap(), 0);
    let error = loop {
        match body.pour(&mut pipe, 1_000_000).await.unwrap() {
            Ok(count) => came += count,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind, came, pipe.len()), (ErrorKind::Unavailable, 700_000, 700_000));
}

#[tokio::test]
async fn silence_in_the_middle_is_bounded() {
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na").await;
        for piece in ["b", "c"] {
            tokio::time::sleep(Duration::from_millis(1000)).await;
            peer.say(piece).await;
        }
        std::future::pending::<()>().await;
    })
    .await;
    let limits = NetLimits { body_idle: Duration::from_millis(1800), ..NetLimits::default() };
    let (client, net) = Setup { limits, ..Setup::default() }.build(server.address);
    let mut body = net.send(get(server.url("/"))).await.unwrap().body;
    // Slow pieces are no silence, and neither is a reader that takes its time.
    assert_eq!(body.next().await.unwrap().unwrap(), "a");
    assert_eq!(body.next().await.unwrap().unwrap(), "b");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(body.next().await.unwrap().unwrap(), "c");
    let error = body.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin));
    assert!(error.message.contains("3 of 4 bytes"), "{error}");
    assert_eq!(client.idle_connections(), 0);
}

#[tokio::test]
async fn next_may_be_cancelled() {
    let server = Server::start(|mut peer| async move {
        let _ = peer.head().await;
        peer.say("HTTP/1.1 200 OK\r\ncontent-length: 300\r\n\r\n").await;
        for _ in 0..300 {
            tokio::time::sleep(Duration::from_micros(300)).await;
            peer.say("x").await;
        }
    })
    .await;
    let mut body = net(&server).send(get(server.url("/"))).await.unwrap().body;
    let mut total = 0;
    loop {
        match tokio::time::timeout(Duration::from_micros(200), body.next()).await {
            Err(_) => {}
            Ok(Some(piece)) => total += piece.unwrap().len(),
            Ok(None) => break,
        }
    }
    assert_eq!((total, body.received()), (300, 300));
}

#[tokio::test]
async fn collecting_is_bounded() {
    let server = Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            peer.say(if head.contains("chunked") {
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhelloworld"
            })
            .await;
        }
    })
    .await;
    let net = net(&server);
    for path in ["/length", "/chunked"] {
        let body = net.send(get(server.url(path))).await.unwrap().body;
        assert_eq!(body.collect(10).await.unwrap(), "helloworld");
        let body = net.send(get(server.url(path))).await.unwrap().body;
        assert_eq!(body.collect(9).await.unwrap_err().kind, ErrorKind::TooLarge);
    }
}

#[tokio::test]
async fn a_small_rest_is_drained_and_a_large_one_is_not() {
    let server = Server::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let length = if head.contains("small") { 1000 } else { 10_000_000 };
            peer.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")).await;
            peer.say(vec![b'x'; length]).await;
        }
    })
    .await;
    let limits = NetLimits { drain_time: Duration::from_secs(10), ..NetLimits::default() };
    let (client, net) = Setup { limits, ..Setup::default() }.build(server.address);
    drop(net.send(get(server.url("/small"))).await.unwrap());
    for _ in 0..1000 {
        if client.idle_connections() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(client.idle_connections(), 1);
    drop(net.send(get(server.url("/large"))).await.unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((client.idle_connections(), server.connections()), (0, 1));
    fetch(&net, server.url("/small")).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn bodies_of_every_framing_are_received_into_the_readers_memory() {
    let seed: u64 = std::env::var("WASMOUNT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    // Numerical Recipes' generator: which sizes come is all that depends on it.
    let mut state = seed;
    let mut below = move |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let content: Arc<Vec<u8>> = Arc::new((0..300_000u32).map(|at| (at ^ (at >> 8)) as u8).collect());
    let mut cuts: Vec<usize> = (0..40).map(|_| below(content.len())).collect();
    cuts.extend([0, content.len()]);
    cuts.sort_unstable();
    cuts.dedup();
    let (sent, cuts) = (content.clone(), Arc::new(cuts));
    let server = Server::start(move |mut peer| {
        let (sent, cuts) = (sent.clone(), cuts.clone());
        async move {
            while let Some(head) = peer.head().await {
                let framing = match head.split(' ').nth(1).unwrap() {
                    "/chunked" => "transfer-encoding: chunked\r\n".to_owned(),
                    "/length" => format!("content-length: {}\r\n", sent.len()),
                    _ => "connection: close\r\n".to_owned(),
                };
                peer.say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n")).await;
                for pair in cuts.windows(2) {
                    let piece = &sent[pair[0]..pair[1]];
                    if head.contains("/chunked") {
                        peer.say(format!("{:X}\r\n", piece.len())).await;
                    }
                    peer.say(piece).await;
                    if head.contains("/chunked") {
                        peer.say("\r\n").await;
                    }
                }
                if head.contains("/chunked") {
                    peer.say("0\r\n\r\n").await;
                }
                if head.contains("/close") {
                    return;
                }
            }
        }
    })
    .await;
    let (client, net) = Setup::default().build(server.address);
    for path in ["/length", "/chunked", "/length", "/close"] {
        let mut body = net.send(get(server.url(path))).await.unwrap().body;
        let mut all = Vec::new();
        loop {
            let room = 1 + below(50_000);
            let mut block = bytes::BytesMut::with_capacity(room);
            let (capacity, address) = (block.capacity(), block.as_ptr());
            match body.read_into(&mut block).await {
                Some(count) => assert_eq!(count.unwrap(), block.len(), "seed {seed}"),
                None => break,
            }
            assert!(!block.is_empty() && block.capacity() == capacity && block.as_ptr() == address);
            all.extend_from_slice(&block);
        }
        assert!(all == *content, "{path}: {} bytes, seed {seed}", all.len());
        assert_eq!(body.received(), content.len() as u64);
    }
    assert_eq!(server.connections(), 1, "seed {seed}");
    let stats = client.stats();
    assert_eq!((stats.requests, stats.responses, stats.failures), (4, [0, 4, 0, 0, 0], 0));
    assert_eq!((stats.connects, stats.connections_open, stats.body_buffer_bytes), (1, 0, 0));
    assert_eq!(stats.bytes_received, 4 * content.len() as u64);
}
