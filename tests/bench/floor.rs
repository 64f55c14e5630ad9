//! What the server and this machine allow without any file system: the floor of `make bench`, and its data.
//!
//! `bench-floor seed|first|sequential|small|list` with `MINIO_ENDPOINT` set, as `tests/servers/minio start` prints
//! it. Plain sockets and signed GETs, nothing else, so that a client's own cost shows as the difference.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wasmount_tests::prng::Prng;
use wasmount_tests::s3::{Client, Credentials};

const BUCKET: &str = "bench";
const LARGE: &str = "large/1g.bin";
const LARGE_LEN: usize = 1 << 30;
const PART: usize = 8 << 20;
const CONNECTIONS: usize = 4;
const SMALL: usize = 2000;
const SMALL_LEN: usize = 16 * 1024;
const SMALL_READERS: usize = 16;
const LISTED: usize = 10_000;

fn main() -> Result<()> {
    let endpoint = std::env::var("MINIO_ENDPOINT").context("MINIO_ENDPOINT is not set")?;
    let client = Client::new(&endpoint, Credentials::minio(), None)?;
    match std::env::args().nth(1).as_deref() {
        Some("seed") => seed(&client),
        Some("first") => fetch_all(&client, 1, 1, |_| ("first/hello.txt".to_owned(), None)),
        Some("sequential") => fetch_all(&client, CONNECTIONS, LARGE_LEN / PART, |part| {
            (LARGE.to_owned(), Some((part * PART, (part + 1) * PART - 1)))
        }),
        Some("small") => fetch_all(&client, SMALL_READERS, SMALL, |index| (small_key(index), None)),
        Some("list") => {
            let keys = client.list(BUCKET, "flat/")?;
            ensure!(keys.len() == LISTED, "{} keys", keys.len());
            Ok(())
        }
        _ => bail!("usage: bench-floor seed|first|sequential|small|list"),
    }
}

fn small_key(index: usize) -> String {
    format!("small/{:02}/{:03}.bin", index / 100, index % 100)
}

/// Runs `work` for 0..count on some threads.
fn in_parallel(threads: usize, count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            return Ok(());
                        }
                        work(index)?;
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
    })
}

fn seed(client: &Client) -> Result<()> {
    client.make_bucket(BUCKET)?;
    client.put(BUCKET, "first/hello.txt", b"hello from s3\n")?;
    client.put(BUCKET, LARGE, &Prng::new(1).bytes(LARGE_LEN))?;
    let random = Prng::new(2).bytes(SMALL_LEN);
    in_parallel(16, SMALL, |index| client.put(BUCKET, &small_key(index), &random))?;
    in_parallel(16, LISTED, |index| client.put(BUCKET, &format!("flat/f{index:05}.txt"), &[b'x'; 128]))
}

/// GETs `count` objects or parts over this many kept connections, and throws the bytes away.
fn fetch_all(
    client: &Client,
    connections: usize,
    count: usize,
    what: impl Fn(usize) -> (String, Option<(usize, usize)>) + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    in_parallel(connections, connections, |_| {
        let mut stream = TcpStream::connect(client.host()).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut buffer = vec![0_u8; 1 << 20];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return Ok(());
            }
            let (key, range) = what(index);
            fetch(client, &mut stream, &mut buffer, &key, range).with_context(|| format!("GET {key}"))?;
        }
    })
}

fn fetch(
    client: &Client,
    stream: &mut TcpStream,
    buffer: &mut [u8],
    key: &str,
    range: Option<(usize, usize)>,
) -> Result<()> {
    let (path, headers) = client.signed_get(BUCKET, key)?;
    let mut head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n", client.host());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some((first, last)) = range {
        head.push_str(&format!("range: bytes={first}-{last}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;

    let mut have = 0;
    let body_at = loop {
        let free = buffer.get_mut(have..).filter(|free| !free.is_empty()).context("a head of 1 MiB")?;
        let read = stream.read(free)?;
        ensure!(read > 0, "the server closed the connection");
        have += read;
        let seen = buffer.get(..have).unwrap_or_default();
        if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let answer = String::from_utf8_lossy(buffer.get(..body_at).unwrap_or_default()).to_lowercase();
    ensure!(answer.starts_with("http/1.1 20"), "{answer}");
    let length =
        answer.lines().find_map(|line| line.strip_prefix("content-length:")).context("no content-length")?;
    let mut left = length.trim().parse::<usize>()? - (have - body_at);
    while left > 0 {
        let want = left.min(buffer.len());
        let read = stream.read(buffer.get_mut(..want).unwrap_or_default())?;
        ensure!(read > 0, "the body ends {left} bytes early");
        left -= read;
    }
    Ok(())
}
