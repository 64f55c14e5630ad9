//! What arrives, in whatever pieces, and what is left when reads are dropped.

use super::*;

#[tokio::test]
async fn headers_and_payload_come_in_order() {
    // Three frames at once: a header of 32 bytes, and as much payload as it says.
    let sizes = [5, 100_000, 3 << 20];
    let (connection, memory) = pair(move |mut stream| async move {
        let mut all = Vec::new();
        for size in sizes {
            all.extend_from_slice(format!("{size:032}").as_bytes());
            all.extend_from_slice(&pattern(size));
        }
        stream.write_all(&all).await.unwrap();
    })
    .await;
    for size in sizes {
        let header = connection.read_exact(32).await.unwrap();
        assert_eq!(String::from_utf8(header).unwrap(), format!("{size:032}"));
        let payload = connection.read_buffer(size).await.unwrap();
        assert!(payload.bytes == pattern(size));
        assert_eq!(memory.left(), PLENTY - READ_AHEAD - size);
    }
    assert_eq!(connection.read_some(10).await.unwrap(), b"");
    assert_eq!(memory.left(), PLENTY - READ_AHEAD);
    drop(connection);
    assert_eq!(memory.left(), PLENTY);
}

#[tokio::test]
async fn lines_are_read_as_they_come() {
    let (connection, _) = pair(|mut stream| async move {
        for piece in ["220 re", "ady\r\n", "x"] {
            stream.write_all(piece.as_bytes()).await.unwrap();
            pause(20).await;
        }
    })
    .await;
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        let more = connection.read_some(4).await.unwrap();
        assert!((1..=4).contains(&more.len()));
        text.extend_from_slice(&more);
    }
    assert_eq!(text, b"220 ready\r\n");
    assert_eq!(connection.read_some(4).await.unwrap(), b"x");
    // The end is not an error, and stays the end.
    assert_eq!(connection.read_some(4).await.unwrap(), b"");
    assert_eq!(connection.read_some(4).await.unwrap(), b"");
    assert_eq!(connection.read_some(0).await.unwrap_err().kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_connection_that_is_cut_says_how_far_it_came() {
    let (connection, memory) = pair(|mut stream| async move {
        stream.write_all(&[7; 1000]).await.unwrap();
    })
    .await;
    let error = connection.read_buffer(4096).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
    assert!(error.message.contains("after 1000 of 4096 bytes"), "{error}");
    assert!(error.message.starts_with("127.0.0.1:"), "{error}");
    // Finished, in both directions, for the same reason.
    assert_eq!(connection.read_exact(1).await.unwrap_err(), error);
    assert_eq!(connection.write(["x".into()]).await.unwrap_err(), error);
    drop(connection);
    assert_eq!(memory.left(), PLENTY);
}

#[tokio::test]
async fn a_reset_is_unavailable() {
    let (connection, _) = pair(|stream| async move {
        pause(30).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = connection.read_exact(1).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Origin));
    assert!(error.message.contains("the connection broke"), "{error}");
}

/// A server that sends `pattern` byte by byte as the test says so.
fn dripping(length: usize) -> (Arc<Notify>, impl Fn(TcpStream) -> futures::future::BoxFuture<'static, ()>) {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let script = move |mut stream: TcpStream| -> futures::future::BoxFuture<'static, ()> {
        let gate = Arc::clone(&gate);
        Box::pin(async move {
            let (all, half) = (pattern(length), length / 2);
            stream.write_all(&all[..half]).await.unwrap();
            gate.notified().await;
            stream.write_all(&all[half..]).await.unwrap();
            gate.notified().await;
        })
    };
    (go, script)
}

#[tokio::test]
async fn a_dropped_read_loses_nothing() {
    // Below and above the read-ahead; dropped as one kind of read, continued as another.
    for length in [100, 10_000, 100_000, 1 << 20] {
        for (first, then) in
            [("exact", "buffer"), ("buffer", "exact"), ("buffer", "some"), ("buffer", "buffer")]
        {
            let (go, script) = dripping(length);
            let (connection, memory) = pair(script).await;
            for _ in 0..3 {
                let patience = Duration::from_millis(if length > 100_000 { 50 } else { 10 });
                let dropped = match first {
                    "exact" => tokio::time::timeout(patience, connection.read_exact(length)).await.is_err(),
                    _ => tokio::time::timeout(patience, connection.read_buffer(length)).await.is_err(),
                };
                assert!(dropped);
            }
            go.notify_one();
            let mut all = Vec::new();
            while all.len() < length {
                // In pieces that do not fit what has arrived.
                let piece = (length / 3 + 1).min(length - all.len());
                match then {
                    "exact" => all.extend_from_slice(&connection.read_exact(piece).await.unwrap()),
                    "some" => all.extend_from_slice(&connection.read_some(piece).await.unwrap()),
                    _ => {
                        let mut seen = Vec::new();
                        let read = connection.read_buffer_seen(piece, |bytes| seen.extend_from_slice(bytes));
                        let bytes = read.await.unwrap().bytes;
                        assert!(seen == bytes, "each byte once, also of what a dropped read has left");
                        all.extend_from_slice(&bytes);
                    }
                }
            }
            assert!(all == pattern(length), "{length} {first} {then}");
            assert_eq!(memory.left(), PLENTY - READ_AHEAD, "{length} {first} {then}");
            go.notify_one();
        }
    }
}

#[tokio::test]
async fn only_one_read_at_a_time() {
    let (go, script) = dripping(1000);
    let (connection, _) = pair(script).await;
    let first = connection.read_exact(1000);
    let second = async {
        pause(20).await;
        let error = connection.read_some(1).await.unwrap_err();
        assert_eq!((error.kind, error.blame), (ErrorKind::Busy, Blame::Plugin));
        // A write is something else.
        connection.write(["hello".into()]).await.unwrap();
        go.notify_one();
    };
    let (bytes, ()) = tokio::join!(first, second);
    assert_eq!(bytes.unwrap(), pattern(1000));
}

#[tokio::test]
async fn silence_ends_a_connection() {
    let mount = Setup::default().mount();
    let server = server(|mut stream| async move {
        for _ in 0..4 {
            pause(300).await;
            stream.write_all(b"x").await.unwrap();
        }
        pause(20_000).await;
    })
    .await;
    // Much longer than a busy machine keeps a thread waiting, and shorter than all the bytes together take.
    let limit = Duration::from_millis(1000);
    let options = || TcpOptions { idle: Some(limit), ..TcpOptions::default() };
    let connection = mount.connect_to("127.0.0.1", server.port(), options()).await.unwrap();
    let started = Instant::now();
    // Each byte winds the clock up again.
    assert_eq!(connection.read_exact(4).await.unwrap(), b"xxxx");
    let error = connection.read_exact(1).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin));
    assert!(error.message.contains("nothing came for 1s"), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(2200), "{:?}", started.elapsed());
    // Reads that are dropped in between do not keep it alive; time without a read does not count.
    let connection = mount.connect_to("127.0.0.1", server.port(), options()).await.unwrap();
    assert_eq!(connection.read_exact(4).await.unwrap(), b"xxxx");
    pause(1500).await;
    let mut patient = 0;
    let error = loop {
        match tokio::time::timeout(Duration::from_millis(150), connection.read_exact(1)).await {
            Ok(read) => break read.unwrap_err(),
            Err(_) => patient += 1,
        }
    };
    assert_eq!(error.kind, ErrorKind::TimedOut);
    assert!((1..=7).contains(&patient), "{patient}");
}

#[tokio::test]
async fn payload_waits_for_memory() {
    let mount = Setup { memory: Budget::of(READ_AHEAD + 300_000), ..Setup::default() }.mount();
    let server = server(|mut stream| async move {
        stream.write_all(&pattern(400_000)).await.unwrap();
        pause(10_000).await;
    })
    .await;
    let connection = mount.connect(server).await.unwrap();
    let first = connection.read_buffer(200_000).await.unwrap();
    let free = async {
        pause(30).await;
        assert_eq!(mount.memory.left(), 100_000);
        drop(first);
    };
    let (second, ()) = tokio::join!(connection.read_buffer(200_000), free);
    assert!(second.unwrap().bytes == pattern(400_000)[200_000..]);
    let error = mount.connect(server).await.map(drop);
    error.expect("there is room for a read-ahead again");
    let _all = mount.memory.take(mount.memory.left() - 10).ok().unwrap();
    assert_eq!(mount.connect(server).await.unwrap_err().kind, ErrorKind::TooLarge);
}
