//! What a plugin must not do.

use crate::answer;
use std::hint::black_box;
use wasmount_sdk::http::Request;
use wasmount_sdk::{
    Body, Buffer, Error, GetOutcome, Object, Piece, Result, RetryAdvice, Secret, log, system,
};

/// Does what the key says; returns only from things that a host survives without replacing the instance.
pub(crate) async fn commit(misdeed: &str) -> Result<()> {
    match misdeed {
        "spin" => spin(),
        "spin-async" => spin_async().await,
        // Looks busy with the host, and never waits for it.
        "spin-calling" => loop {
            black_box(system::monotonic_ms());
        },
        // Asks for what is refused at once, and never waits.
        "spin-refused" => loop {
            let _ = black_box(Request::get("http://nowhere.invalid/").send().await);
        },
        // The host would be busy for years.
        "digest" => {
            let endless = Body::assemble(vec![Piece::Zeros(1 << 60)])?;
            drop(endless.digest(wasmount_sdk::DigestAlgorithm::Sha256).await?);
        }
        "reopen" => return Err(Error::other("asked for another open").advice(RetryAdvice::Reopen)),
        "trap" => trap(),
        "panic" => panic!("asked to panic"),
        "alloc" => allocate(),
        "recurse" => {
            black_box(recurse(black_box(1)));
        }
        "hang" => std::future::pending().await,
        "random" => drop(system::random(5000)),
        "handles" => handles()?,
        "buffers" => buffers()?,
        "pieces" => pieces()?,
        "log" => (0..1000).for_each(|i| log::info(&format!("line {i}"))),
        "bogus-handle" => bogus_handle(),
        _ => {}
    }
    Ok(())
}

/// Fetches a URL and passes its body on.
pub(crate) async fn connect(object: Object, url: &str) -> Result<GetOutcome> {
    let response = Request::get(url).send().await?;
    if response.status != 200 {
        return Err(response.error(url));
    }
    let size = response.content.len().unwrap_or(0);
    answer(Object { size, ..object }, 0, response.content)
}

/// Sends a secret that the plugin does not see, in a header.
pub(crate) async fn send(object: Object, address: &str, secret: &Secret) -> Result<GetOutcome> {
    let request =
        Request::get(format!("http://{address}/")).secret_header("authorization", "Bearer ", secret);
    let response = request.send().await?;
    let size = response.content.len().unwrap_or(0);
    answer(Object { size, ..object }, 0, response.content)
}

pub(crate) fn trap() -> ! {
    std::process::abort()
}

pub(crate) fn spin() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// Wakes itself up again and again: there is always something to do, but nothing gets done.
async fn spin_async() {
    loop {
        let mut woken = false;
        std::future::poll_fn(|cx| {
            if woken {
                return std::task::Poll::Ready(());
            }
            woken = true;
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}

fn allocate() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 8 << 20]));
    }
}

#[allow(unconditional_recursion, reason = "that is the point")]
fn recurse(n: u64) -> u64 {
    let frame = black_box([n; 512]);
    recurse(n + 1) + frame.iter().sum::<u64>()
}

fn handles() -> Result<()> {
    let mut hoard = Vec::new();
    loop {
        hoard.push(Buffer::create(b"x")?);
    }
}

fn buffers() -> Result<()> {
    let mut hoard = Vec::new();
    let bytes = vec![0; 16 << 20];
    loop {
        hoard.push(Buffer::create(&bytes)?);
    }
}

/// Doubles a body until the host has had enough.
fn pieces() -> Result<()> {
    let mut body = Body::assemble(vec![Piece::Buffer(Buffer::create(b"x")?)])?;
    for _ in 0..64 {
        let copy = body.duplicate()?;
        body = Body::assemble(vec![Piece::Body(body), Piece::Body(copy)])?;
    }
    Err(Error::other("2^64 pieces were accepted"))
}

#[allow(unsafe_code, reason = "a handle that was never given out cannot be made otherwise")]
fn bogus_handle() {
    // SAFETY: to the guest a handle is a number; that this one is wrong is for the host to notice.
    let body = unsafe { Body::from_handle(123_456) };
    black_box(body.len());
}
