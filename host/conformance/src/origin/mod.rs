//! Origins under the suite's control: a small HTTP/1.1 server on the loopback interface that can misbehave.
//!
//! What is served comes from a [`Handler`]: scripted objects ([`s3`], [`files`]) or a real server behind
//! ([`forward`]). What goes wrong on the way comes from [`faults`]. Speed and completeness are not the aim; saying exactly
//! what was asked and answering exactly what the script says are.

pub mod faults;
pub mod files;
pub mod forward;
mod message;
pub mod objects;
pub mod s3;

pub use faults::{Fault, Faults};
pub use message::{Request, Response};

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use wasmount_types::{Blame, Error, ErrorKind};

/// Longest time a connection is held open by [`Fault::Silence`], so that nothing outlives a test run.
const SILENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request) -> Pin<Box<dyn Future<Output = Response> + Send + '_>>;
}

/// What the server has seen.
#[derive(Debug, Default)]
pub struct Traffic {
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Traffic {
    /// The most requests that were waiting for their answer at the same time.
    pub fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    /// `METHOD target` of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        self.most_in_flight.store(self.in_flight.load(Ordering::SeqCst), Ordering::SeqCst);
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn begin(&self, request: &Request) -> InFlight<'_> {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let line = format!("{} {}", request.method, request.target);
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        InFlight(self)
    }
}

struct InFlight<'a>(&'a Traffic);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running origin; stops when dropped.
pub struct Origin {
    address: SocketAddr,
    faults: Arc<Faults>,
    traffic: Arc<Traffic>,
    accept: tokio::task::JoinHandle<()>,
}

impl Origin {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(handler: Arc<dyn Handler>) -> Result<Self, Error> {
        let failed = |e: std::io::Error| {
            Error::new(
                ErrorKind::Other,
                Blame::Host,
                format!("cannot listen on 127.0.0.1 for the test origin: {e}"),
            )
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let faults = Arc::new(Faults::default());
        let traffic = Arc::new(Traffic::default());
        let shared = (faults.clone(), traffic.clone());
        let accept = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        // An error here is one connection's (it was reset while queued): go on.
                        let Ok((stream, _)) = accepted else { continue };
                        let (faults, traffic) = shared.clone();
                        let handler = handler.clone();
                        connections.spawn(async move {
                            // A broken connection is what faults are made of; the client sees it.
                            let _ = serve(stream, handler, faults, traffic).await;
                        });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, faults, traffic, accept })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong from now on.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What was asked.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn serve(
    stream: TcpStream,
    handler: Arc<dyn Handler>,
    faults: Arc<Faults>,
    traffic: Arc<Traffic>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    let mut read = tokio::io::BufReader::new(read);
    while let Some(mut request) = Request::read(&mut read).await? {
        let _in_flight = traffic.begin(&request);
        let fault = faults.take(&request);
        match &fault {
            Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
            Some(Fault::Silence) => {
                tokio::time::sleep(SILENCE).await;
                return Ok(());
            }
            Some(Fault::Garbage) => {
                write.write_all(b"this is not HTTP\r\n\r\n").await?;
                return Ok(());
            }
            Some(Fault::Reset) => return Ok(()),
            Some(Fault::IgnoreRange) => request.headers.retain(|(name, _)| name != "range"),
            _ => {}
        }
        let is_head = request.method == "HEAD";
        let mut response = match &fault {
            Some(Fault::Answer { status, headers, body }) => {
                Response::new(*status, headers.clone(), body.clone())
            }
            _ => handler.answer(request).await,
        };
        let mut cut = None;
        match fault {
            Some(Fault::ReplaceHeader(name, value)) => response.set_header(&name, &value),
            Some(Fault::CutBody(at)) if response.status < 300 => cut = Some(at),
            _ => {}
        }
        write.write_all(&response.head()).await?;
        if is_head {
            continue;
        }
        match cut {
            Some(at) => {
                let end = at.min(response.body.len());
                write.write_all(&response.body[..end]).await?;
                write.flush().await?;
                return Ok(());
            }
            None => write.write_all(&response.body).await?,
        }
    }
    Ok(())
}
