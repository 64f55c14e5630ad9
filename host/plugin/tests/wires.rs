//! `tcp` and `crypto` in the real sandbox: what honest plugins rely on, and what hostile ones get.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in functions that the tests share")]

mod support;

use futures::future::BoxFuture;
use std::time::{Duration, Instant};
use support::{Sandbox, assert_works, first_kib, get, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wasmount_core::ports::GetRequest;
use wasmount_types::{Blame, Error, ErrorKind, ObjectKey};

/// A server that runs `script` for each connection; its address.
async fn server(script: fn(TcpStream) -> BoxFuture<'static, std::io::Result<()>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    address
}

async fn pause(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

/// Takes what comes and says nothing.
fn silent(mut stream: TcpStream) -> BoxFuture<'static, std::io::Result<()>> {
    Box::pin(async move {
        let mut byte = [0];
        // Only to notice the end.
        while stream.peek(&mut byte).await? > 0 {
            pause(50).await;
        }
        stream.shutdown().await
    })
}

fn zeros(mut stream: TcpStream) -> BoxFuture<'static, std::io::Result<()>> {
    Box::pin(async move {
        loop {
            stream.write_all(&[0; 65536]).await?;
        }
    })
}

async fn failure(sandbox: &Sandbox, what: &str, address: &str, allow: &[&str]) -> Error {
    let (store, _) = sandbox.open(&[], allow).await.unwrap();
    let key = format!("tcp:{what}/{address}");
    let error = get(&store, within(20), first_kib(&key)).await.expect_err(&key);
    assert_works(&store).await;
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn payload_goes_through_without_entering_the_guest() {
    const LENGTH: usize = 3 << 20;
    fn frame(mut stream: TcpStream) -> BoxFuture<'static, std::io::Result<()>> {
        Box::pin(async move {
            stream.write_all(&(LENGTH as u32).to_be_bytes()).await?;
            let payload: Vec<u8> = (0..LENGTH).map(|at| (at * 7 / 5) as u8).collect();
            for piece in payload.chunks(777_777) {
                stream.write_all(piece).await?;
                pause(5).await;
            }
            stream.shutdown().await
        })
    }
    let sandbox = Sandbox::new();
    let address = server(frame).await;
    let (store, _) = sandbox.open(&[], &["127.0.0.1"]).await.unwrap();
    let whole = GetRequest {
        key: ObjectKey::new(format!("tcp:frame/{address}")),
        range: None,
        pin: None,
        unless: None,
    };
    let bytes = get(&store, within(20), whole).await.unwrap();
    assert_eq!(bytes.len(), LENGTH);
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at * 7 / 5) as u8));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_reads_and_the_end() {
    fn echo(mut stream: TcpStream) -> BoxFuture<'static, std::io::Result<()>> {
        Box::pin(async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await?;
            stream.write_all(&all).await
        })
    }
    fn halves(mut stream: TcpStream) -> BoxFuture<'static, std::io::Result<()>> {
        Box::pin(async move {
            stream.write_all(&[7; 500]).await?;
            // Longer than a busy machine keeps the guest, which gives up after 50 ms, twice.
            pause(3000).await;
            stream.write_all(&[7; 500]).await?;
            pause(5000).await;
            Ok(())
        })
    }
    let sandbox = Sandbox::new();
    let (store, _) = sandbox.open(&[], &["127.0.0.1"]).await.unwrap();
    for (what, address) in [("echo", server(echo).await), ("drop-read", server(halves).await)] {
        get(&store, within(10), first_kib(&format!("tcp:{what}/{address}"))).await.unwrap();
    }
    let error = failure(&sandbox, "drop-write", &server(silent).await, &["127.0.0.1"]).await;
    assert_eq!((error.kind, error.blame), (ErrorKind::Unavailable, Blame::Plugin));
    assert!(error.message.contains("given up before it returned"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn revealed_addresses_need_the_operator() {
    let sandbox = Sandbox::new();
    let address = server(silent).await;
    for address in [address.as_str(), "169.254.169.254:80", "0.0.0.0:80"] {
        let error = failure(&sandbox, "connect", address, &[]).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host), "{error}");
        assert!(error.message.contains(&format!("--allow-net {address}")), "{error}");
    }
    // A name is not revealed, whatever it resolves to.
    let error = failure(&sandbox, "connect", "localhost:80", &["127.0.0.1", "::1"]).await;
    assert_eq!((error.kind, error.blame), (ErrorKind::Denied, Blame::Host), "{error}");
    assert!(error.message.contains("not granted"), "{error}");
    let (store, _) = sandbox.open(&[], &["127.0.0.1"]).await.unwrap();
    get(&store, within(10), first_kib(&format!("tcp:connect/{address}"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_reads_are_bounded() {
    let sandbox = Sandbox::new();
    let (silent, zeros) = (server(silent).await, server(zeros).await);
    for (what, address, words) in [
        ("many", &silent, "1024 TCP connections"),
        ("huge-read", &zeros, "at most 1048576"),
        ("huge-buffer", &zeros, "at most 67108864"),
        ("chunks", &silent, "1024 chunks"),
    ] {
        let error = failure(&sandbox, what, address, &["127.0.0.1"]).await;
        assert_eq!((error.kind, error.blame), (ErrorKind::TooLarge, Blame::Plugin), "{what}: {error}");
        assert!(error.message.contains(words), "{what}: {error}");
    }
    let store = sandbox.store().await;
    let error = get(&store, within(10), first_kib("ciphers")).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TooLarge, Blame::Plugin), "{error}");
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_makes_reads_wait_and_leaves_a_reserve() {
    let sandbox = Sandbox::limited(|limits| {
        limits.buffers = 32 << 20;
        limits.buffers_wait = Duration::from_millis(300);
    });
    let started = Instant::now();
    let error = failure(&sandbox, "hoard", &server(zeros).await, &["127.0.0.1"]).await;
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Host), "{error}");
    assert!(error.message.contains("--memory"), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_write_ends_with_its_call() {
    let sandbox = Sandbox::limited(|limits| limits.grace = Duration::from_millis(300));
    let (store, _) = sandbox.open(&[], &["127.0.0.1"]).await.unwrap();
    let started = Instant::now();
    let key = format!("tcp:endless/{}", server(silent).await);
    let error = get(&store, within(1), first_kib(&key)).await.unwrap_err();
    assert_eq!((error.kind, error.blame), (ErrorKind::TimedOut, Blame::Origin), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_works(&store).await;
}
