//! What can be done with connections and ciphers, honestly and otherwise.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use wasmount_sdk::crypto::{Cipher, CipherSuite};
use wasmount_sdk::tcp::{Address, Chunk, ConnectOptions, Connection, connect};
use wasmount_sdk::{Body, Buffer, Error, Piece, Result};

async fn to(address: &str) -> Result<Connection> {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    connect(Address::new(host, port.parse().unwrap_or(0)), ConnectOptions::default()).await
}

/// Does what the word says at this address; returns content where it is honest.
pub(crate) async fn speak(what: &str, address: &str) -> Result<Option<Body>> {
    match what {
        "connect" => drop(to(address).await?),
        "frame" => return frame(address).await.map(Some),
        "echo" => echo(address).await?,
        "stream" => stream(address, false).await?,
        "stream-checked" => stream(address, true).await?,
        "turns" => turns(address).await?,
        "ciphers" => convert().await?,
        "drop-read" => drop_read(address).await?,
        "drop-write" => drop_write(address).await?,
        "many" => {
            let mut hoard = Vec::new();
            for _ in 0..10_000 {
                hoard.push(to(address).await?);
            }
        }
        "huge-read" => drop(to(address).await?.read_exact(u32::MAX).await?),
        "huge-buffer" => drop(to(address).await?.read_buffer(u32::MAX).await?),
        "hoard" => {
            let (connection, mut hoard) = (to(address).await?, Vec::new());
            loop {
                hoard.push(connection.read_buffer(4 << 20).await?);
            }
        }
        "chunks" => {
            let chunks = (0..5000).map(|_| Chunk::Bytes(vec![0])).collect();
            to(address).await?.write(chunks).await?;
        }
        // Nobody reads what is written, and there is always more of it.
        "endless" => {
            let connection = to(address).await?;
            loop {
                connection.write(vec![Chunk::Bytes(vec![0; 1 << 20])]).await?;
            }
        }
        _ => return Err(Error::other(format!("there is no misdeed {what}"))),
    }
    Ok(None)
}

/// Reads a length of four bytes and a payload; has the payload encrypted and decrypted again; gives it on.
async fn frame(address: &str) -> Result<Body> {
    let connection = to(address).await?;
    let peer = connection.peer_address();
    if format!("{}:{}", peer.host, peer.port) != address || connection.local_address().port == 0 {
        return Err(Error::other("the connection does not know its ends"));
    }
    let head = connection.read_exact(4).await?;
    let length = head.iter().fold(0, |length, byte| length << 8 | u32::from(*byte));
    let payload = connection.read_buffer(length).await?;
    let cipher = Cipher::create(CipherSuite::Aes128Gcm, &[7; 16])?;
    let sealed = cipher.seal(vec![1; 12], vec![2], vec![&payload]).await?;
    if sealed.len() != length + 16 || sealed.crc32c(0) == payload.crc32c(0) {
        return Err(Error::other("it was not encrypted"));
    }
    let other = cipher.open(vec![2; 12], vec![2], &sealed).await;
    if other.is_ok() {
        return Err(Error::other("another nonce opens it"));
    }
    let opened = cipher.open(vec![1; 12], vec![2], &sealed).await?;
    let small = cipher.seal_bytes(&[1; 12], &[2], &payload.copy_out(0, length)?)?;
    if small != sealed.copy_out(0, sealed.len())?
        || cipher.open_bytes(&[1; 12], &[2], &small)?.len() != length as usize
    {
        return Err(Error::other("bytes and buffers are encrypted differently"));
    }
    if opened.crc32c(u32::MAX) != payload.crc32c(u32::MAX) {
        return Err(Error::other("it was not decrypted to what it was"));
    }
    Body::assemble(vec![Piece::Buffer(opened)])
}

/// Writes bytes and buffers, ends its direction, and reads all of it again.
async fn echo(address: &str) -> Result<()> {
    let connection = to(address).await?;
    let payload = Buffer::create(&[5; 1000])?;
    connection
        .write(vec![Chunk::Bytes(vec![4; 10]), Chunk::Buffer(&payload), Chunk::Bytes(vec![6; 10])])
        .await?;
    connection.finish().await?;
    let mut all = Vec::new();
    loop {
        let some = connection.read_some(300).await?;
        if some.is_empty() {
            break;
        }
        all.extend(some);
    }
    if all != [vec![4; 10], vec![5; 1000], vec![6; 10]].concat() {
        return Err(Error::other("something else came back"));
    }
    Ok(())
}

/// Reads payload until its server ends, for measurements.
async fn stream(address: &str, checked: bool) -> Result<()> {
    let connection = to(address).await?;
    connection.write(vec![Chunk::Bytes(b"stream".to_vec())]).await?;
    // Each frame a header and 4 MiB, as in a storage protocol.
    while !connection.read_some(1).await?.is_empty() {
        connection.read_exact(31).await?;
        let payload = connection.read_buffer(4 << 20).await?;
        if checked && payload.crc32c(u32::MAX) == 0 {
            return Err(Error::other("wrong checksum"));
        }
    }
    Ok(())
}

/// Says 32 bytes and reads 32 bytes, 20,000 times, for measurements.
async fn turns(address: &str) -> Result<()> {
    let connection = to(address).await?;
    connection.write(vec![Chunk::Bytes(b"turns!".to_vec())]).await?;
    for _ in 0..20_000 {
        connection.write(vec![Chunk::Bytes(vec![7; 32])]).await?;
        connection.read_exact(32).await?;
    }
    Ok(())
}

/// Encrypts and decrypts 4 MiB, 128 times, for measurements.
async fn convert() -> Result<()> {
    let plain = Buffer::create(&vec![7; 4 << 20])?;
    let cipher = Cipher::create(CipherSuite::Aes128Gcm, &[7; 16])?;
    for _ in 0..128 {
        let sealed = cipher.seal(vec![0; 12], vec![], vec![&plain]).await?;
        cipher.open(vec![0; 12], vec![], &sealed).await?;
    }
    Ok(())
}

/// Begins, waits a little, and drops.
async fn give_up<T>(work: impl Future<Output = T>) {
    let mut work = pin!(work);
    let mut pause = pin!(wasmount_sdk::system::sleep(50));
    std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => pause.as_mut().poll(cx),
    })
    .await;
}

/// Half of 1,000 bytes comes at once, the rest after 200 ms: no read that is dropped in between loses any.
async fn drop_read(address: &str) -> Result<()> {
    let connection = to(address).await?;
    give_up(connection.read_buffer(1000)).await;
    give_up(connection.read_exact(1000)).await;
    if connection.read_exact(1000).await? != [7; 1000] {
        return Err(Error::other("what had arrived was lost"));
    }
    Ok(())
}

/// A write that is dropped finishes the connection.
async fn drop_write(address: &str) -> Result<()> {
    let connection = to(address).await?;
    let payload = Buffer::create(&vec![0; 15 << 20])?;
    let chunks = || vec![Chunk::Buffer(&payload), Chunk::Buffer(&payload)];
    give_up(connection.write(chunks())).await;
    connection.write(vec![Chunk::Bytes(vec![1])]).await
}

/// Makes ciphers until there are enough.
pub(crate) fn ciphers() -> Result<()> {
    let mut hoard = Vec::new();
    loop {
        hoard.push(Cipher::create(CipherSuite::Aes256Gcm, &[0; 32])?);
    }
}
