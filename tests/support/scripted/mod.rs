//! An HTTP server that does what the test says: late, wrong, half or never.
//!
//! A handler turns each [`Request`] into an [`Answer`], and an answer can carry a [`Fault`]. The server counts how
//! many requests it holds at once, which is how a test proves concurrency from the far end of the wire, and
//! records what was asked. One thread per connection: simple, and good for some hundreds of them.

pub mod bucket;
mod http;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

pub use http::Request;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The connection is closed after this many bytes of the body.
    CutAfter(usize),
    /// `Content-Length` says this; then the whole body is sent and the connection closed.
    ClaimLength(u64),
    /// The status line and the headers come, the body never does.
    NeverBody,
    /// No byte ever comes; the connection stays open.
    NeverAnswer,
    /// The connection is closed at once.
    Close,
}

/// One scripted answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers besides `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body. To a HEAD request only its length is sent.
    pub body: Arc<Vec<u8>>,
    /// The part of `body` that is sent, when not all of it.
    pub part: Option<std::ops::Range<usize>>,
    /// Wait before the first byte.
    pub delay: Duration,
    /// What is wrong with it.
    pub fault: Fault,
}

impl Answer {
    /// An answer with a status and a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: Arc::new(body.into()), ..Self::default() }
    }

    /// An S3 error document.
    pub fn error(status: u16, code: &str) -> Self {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>scripted</Message></Error>");
        Self::new(status, body).header("content-type", "application/xml")
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Waits before it answers.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Goes wrong.
    #[must_use]
    pub fn faulty(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    fn bytes(&self) -> &[u8] {
        match &self.part {
            Some(part) => self.body.get(part.clone()).unwrap_or_default(),
            None => &self.body,
        }
    }
}

/// Decides about each request. It may block: only that request waits.
pub type Handler = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

struct State {
    handler: Mutex<Handler>,
    requests: Mutex<Vec<Request>>,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    stopping: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running server. Dropping it closes every connection.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            handler: Mutex::new(Arc::new(handler)),
            requests: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            max_in_flight: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.stopping.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&accepting);
                if let Ok(copy) = stream.try_clone() {
                    lock(&state.streams).push(copy);
                }
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Ok(Self { address, state })
    }

    /// Its address as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the script; requests that are being answered keep the old one.
    pub fn set_handler(&self, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *lock(&self.state.handler) = Arc::new(handler);
    }

    /// Every request so far, in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.state.requests).clone()
    }

    /// The largest number of requests that were unanswered at the same time.
    pub fn max_in_flight(&self) -> usize {
        self.state.max_in_flight.load(Ordering::SeqCst)
    }

    /// Forgets the requests and the maximum so far.
    pub fn reset(&self) {
        lock(&self.state.requests).clear();
        self.state.max_in_flight.store(self.state.in_flight.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        for stream in lock(&self.state.streams).drain(..) {
            // Closed already, mostly.
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the accepting thread, which then sees that it should end.
        let _ = TcpStream::connect(self.address);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves one connection until the client or a fault closes it.
fn serve(state: &State, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffered = Vec::new();
    while let Some(request) = http::read_request(&mut stream, &mut buffered) {
        let now = state.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        state.max_in_flight.fetch_max(now, Ordering::SeqCst);
        lock(&state.requests).push(request.clone());
        let handler = Arc::clone(&lock(&state.handler));
        let answer = handler(&request);
        std::thread::sleep(answer.delay);
        let alive = send(&mut stream, &request, &answer);
        state.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !alive {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Whether the connection can be used further.
fn send(stream: &mut TcpStream, request: &Request, answer: &Answer) -> bool {
    match answer.fault {
        Fault::Close => return false,
        Fault::NeverAnswer => return hold(stream),
        _ => {}
    }
    let body = answer.bytes();
    let length = match answer.fault {
        Fault::ClaimLength(length) => length,
        _ => body.len() as u64,
    };
    let mut head = format!("HTTP/1.1 {} Scripted\r\ncontent-length: {length}\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if stream.write_all(head.as_bytes()).is_err() {
        return false;
    }
    let sent = match answer.fault {
        _ if request.method == "HEAD" => return true,
        Fault::NeverBody => return hold(stream),
        Fault::CutAfter(len) => body.get(..len).unwrap_or(body),
        _ => body,
    };
    stream.write_all(sent).is_ok() && answer.fault == Fault::None
}

/// Keeps the connection open until the client or the end of the test closes it.
fn hold(stream: &mut TcpStream) -> bool {
    let mut ignored = [0_u8; 1024];
    while matches!(stream.read(&mut ignored), Ok(len) if len > 0) {}
    false
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
